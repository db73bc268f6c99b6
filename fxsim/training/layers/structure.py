"""Layers that only connect: residual addition and flattening."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from fxsim.engine import elementwise
from fxsim.engine.tensor import FixedTensor
from fxsim.errors import ShapeError
from fxsim.training.context import StepContext, VectorWork
from fxsim.training.layers.base import WIDE_WORD_BITS, Layer, Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Add(Layer):
    """The sum of two tensors of equal shape, at the coarser of their scales."""

    def __post_init__(self) -> None:
        if len(self.in_shapes) != 2 or self.in_shapes[0] != self.in_shapes[1]:
            raise ShapeError(
                "add needs two inputs of equal shape, not "
                + " and ".join(str(shape) for shape in self.in_shapes)
            )

    @property
    def out_shape(self) -> Shape:
        return self.in_shapes[0]

    def forward(self, context: StepContext, inputs: Sequence[FixedTensor]) -> FixedTensor:
        out = elementwise.add(*inputs)
        size, word = out.codes.size, WIDE_WORD_BITS
        context.vector(self.name, "forward", VectorWork(size, 1, 0, 2 * word * size, word * size))
        return out

    def backward(self, context: StepContext, error: FixedTensor) -> list[FixedTensor | None]:
        return [error, error]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flatten(Layer):
    """(H, W, C) to (H * W * C,), in that order."""

    @property
    def out_shape(self) -> Shape:
        return (prod(self.in_shapes[0]),)

    def forward(self, context: StepContext, inputs: Sequence[FixedTensor]) -> FixedTensor:
        return inputs[0].reshape(inputs[0].shape[0], *self.out_shape)

    def backward(self, context: StepContext, error: FixedTensor) -> list[FixedTensor | None]:
        return [error.reshape(error.shape[0], *self.in_shapes[0])]
