"""Max and average pooling of (N, H, W, C) words."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fxsim.engine.kernels import pooling
from fxsim.engine.tensor import FixedTensor
from fxsim.engine.threads import split
from fxsim.engine.vector_int16 import to_int16
from fxsim.numerics.formats import FixedPoint

SHARE_BITS = 8  # more fractional bits in the backward pass of average pooling


def pooled(size: int, window: int, stride: int, padding: int = 0) -> int:
    """Windows that fit along one axis."""
    return (size + 2 * padding - window) // stride + 1


def _image(x: FixedTensor) -> NDArray[Any]:
    return np.ascontiguousarray(to_int16(x).codes)


def max_pool(
    x: FixedTensor, size: int, stride: int, padding: int = 0
) -> tuple[FixedTensor, NDArray[np.uint8]]:
    """Exact maxima, and which tap of each window was chosen (the first of equals).

    What lies outside the image is never chosen.
    """
    n, height, width, channels = x.shape
    sides = (pooled(side, size, stride, padding) for side in (height, width))
    shape = (n, *sides, channels)
    out, choice = np.empty(shape, np.int16), np.empty(shape, np.uint8)
    work = height * width * channels
    split(pooling.max_pool_range, n, work, _image(x), size, stride, padding, out, choice)
    return FixedTensor.trusted(out, to_int16(x).format), choice


def max_pool_backward(
    error: FixedTensor,
    choice: NDArray[np.uint8],
    size: int,
    stride: int,
    padding: int,
    shape: tuple[int, ...],
) -> FixedTensor:
    """Route each error to the input that was chosen; overlapping windows add up. Words."""
    out = np.zeros(shape, np.int32)
    split(
        pooling.max_pool_back_range,
        shape[0],
        out[0].size,
        _image(error),
        choice,
        size,
        stride,
        padding,
        out,
    )
    return to_int16(FixedTensor.trusted(out, FixedPoint(32, to_int16(error).format.frac)))


def average_pool(
    x: FixedTensor, size: tuple[int, int], stride: int, padding: int = 0
) -> FixedTensor:
    """Means at the input's scale, zeros of the padding included, rounded half up."""
    n, height, width, channels = x.shape
    sides = (
        pooled(side, window, stride, padding)
        for side, window in zip((height, width), size, strict=True)
    )
    out = np.empty((n, *sides, channels), np.int16)
    work = height * width * channels
    split(pooling.average_pool_range, n, work, _image(x), *size, stride, padding, out)
    return FixedTensor.trusted(out, to_int16(x).format)


def average_pool_backward(
    error: FixedTensor, size: tuple[int, int], stride: int, padding: int, shape: tuple[int, ...]
) -> FixedTensor:
    """Each input's share of the errors, with 8 more fractional bits, rounded half up. Words."""
    out = np.zeros(shape, np.int32)
    split(
        pooling.average_pool_back_range,
        shape[0],
        out[0].size,
        _image(error),
        *size,
        stride,
        padding,
        out,
    )
    return to_int16(
        FixedTensor.trusted(out, FixedPoint(32, to_int16(error).format.frac + SHARE_BITS))
    )
