"""The training loop: batches in, trained weights, metrics and decisions out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fxsim.engine import softmax, update
from fxsim.engine.allocator import keep_freed
from fxsim.engine.normalisation import RunningStatistics
from fxsim.engine.tensor import FixedTensor
from fxsim.engine.vector_int16 import VECTOR_BITS
from fxsim.errors import DataError, FormatError, ShapeError, naming
from fxsim.identifiers import OPERAND_ROLES, STEP, ParameterId, Pass, Role
from fxsim.numerics.state_formats import MASTER
from fxsim.training.context import Parameter, Probed, StepContext, Tracer, VectorWork
from fxsim.training.data.base import Batch, Dataset, batches
from fxsim.training.decisions import D, Decisions
from fxsim.training.model import Model, weight_hash
from fxsim.training.policy import (
    Feedback,
    LossGradient,
    Memory,
    PrecisionPolicy,
    State,
    StepInfo,
    UpdateInfo,
)
from fxsim.training.schedule import Plateau
from fxsim.training.settings import TrainingSettings, Watcher, integer_metrics
from fxsim.training.update_step import update_parameters

EVALUATION_BATCH = 250


class StepTracer(Tracer, Protocol):
    """A tracer that also hears of steps."""

    def begin_step(self, step: int, steps: int) -> None:
        """A step begins."""


@dataclass(slots=True, eq=False)
class Progress:
    """All state of a run between two steps: with the inputs it decides every bit that follows.

    step : of the next step; metrics, evaluations, decisions : rows since the run began
    gains, policy_state, memory : the policy's sensitivities, state and arrays
    """

    step: int
    parameters: dict[str, Parameter]
    running: dict[str, RunningStatistics]
    gains: dict[tuple[str, Role], NDArray[np.int64]]
    policy_state: State
    memory: Memory = field(default_factory=dict)
    feedback: Feedback | None = None
    plateau: Plateau = field(default_factory=Plateau)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    decisions: list[dict[str, int]] = field(default_factory=list)

    @property
    def weights_sha256(self) -> str:
        """The hash of all trained state."""
        return weight_hash(self.parameters, self.running)


TrainedNetwork = Progress  # what a run leaves behind


def begin(
    model: Model,
    policy: PrecisionPolicy[D],
    seed: int,
    initial: tuple[dict[str, Parameter], dict[str, RunningStatistics]] | None = None,
    bit_costs: State | None = None,
) -> Progress:
    """The state before the first step.

    initial : weights and statistics of an earlier run
    bit_costs : what a cost-aware policy begins with, see `fxsim.runs.initial_bit_costs`
    """
    if initial is None:
        parameters, running = model.initial_parameters(seed), model.initial_running()
    else:
        parameters, running = dict(initial[0]), dict(initial[1])
    shapes: dict[str, tuple[int, ...]] = {
        name.owner: parameter.master.shape
        for name, parameter in ((ParameterId.parse(n), p) for n, p in parameters.items())
        if name.is_weight
    }
    for name, parameter in parameters.items():
        codes = policy.initial_codes(name, parameter.master.codes.astype(np.int64), initial is None)
        if ParameterId.parse(name).is_weight:
            with naming(f"initial {name!r}"):
                codes = update.on_master_grid(codes, policy.update_formats.master)
        parameters[name] = Parameter(
            FixedTensor(codes.astype(np.int32), MASTER),
            FixedTensor.trusted(np.zeros(codes.shape, np.int32), update.MOMENTUM),
        )
    state = {**policy.initial_state(shapes), **(bit_costs or {})}
    return Progress(0, parameters, running, {}, state)


def train(  # noqa: PLR0913
    model: Model,
    data: Dataset,
    policy: PrecisionPolicy[D],
    settings: TrainingSettings,
    seed: int,
    tracer: StepTracer | None = None,
    watcher: Watcher | None = None,
    recorded: Callable[[int], D] | None = None,
    progress: Progress | None = None,
    after: Callable[[Progress, bool], None] | None = None,
) -> Progress:
    """Train in integers.

    It takes more than seven parameters: the last five are who hears of a step, and what an earlier
    run left; most callers need one of them.

    recorded : a step's decisions in an earlier run; the policy then decides nothing (a replay)
    progress : continue from here; after : called with the state after each step, and whether it
        was the last of an epoch
    """
    keep_freed()
    now = progress or begin(model, policy, seed)
    per_epoch = data.train_size // settings.batch
    if not per_epoch:
        raise DataError(
            f"batch must be at most the {data.train_size} training samples of {data.name},"
            f" not {settings.batch}"
        )
    steps, order, ordered_epoch = settings.epochs * per_epoch, [], -1
    for step in range(now.step, steps):
        epoch, position = divmod(step, per_epoch)
        if epoch != ordered_epoch:
            order, ordered_epoch = batches(data, seed, epoch, settings.batch), epoch
        step_info = StepInfo(step, steps, per_epoch)
        decisions = _decide(now, policy, settings, step_info, recorded)
        context = StepContext(
            seed,
            step,
            True,
            policy,
            decisions,
            now.parameters,
            now.running,
            now.gains,
            tracer,
            None if recorded is not None else dict(now.policy_state),
            step_info,
        )
        if tracer is not None:
            tracer.begin_step(step, steps)
        inputs, labels = data.train_batch(order[position], seed, epoch)
        probability = training_step(model, context, inputs, labels, settings)
        metrics = {
            STEP: step,
            "epoch": epoch,
            **integer_metrics(probability, labels),
            **_bits(context),
        }
        now.feedback = Feedback(step, metrics["loss"], _perturbation(context), context.probed)
        _after_update(now, context, metrics["loss"])
        now.metrics.append(metrics)
        now.decisions.append(decisions.columns())
        now.step = step + 1
        ended = position == per_epoch - 1
        if ended:
            test_metrics = evaluate(model, context, data)
            now.plateau.epoch(test_metrics["test_loss"], settings.schedule.patience)
            now.evaluations.append({"epoch": epoch, STEP: step, **test_metrics})
            metrics = {**metrics, **test_metrics}
        if after is not None:
            after(now, ended)
        if watcher is not None:
            watcher.step(step, steps, metrics)
    return now


def _decide(
    now: Progress,
    policy: PrecisionPolicy[D],
    settings: TrainingSettings,
    step_info: StepInfo,
    recorded: Callable[[int], D] | None,
) -> D:
    if recorded is not None:
        return recorded(step_info.step)
    now.policy_state, decisions = policy.decide(now.policy_state, step_info, now.feedback)
    drops = now.plateau.drops
    rate = settings.schedule.rate_code(
        settings.learning_rate, step_info.step, step_info.steps, drops
    )
    decisions.learning_rate = int(rate * policy.rate_factor)
    return decisions


def _probe(
    model: Model, context: StepContext, inputs: Any, labels: NDArray[np.int64]
) -> dict[str, float]:
    """The batch's loss under the policy's probes: forward passes with the step's weights.

    They stand in the trace as layers `<layer>@<probe>`, so that their cost is counted.
    """
    losses = {}
    for name, decisions in context.policy.probes(context.decisions).items():
        tracer = None if context.tracer is None else Probed(context.tracer, name)
        probe = StepContext(
            context.seed,
            context.step,
            True,
            context.policy,
            decisions,
            context.parameters,
            dict(context.running),
            context.gains,
            tracer,
        )
        probe.weights = {
            weight: operand
            for weight, operand in context.weights.items()
            if _alike(context, decisions, ParameterId.parse(weight).owner)
        }
        logits, _ = model.forward(probe, inputs)
        losses[name] = integer_metrics(softmax.softmax(logits.tensor), labels)["loss"]
    return losses


def _alike(context: StepContext, decisions: Decisions, owner: str) -> bool:
    """Whether other decisions leave a layer's weight operand as it is."""
    now, then = (
        context.policy.operand_format(decided, owner, Role.WEIGHT)
        for decided in (context.decisions, decisions)
    )
    return now == then


