"""The float32 twin: the same graph, initial weights, data order and schedule, in binary32.

It is the accuracy baseline only. BLAS runs on one thread, so that a machine repeats its own bits;
other machines may differ in the last ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from fxsim.engine import normalisation
from fxsim.engine.normalisation import RunningStatistics
from fxsim.engine.tensor import FixedTensor
from fxsim.engine.update import MOMENTUM, rate_of
from fxsim.identifiers import STEP
from fxsim.numerics.formats import FixedPoint
from fxsim.numerics.state_formats import MASTER
from fxsim.training.context import Parameter
from fxsim.training.data.base import Batch, Dataset, batches
from fxsim.training.float_math import Floats
from fxsim.training.floats import FloatOperations
from fxsim.training.loop import TrainedNetwork, mean_metrics
from fxsim.training.model import Model
from fxsim.training.schedule import Plateau
from fxsim.training.settings import TrainingSettings, Watcher, decays
from fxsim.training.tape import Value


@dataclass(slots=True)
class FloatState:
    """Everything that a float step reads and writes; moments are empty but for Adam."""

    weights: dict[str, Floats]
    running: dict[str, tuple[Floats, Floats]]
    velocity: dict[str, Floats]
    squares: dict[str, Floats]


def initial_state(model: Model, seed: int, kind: Any = np.float32) -> FloatState:
    """The integer run's initial weights, in float."""
    weights = {
        name: parameter.master.to_float().astype(kind)
        for name, parameter in model.initial_parameters(seed).items()
    }
    running = {
        name: (np.zeros(len(r.mean), kind), np.ones(len(r.mean), kind))
        for name, r in model.initial_running().items()
    }
    zeros = {name: np.zeros_like(w) for name, w in weights.items()}
    return FloatState(weights, running, zeros, {name: w.copy() for name, w in zeros.items()})


def loss_of(
    logits: Floats, labels: NDArray[np.int64], settings: TrainingSettings
) -> tuple[dict[str, float], Floats]:
    """(cross-entropy and accuracy, the gradient of the settings' mean loss)."""
    flat, flat_labels = logits.reshape(-1, logits.shape[-1]), labels.reshape(-1)
    classes, rows = flat.shape[1], np.arange(len(flat_labels))
    power = np.exp(flat - flat.max(axis=1, keepdims=True))
    probability = power / power.sum(axis=1, keepdims=True)
    loss = float(-np.log(np.maximum(probability[rows, flat_labels], 1e-30)).mean())
    accuracy = float((flat.argmax(axis=1) == flat_labels).mean())
    target = np.zeros_like(flat)
    target[rows, flat_labels] = 1
    if settings.loss == "mse":
        error = 2 * (flat - target) / flat.size
    else:
        smooth = float(settings.label_smoothing)
        target = (1 - smooth) * target + smooth / classes
        error = (probability - target) / len(flat_labels)
    return {"loss": loss, "accuracy": accuracy}, error.astype(flat.dtype).reshape(logits.shape)


def _inputs(batch: Batch, kind: Any) -> Any:
    inputs = batch[0]
    return inputs if isinstance(inputs, np.ndarray) else inputs.to_float().astype(kind)


def step(
    model: Model,
    state: FloatState,
    batch: Batch,
    settings: TrainingSettings,
    rate: float,
    seed: int = 0,
    number: int = 0,
) -> dict[str, float]:
    """One training step; the batch's metrics."""
    kind = next(iter(state.weights.values())).dtype
    ops = FloatOperations(state.weights, state.running, True, seed, number)
    last = model.run(ops, Value(_inputs(batch, kind), needs=False))
    metrics, error = loss_of(last.tensor, batch[1], settings)
    ops.tape.backward(last, error)
    _update(state, ops.gradients, settings, rate, number)
    return metrics


