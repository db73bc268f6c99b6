"""Convolution of images and of sequences: grouped, dilated, depthwise and transposed."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from fxsim.engine.contractions import Contraction, Convolved, Transposed
from fxsim.engine.geometry import Convolution
from fxsim.engine.window import Window, Windows
from fxsim.errors import ShapeError
from fxsim.training.layers.base import Shape, T, shown
from fxsim.training.layers.weighted import WeightedLayer
from fxsim.training.layers.windows import (
    Padding,
    Pair,
    SequencePadding,
    along_time,
    check_fits,
    pair,
    windows,
)
from fxsim.training.operations import Operations
from fxsim.training.tape import Value


@dataclass(frozen=True, slots=True, kw_only=True)
class _Convolution(WeightedLayer):
    """A layer that is one convolution; weights are (filters, taps * C / groups)."""

    filters: int
    groups: int = 1

    @property
    @abstractmethod
    def geometry(self) -> Convolution:
        """The convolution."""

    def _check(self, dimensions: int, described: str) -> None:
        """Raise ShapeError unless the input has so many dimensions and a window fits it."""
        self._need(dimensions, described)
        check_fits((self.geometry.vertical, self.geometry.horizontal), self.in_shapes[0])

    @property
    def contraction(self) -> Contraction:
        return Convolved(self.geometry)

    @property
    def weight_shape(self) -> tuple[int, int]:
        return (self.filters, self.geometry.depth)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conv2d(_Convolution):
    """(H, W, C) to (OH, OW, filters)."""

    kernel: Pair
    stride: Pair = 1
    padding: Padding = 0
    dilation: Pair = 1

    def __post_init__(self) -> None:
        self._check(3, "height x width x channels")

    @property
    def geometry(self) -> Convolution:
        """The convolution."""
        height, width, channels = self.in_shapes[0]
        sliding = windows((height, width), self.kernel, self.stride, self.padding, self.dilation)
        return Convolution(height, width, channels, self.filters, *sliding, self.groups)

    @property
    def out_shape(self) -> Shape:
        return (self.geometry.out_height, self.geometry.out_width, self.filters)


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthwiseConv2d(Conv2d):
    """One filter a channel: groups, channels and filters are equal."""

    filters: int = 0
    kernel: Pair

    def __post_init__(self) -> None:
        Conv2d._need(self, 3, "height x width x channels")
        for name in ("filters", "groups"):
            object.__setattr__(self, name, self.in_shapes[0][2])
        Conv2d.__post_init__(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conv1d(_Convolution):
    """(T, C) to (OT, filters): the convolution of images one pixel wide."""

    kernel: int
    stride: int = 1
    padding: SequencePadding = 0
    dilation: int = 1

    def __post_init__(self) -> None:
        self._check(2, "positions x channels")

    @property
    def geometry(self) -> Convolution:
        """The convolution."""
        length, channels = self.in_shapes[0]
        window = along_time(length, self.kernel, self.stride, self.padding, self.dilation)
        return Convolution(length, 1, channels, self.filters, window, Window(1), self.groups)

    @property
    def out_shape(self) -> Shape:
        return (self.geometry.out_height, self.filters)

    def forward(self, ops: Operations[T], inputs: Sequence[Value[T]]) -> Value[T]:
        length, channels = self.in_shapes[0]
        image = ops.reshape(inputs[0], -1, length, 1, channels)
        return ops.reshape(WeightedLayer.forward(self, ops, [image]), -1, *self.out_shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvTranspose2d(WeightedLayer):
    """(H, W, C) to ((H - 1) * stride - padding + kernel + output_padding, ..., filters).

    The gradient of a convolution with regard to its input, as a forward pass; weights are those of
    that convolution, (C, kernel rows * columns * filters / groups). Padding "same": H * stride.
    """

    filters: int
    kernel: Pair
    stride: Pair = 1
    padding: Padding = 0
    output_padding: Pair = 0
    dilation: Pair = 1
    groups: int = 1

    def __post_init__(self) -> None:
        self._need(3, "height x width x channels")
        if self.padding == "same" and self.output_padding not in (0, (0, 0)):
            raise ShapeError("output_padding must be 0 where padding is same")
        for more, stride in zip(pair(self.output_padding), pair(self.stride), strict=True):
            if more >= stride:
                raise ShapeError(f"output_padding must be below the stride of {stride}, not {more}")
        if min(self.out_shape) < 1:
            raise ShapeError(
                f"a kernel of {shown(pair(self.kernel))} with its padding leaves nothing of an"
                f" input of {shown(self.in_shapes[0])}"
            )
        _ = self.geometry  # which checks the groups

    @property
    def _windows(self) -> Windows:
        """Of the convolution that this reverses; "same" of our result."""
        height, width = (
            side * stride
            for side, stride in zip(self.in_shapes[0], pair(self.stride), strict=False)
        )
        return windows((height, width), self.kernel, self.stride, self.padding, self.dilation)

    @property
    def geometry(self) -> Convolution:
        """The convolution that this reverses: from our result to our input."""
        height, width, filters = self.out_shape
        channels = self.in_shapes[0][2]
        return Convolution(height, width, filters, channels, *self._windows, self.groups)

    @property
    def contraction(self) -> Contraction:
        return Transposed(self.geometry)

    @property
    def out_shape(self) -> Shape:
        if self.padding == "same":
            strides = pair(self.stride)
            return (
                *(n * s for n, s in zip(self.in_shapes[0], strides, strict=False)),
                self.filters,
            )
        sides = (
            (side - 1) * w.stride - w.before - w.after + w.reach + more
            for side, w, more in zip(
                self.in_shapes[0], self._windows, pair(self.output_padding), strict=False
            )
        )
        return (*sides, self.filters)

    @property
    def weight_shape(self) -> tuple[int, int]:
        channels = self.in_shapes[0][2]
        return (channels, prod(pair(self.kernel)) * self.filters // self.groups)

    @property
    def fan_in(self) -> int:
        taps = prod(pair(self.kernel)) / prod(pair(self.stride))
        return max(int(taps * self.in_shapes[0][2] // self.groups), 1)

    @property
    def macs(self) -> int:
        return prod(self.in_shapes[0][:2]) * prod(self.weight_shape)
