"""Max and average pooling of wide (N, H, W, C) tensors: square windows, no padding."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fxsim.arithmetic.formats import FixedPoint
from fxsim.engine.casts import bit_length
from fxsim.engine.kernels import pooling
from fxsim.engine.tensor import FixedTensor
from fxsim.engine.threads import split

SHARE_BITS = 8  # more fractional bits in the backward pass of average pooling


def pooled(size: int, window: int, stride: int) -> int:
    """Windows that fit along one axis."""
    return (size - window) // stride + 1


def max_pool(x: FixedTensor, size: int, stride: int) -> tuple[FixedTensor, NDArray[np.uint8]]:
    """Exact maxima, and which tap of each window was chosen (the first of equals)."""
    n, height, width, channels = x.shape
    shape = (n, pooled(height, size, stride), pooled(width, size, stride), channels)
    out, choice = np.empty(shape, np.int64), np.empty(shape, np.uint8)
    work = height * width * channels
    split(pooling.max_pool_range, n, work, x.codes, size, stride, out, choice)
    return FixedTensor.trusted(out, x.format), choice


def max_pool_backward(
    error: FixedTensor, choice: NDArray[np.uint8], size: int, stride: int, shape: tuple[int, ...]
) -> FixedTensor:
    """Route each error to the input that was chosen; overlapping windows add up."""
    out = np.zeros(shape, np.int64)
    split(
        pooling.max_pool_back_range, shape[0], out[0].size, error.codes, choice, size, stride, out
    )
    return FixedTensor.trusted(out, _grown(error.format, size, stride, 0))


def average_pool(x: FixedTensor, size: int, stride: int) -> FixedTensor:
    """Means at the input's scale, rounded half up: error at most half a step."""
    n, height, width, channels = x.shape
    shape = (n, pooled(height, size, stride), pooled(width, size, stride), channels)
    out = np.empty(shape, np.int64)
    split(pooling.average_pool_range, n, height * width * channels, x.codes, size, stride, out)
    return FixedTensor.trusted(out, x.format)


def average_pool_backward(
    error: FixedTensor, size: int, stride: int, shape: tuple[int, ...]
) -> FixedTensor:
    """Each input's share of the errors, with 8 more fractional bits, rounded half up."""
    out = np.zeros(shape, np.int64)
    split(pooling.average_pool_back_range, shape[0], out[0].size, error.codes, size, stride, out)
    return FixedTensor.trusted(out, _grown(error.format, size, stride, SHARE_BITS))


def _grown(form: FixedPoint, size: int, stride: int, more: int) -> FixedPoint:
    overlap = bit_length((-(-size // stride)) ** 2 - 1)
    return FixedPoint(min(form.bits + overlap + more, 62), form.frac + more)
