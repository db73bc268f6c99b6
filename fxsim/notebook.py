"""How objects show themselves in a notebook."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_BITS = 8  # the brightest colour, where no word is wider
_CELL = "display:inline-block;width:1.1em;text-align:center;margin:1px;border-radius:2px;color:#fff"
_COLOURS = {"sign": "#D55E00", "whole": "#0072B2", "fraction": "#009E73"}


def facts(title: str, rows: Mapping[str, object]) -> str:
    """A title, and a line a fact; values may be HTML in `Markup`'s sense (`__html__`)."""
    cells = "".join(
        f"<tr><th style='text-align:left'>{escape(name)}</th>"
        f"<td style='text-align:left'>{_shown(value)}</td></tr>"
        for name, value in rows.items()
    )
    return f"<div><b>{escape(title)}</b><table>{cells}</table></div>"


def _shown(value: object) -> str:
    as_html = getattr(value, "__html__", None)
    return as_html() if as_html else escape(str(value))


class Html(str):
    """Text that is HTML already."""

    def __html__(self) -> str:
        return str(self)


def word(bits: int, frac: int, signed: bool) -> Html:
    """The bits of a fixed-point word: sign, whole bits, fraction.

    Hovering shows what each is worth.
    """
    cells: list[str] = []
    for place in range(bits - 1, -1, -1):
        kind = "sign" if signed and place == bits - 1 else "fraction" if place < frac else "whole"
        if kind == "fraction" and place == frac - 1 and cells:
            cells.append("<b>.</b>")
        sign = "-" if kind == "sign" else ""
        letter = {"sign": "s", "whole": "i", "fraction": "f"}[kind]
        cells.append(
            f"<span style='{_CELL};background:{_COLOURS[kind]}' title='{sign}2^{place - frac}'>"
            f"{letter}</span>"
        )
    return Html("".join(cells))


def heat_map(grid: NDArray[np.uint8], most: int = MOST_BITS, width: int = 480) -> Html:
    """Small whole numbers as colours: a corner of at most 64 x 128, lying rather than standing."""
    grid = (grid if grid.shape[0] <= grid.shape[1] else grid.T)[:64, :128]
    return Html(
        f"<img src='{png_uri(grid, most)}' style='width:{width}px;image-rendering:pixelated'"
        " alt='word lengths of blocks'>"
    )


def png_uri(grid: NDArray[np.uint8], most: int = MOST_BITS) -> str:
    """Small whole numbers as a PNG, viridis from 0 to `most`, in a data URI."""
    from matplotlib import colormaps
    from PIL import Image

    table: Any = (colormaps["viridis"](np.arange(256) / most)[:, :3] * 255).astype(np.uint8)
    image = Image.fromarray(np.ascontiguousarray(grid), mode="P")
    image.putpalette(table.tobytes())
    buffer = io.BytesIO()
    image.save(buffer, format="png", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def text(words: str) -> str:
    """Text drawn with characters."""
    return f"<pre style='line-height:1.2'>{escape(words)}</pre>"
