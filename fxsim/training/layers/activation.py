"""Activation functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fxsim.engine import elementwise
from fxsim.engine.tensor import FixedTensor
from fxsim.training.context import StepContext, VectorWork
from fxsim.training.layers.base import WIDE_WORD_BITS, Layer, Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Relu(Layer):
    """max(x, 0); one bit an element is kept for the backward pass."""

    @property
    def out_shape(self) -> Shape:
        return self.in_shapes[0]

    def forward(self, context: StepContext, inputs: Sequence[FixedTensor]) -> FixedTensor:
        out, context.stash[self.name] = elementwise.relu(inputs[0])
        size, word = out.codes.size, WIDE_WORD_BITS
        context.vector(
            self.name,
            "forward",
            VectorWork(size, 1, 0, word * size, word * size, stash_write_bits=size),
        )
        return out

    def backward(self, context: StepContext, error: FixedTensor) -> list[FixedTensor | None]:
        size, word = error.codes.size, WIDE_WORD_BITS
        context.vector(
            self.name,
            "backward",
            VectorWork(size, 1, 0, word * size, word * size, stash_read_bits=size),
        )
        return [elementwise.relu_backward(error, context.stash.pop(self.name))]
