"""The float32 twin: the same graph, initial weights, data order and schedule, in binary32.

It is the accuracy baseline only. BLAS runs on one thread, so that a machine repeats its own bits;
other machines may differ in the last ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from fxsim.arithmetic.formats import FixedPoint
from fxsim.engine import normalisation
from fxsim.engine.normalisation import RunningStatistics
from fxsim.engine.tensor import FixedTensor
from fxsim.engine.update import MASTER, MOMENTUM
from fxsim.training.context import Parameter
from fxsim.training.data import INPUT_WORD, Dataset
from fxsim.training.layers import Layer
from fxsim.training.layers.activation import Relu
from fxsim.training.layers.convolution import Conv2d
from fxsim.training.layers.linear import Linear
from fxsim.training.layers.normalisation import BatchNorm
from fxsim.training.layers.pooling import AveragePool, GlobalAveragePool, MaxPool
from fxsim.training.layers.structure import Add, Flatten
from fxsim.training.loop import EVALUATION_BATCH, TrainedNetwork, TrainingSettings, Watcher
from fxsim.training.model import INPUT, Model

Floats = NDArray[Any]  # of float32
EPSILON = 2.0**normalisation.EPSILON_LOG2
RUNNING_STEP = 0.1


@dataclass(slots=True)
class FloatState:
    """Everything that a float step reads and writes."""

    weights: dict[str, Floats]
    running: dict[str, tuple[Floats, Floats]]
    training: bool = True
    stash: dict[str, Any] = field(default_factory=dict)
    gradients: dict[str, Floats] = field(default_factory=dict)


def _columns(x: Floats, layer: Conv2d) -> Floats:
    g = layer.geometry
    padded = np.pad(x, ((0, 0), (g.padding,) * 2, (g.padding,) * 2, (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (g.kernel, g.kernel), axis=(1, 2))
    windows = windows[:, :: g.stride, :: g.stride].transpose(0, 1, 2, 4, 5, 3)
    return np.ascontiguousarray(windows).reshape(-1, g.depth)


def _conv(layer: Conv2d, s: FloatState, x: Floats) -> Floats:
    fields = _columns(x, layer)
    s.stash[layer.name] = (fields, x.shape)
    out = fields @ s.weights[f"{layer.name}.weight"].T
    if layer.bias:
        out += s.weights[f"{layer.name}.bias"]
    return out.reshape(x.shape[0], *layer.out_shape)


def _conv_back(layer: Conv2d, s: FloatState, error: Floats) -> list[Floats]:
    fields, shape = s.stash.pop(layer.name)
    g, flat = layer.geometry, error.reshape(-1, layer.filters)
    _weight_gradients(layer, s, flat, fields)
    back = (flat @ s.weights[f"{layer.name}.weight"]).reshape(
        *error.shape[:3], g.kernel, g.kernel, g.channels
    )
    n, height, width, channels = shape
    padded = np.zeros((n, height + 2 * g.padding, width + 2 * g.padding, channels), np.float32)
    for a in range(g.kernel):
        for b in range(g.kernel):
            rows = slice(a, a + g.stride * g.out_height, g.stride)
            columns = slice(b, b + g.stride * g.out_width, g.stride)
            padded[:, rows, columns] += back[:, :, :, a, b]
    return [padded[:, g.padding : g.padding + height, g.padding : g.padding + width]]


def _weight_gradients(layer: Conv2d | Linear, s: FloatState, error: Floats, x: Floats) -> None:
    s.gradients[f"{layer.name}.weight"] = error.T @ x
    if layer.bias:
        s.gradients[f"{layer.name}.bias"] = error.sum(axis=0)


def _linear(layer: Linear, s: FloatState, x: Floats) -> Floats:
    s.stash[layer.name] = x
    out = x @ s.weights[f"{layer.name}.weight"].T
    return out + s.weights[f"{layer.name}.bias"] if layer.bias else out


def _linear_back(layer: Linear, s: FloatState, error: Floats) -> list[Floats]:
    _weight_gradients(layer, s, error, s.stash.pop(layer.name))
    return [error @ s.weights[f"{layer.name}.weight"]]


def _batch_norm(layer: BatchNorm, s: FloatState, x: Floats) -> Floats:
    axes = tuple(range(x.ndim - 1))
    mean, variance = s.running[layer.name]
    if s.training:
        batch_mean, batch_variance = x.mean(axis=axes), x.var(axis=axes)
        s.running[layer.name] = (
            mean + RUNNING_STEP * (batch_mean - mean),
            variance + RUNNING_STEP * (batch_variance - variance),
        )
        mean, variance = batch_mean, batch_variance
    inverse = 1 / np.sqrt(variance + np.float32(EPSILON))
    normal = (x - mean) * inverse
    s.stash[layer.name] = (normal, inverse)
    return normal * s.weights[f"{layer.name}.gamma"] + s.weights[f"{layer.name}.beta"]


def _batch_norm_back(layer: BatchNorm, s: FloatState, error: Floats) -> list[Floats]:
    normal, inverse = s.stash.pop(layer.name)
    axes = tuple(range(error.ndim - 1))
    s.gradients[f"{layer.name}.beta"] = error.sum(axis=axes)
    s.gradients[f"{layer.name}.gamma"] = (error * normal).sum(axis=axes)
    projected = error - error.mean(axis=axes) - normal * (error * normal).mean(axis=axes)
    return [projected * (s.weights[f"{layer.name}.gamma"] * inverse)]


def _relu(layer: Relu, s: FloatState, x: Floats) -> Floats:
    s.stash[layer.name] = x > 0
    return np.maximum(x, np.float32(0))


def _relu_back(layer: Relu, s: FloatState, error: Floats) -> list[Floats]:
    return [error * s.stash.pop(layer.name)]


Pool = MaxPool | AveragePool | GlobalAveragePool


def _windows(x: Floats, layer: Pool) -> Floats:
    size, stride = layer.window
    view = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))
    return view[:, ::stride, ::stride].reshape(x.shape[0], *layer.out_shape, size * size)


def _scatter(layer: Pool, shape: tuple[int, ...], shares: Floats) -> Floats:
    """Add each window's shares (last axis) to the inputs they belong to."""
    size, stride = layer.window
    out = np.zeros(shape, np.float32)
    rows, columns = shares.shape[1:3]
    for tap in range(size * size):
        y, x = divmod(tap, size)
        out[:, y : y + stride * rows : stride, x : x + stride * columns : stride] += shares[
            ..., tap
        ]
    return out


