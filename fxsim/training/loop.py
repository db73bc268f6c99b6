"""The training loop: batches in, trained weights, metrics and decisions out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fxsim.engine import softmax, update
from fxsim.engine.normalisation import RunningStatistics
from fxsim.engine.tensor import FixedTensor
from fxsim.errors import DataError
from fxsim.training import data as datasets
from fxsim.training.context import Parameter, Recorder, StepContext, VectorWork
from fxsim.training.data import Dataset
from fxsim.training.model import Model, weight_hash
from fxsim.training.policy import OPERAND_ROLES, Decisions, Feedback, PrecisionPolicy

EVALUATION_BATCH = 250
RATE = "learning_rate"
LN_2 = 0.6931471805599453


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """What a run is, besides network, data and policy. Rates are exact decimals.

    schedule : "constant", or "linear": it falls by the same amount every step, towards zero
    """

    epochs: int
    batch: int
    learning_rate: Fraction
    momentum: Fraction = Fraction(9, 10)
    weight_decay: Fraction = Fraction(0)
    schedule: str = "constant"

    def rate_code(self, step: int, steps: int) -> int:
        """The learning rate of a step, with `update.RATE_FRAC` fractional bits."""
        code = update.constant(self.learning_rate, update.RATE_FRAC)
        return code if self.schedule == "constant" else code * (steps - step) // steps


class StepRecorder(Recorder, Protocol):
    """A recorder that also hears of steps."""

    def begin_step(self, step: int, steps: int) -> None:
        """A step begins."""


class Watcher(Protocol):
    """Hears how a run goes on; the command line draws its progress from it."""

    def step(self, step: int, steps: int, metrics: dict[str, Any]) -> None:
        """A step ended."""


@dataclass(frozen=True, slots=True, eq=False)
class TrainedNetwork:
    """What a run leaves behind.

    metrics : a row a step; evaluations : a row an epoch; decisions : a row a step, with the rate
    """

    parameters: dict[str, Parameter]
    running: dict[str, RunningStatistics]
    metrics: list[dict[str, Any]]
    evaluations: list[dict[str, Any]]
    decisions: list[Decisions]

    @property
    def weights_sha256(self) -> str:
        """The hash of all trained state."""
        return weight_hash(self.parameters, self.running)


def train(
    model: Model,
    data: Dataset,
    policy: PrecisionPolicy,
    settings: TrainingSettings,
    seed: int,
    recorder: StepRecorder | None = None,
    watcher: Watcher | None = None,
    recorded: Sequence[Decisions] | None = None,
) -> TrainedNetwork:
    """Train in integers.

    recorded : the decisions of an earlier run; the policy then decides nothing (a replay)
    """
    parameters, running = model.initial_parameters(seed), model.initial_running()
    gains: dict[Any, NDArray[np.int64]] = {}
    state, feedback = policy.initial_state(), None
    network = TrainedNetwork(parameters, running, [], [], [])
    batches = data.batches(seed, 0, settings.batch)
    if not batches:
        raise DataError(
            f"batch must be at most the {len(data.train_labels)} training images of {data.name},"
            f" not {settings.batch}"
        )
    steps = settings.epochs * len(batches)
    for step in range(steps):
        epoch, position = divmod(step, len(batches))
        if position == 0 and epoch:
            batches = data.batches(seed, epoch, settings.batch)
        if recorded is None:
            state, decisions = policy.decide(state, feedback)
            decisions = {**decisions, RATE: settings.rate_code(step, steps)}
        else:
            decisions = recorded[step]
        context = StepContext(
            seed, step, True, policy, decisions, parameters, running, gains, recorder
        )
        if recorder is not None:
            recorder.begin_step(step, steps)
        chosen = batches[position]
        labels = data.train_labels[chosen]
        probability = training_step(
            model, context, datasets.batch(data.train_images, chosen), labels, settings
        )
        metrics = {"step": step, "epoch": epoch, **_metrics(probability, labels), **_bits(context)}
        feedback = Feedback(step, metrics["loss"], _perturbation(context))
        network.metrics.append(metrics)
        network.decisions.append(decisions)
        if position == len(batches) - 1:
            found = evaluate(model, context, data)
            network.evaluations.append({"epoch": epoch, "step": step, **found})
            metrics = {**metrics, **found}
        if watcher is not None:
            watcher.step(step, steps, metrics)
    return network


def training_step(
    model: Model,
    context: StepContext,
    images: FixedTensor,
    labels: NDArray[np.int64],
    settings: TrainingSettings,
) -> FixedTensor:
    """One step, integers throughout; the batch's probabilities, for metrics."""
    logits = model.forward(context, images)
    probability, error = softmax.softmax_cross_entropy(logits, labels)
    size = error.codes.size
    context.vector("loss", "forward", VectorWork(size, 4, 4, 32 * size, 32 * size))
    model.backward(context, error)
    _update(context, settings)
    return probability


