"""What an importer found and the engine does not execute: priced, never trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from fxsim.engine.contractions import Matrix
from fxsim.training.context import Parameter
from fxsim.training.layers.base import Layer, Shape, T
from fxsim.training.layers.weighted import weights_of
from fxsim.training.operations import Operations
from fxsim.training.tape import Value


@dataclass(frozen=True, slots=True)
class MatrixProduct:
    """The matrix product in an operator: `repeats` of (rows, depth) times (depth, features).

    weights : whether the right operand is weights, else activations. Grouped weights are taken as
        those of one group
    """

    rows: int
    depth: int
    features: int
    repeats: int = 1
    weights: bool = True

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return self.repeats * self.rows * self.depth * self.features


@dataclass(frozen=True, slots=True, kw_only=True)
class CostOnly(Layer):
    """An operator by its shapes: its product, if it has one, and one addition a result.

    Its numbers mean nothing: a synthetic trace has its words and products, so that it
    can be priced; training refuses it. Windows are taken as a matrix of their own words (im2col).
    """

    operator: str
    out: Shape
    product: MatrixProduct | None = None

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
        return weights_of(self.name, seed, (p.features, p.depth), p.depth, 0)

    def forward(self, ops: Operations[T], inputs: Sequence[Value[T]]) -> Value[T]:
        count, name, p = inputs[0].shape[0], self.name, self.product
        flat = [ops.reshape(x, count, prod(x.shape[1:])) for x in inputs]
        values = flat[0] if len(flat) == 1 else ops.concatenate(name, flat, 1)
        if p is not None and p.weights:
            rows = p.rows * p.repeats
            left = self._fitted(ops, values, rows * p.depth)
            left = ops.reshape(left, count, rows, p.depth)
            values = ops.product(name, left, Matrix(), f"{name}.weight", None)
            values = ops.reshape(values, count, rows * p.features)
        elif p is not None:
            left, right = (
                ops.reshape(
                    self._fitted(ops, x, p.repeats * n * p.depth), count * p.repeats, n, p.depth
                )
                for x, n in ((flat[0], p.rows), (flat[-1], p.features))
            )
            values = ops.pairwise(name, left, right)
            values = ops.reshape(values, count, p.repeats * p.rows * p.features)
        values = self._fitted(ops, values, prod(self.out))
        return ops.reshape(ops.relu(name, values), count, *self.out)

    def _fitted(self, ops: Operations[T], x: Value[T], size: int) -> Value[T]:
        """(count, any) to (count, size): repeated or cut."""
        have = x.shape[1]
        if have < size:
            x = ops.concatenate(self.name, [x] * -(-size // have), 1)
        return x if x.shape[1] == size else ops.slice(self.name, x, 0, size)