def _max_pool(layer: MaxPool, s: FloatState, x: Floats) -> Floats:
    windows = _windows(x, layer)
    s.stash[layer.name] = (windows.argmax(axis=-1), x.shape)
    largest: Floats = windows.max(axis=-1)
    return largest


def _max_pool_back(layer: MaxPool, s: FloatState, error: Floats) -> list[Floats]:
    choice, shape = s.stash.pop(layer.name)
    taps = np.arange(layer.size**2)
    return [_scatter(layer, shape, (choice[..., None] == taps) * error[..., None])]


def _average_pool(layer: Pool, s: FloatState, x: Floats) -> Floats:
    s.stash[layer.name] = x.shape
    mean: Floats = _windows(x, layer).mean(axis=-1)
    return mean


def _average_pool_back(layer: Pool, s: FloatState, error: Floats) -> list[Floats]:
    area = layer.window[0] ** 2
    shares = np.repeat(error[..., None] / np.float32(area), area, axis=-1)
    return [_scatter(layer, s.stash.pop(layer.name), shares)]


def _add(layer: Add, s: FloatState, a: Floats, b: Floats) -> Floats:
    return a + b


def _add_back(layer: Add, s: FloatState, error: Floats) -> list[Floats]:
    return [error, error]


def _flatten(layer: Flatten, s: FloatState, x: Floats) -> Floats:
    return x.reshape(x.shape[0], -1)


def _flatten_back(layer: Flatten, s: FloatState, error: Floats) -> list[Floats]:
    return [error.reshape(error.shape[0], *layer.in_shapes[0])]


FORWARD: dict[type[Layer], Callable[..., Floats]] = {
    Conv2d: _conv,
    Linear: _linear,
    BatchNorm: _batch_norm,
    Relu: _relu,
    MaxPool: _max_pool,
    AveragePool: _average_pool,
    GlobalAveragePool: _average_pool,
    Add: _add,
    Flatten: _flatten,
}
BACKWARD: dict[type[Layer], Callable[..., list[Floats]]] = {
    Conv2d: _conv_back,
    Linear: _linear_back,
    BatchNorm: _batch_norm_back,
    Relu: _relu_back,
    MaxPool: _max_pool_back,
    AveragePool: _average_pool_back,
    GlobalAveragePool: _average_pool_back,
    Add: _add_back,
    Flatten: _flatten_back,
}


def forward(model: Model, s: FloatState, x: Floats) -> Floats:
    """A batch to its logits."""
    values = {INPUT: x}
    for layer in model.layers:
        inputs = [values[name] for name in layer.inputs]
        values[layer.name] = FORWARD[type(layer)](layer, s, *inputs)
    return values[model.layers[-1].name]