def _update(context: StepContext, settings: TrainingSettings) -> None:
    friction = update.constant(settings.momentum, update.FRICTION_FRAC)
    decay = update.constant(settings.weight_decay, update.RATE_FRAC)
    rate = context.decisions[RATE]
    word = context.policy.weight_gradient.bits
    for name, gradient in context.gradients.items():
        parameter = context.parameters[name]
        decays = decay if name.endswith(".weight") else 0
        parameter.master, parameter.momentum, saturated = update.sgd(
            parameter.master, parameter.momentum, gradient, friction, rate, decays,
            context.policy.update_rounding, context.key(name, "update"),
        )  # fmt: skip
        size = gradient.codes.size
        state = (update.MASTER.bits + update.MOMENTUM.bits) * size
        layer = name.rpartition(".")[0]
        context.vector(
            layer,
            "update",
            VectorWork(
                size, 4, 3, state + word * size, state + word * size,
                stash_write_bits=state + word * size,
                stash_read_bits=state + word * size,
                saturated=saturated,
            ),
        )  # fmt: skip


def evaluate(model: Model, context: StepContext, data: Dataset) -> dict[str, float]:
    """Test loss and accuracy with the running statistics and the step's decisions."""
    quiet = StepContext(
        context.seed, context.step, False, context.policy, context.decisions,
        context.parameters, dict(context.running), context.gains,
    )  # fmt: skip
    parts = []
    for start in range(0, len(data.test_labels), EVALUATION_BATCH):
        chosen = slice(start, start + EVALUATION_BATCH)
        labels = data.test_labels[chosen]
        logits = model.forward(quiet, datasets.batch(data.test_images, chosen))
        probability, _ = softmax.softmax_cross_entropy(logits, labels)
        parts.append((len(labels), _metrics(probability, labels)))
    total = sum(count for count, _ in parts)
    return {
        f"test_{name}": sum(count * part[name] for count, part in parts) / total
        for name in ("loss", "accuracy")
    }


def _metrics(probability: FixedTensor, labels: NDArray[np.int64]) -> dict[str, float]:
    """Mean cross-entropy [nats] and accuracy, the same on every machine: no libm is asked.

    Each sample's log2 is cut to 16 fractional bits, so the loss is at most 2**-16 high.
    """
    hit = probability.codes[np.arange(len(labels)), labels]
    octaves = sum(_log2(max(int(code), 1)) for code in hit)
    bits = probability.format.frac - octaves / (len(labels) << 16)
    return {
        "loss": bits * LN_2,
        "accuracy": float((probability.codes.argmax(axis=1) == labels).mean()),
    }


def _log2(code: int) -> int:
    """floor(log2(code) * 2**16), by squaring."""
    whole = code.bit_length() - 1
    rest, found = code << 62 - whole, whole
    for _ in range(16):
        rest = rest * rest >> 62
        found <<= 1
        if rest >> 63:
            rest >>= 1
            found |= 1
    return found


def _bits(context: StepContext) -> dict[str, float]:
    return {
        f"{role}_bits": context.word_bits[role] / context.words[role]
        for role in OPERAND_ROLES
        if role in context.words
    }


def _perturbation(context: StepContext) -> dict[str, float]:
    return {role: context.sensitivity[role] / context.signal[role] for role in context.signal}
