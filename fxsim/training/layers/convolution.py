"""2-D convolution, grouped, dilated, depthwise and transposed."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from fxsim.engine.contractions import Contraction, Convolved, Transposed
from fxsim.engine.geometry import Convolution
from fxsim.errors import ShapeError
from fxsim.training.layers.base import Shape, shown
from fxsim.training.layers.weighted import WeightedLayer


@dataclass(frozen=True, slots=True, kw_only=True)
class Conv2d(WeightedLayer):
    """(H, W, C) to (OH, OW, filters); weights are (filters, kernel * kernel * C / groups)."""

    filters: int
    kernel: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    groups: int = 1

    def __post_init__(self) -> None:
        self._need(3, "height x width x channels")
        if self.geometry.out_height < 1 or self.geometry.out_width < 1:
            raise ShapeError(
                f"kernel {self.kernel} with dilation {self.dilation} and padding {self.padding}"
                f" does not fit an input of {shown(self.in_shapes[0])}"
            )

    @property
    def geometry(self) -> Convolution:
        """The convolution."""
        height, width, channels = self.in_shapes[0]
        return Convolution(
            height,
            width,
            channels,
            self.filters,
            self.kernel,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
        )

    @property
    def contraction(self) -> Contraction:
        return Convolved(self.geometry)

    @property
    def out_shape(self) -> Shape:
        return (self.geometry.out_height, self.geometry.out_width, self.filters)

    @property
    def weight_shape(self) -> tuple[int, int]:
        return (self.filters, self.geometry.depth)


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthwiseConv2d(Conv2d):
    """One filter a channel: groups, channels and filters are equal."""

    filters: int = 0
    kernel: int

    def __post_init__(self) -> None:
        Conv2d._need(self, 3, "height x width x channels")
        for name in ("filters", "groups"):
            object.__setattr__(self, name, self.in_shapes[0][2])
        Conv2d.__post_init__(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvTranspose2d(WeightedLayer):
    """(H, W, C) to ((H - 1) * stride - 2 * padding + kernel + output_padding, ..., filters).

    The gradient of a convolution with regard to its input, as a forward pass; weights are those of
    that convolution, (C, kernel * kernel * filters / groups).
    """

    filters: int
    kernel: int
    stride: int = 1
    padding: int = 0
    output_padding: int = 0
    dilation: int = 1
    groups: int = 1

    def __post_init__(self) -> None:
        self._need(3, "height x width x channels")
        if min(self.out_shape) < 1:
            raise ShapeError(
                f"kernel {self.kernel} with padding {self.padding} leaves nothing of an input of"
                f" {shown(self.in_shapes[0])}"
            )
        if self.output_padding >= self.stride:
            raise ShapeError(
                f"output_padding must be below the stride of {self.stride}, not"
                f" {self.output_padding}"
            )
        _ = self.geometry  # which checks the groups

    @property
    def geometry(self) -> Convolution:
        """The convolution that this reverses: from our result to our input."""
        height, width, filters = self.out_shape
        return Convolution(
            height,
            width,
            filters,
            self.in_shapes[0][2],
            self.kernel,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
        )

    @property
    def contraction(self) -> Contraction:
        return Transposed(self.geometry)

    @property
    def out_shape(self) -> Shape:
        reach = self.dilation * (self.kernel - 1) + 1
        sides = (
            (side - 1) * self.stride - 2 * self.padding + reach + self.output_padding
            for side in self.in_shapes[0][:2]
        )
        return (*sides, self.filters)

    @property
    def weight_shape(self) -> tuple[int, int]:
        channels = self.in_shapes[0][2]
        return (channels, self.kernel * self.kernel * self.filters // self.groups)

    @property
    def fan_in(self) -> int:
        taps = self.kernel * self.kernel / self.stride**2
        return max(int(taps * self.in_shapes[0][2] // self.groups), 1)

    @property
    def macs(self) -> int:
        return prod(self.in_shapes[0][:2]) * prod(self.weight_shape)
