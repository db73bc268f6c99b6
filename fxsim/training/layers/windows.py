"""How workloads write windows: sizes by axis, padding by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from fxsim.engine.window import Window, Windows
from fxsim.errors import ShapeError
from fxsim.training.layers.base import shown

Pair = int | tuple[int, int]  # of rows and columns, or the same of both


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """Zeros on each side of an image."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """Zeros at both ends of a sequence."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    before: int = 0
    after: int = 0


Padding = Pair | Sides | Literal["same"]
SequencePadding = int | Ends | Literal["same", "causal"]


def pair(value: Pair) -> tuple[int, int]:
    """(of rows, of columns)."""
    return (value, value) if isinstance(value, int) else value


def same(length: int, size: int, stride: int = 1, dilation: int = 1) -> Window:
    """A window with the zeros that give one result every `stride` places, the odd one behind.

    As TensorFlow's "SAME" and ONNX's SAME_UPPER do it.
    """
    reach = Window(size, stride, dilation=dilation).reach
    zeros = max((-(-length // stride) - 1) * stride + reach - length, 0)
    return Window(size, stride, zeros // 2, zeros - zeros // 2, dilation)


def windows(
    image: tuple[int, int], size: Pair, stride: Pair = 1, padding: Padding = 0, dilation: Pair = 1
) -> Windows:
    """Windows along rows and columns of an image of (height, width)."""
    down, across = zip(pair(size), pair(stride), pair(dilation), strict=True)
    if padding == "same":
        return same(image[0], *down), same(image[1], *across)
    if not isinstance(padding, Sides):
        rows, columns = pair(padding)
        padding = Sides(top=rows, bottom=rows, left=columns, right=columns)
    return (
        Window(down[0], down[1], padding.top, padding.bottom, down[2]),
        Window(across[0], across[1], padding.left, padding.right, across[2]),
    )


def along_time(
    length: int, size: int, stride: int = 1, padding: SequencePadding = 0, dilation: int = 1
) -> Window:
    """A window along a sequence; causal: no result sees what comes after it."""
    if padding == "same":
        return same(length, size, stride, dilation)
    if padding == "causal":
        padding = Ends(before=(size - 1) * dilation)
    ends = padding if isinstance(padding, Ends) else Ends(before=padding, after=padding)
    return Window(size, stride, ends.before, ends.after, dilation)


def check_fits(windows_: Windows, shape: tuple[int, ...]) -> None:
    """Raise ShapeError unless a window fits the input, its padding included."""
    for window, length, axis in zip(windows_, shape, ("rows", "columns"), strict=False):
        if window.outputs(length) < 1:
            raise ShapeError(
                f"a window of {window.reach} {axis} does not fit an input of {shown(shape)}"
                f" with {window.before + window.after} of padding"
            )