def _after_update(now: Progress, context: StepContext, loss: float) -> None:
    """Let the policy look at what the step left, unless all is decided."""
    if context.state is None:
        return
    masters = {name: parameter.master for name, parameter in context.parameters.items()}
    update_info = UpdateInfo(context.step_info, loss, context.weights, masters, context.taken)
    state, memory = context.policy.after_update(context.state, now.memory, update_info)
    now.policy_state = {**context.state, **state}
    now.memory = {**now.memory, **memory}


def training_step(
    model: Model,
    context: StepContext,
    inputs: FixedTensor | NDArray[Any],
    labels: NDArray[np.int64],
    settings: TrainingSettings,
) -> FixedTensor:
    """One step, integers throughout; the batch's probabilities, for metrics."""
    try:
        last, ops = model.forward(context, inputs)
        context.probed = _probe(model, context, inputs, labels)
        if settings.loss == "mse":
            probability, error = softmax.squared_error(last.tensor, labels)
        elif context.policy.loss_gradient is LossGradient.POWERS_OF_TWO:
            probability, error = softmax.power_of_two_error(last.tensor, labels)
        else:
            probability, error = softmax.cross_entropy(
                last.tensor, labels, settings.label_smoothing
            )
        size = error.codes.size
        context.vector(
            "loss", Pass.FORWARD, VectorWork(size, 4, 4, VECTOR_BITS * size, 2 * VECTOR_BITS * size)
        )
        ops.tape.backward(last, error)
        update_parameters(context, settings)
    except (FormatError, ShapeError) as problem:
        raise type(problem)(f"step {context.step}, {problem}") from None
    return probability


def evaluate(model: Model, context: StepContext, data: Dataset) -> dict[str, float]:
    """Test loss and accuracy with the running statistics and the step's decisions."""
    quiet = StepContext(
        context.seed,
        context.step,
        False,
        context.policy,
        context.decisions,
        context.parameters,
        dict(context.running),
        context.gains,
    )

    def one(batch: Batch) -> dict[str, float]:
        inputs, labels = batch
        logits, _ = model.forward(quiet, inputs)
        return integer_metrics(softmax.softmax(logits.tensor), labels)

    return mean_metrics(data, one)


def mean_metrics(data: Dataset, one: Callable[[Batch], dict[str, float]]) -> dict[str, float]:
    """{test_loss, test_accuracy}: the means of a function of batches over the test samples."""
    parts = []
    for start in range(0, data.test_size, EVALUATION_BATCH):
        stop = min(start + EVALUATION_BATCH, data.test_size)
        parts.append((stop - start, one(data.test_batch(start, stop))))
    total = sum(count for count, _ in parts)
    return {
        f"test_{name}": sum(count * part[name] for count, part in parts) / total
        for name in ("loss", "accuracy")
    }


def _bits(context: StepContext) -> dict[str, float]:
    return {
        f"{role}_bits": context.word_bits[role] / context.words[role]
        for role in OPERAND_ROLES
        if role in context.words
    }


def _perturbation(context: StepContext) -> dict[str, float]:
    return {role: context.sensitivity[role] / context.signal[role] for role in context.signal}
