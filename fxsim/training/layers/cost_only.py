"""What an importer found and the engine does not execute: priced, never trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from fxsim.engine.contractions import Convolved, Matrix
from fxsim.engine.geometry import Convolution
from fxsim.engine.window import Window
from fxsim.training.context import Parameter
from fxsim.training.layers.base import Layer, Shape, T
from fxsim.training.layers.weighted import weights_of
from fxsim.training.operations import Operations
from fxsim.training.tape import Value


@dataclass(frozen=True, slots=True)
class MatrixProduct:
    """The matrix product in an operator: `repeats` of (rows, depth) times (depth, features).

    weights : whether the right operand is weights, of each repeat its own; else activations
    steps : how often, each time with what the time before gave (a recurrent layer's steps)
    """

    rows: int
    depth: int
    features: int
    repeats: int = 1
    weights: bool = True
    steps: int = 1

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return self.steps * self.repeats * self.rows * self.depth * self.features


@dataclass(frozen=True, slots=True, kw_only=True)
class CostOnly(Layer):
    """An operator by its shapes: its product, if it has one, and one addition a result.

    unknown_work : it may do more, which is counted nowhere; what prices the network says so

    Its numbers mean nothing: a synthetic trace has its words and products, so that it
    can be priced; training refuses it. Windows are taken as a matrix of their own words (im2col).
    """

    operator: str
    out: Shape
    product: MatrixProduct | None = None
    unknown_work: bool = False

    @property
    def out_shape(self) -> Shape:
        return self.out

    @property
    def macs(self) -> int:
        return self.product.macs if self.product else 0

    def initial_parameters(self, seed: int) -> dict[str, Parameter]:
        p = self.product
        if p is None or not p.weights:
            return {}
        return weights_of(self.name, seed, (p.repeats * p.features, p.depth), p.depth, 0)

    @property
    def parameters(self) -> int:
        p = self.product
        return p.repeats * p.features * p.depth if p and p.weights else 0

    def forward(self, ops: Operations[T], inputs: Sequence[Value[T]]) -> Value[T]:
        count, p = inputs[0].shape[0], self.product
        flat = [ops.reshape(x, count, prod(x.shape[1:])) for x in inputs]
        values = flat[0] if len(flat) == 1 else ops.concatenate(self.name, flat, 1)
        for step in range(p.steps if p else 0):
            name = f"{self.name}.{step}" if p and p.steps > 1 else self.name
            if p and p.weights:
                values = self._weighted(ops, name, values, p)
            elif p:
                values = self._pairwise(ops, name, values if step else flat[0], flat[-1], p)
        values = self._fitted(ops, values, prod(self.out))
        return ops.reshape(ops.relu(self.name, values), count, *self.out)

    def _weighted(
        self, ops: Operations[T], name: str, values: Value[T], p: MatrixProduct
    ) -> Value[T]:
        count = values.shape[0]
        values = self._fitted(ops, values, p.rows * p.repeats * p.depth)
        weight = f"{self.name}.weight"
        if p.repeats == 1:
            values = ops.reshape(values, count, p.rows, p.depth)
            values = ops.product(name, values, Matrix(), weight, None)
        else:  # groups of channels, at one place after another
            channels, filters = p.repeats * p.depth, p.repeats * p.features
            place = (Window(1), Window(1))
            groups = Convolution(p.rows, 1, channels, filters, *place, p.repeats)
            values = ops.reshape(values, count, p.rows, 1, channels)
            values = ops.product(name, values, Convolved(groups), weight, None)
        return ops.reshape(values, count, p.rows * p.repeats * p.features)

    def _pairwise(
        self, ops: Operations[T], name: str, x: Value[T], y: Value[T], p: MatrixProduct
    ) -> Value[T]:
        count = x.shape[0]
        left, right = (
            ops.reshape(
                self._fitted(ops, part, p.repeats * n * p.depth), count * p.repeats, n, p.depth
            )
            for part, n in ((x, p.rows), (y, p.features))
        )
        values = ops.pairwise(name, left, right)
        return ops.reshape(values, count, p.repeats * p.rows * p.features)

    def _fitted(self, ops: Operations[T], x: Value[T], size: int) -> Value[T]:
        """(count, any) to (count, size): repeated or cut."""
        have = x.shape[1]
        if have < size:
            x = ops.concatenate(self.name, [x] * -(-size // have), 1)
        return x if x.shape[1] == size else ops.slice(self.name, x, 0, size)
