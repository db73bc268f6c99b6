"""Max and average pooling of (N, H, W, C) words."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fxsim.engine.kernels import pooling
from fxsim.engine.tensor import FixedTensor
from fxsim.engine.threads import split
from fxsim.engine.vector_int16 import to_int16
from fxsim.engine.window import Windows
from fxsim.numerics.formats import FixedPoint, Rounding

SHARE_BITS = 8  # more fractional bits in the backward pass of average pooling


def _image(x: FixedTensor) -> NDArray[Any]:
    return np.ascontiguousarray(to_int16(x).codes)


def _fields(windows: Windows) -> tuple[tuple[int, int, int], ...]:
    """(size, stride, places before the image) along both axes, as the kernels take them."""
    return tuple((w.size, w.stride, w.before) for w in windows)


def _pooled(x: FixedTensor, windows: Windows) -> tuple[int, int, int, int]:
    n, height, width, channels = x.shape
    return n, windows[0].outputs(height), windows[1].outputs(width), channels


def max_pool(x: FixedTensor, windows: Windows) -> tuple[FixedTensor, NDArray[np.uint8]]:
    """Exact maxima, and which tap of each window was chosen (the first of equals).

    What lies outside the image is never chosen; every window must reach into it.
    """
    shape = _pooled(x, windows)
    out, choice = np.empty(shape, np.int16), np.empty(shape, np.uint8)
    work = x.codes[0].size
    split(pooling.max_pool_range, shape[0], work, _image(x), *_fields(windows), out, choice)
    return FixedTensor.trusted(out, to_int16(x).format), choice


def max_pool_backward(
    error: FixedTensor, choice: NDArray[np.uint8], windows: Windows, shape: tuple[int, ...]
) -> FixedTensor:
    """Route each error to the input that was chosen; overlapping windows add up. Words."""
    out = np.zeros(shape, np.int32)
    split(
        pooling.max_pool_back_range,
        shape[0],
        out[0].size,
        _image(error),
        choice,
        *_fields(windows),
        out,
    )
    return to_int16(FixedTensor.trusted(out, FixedPoint(32, to_int16(error).format.frac)))


def average_pool(
    x: FixedTensor, windows: Windows, rounding: Rounding = Rounding.RND, key: int = 0
) -> FixedTensor:
    """Means at the input's scale, zeros of the padding included, rounded.

    key : of the draws of STOCHASTIC, one an element of the result
    """
    shape = _pooled(x, windows)
    out = np.empty(shape, np.int16)
    split(
        pooling.average_pool_range,
        shape[0],
        x.codes[0].size,
        _image(x),
        *_fields(windows),
        int(rounding),
        np.uint64(key),
        out,
    )
    return FixedTensor.trusted(out, to_int16(x).format)


def average_pool_backward(
    error: FixedTensor,
    windows: Windows,
    shape: tuple[int, ...],
    rounding: Rounding = Rounding.RND,
    key: int = 0,
) -> FixedTensor:
    """Each input's share of the errors, with 8 more fractional bits, rounded. Words."""
    out = np.zeros(shape, np.int32)
    split(
        pooling.average_pool_back_range,
        shape[0],
        out[0].size,
        _image(error),
        *_fields(windows),
        int(rounding),
        np.uint64(key),
        out,
    )
    return to_int16(
        FixedTensor.trusted(out, FixedPoint(32, to_int16(error).format.frac + SHARE_BITS))
    )
