"""Layers of sequences: embedding, recurrent cells, attention. Shapes are (positions, channels)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt
from typing import ClassVar

import numpy as np

from fxsim.engine.contractions import Matrix
from fxsim.errors import ShapeError
from fxsim.training.context import Parameter
from fxsim.training.layers.base import Layer, Shape, T, parameter, shown, uniform_parameter
from fxsim.training.layers.weighted import weights_of
from fxsim.training.operations import Operations
from fxsim.training.tape import Value

MINUS_ONE = (-(1 << 14), 14)  # as a factor with its shift


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedding(Layer):
    """(positions,) tokens to (positions, channels): the rows of a table of words."""

    vocabulary: int
    channels: int

    def __post_init__(self) -> None:
        self._need(1, "positions")

    @property
    def out_shape(self) -> Shape:
        return (*self.in_shapes[0], self.channels)

    def initial_parameters(self, seed: int) -> dict[str, Parameter]:
        name, shape = f"{self.name}.table", (self.vocabulary, self.channels)
        return {name: uniform_parameter(seed, name, shape, 25, 3)}  # deviation 0.2

    @property
    def parameters(self) -> int:
        return self.vocabulary * self.channels

    def forward(self, ops: Operations[T], inputs: Sequence[Value[T]]) -> Value[T]:
        return ops.embed(self.name, inputs[0], f"{self.name}.table")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recurrent(Layer):
    """(positions, channels) to (positions, units); a second input is the first state."""

    units: int
    gates: ClassVar[int]

    def __post_init__(self) -> None:
        self._need(2, "positions x channels")
        if len(self.in_shapes) == 2 and self.in_shapes[1] != (self.units,):
            raise ShapeError(
                f"the first state must have {self.units} units, not {shown(self.in_shapes[1])}"
            )

    @property
    def out_shape(self) -> Shape:
        return (self.in_shapes[0][0], self.units)

    @property
    def macs(self) -> int:
        length, channels = self.in_shapes[0]
        positions = (
            length if len(self.in_shapes) == 2 else length - 1
        )  # a zero state needs no product
        return self.gates * self.units * (length * channels + positions * self.units)

    def initial_parameters(self, seed: int) -> dict[str, Parameter]:
        rows, channels = self.gates * self.units, self.in_shapes[0][1]
        inputs, recurrent = f"{self.name}.input", f"{self.name}.recurrent"
        return {
            **weights_of(inputs, seed, (rows, channels), channels, rows, 3),
            **weights_of(recurrent, seed, (rows, self.units), self.units, 0, 3),
        }

    def _inputs(self, ops: Operations[T], x: Value[T]) -> list[Value[T]]:
        """The input's part of all gates, by position."""
        name = f"{self.name}.input"
        projected = ops.product(name, x, Matrix(), f"{name}.weight", f"{name}.bias")
        count, length, rows = projected.shape
        parts = ops.split(name, projected, length, 1)
        return [ops.reshape(part, count, rows) for part in parts]

    def _recurrent(self, ops: Operations[T], state: Value[T], position: int) -> Value[T]:
        name = f"{self.name}.recurrent"
        return ops.product(f"{name}.{position}", state, Matrix(), f"{name}.weight", None)

    def _joined(self, ops: Operations[T], states: list[Value[T]]) -> Value[T]:
        count = states[0].shape[0]
        rows = [ops.reshape(state, count, 1, self.units) for state in states]
        return ops.concatenate(self.name, rows, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lstm(_Recurrent):
    """Gates in the order input, forget, cell, output; the forget gate's bias starts at 1.

    Source: Hochreiter and Schmidhuber, Neural Computation 9, 1997; Gers et al., 2000.
    """

    gates: ClassVar[int] = 4

    def initial_parameters(self, seed: int) -> dict[str, Parameter]:
        parameters = _Recurrent.initial_parameters(self, seed)
        name = f"{self.name}.input.bias"
        codes = np.array(parameters[name].master.codes)
        codes[self.units : 2 * self.units] = 1 << parameters[name].master.format.frac
        return {**parameters, name: parameter(codes)}

    def forward(self, ops: Operations[T], inputs: Sequence[Value[T]]) -> Value[T]:
        name, outputs = self.name, []
        state = inputs[1] if len(inputs) == 2 else None
        cell: Value[T] | None = None
        for t, gates in enumerate(self._inputs(ops, inputs[0])):
            if state is not None:
                gates = ops.add(name, gates, self._recurrent(ops, state, t), False)
            i, f, g, o = ops.split(name, gates, 4, 1)
            update = ops.multiply(
                name, ops.function(name, i, "sigmoid"), ops.function(name, g, "tanh")
            )
            if cell is None:
                cell = update
            else:
                remembered = ops.multiply(name, cell, ops.function(name, f, "sigmoid"))
                cell = ops.add(name, remembered, update, False)
            state = ops.multiply(
                name, ops.function(name, o, "sigmoid"), ops.function(name, cell, "tanh")
            )
            outputs.append(state)
        return self._joined(ops, outputs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gru(_Recurrent):
    """Gates in the order reset, update, new; the reset gate acts on the recurrent product.

    Source: Cho et al., arXiv 1406.1078, in the form of cuDNN and PyTorch.
    """

    gates: ClassVar[int] = 3

    def forward(self, ops: Operations[T], inputs: Sequence[Value[T]]) -> Value[T]:
        name, outputs = self.name, []
        state = inputs[1] if len(inputs) == 2 else None
        for t, gates in enumerate(self._inputs(ops, inputs[0])):
            reset, keep, new = ops.split(name, gates, 3, 1)
            if state is None:
                new = ops.function(name, new, "tanh")
                share = ops.multiply(name, ops.function(name, keep, "sigmoid"), new)
                state = ops.add(name, new, ops.scaled(name, share, *MINUS_ONE), False)
            else:
                back = ops.split(name, self._recurrent(ops, state, t), 3, 1)
                reset = ops.function(name, ops.add(name, reset, back[0], False), "sigmoid")
                keep = ops.function(name, ops.add(name, keep, back[1], False), "sigmoid")
                inner = ops.add(name, new, ops.multiply(name, reset, back[2]), False)
                new = ops.function(name, inner, "tanh")
                apart = ops.add(name, state, ops.scaled(name, new, *MINUS_ONE), False)
                state = ops.add(name, new, ops.multiply(name, keep, apart), False)
            outputs.append(state)
        return self._joined(ops, outputs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention(Layer):
    """Multi-head attention of a sequence to itself, causal if asked.

    The parts `qkv`, `scores`, `values` and `project` are products of their own in the trace.
    Source: Vaswani et al., arXiv 1706.03762, section 3.2; 1/sqrt(d) has 14 fractional bits.
    """

    heads: int
    causal: bool = False
    bias: bool = True

    def __post_init__(self) -> None:
        self._need(2, "positions x channels")
        if self.in_shapes[0][1] % self.heads:
            raise ShapeError(f"heads must divide {self.in_shapes[0][1]} channels, not {self.heads}")

    def initial_parameters(self, seed: int) -> dict[str, Parameter]:
        c, bias = self.in_shapes[0][1], int(self.bias)
        return {
            **weights_of(f"{self.name}.qkv", seed, (3 * c, c), c, 3 * c * bias, 3),
            **weights_of(f"{self.name}.project", seed, (c, c), c, c * bias, 3),
        }

    @property
    def macs(self) -> int:
        length, channels = self.in_shapes[0]
        return 4 * length * channels * channels + 2 * length * length * channels

    def _project(self, ops: Operations[T], x: Value[T], part: str) -> Value[T]:
        name = f"{self.name}.{part}"
        bias = f"{name}.bias" if self.bias else None
        return ops.product(name, x, Matrix(), f"{name}.weight", bias)

    def forward(self, ops: Operations[T], inputs: Sequence[Value[T]]) -> Value[T]:
        name, (count, length, channels) = self.name, inputs[0].shape
        size = channels // self.heads

        def heads_of(x: Value[T], *axes: int) -> Value[T]:
            apart = ops.transpose(ops.reshape(x, count, length, self.heads, size), *axes)
            return ops.reshape(apart, count * self.heads, *apart.shape[2:])

        parts = ops.split(name, self._project(ops, inputs[0], "qkv"), 3, 2)
        query, key = (heads_of(part, 0, 2, 1, 3) for part in parts[:2])
        value = heads_of(parts[2], 0, 2, 3, 1)  # turned: a row a channel
        scores = ops.pairwise(f"{name}.scores", query, key)
        scores = ops.scaled(name, scores, isqrt((1 << 28) // size), 14)
        shares = ops.softmax(name, scores, self.causal)
        mixed = ops.pairwise(f"{name}.values", shares, value)
        joined = ops.transpose(ops.reshape(mixed, count, self.heads, length, size), 0, 2, 1, 3)
        return self._project(ops, ops.reshape(joined, count, length, channels), "project")
