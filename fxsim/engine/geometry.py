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
from fxsim.errors import ShapeError


@dataclass(frozen=True, slots=True)
class Convolution:
    """A 2-D convolution of (N, H, W, C) images, square in kernel, stride, padding and dilation.

    `groups` cuts channels and filters into as many independent convolutions; weights are
    (filters, kernel**2 * C / groups).
    """

    height: int
    width: int
    channels: int
    filters: int
    kernel: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    groups: int = 1

    def __post_init__(self) -> None:
        least = {
            "height": 1,
            "width": 1,
            "channels": 1,
            "filters": 1,
            "kernel": 1,
            "stride": 1,
            "padding": 0,
            "dilation": 1,
            "groups": 1,
        }
        for name, low in least.items():
            if getattr(self, name) < low:
                raise ShapeError(
                    f"convolution: {name} must be at least {low}, not {getattr(self, name)}"
                )
        if self.channels % self.groups or self.filters % self.groups:
            raise ShapeError(
                f"convolution: groups must divide channels and filters, not {self.groups} groups"
                f" of {self.channels} channels and {self.filters} filters"
            )

    @property
    def out_height(self) -> int:
        """Rows of the result."""
        return self._out(self.height)

    @property
    def out_width(self) -> int:
        """Columns of the result."""
        return self._out(self.width)

    def _out(self, size: int) -> int:
        return (size + 2 * self.padding - self.reach) // self.stride + 1

    @property
    def reach(self) -> int:
        """Input rows from a kernel's first tap to its last, both included."""
        return self.dilation * (self.kernel - 1) + 1

    @property
    def depth(self) -> int:
        """Products in one output of the forward pass."""
        return self.kernel * self.kernel * self.channels // self.groups

    @property
    def depthwise(self) -> bool:
        """Whether every channel has its own single filter."""
        return self.groups == self.channels == self.filters


@dataclass(frozen=True, slots=True)
class Gather:
    """Rows of a matrix read from an image: row (n, y, x) holds (kernel row, column, channel).

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
    stride: int
    top: int
    left: int
    dilation: int
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
            self.stride,
            self.top,
            self.left,
            self.dilation,
            self.channel * code_bytes,
            self.channels * code_bytes,
        )
        return values


def matrix_rows(rows: int, depth: int) -> Gather:
    """A matrix as it is: an image of one column of pixels."""
    return Gather(rows, 1, 1, depth, 1, 1, 1, 1, 1, 0, 0, 1, 0, depth)


def forward_rows(g: Convolution, images: int, group: int) -> Gather:
    """The fields that each output of one group reads."""
    channels = g.channels // g.groups
    return Gather(
        images,
        g.height,
        g.width,
        g.channels,
        g.out_height,
        g.out_width,
        g.kernel,
        g.kernel,
        g.stride,
        -g.padding,
        -g.padding,
        g.dilation,
        group * channels,
        channels,
    )


def backward_rows(g: Convolution, images: int, group: int) -> Gather:
    """The errors that reached each input of one group, of an error spread out by the stride."""
    filters = g.filters // g.groups
    height, width = ((size - 1) * g.stride + 1 for size in (g.out_height, g.out_width))
    first = g.padding - g.reach + 1
    return Gather(
        images,
        height,
        width,
        g.filters,
        g.height,
        g.width,
        g.kernel,
        g.kernel,
        1,
        first,
        first,
        g.dilation,
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
    if g.stride == 1:
        return error
    n, height, width, filters = error.shape
    wide = ((height - 1) * g.stride + 1, (width - 1) * g.stride + 1)
    out = np.zeros((n, *wide, filters), error.dtype)
    out[:, :: g.stride, :: g.stride] = error
    return out


def turned_weight(codes: Codes, g: Convolution, group: int) -> Codes:
    """One group of (filters, kernel**2 * C) weights as (C, kernel**2 * filters), taps reversed."""
    filters, channels = g.filters // g.groups, g.channels // g.groups
    mine = codes[group * filters : (group + 1) * filters]
    taps = mine.reshape(filters, g.kernel * g.kernel, channels)[:, ::-1]
    return np.ascontiguousarray(taps.transpose(2, 1, 0)).reshape(channels, -1)


def phase_rows(
    g: Convolution, images: int, group: int, row: int, column: int
) -> tuple[Gather, tuple[slice, slice]]:
    """The errors that reached the inputs (row + stride * i, column + stride * j), without zeros.

    Also which of the turned taps they meet: those at which the spread error is not zero.
    """
    step = g.stride // gcd(g.stride, g.dilation)
    first = g.padding - g.reach + 1
    starts = [
        next(
            (t for t in range(min(step, g.kernel)) if (p + first + t * g.dilation) % g.stride == 0),
            g.kernel,
        )
        for p in (row, column)
    ]
    high, wide = (len(range(start, g.kernel, step)) for start in starts)
    top, left = (
        (p + first + start * g.dilation) // g.stride
        for p, start in zip((row, column), starts, strict=True)
    )
    filters = g.filters // g.groups
    out_height, out_width = (
        len(range(p, size, g.stride)) for p, size in ((row, g.height), (column, g.width))
    )
    gather = Gather(
        images,
        g.out_height,
        g.out_width,
        g.filters,
        out_height,
        out_width,
        high,
        wide,
        1,
        top,
        left,
        step * g.dilation // g.stride,
        group * filters,
        filters,
    )
    return gather, (slice(starts[0], None, step), slice(starts[1], None, step))
