"""Products, pooling windows and activation functions on float arrays, with their gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from fxsim.engine.geometry import Convolution
from fxsim.engine.pooling import pooled

Floats = NDArray[Any]
Undo = Callable[[Floats, bool], tuple[Floats | None, Floats]]


def matrix(x: Floats, w: Floats) -> tuple[Floats, Undo]:
    """x times w transposed, and what gives its gradients."""
    flat = x.reshape(-1, x.shape[-1])

    def undo(e: Floats, needs: bool) -> tuple[Floats | None, Floats]:
        rows = e.reshape(-1, e.shape[-1])
        return ((rows @ w).reshape(x.shape) if needs else None), rows.T @ flat

    return (flat @ w.T).reshape(*x.shape[:-1], w.shape[0]), undo


def _columns(x: Floats, g: Convolution) -> Floats:
    """(pixels, taps, channels) fields of a convolution."""
    padded = np.pad(x, ((0, 0), (g.padding,) * 2, (g.padding,) * 2, (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (g.reach, g.reach), axis=(1, 2))
    windows = windows[:, :: g.stride, :: g.stride, :, :: g.dilation, :: g.dilation]
    fields = windows.transpose(0, 1, 2, 4, 5, 3)
    return np.ascontiguousarray(fields).reshape(-1, g.kernel * g.kernel, g.channels)


def _from_columns(back: Floats, g: Convolution, images: int) -> Floats:
    """The sum of fields (images, OH, OW, kernel, kernel, C) where they came from."""
    shape = (images, g.height + 2 * g.padding, g.width + 2 * g.padding, g.channels)
    padded = np.zeros(shape, back.dtype)
    for a in range(g.kernel):
        for b in range(g.kernel):
            rows = slice(a * g.dilation, a * g.dilation + g.stride * g.out_height, g.stride)
            columns = slice(b * g.dilation, b * g.dilation + g.stride * g.out_width, g.stride)
            padded[:, rows, columns] += back[:, :, :, a, b]
    return padded[:, g.padding : g.padding + g.height, g.padding : g.padding + g.width]


def _grouped(w: Floats, g: Convolution) -> Floats:
    """(groups, filters, taps * channels) weights."""
    return w.reshape(g.groups, g.filters // g.groups, -1)


def _fields(x: Floats, g: Convolution) -> Floats:
    """(groups, pixels, taps * channels) fields."""
    taps = g.kernel * g.kernel
    apart = _columns(x, g).reshape(-1, taps, g.groups, g.channels // g.groups)
    return apart.transpose(2, 0, 1, 3).reshape(g.groups, -1, taps * g.channels // g.groups)


def _errors(e: Floats, g: Convolution) -> Floats:
    """(groups, pixels, filters) errors."""
    return e.reshape(-1, g.groups, g.filters // g.groups).transpose(1, 0, 2)


def _convolve(x: Floats, w: Floats, g: Convolution) -> tuple[Floats, Floats]:
    fields = _fields(x, g)
    out = fields @ _grouped(w, g).transpose(0, 2, 1)
    shape = (x.shape[0], g.out_height, g.out_width, g.filters)
    return out.transpose(1, 0, 2).reshape(shape), fields


def _convolve_back(e: Floats, w: Floats, g: Convolution) -> Floats:
    taps = g.kernel
    back = _errors(e, g) @ _grouped(w, g)  # groups, pixels, taps * channels
    apart = back.reshape(g.groups, -1, taps * taps, g.channels // g.groups).transpose(1, 2, 0, 3)
    shape = (e.shape[0], g.out_height, g.out_width, taps, taps, g.channels)
    return _from_columns(apart.reshape(shape), g, e.shape[0])


def convolution(x: Floats, w: Floats, g: Convolution) -> tuple[Floats, Undo]:
    """A convolution, and what gives its gradients."""
    out, fields = _convolve(x, w, g)

    def undo(e: Floats, needs: bool) -> tuple[Floats | None, Floats]:
        gradient = _errors(e, g).transpose(0, 2, 1) @ fields
        return (_convolve_back(e, w, g) if needs else None), gradient.reshape(w.shape)

    return out, undo


def transposed(x: Floats, w: Floats, g: Convolution) -> tuple[Floats, Undo]:
    """A transposed convolution, and what gives its gradients."""

    def undo(e: Floats, needs: bool) -> tuple[Floats | None, Floats]:
        back, fields = _convolve(e, w, g)
        gradient = _errors(x, g).transpose(0, 2, 1) @ fields
        return back, gradient.reshape(w.shape)

    return _convolve_back(x, w, g), undo


def windows(x: Floats, size: tuple[int, int], stride: int, padding: int, outside: float) -> Floats:
    """(N, OH, OW, C, taps) pooling windows."""
    around = ((0, 0), (padding,) * 2, (padding,) * 2, (0, 0))
    padded = np.pad(x, around, constant_values=outside) if padding else x
    view = np.lib.stride_tricks.sliding_window_view(padded, size, axis=(1, 2))
    strided = view[:, ::stride, ::stride]
    return strided.reshape(*strided.shape[:4], size[0] * size[1])


def scattered(
    shares: Floats, size: tuple[int, int], stride: int, padding: int, shape: tuple[int, ...]
) -> Floats:
    """Each window's shares (last axis) added to the inputs they belong to."""
    n, height, width, channels = shape
    out = np.zeros((n, height + 2 * padding, width + 2 * padding, channels), shares.dtype)
    rows = pooled(height, size[0], stride, padding)
    columns = pooled(width, size[1], stride, padding)
    for tap in range(size[0] * size[1]):
        y, x = divmod(tap, size[1])
        part = out[:, y : y + stride * rows : stride, x : x + stride * columns : stride]
        part[:, :rows, :columns] += shares[..., tap]
    return out[:, padding : padding + height, padding : padding + width]


def _sigmoid(x: Floats) -> Floats:
    value: Floats = 0.5 * (np.tanh(0.5 * x) + 1)
    return value


def _sigmoid_pair(x: Floats) -> tuple[Floats, Floats]:
    s = _sigmoid(x)
    return s, s * (1 - s)


def _tanh_pair(x: Floats) -> tuple[Floats, Floats]:
    t = np.tanh(x)
    return t, 1 - t * t


def _silu_pair(x: Floats) -> tuple[Floats, Floats]:
    s = _sigmoid(x)
    return x * s, s * (1 + x * (1 - s))


def _gelu_pair(x: Floats) -> tuple[Floats, Floats]:
    cumulative = ndtr(x)
    density = np.exp(-0.5 * x.astype(np.float64) ** 2) / np.sqrt(2 * np.pi)
    return (x * cumulative).astype(x.dtype), (cumulative + x * density).astype(x.dtype)


def _hard_swish_pair(x: Floats) -> tuple[Floats, Floats]:
    inner = np.clip(x + 3, 0, 6)
    slope = np.where(x <= -3, 0, np.where(x >= 3, 1, (2 * x + 3) / 6)).astype(x.dtype)
    return x * inner / 6, slope


FUNCTIONS: dict[str, Callable[[Floats], tuple[Floats, Floats]]] = {
    "sigmoid": _sigmoid_pair,
    "tanh": _tanh_pair,
    "silu": _silu_pair,
    "gelu": _gelu_pair,
    "hard_swish": _hard_swish_pair,
}
