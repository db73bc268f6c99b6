"""Convolutions as matrix products: which code of an image each row of the matrix holds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import gcd

import numpy as np
from numpy.typing import NDArray

from fxsim.engine.kernels import gather as gather_kernels
from fxsim.engine.kernels import im2col
from fxsim.engine.tensor import Codes
from fxsim.engine.threads import split
from fxsim.engine.window import Window
from fxsim.errors import ShapeError


@dataclass(frozen=True, slots=True)
class Convolution:
    """A 2-D convolution of (N, H, W, C) images; a 1-D one has a width of 1 everywhere.

    vertical, horizontal : the kernel along rows and along columns, with its stride and padding
    groups : cuts channels and filters into as many independent convolutions; weights are
        (filters, taps * C / groups)
    """

    height: int
    width: int
    channels: int
    filters: int
    vertical: Window
    horizontal: Window
    groups: int = 1

    def __post_init__(self) -> None:
        for name in ("height", "width", "channels", "filters", "groups"):
            if getattr(self, name) < 1:
                raise ShapeError(
                    f"convolution: {name} must be at least 1, not {getattr(self, name)}"
                )
        if self.channels % self.groups or self.filters % self.groups:
            raise ShapeError(
                f"convolution: groups must divide channels and filters, not {self.groups} groups"
                f" of {self.channels} channels and {self.filters} filters"
            )

    @property
    def out_height(self) -> int:
        """Rows of the result."""
        return self.vertical.outputs(self.height)

    @property
    def out_width(self) -> int:
        """Columns of the result."""
        return self.horizontal.outputs(self.width)

    @property
    def taps(self) -> int:
        """Places of the kernel."""
        return self.vertical.size * self.horizontal.size

    @property
    def depth(self) -> int:
        """Products in one output of the forward pass."""
        return self.taps * self.channels // self.groups

    @property
    def strided(self) -> bool:
        """Whether errors are spread out on their way back."""
        return self.vertical.stride > 1 or self.horizontal.stride > 1

    @property
    def depthwise(self) -> bool:
        """Whether every channel has its own single filter."""
        return self.groups == self.channels == self.filters


@dataclass(frozen=True, slots=True)
class Gather:
    """Rows of a matrix read from an image: row (n, y, x) holds (kernel row, column, channel).

    stride, dilation : of rows, and of columns
    top, left : the input position that tap (0, 0) of output (0, 0) reads
    channel, channels : the slice of the image's channels that is read
    """

    images: int
    in_height: int
    in_width: int
    in_channels: int
    out_height: int
    out_width: int
    kernel_height: int
    kernel_width: int
    stride: tuple[int, int]
    top: int
    left: int
    dilation: tuple[int, int]
    channel: int
    channels: int

    @property
    def rows(self) -> int:
        """Rows of the matrix."""
        return self.images * self.out_height * self.out_width

    @property
    def depth(self) -> int:
        """Columns of the matrix."""
        return self.kernel_height * self.kernel_width * self.channels

    def fields(self, code_bytes: int) -> NDArray[np.int64]:
        """As the kernels take it; `code_bytes` 1 counts in codes."""
        values = np.zeros(gather_kernels.FIELDS, np.int64)
        values[:] = (
            self.in_height,
            self.in_width,
            self.in_channels * code_bytes,
            self.out_height,
            self.out_width,
            self.kernel_height,
            self.kernel_width,
            *self.stride,
            self.top,
            self.left,
            *self.dilation,
            self.channel * code_bytes,
            self.channels * code_bytes,
        )
        return values


def matrix_rows(rows: int, depth: int) -> Gather:
    """A matrix as it is: an image of one column of pixels."""
    return Gather(rows, 1, 1, depth, 1, 1, 1, 1, (1, 1), 0, 0, (1, 1), 0, depth)


def forward_rows(g: Convolution, images: int, group: int) -> Gather:
    """The fields that each output of one group reads."""
    channels, down, across = g.channels // g.groups, g.vertical, g.horizontal
    return Gather(
        images,
        g.height,
        g.width,
        g.channels,
        g.out_height,
        g.out_width,
        down.size,
        across.size,
        (down.stride, across.stride),
        -down.before,
        -across.before,
        (down.dilation, across.dilation),
        group * channels,
        channels,
    )


def backward_rows(g: Convolution, images: int, group: int) -> Gather:
    """The errors that reached each input of one group, of an error spread out by the stride."""
    filters, down, across = g.filters // g.groups, g.vertical, g.horizontal
    return Gather(
        images,
        (g.out_height - 1) * down.stride + 1,
        (g.out_width - 1) * across.stride + 1,
        g.filters,
        g.height,
        g.width,
        down.size,
        across.size,
        (1, 1),
        -down.first(down.size - 1),
        -across.first(across.size - 1),
        (down.dilation, across.dilation),
        group * filters,
        filters,
    )


def pixel_rows(gather: Gather, channels: int) -> Gather:
    """The same rows, reading all channels of a pixel."""
    return replace(gather, channel=0, channels=channels)


def written_out(codes: Codes, gather: Gather, pad: int = 1) -> Codes:
    """(rows, depth) the gathered matrix, its rows zero-padded to a multiple of `pad` codes."""
    width = -(-gather.depth // pad) * pad
    out = np.empty((gather.rows, width), codes.dtype)
    flat = np.ascontiguousarray(codes).reshape(-1)
    split(im2col.columns_range, gather.rows, width, flat, gather.fields(1), out)
    return out


def spread(error: Codes, g: Convolution) -> Codes:
    """(N, OH, OW, F) errors with stride - 1 zeros between them."""
    if not g.strided:
        return error
    n, height, width, filters = error.shape
    down, across = g.vertical.stride, g.horizontal.stride
    out = np.zeros((n, (height - 1) * down + 1, (width - 1) * across + 1, filters), error.dtype)
    out[:, ::down, ::across] = error
    return out


def turned_weight(codes: Codes, g: Convolution, group: int) -> Codes:
    """One group of (filters, taps * C) weights as (C, taps * filters), taps reversed."""
    filters, channels = g.filters // g.groups, g.channels // g.groups
    mine = codes[group * filters : (group + 1) * filters]
    taps = mine.reshape(filters, g.taps, channels)[:, ::-1]
    return np.ascontiguousarray(taps.transpose(2, 1, 0)).reshape(channels, -1)


@dataclass(frozen=True, slots=True)
class Phase:
    """Inputs along one axis whose places differ by the stride: they meet the same turned taps.

    taps : which of the turned taps; count : how many; first : the error that the first of them
    reads for the first input; step : errors from tap to tap
    """

    taps: slice
    count: int
    first: int
    step: int


def phase(window: Window, place: int) -> Phase:
    """Of the inputs `place` + stride * i, without the zeros between the errors."""
    step = window.stride // gcd(window.stride, window.dilation)
    first = place - window.first(window.size - 1)
    start = next(
        (
            tap
            for tap in range(min(step, window.size))
            if (first + tap * window.dilation) % window.stride == 0
        ),
        window.size,
    )
    return Phase(
        slice(start, None, step),
        len(range(start, window.size, step)),
        (first + start * window.dilation) // window.stride,
        step * window.dilation // window.stride,
    )


def phase_rows(
    g: Convolution, images: int, group: int, row: int, column: int
) -> tuple[Gather, tuple[slice, slice]]:
    """The errors that reached the inputs (row + stride * i, column + stride * j), without zeros.

    Also which of the turned taps they meet: those at which the spread error is not zero.
    """
    down, across = phase(g.vertical, row), phase(g.horizontal, column)
    filters = g.filters // g.groups
    gather = Gather(
        images,
        g.out_height,
        g.out_width,
        g.filters,
        len(range(row, g.height, g.vertical.stride)),
        len(range(column, g.width, g.horizontal.stride)),
        down.count,
        across.count,
        (1, 1),
        down.first,
        across.first,
        (down.step, across.step),
        group * filters,
        filters,
    )
    return gather, (down.taps, across.taps)
