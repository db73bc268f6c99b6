"""How objects show themselves in a notebook."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # the class of an object that is shown has been loaded already
    from fxsim.cost.model import TraceCost
    from fxsim.display import Displayed
    from fxsim.hardware.accelerator import Accelerator
    from fxsim.numerics.block_map import BlockMap
    from fxsim.numerics.formats import FixedPoint
    from fxsim.runs.directory import Run
    from fxsim.studies.study import StudyResult
    from fxsim.sweeps.sweep import SweepResult

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


def _fixed_point(x: FixedPoint) -> str:
    low, high = (float(code * x.step) for code in (x.min_code, x.max_code))
    return facts(
        repr(x),
        {
            "word": word(x.bits, x.frac, x.signed),
            "values": f"{low:g} to {high:g} in steps of {float(x.step):g}",
            "codes": f"{x.min_code} to {x.max_code}",
        },
    )


def _block_map(x: BlockMap) -> str:
    bits, counts = np.unique(x.bits, return_counts=True)
    shares = zip(bits.tolist(), (counts / x.bits.size).tolist(), strict=True)
    return facts(
        f"{x.rows} x {x.columns} in blocks of {x.block_rows} x {x.block_columns}",
        {
            "blocks": " x ".join(map(str, x.bits.shape)),
            "bits": ", ".join(f"{b}: {share:.1%}" for b, share in shares),
            "map": heat_map(x.bits),
        },
    )


def _accelerator(x: Accelerator) -> str:
    from fxsim.hardware import drawing

    return text(drawing.text(x))


def _run(x: Run) -> str:
    bits = ", ".join(f"{role} {value:.2f}" for role, value in x.mean_bits().items())
    return facts(
        x.label,
        {
            "test accuracy": f"{100 * x.manifest['test_accuracy']:.2f} %",
            "epochs, steps": f"{x.manifest['epochs']}, {x.manifest['steps']}",
            "mean bits": bits or "float32",
            "weights SHA-256": x.manifest["weights_sha256"][:16],
            "directory": x.directory,
        },
    )


def _cost(x: TraceCost) -> str:
    parts = {name: x.table[f"{name}_pj"].sum() for name in x.components}
    shares = ", ".join(f"{n} {v / x.energy_pj:.0%}" for n, v in parts.items() if v)
    return facts(
        f"priced on {x.machine.name}",
        {
            "cycles": f"{x.cycles:,.0f} ({x.seconds:.4g} s)",
            "energy": f"{x.energy_pj / 1e6:,.4g} uJ: {shares}",
            "energy x delay": f"{x.edp_js:.4g} J s",
            "average power": f"{x.average_power_w:.4g} W",
        },
    )


def _study_result(x: StudyResult) -> str:
    rows: dict[str, object] = {}
    for (policy, seed), run in x.runs.items():
        costs = [
            f"{machine}: {cost.cycles / 1e6:,.2f} M cycles, {cost.energy_pj / 1e9:,.3g} mJ"
            for (name, number, machine), cost in x.costs.items()
            if (name, number) == (policy, seed)
        ]
        accuracy = f"{100 * run.manifest['test_accuracy']:.2f} %"
        rows[f"{policy}, seed {seed}"] = ", ".join([accuracy, *costs])
    return facts(x.study.spec.title, {**rows, "directory": x.directory})


def _sweep_result(x: SweepResult) -> str:
    shown = x.table.drop(columns=["point", "within", "reused"], errors="ignore")
    return f"<b>{escape(x.sweep.spec.title)}</b>{shown.to_html(max_rows=40, index=False)}"


_DRAWINGS: dict[str, Callable[[Any], str]] = {
    "FixedPoint": _fixed_point,
    "BlockMap": _block_map,
    "Accelerator": _accelerator,
    "Run": _run,
    "TraceCost": _cost,
    "StudyResult": _study_result,
    "SweepResult": _sweep_result,
}


def html(x: Displayed) -> str:
    """An object as HTML, by its class."""
    kind = next(c.__name__ for c in type(x).__mro__ if c.__name__ in _DRAWINGS)
    return _DRAWINGS[kind](x)
