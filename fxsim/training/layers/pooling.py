"""Pooling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fxsim.engine import pooling
from fxsim.errors import ShapeError
from fxsim.training.layers.base import Layer, Shape, T, shown
from fxsim.training.operations import Operations
from fxsim.training.tape import Value


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pool(Layer):
    """Square windows; those that do not fit whole are dropped."""

    size: int
    stride: int | None = None
    padding: int = 0

    def __post_init__(self) -> None:
        self._need(3, "height x width x channels")
        shape = self.in_shapes[0]
        if self.size > min(shape[:2]) + 2 * self.padding:
            raise ShapeError(f"a window of {self.size} does not fit an input of {shown(shape)}")
        if 2 * self.padding > self.size:
            raise ShapeError(f"padding must be at most half of {self.size}, not {self.padding}")

    @property
    def step(self) -> int:
        """From window to window; the size unless given."""
        return self.stride or self.size

    @property
    def out_shape(self) -> Shape:
        height, width, channels = self.in_shapes[0]
        sides = (
            pooling.pooled(side, self.size, self.step, self.padding) for side in (height, width)
        )
        return (*sides, channels)


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxPool(_Pool):
    """The largest code of each window; the backward pass routes to the first of equals."""

    def forward(self, ops: Operations[T], inputs: Sequence[Value[T]]) -> Value[T]:
        return ops.max_pool(self.name, inputs[0], self.size, self.step, self.padding)


@dataclass(frozen=True, slots=True, kw_only=True)
class AveragePool(_Pool):
    """The mean of each window, rounded half up; zeros of the padding count."""

    def forward(self, ops: Operations[T], inputs: Sequence[Value[T]]) -> Value[T]:
        size = (self.size, self.size)
        return ops.average_pool(self.name, inputs[0], size, self.step, self.padding)


@dataclass(frozen=True, slots=True, kw_only=True)
class GlobalAveragePool(Layer):
    """The mean over all positions: (H, W, C) to (1, 1, C)."""

    def __post_init__(self) -> None:
        self._need(3, "height x width x channels")

    @property
    def out_shape(self) -> Shape:
        return (1, 1, self.in_shapes[0][2])

    def forward(self, ops: Operations[T], inputs: Sequence[Value[T]]) -> Value[T]:
        height, width, _ = self.in_shapes[0]
        return ops.average_pool(self.name, inputs[0], (height, width), 1, 0)