def backward(model: Model, s: FloatState, error: Floats) -> None:
    """The logits' error to the gradients of all parameters."""
    errors = {model.layers[-1].name: error}
    for layer in reversed(model.layers):
        backs = BACKWARD[type(layer)](layer, s, errors.pop(layer.name))
        for name, back in zip(layer.inputs, backs, strict=True):
            errors[name] = errors[name] + back if name in errors else back


def cross_entropy(logits: Floats, labels: NDArray[np.int64]) -> tuple[float, float, Floats]:
    """(mean loss, accuracy, gradient of the mean loss)."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    power = np.exp(shifted)
    probability = power / power.sum(axis=1, keepdims=True)
    rows = np.arange(len(labels))
    loss = float(-np.log(np.maximum(probability[rows, labels], np.float32(1e-30))).mean())
    accuracy = float((logits.argmax(axis=1) == labels).mean())
    probability[rows, labels] -= 1
    return loss, accuracy, probability / np.float32(len(labels))


def initial_state(model: Model, seed: int) -> FloatState:
    """The integer run's initial weights, in float."""
    weights = {
        name: parameter.master.to_float().astype(np.float32)
        for name, parameter in model.initial_parameters(seed).items()
    }
    running = {
        name: (np.zeros(len(r.mean), np.float32), np.ones(len(r.mean), np.float32))
        for name, r in model.initial_running().items()
    }
    return FloatState(weights, running)


@dataclass(frozen=True, slots=True, eq=False)
class FloatNetwork:
    """What a float run leaves behind; see `fxsim.training.loop.TrainedNetwork`."""

    state: FloatState
    metrics: list[dict[str, Any]]
    evaluations: list[dict[str, Any]]

    def rounded(self) -> TrainedNetwork:
        """The run with its weights rounded to an integer run's formats, to be stored and hashed."""
        parameters = {
            name: Parameter(
                FixedTensor.trusted(_codes(w, MASTER), MASTER),
                FixedTensor.trusted(np.zeros(w.shape, np.int64), MOMENTUM),
            )
            for name, w in self.state.weights.items()
        }
        running = {
            name: RunningStatistics(
                _codes(m, normalisation.RUNNING_MEAN), _codes(v, normalisation.RUNNING_VARIANCE)
            )
            for name, (m, v) in self.state.running.items()
        }
        return TrainedNetwork(parameters, running, self.metrics, self.evaluations, [])


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
    s = initial_state(model, seed)
    velocity = {name: np.zeros_like(w) for name, w in s.weights.items()}
    network = FloatNetwork(s, [], [])
    images, tests = (_floats(x) for x in (data.train_images, data.test_images))
    per_epoch = len(data.batches(seed, 0, settings.batch))
    steps, step = settings.epochs * per_epoch, 0
    friction, decay = np.float32(settings.momentum), np.float32(settings.weight_decay)
    for epoch in range(settings.epochs):
        for chosen in data.batches(seed, epoch, settings.batch):
            rate = np.float32(settings.rate_code(step, steps) / 2**20)
            logits = forward(model, s, images[chosen])
            loss, accuracy, error = cross_entropy(logits, data.train_labels[chosen])
            backward(model, s, error)
            for name, gradient in s.gradients.items():
                pull = decay * s.weights[name] if name.endswith(".weight") else np.float32(0)
                velocity[name] = friction * velocity[name] + gradient + pull
                s.weights[name] = s.weights[name] - rate * velocity[name]
            metrics = {"step": step, "epoch": epoch, "loss": loss, "accuracy": accuracy}
            network.metrics.append(metrics)
            step += 1
            if step % per_epoch == 0:
                found = _evaluate(model, s, tests, data.test_labels)
                network.evaluations.append({"epoch": epoch, "step": step - 1, **found})
                metrics = {**metrics, **found}
            if watcher is not None:
                watcher.step(step - 1, steps, metrics)
    return network


def _floats(codes: NDArray[np.int16]) -> Floats:
    return np.ldexp(codes.astype(np.float32), -INPUT_WORD.frac)


def _evaluate(
    model: Model, s: FloatState, images: Floats, labels: NDArray[np.int64]
) -> dict[str, float]:
    quiet = FloatState(s.weights, s.running, training=False)
    logits = np.concatenate(
        [
            forward(model, quiet, images[i : i + EVALUATION_BATCH])
            for i in range(0, len(labels), EVALUATION_BATCH)
        ]
    )
    loss, accuracy, _ = cross_entropy(logits, labels)
    return {"test_loss": loss, "test_accuracy": accuracy}
