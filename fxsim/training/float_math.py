"""Products, pooling windows and activation functions on float arrays, with their gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from fxsim.engine.geometry import Convolution
from fxsim.engine.window import Windows

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
    fields = slid(x, (g.vertical, g.horizontal), 0.0).transpose(0, 1, 2, 4, 5, 3)
    return np.ascontiguousarray(fields).reshape(-1, g.taps, g.channels)


def _grouped(w: Floats, g: Convolution) -> Floats:
    """(groups, filters, taps * channels) weights."""
    return w.reshape(g.groups, g.filters // g.groups, -1)


def _fields(x: Floats, g: Convolution) -> Floats:
    """(groups, pixels, taps * channels) fields."""
    apart = _columns(x, g).reshape(-1, g.taps, g.groups, g.channels // g.groups)
    return apart.transpose(2, 0, 1, 3).reshape(g.groups, -1, g.depth)


def _errors(e: Floats, g: Convolution) -> Floats:
    """(groups, pixels, filters) errors."""
    return e.reshape(-1, g.groups, g.filters // g.groups).transpose(1, 0, 2)


def _convolve(x: Floats, w: Floats, g: Convolution) -> tuple[Floats, Floats]:
    fields = _fields(x, g)
    out = fields @ _grouped(w, g).transpose(0, 2, 1)
    shape = (x.shape[0], g.out_height, g.out_width, g.filters)
    return out.transpose(1, 0, 2).reshape(shape), fields


def _convolve_back(e: Floats, w: Floats, g: Convolution) -> Floats:
    back = _errors(e, g) @ _grouped(w, g)  # groups, pixels, taps * channels
    apart = back.reshape(g.groups, -1, g.taps, g.channels // g.groups).transpose(1, 2, 0, 3)
    shares = apart.reshape(*e.shape[:3], g.taps, g.channels).swapaxes(3, 4)
    shape = (e.shape[0], g.height, g.width, g.channels)
    return scattered(shares, (g.vertical, g.horizontal), shape)


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


def slid(x: Floats, windows: Windows, outside: float) -> Floats:
    """(N, OH, OW, C, taps down, taps across) what windows meet that slide over (N, H, W, C)."""
    down, across = windows
    around = ((0, 0), (down.before, down.after), (across.before, across.after), (0, 0))
    padded = np.pad(x, around, constant_values=outside) if np.any(around) else x
    reach = (down.reach, across.reach)
    view = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=(1, 2))
    return view[:, :: down.stride, :: across.stride, :, :: down.dilation, :: across.dilation]


def scattered(shares: Floats, windows: Windows, shape: tuple[int, ...]) -> Floats:
    """Each window's shares (last axis) added to the (N, H, W, C) inputs they belong to."""
    n, height, width, channels = shape
    down, across = windows
    tall, wide = (
        length + window.before + window.after
        for length, window in ((height, down), (width, across))
    )
    out = np.zeros((n, tall, wide, channels), shares.dtype)
    for tap in range(shares.shape[-1]):
        y, x = divmod(tap, across.size)
        rows, columns = (
            slice(first, first + window.stride * (count - 1) + 1, window.stride)
            for first, window, count in (
                (y * down.dilation, down, shares.shape[1]),
                (x * across.dilation, across, shares.shape[2]),
            )
        )
        out[:, rows, columns] += shares[..., tap]
    return out[:, down.before : down.before + height, across.before : across.before + width]


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
