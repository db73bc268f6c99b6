"""Pooling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from fxsim.engine.window import Window, Windows
from fxsim.errors import ShapeError
from fxsim.numerics.formats import Rounding
from fxsim.training.layers.base import Layer, Shape, T, shown
from fxsim.training.layers.windows import Padding, Pair, check_fits, pair, windows
from fxsim.training.operations import Operations
from fxsim.training.tape import Value

MOST_PLACES = 256  # of a window: its tap is kept in 8 bits


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pool(Layer):
    """Windows; those that do not fit whole are dropped."""

    size: Pair
    stride: Pair | None = None
    padding: Padding = 0

    def __post_init__(self) -> None:
        self._need(3, "height x width x channels")
        check_fits(self.windows, self.in_shapes[0])
        for window in self.windows:
            if max(window.before, window.after) >= window.size:
                raise ShapeError(
                    f"padding must be below the window's {window.size} on each side,"
                    f" not {max(window.before, window.after)}"
                )

    @property
    def windows(self) -> Windows:
        """Along rows and columns; the stride is the size unless given."""
        height, width, _ = self.in_shapes[0]
        return windows((height, width), self.size, self.stride or self.size, self.padding)

    @property
    def out_shape(self) -> Shape:
        height, width, channels = self.in_shapes[0]
        down, across = self.windows
        return (down.outputs(height), across.outputs(width), channels)


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxPool(_Pool):
    """The largest code of each window; the backward pass routes to the first of equals."""

    def __post_init__(self) -> None:
        _Pool.__post_init__(self)
        if prod(pair(self.size)) > MOST_PLACES:
            raise ShapeError(
                f"a window must have at most {MOST_PLACES} places, not {shown(pair(self.size))}"
            )

    def forward(self, ops: Operations[T], inputs: Sequence[Value[T]]) -> Value[T]:
        return ops.max_pool(self.name, inputs[0], self.windows)


@dataclass(frozen=True, slots=True, kw_only=True)
class AveragePool(_Pool):
    """The mean of each window, rounded half up unless given; zeros of the padding count."""

    rounding: Rounding = Rounding.RND

    def forward(self, ops: Operations[T], inputs: Sequence[Value[T]]) -> Value[T]:
        return ops.average_pool(self.name, inputs[0], self.windows, self.rounding)


@dataclass(frozen=True, slots=True, kw_only=True)
class GlobalAveragePool(Layer):
    """The mean over all positions: (H, W, C) to (1, 1, C), (T, C) to (1, C)."""

    rounding: Rounding = Rounding.RND

    def __post_init__(self) -> None:
        if len(self.in_shapes[0]) not in (2, 3):
            raise ShapeError(
                "needs an input of height x width x channels or positions x channels, not"
                f" {shown(self.in_shapes[0])}"
            )

    @property
    def out_shape(self) -> Shape:
        return (*(1 for _ in self.in_shapes[0][:-1]), self.in_shapes[0][-1])

    def forward(self, ops: Operations[T], inputs: Sequence[Value[T]]) -> Value[T]:
        *places, channels = self.in_shapes[0]
        height, width = (*places, 1)[:2]
        image = ops.reshape(inputs[0], -1, height, width, channels)
        whole = Window(height), Window(width)
        mean = ops.average_pool(self.name, image, whole, self.rounding)
        return ops.reshape(mean, -1, *self.out_shape)