def _update(
    state: FloatState,
    gradients: dict[str, Floats],
    settings: TrainingSettings,
    rate: float,
    number: int,
) -> None:
    if settings.clip_norm is not None:
        norm = float(
            np.sqrt(sum(float((g.astype(np.float64) ** 2).sum()) for g in gradients.values()))
        )
        scale = min(1.0, float(settings.clip_norm) / max(norm, 1e-30))
        gradients = {n: g * g.dtype.type(scale) for n, g in gradients.items()}
    for name, gradient in gradients.items():
        weight, one = state.weights[name], gradient.dtype.type
        decay = one(settings.weight_decay) if decays(name) else one(0)
        if settings.optimizer == "sgd":
            pull, friction = gradient + decay * weight, one(settings.momentum)
            state.velocity[name] = friction * state.velocity[name] + pull
            move = (
                pull + friction * state.velocity[name]
                if settings.nesterov
                else (state.velocity[name])
            )
            state.weights[name] = weight - one(rate) * move
            continue
        decoupled = settings.optimizer == "adamw"
        gradient = gradient if decoupled else gradient + decay * weight
        beta1, beta2 = (one(b) for b in settings.betas)
        m = state.velocity[name] = beta1 * state.velocity[name] + (1 - beta1) * gradient
        v = state.squares[name] = beta2 * state.squares[name] + (1 - beta2) * gradient * gradient
        first, second = 1 - beta1 ** (number + 1), 1 - beta2 ** (number + 1)
        move = (m / first) / (np.sqrt(v / second) + one(settings.epsilon))
        pull = decay * weight if decoupled else one(0)
        state.weights[name] = (weight - one(rate) * (move + pull)).astype(weight.dtype)


@dataclass(frozen=True, slots=True, eq=False)
class FloatNetwork:
    """What a float run leaves behind; see `fxsim.training.loop.Progress`."""

    state: FloatState
    metrics: list[dict[str, Any]]
    evaluations: list[dict[str, Any]]

    def rounded(self) -> TrainedNetwork:
        """The run with its weights rounded to an integer run's formats, to be stored and hashed."""
        parameters = {
            name: Parameter(
                FixedTensor.trusted(_codes(w, MASTER).astype(np.int32), MASTER),
                FixedTensor.trusted(np.zeros(w.shape, np.int32), MOMENTUM),
            )
            for name, w in self.state.weights.items()
        }
        running = {
            name: RunningStatistics(
                _codes(m, normalisation.RUNNING_MEAN), _codes(v, normalisation.RUNNING_VARIANCE)
            )
            for name, (m, v) in self.state.running.items()
        }
        return TrainedNetwork(
            len(self.metrics),
            parameters,
            running,
            {},
            {},
            metrics=self.metrics,
            evaluations=self.evaluations,
        )


def _codes(values: Floats, target: FixedPoint) -> NDArray[np.int64]:
    exact = np.rint(np.ldexp(values.astype(np.float64), target.frac))
    return np.clip(exact, target.min_code, target.max_code).astype(np.int64)


def train(
    model: Model,
    data: Dataset,
    settings: TrainingSettings,
    seed: int,
    watcher: Watcher | None = None,
) -> FloatNetwork:
    """Train in float32 with the settings, data order and initial weights of an integer run."""
    with threadpool_limits(1):
        return _train(model, data, settings, seed, watcher)


def _train(
    model: Model, data: Dataset, settings: TrainingSettings, seed: int, watcher: Watcher | None
) -> FloatNetwork:
    state, plateau = initial_state(model, seed), Plateau()
    network = FloatNetwork(state, [], [])
    per_epoch = data.train_size // settings.batch
    steps, number = settings.epochs * per_epoch, 0
    for epoch in range(settings.epochs):
        for chosen in batches(data, seed, epoch, settings.batch):
            code = settings.schedule.rate_code(settings.learning_rate, number, steps, plateau.drops)
            batch = data.train_batch(chosen, seed, epoch)
            batch_metrics = step(model, state, batch, settings, float(rate_of(code)), seed, number)
            metrics = {STEP: number, "epoch": epoch, **batch_metrics}
            network.metrics.append(metrics)
            number += 1
            if number % per_epoch == 0:
                ended = mean_metrics(data, lambda b: _evaluated(model, state, b, settings))
                plateau.epoch(ended["test_loss"], settings.schedule.patience)
                network.evaluations.append({"epoch": epoch, STEP: number - 1, **ended})
                metrics = {**metrics, **ended}
            if watcher is not None:
                watcher.step(number - 1, steps, metrics)
    return network


def _evaluated(
    model: Model, state: FloatState, batch: Batch, settings: TrainingSettings
) -> dict[str, float]:
    ops = FloatOperations(state.weights, state.running, False)
    logits = model.run(ops, Value(_inputs(batch, np.float32), needs=False))
    return loss_of(logits.tensor, batch[1], settings)[0]
