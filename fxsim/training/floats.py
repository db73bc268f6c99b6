"""The operations in floating point: the accuracy baseline, and the gradients integers are held to.

The same graph, formulas and epsilon as `fxsim.training.integer`, in the parameters' own precision:
float32 for the baseline, float64 where gradients are checked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fxsim.engine import normalisation
from fxsim.engine.contractions import Contraction, Convolved, Matrix, Transposed
from fxsim.engine.kernels import casting
from fxsim.engine.window import Windows
from fxsim.numerics.draws import stream_key
from fxsim.numerics.formats import Rounding
from fxsim.training.float_math import (
    FUNCTIONS,
    Floats,
    convolution,
    matrix,
    scattered,
    slid,
    transposed,
)
from fxsim.training.tape import Tape, Value

FloatValue = Value[Floats]
EPSILON = 2.0**normalisation.EPSILON_LOG2
RUNNING_STEP = 0.1


def _add(a: Floats, b: Floats) -> Floats:
    return a + b


class FloatOperations:
    """`fxsim.training.operations.Operations` on float arrays."""

    def __init__(
        self,
        weights: dict[str, Floats],
        running: dict[str, tuple[Floats, Floats]],
        training: bool,
        seed: int = 0,
        step: int = 0,
    ) -> None:
        self.weights, self.running, self.training = weights, running, training
        self.seed, self.step = seed, step
        self.gradients: dict[str, Floats] = {}
        self.tape: Tape[Floats] = Tape(_add)

    # --- products ----------------------------------------------------------------------------

    def product(
        self, name: str, x: FloatValue, contraction: Contraction, weight: str, bias: str | None
    ) -> FloatValue:
        w = self.weights[weight]
        if isinstance(contraction, Matrix):
            out, undo = matrix(x.tensor, w)
        elif isinstance(contraction, Convolved):
            out, undo = convolution(x.tensor, w, contraction.geometry)
        elif isinstance(contraction, Transposed):
            out, undo = transposed(x.tensor, w, contraction.geometry)
        else:
            raise TypeError(f"no float product for {type(contraction).__name__}")
        if bias is not None:
            out = out + self.weights[bias]

        def backward(errors: list[Floats]) -> list[Floats | None]:
            e = errors[0]
            if bias is not None:
                self._gradient(bias, e.reshape(-1, e.shape[-1]).sum(axis=0))
            back, gradient = undo(e, x.needs)
            self._gradient(weight, gradient)
            return [back]

        return self._record(out, [x], backward, True)

    def pairwise(self, name: str, x: FloatValue, y: FloatValue) -> FloatValue:
        a, b = x.tensor, y.tensor
        return self._record(
            a @ b.transpose(0, 2, 1),
            [x, y],
            lambda e: [e[0] @ b, e[0].transpose(0, 2, 1) @ a],
        )

    # --- normalisation -----------------------------------------------------------------------

    def batch_norm(self, name: str, x: FloatValue, relu: bool) -> FloatValue:
        tensor = x.tensor
        axes = tuple(range(tensor.ndim - 1))
        mean, variance = self.running[name]
        if self.training:
            now, spread = tensor.mean(axis=axes), tensor.var(axis=axes)
            self.running[name] = (
                mean + RUNNING_STEP * (now - mean),
                variance + RUNNING_STEP * (spread - variance),
            )
            mean, variance = now, spread
        inverse = 1 / np.sqrt(variance + tensor.dtype.type(EPSILON))
        normal = (tensor - mean) * inverse
        gamma = self.weights[f"{name}.gamma"]
        out = normal * gamma + self.weights[f"{name}.beta"]
        if relu:
            out = np.maximum(out, 0)

        def backward(errors: list[Floats]) -> list[Floats]:
            e = errors[0] * (out > 0) if relu else errors[0]
            self._gradient(f"{name}.beta", e.sum(axis=axes))
            self._gradient(f"{name}.gamma", (e * normal).sum(axis=axes))
            projected = e - e.mean(axis=axes) - normal * (e * normal).mean(axis=axes)
            return [projected * (gamma * inverse)]

        return self._record(out, [x], backward, True)

    def normalise_rows(self, name: str, x: FloatValue, centred: bool) -> FloatValue:
        tensor = x.tensor
        middle = tensor - tensor.mean(axis=-1, keepdims=True) if centred else tensor
        spread = (middle * middle).mean(axis=-1, keepdims=True)
        inverse = 1 / np.sqrt(spread + tensor.dtype.type(EPSILON))
        normal = middle * inverse

        def backward(errors: list[Floats]) -> list[Floats]:
            e = errors[0]
            back = e - normal * (e * normal).mean(axis=-1, keepdims=True)
            if centred:
                back = back - e.mean(axis=-1, keepdims=True)
            return [back * inverse]

        return self._record(normal, [x], backward)

    def scale_shift(self, name: str, x: FloatValue) -> FloatValue:
        gamma, tensor = self.weights[f"{name}.gamma"], x.tensor

        def backward(errors: list[Floats]) -> list[Floats]:
            e = errors[0]
            axes = tuple(range(e.ndim - 1))
            self._gradient(f"{name}.gamma", (e * tensor).sum(axis=axes))
            self._gradient(f"{name}.beta", e.sum(axis=axes))
            return [e * gamma]

        return self._record(tensor * gamma + self.weights[f"{name}.beta"], [x], backward, True)

    # --- activation functions ----------------------------------------------------------------

    def relu(self, name: str, x: FloatValue) -> FloatValue:
        positive = x.tensor > 0
        return self._record(x.tensor * positive, [x], lambda e: [e[0] * positive])

    def clip(self, name: str, x: FloatValue, most: int) -> FloatValue:
        inside = (x.tensor > 0) & (x.tensor < most)
        return self._record(np.clip(x.tensor, 0, most), [x], lambda e: [e[0] * inside])

    def learned_clip(self, name: str, x: FloatValue) -> FloatValue:
        alpha = self.weights[f"{name}.alpha"]
        above = x.tensor >= alpha
        inside = (x.tensor > 0) & ~above

        def backward(errors: list[Floats]) -> list[Floats]:
            self._gradient(f"{name}.alpha", (errors[0] * above).sum(keepdims=True).reshape(1))
            return [errors[0] * inside]

        return self._record(np.clip(x.tensor, 0, alpha), [x], backward, True)

    def leaky_relu(self, name: str, x: FloatValue, slope: int) -> FloatValue:
        factor = np.where(x.tensor > 0, 1, slope / 2**15).astype(x.tensor.dtype)
        return self._record(x.tensor * factor, [x], lambda e: [e[0] * factor])

    def function(self, name: str, x: FloatValue, kind: str) -> FloatValue:
        value, slope = FUNCTIONS[kind](x.tensor)
        return self._record(value, [x], lambda e: [e[0] * slope])

    def softmax(self, name: str, x: FloatValue, causal: bool) -> FloatValue:
        tensor = x.tensor
        if causal:
            hidden = np.triu(np.ones(tensor.shape[-2:], bool), 1)
            tensor = np.where(hidden, tensor.dtype.type(-np.inf), tensor)
        power = np.exp(tensor - tensor.max(axis=-1, keepdims=True))
        shares = power / power.sum(axis=-1, keepdims=True)

        def backward(errors: list[Floats]) -> list[Floats]:
            e = errors[0]
            return [shares * (e - (e * shares).sum(axis=-1, keepdims=True))]

        return self._record(shares, [x], backward)

    def dropout(self, name: str, x: FloatValue, threshold: int) -> FloatValue:
        if not self.training or threshold == 0:
            return x
        key = np.uint64(stream_key(self.seed, self.step, name, "dropout"))
        draws = np.empty(x.tensor.size, np.int64)
        casting.masks_range(0, draws.size, draws, key)
        scale = (draws >= threshold).reshape(x.shape) / (1 - threshold / 2**16)
        factor = scale.astype(x.tensor.dtype)
        return self._record(x.tensor * factor, [x], lambda e: [e[0] * factor])

    # --- arithmetic --------------------------------------------------------------------------

    def add(self, name: str, x: FloatValue, y: FloatValue, relu: bool) -> FloatValue:
        out = x.tensor + y.tensor
        if not relu:
            return self._record(out, [x, y], lambda e: [e[0], e[0]])
        positive = out > 0
        return self._record(out * positive, [x, y], lambda e: [e[0] * positive] * 2)

    def add_parameter(self, name: str, x: FloatValue, parameter: str) -> FloatValue:
        small = self.weights[parameter]

        def backward(errors: list[Floats]) -> list[Floats]:
            self._gradient(parameter, errors[0].sum(axis=0).reshape(small.shape))
            return [errors[0]]

        return self._record(x.tensor + small, [x], backward, True)

    def multiply(self, name: str, x: FloatValue, y: FloatValue) -> FloatValue:
        a, b = x.tensor, y.tensor
        return self._record(a * b, [x, y], lambda e: [e[0] * b, e[0] * a])

    def scaled(self, name: str, x: FloatValue, factor: int, shift: int) -> FloatValue:
        by = x.tensor.dtype.type(factor / 2**shift)
        return self._record(x.tensor * by, [x], lambda e: [e[0] * by])

    # --- structure ---------------------------------------------------------------------------

    def concatenate(self, name: str, parts: Sequence[FloatValue], axis: int) -> FloatValue:
        edges = np.cumsum([part.shape[axis] for part in parts])[:-1]
        out = np.concatenate([part.tensor for part in parts], axis)
        return self._record(out, list(parts), lambda e: np.split(e[0], edges, axis))

    def split(self, name: str, x: FloatValue, parts: int, axis: int) -> list[FloatValue]:
        cut = [Value(part, x.needs) for part in np.split(x.tensor, parts, axis)]

        def backward(errors: list[Floats | None]) -> list[Floats]:
            empty = np.zeros_like(cut[0].tensor)
            return [np.concatenate([empty if e is None else e for e in errors], axis)]

        if x.needs and self.training:
            self.tape.record(list(cut), [x], backward)
        return cut

    def slice(self, name: str, x: Value[Any], start: int, stop: int | None) -> Value[Any]:
        def backward(errors: list[Floats]) -> list[Floats]:
            whole = np.zeros_like(x.tensor)
            whole[:, start:stop] = errors[0]
            return [whole]

        return self._record(x.tensor[:, start:stop], [x], backward)

    def reshape(self, x: FloatValue, *shape: int) -> FloatValue:
        return self._record(x.tensor.reshape(shape), [x], lambda e: [e[0].reshape(x.shape)])

    def transpose(self, x: FloatValue, *axes: int) -> FloatValue:
        back = np.argsort(axes)
        return self._record(x.tensor.transpose(axes), [x], lambda e: [e[0].transpose(back)])

    def embed(self, name: str, tokens: Value[Any], table: str) -> FloatValue:
        small = self.weights[table]

        def backward(errors: list[Floats]) -> list[None]:
            gradient = np.zeros_like(small)
            np.add.at(gradient, tokens.tensor, errors[0])
            self._gradient(table, gradient)
            return [None]

        return self._record(small[tokens.tensor], [tokens], backward, True)

    def max_pool(self, name: str, x: FloatValue, windows: Windows) -> FloatValue:
        fields = _taps_last(x.tensor, windows, -np.inf)
        choice = fields.argmax(axis=-1)
        out = np.take_along_axis(fields, choice[..., None], -1)[..., 0]

        def backward(errors: list[Floats]) -> list[Floats]:
            shares = np.zeros(fields.shape, x.tensor.dtype)
            np.put_along_axis(shares, choice[..., None], errors[0][..., None], -1)
            return [scattered(shares, windows, x.shape)]

        return self._record(out, [x], backward)

    def average_pool(
        self, name: str, x: FloatValue, windows: Windows, rounding: Rounding
    ) -> FloatValue:
        fields = _taps_last(x.tensor, windows, 0.0)

        def backward(errors: list[Floats]) -> list[Floats]:
            area = fields.shape[-1]
            shares = np.repeat(errors[0][..., None] / area, area, -1)
            return [scattered(shares, windows, x.shape)]

        return self._record(fields.mean(axis=-1), [x], backward)

    def zeros(self, like: FloatValue, *shape: int) -> FloatValue:
        return Value(np.zeros(shape, like.tensor.dtype), False)

    # --- what all share ----------------------------------------------------------------------

    def _gradient(self, name: str, gradient: Floats) -> None:
        sum_so_far = self.gradients.get(name)
        self.gradients[name] = gradient if sum_so_far is None else sum_so_far + gradient

    def _record(
        self,
        out: Floats,
        inputs: list[Value[Any]],
        backward: Callable[[list[Any]], Sequence[Any]],
        trained: bool = False,
    ) -> FloatValue:
        made = Value(out, trained or any(value.needs for value in inputs))
        if made.needs and self.training:
            self.tape.record([made], inputs, backward)
        return made


def _taps_last(x: Floats, windows: Windows, outside: float) -> Floats:
    """(N, OH, OW, C, taps) pooling windows."""
    fields = slid(x, windows, outside)
    return fields.reshape(*fields.shape[:4], -1)
