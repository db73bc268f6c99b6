"""How figures look, inline on a page (light and dark) and as files at a paper's quality."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fxsim.config.names import file_name
from fxsim.persistence.atomic import atomic_file

# Okabe and Ito's colour-blind safe palette, without its yellow, which white paper swallows
# and Tol's muted colours where these do not suffice
COLOURS = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#999999",
    "#7A4FA3",
    "#44AA99",
    "#882255",
    "#999933",
    "#661100",
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
INK, FAINT = "#010203", "#c9cdd2"  # as CSS, the page's own colours
WIDTH = 4.7  # of a panel [inch]: at 390 pixels its text is as large as the page's small print
DPI = 300
_STYLE: Any = {
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "svg.fonttype": "none",
    "svg.hashsalt": "fxsim",
}


@contextmanager
def styled() -> Iterator[None]:
    """In this context figures are drawn as ours."""
    with matplotlib.rc_context(_STYLE):
        yield


UNITS = {
    "cycles": ((1e9, "billions"), (1e6, "millions"), (1e3, "thousands"), (1, "one")),
    "energy": ((1e12, "J"), (1e9, "mJ"), (1e6, "uJ"), (1e3, "nJ"), (1, "pJ")),
    "bits": ((1e12, "Tbit"), (1e9, "Gbit"), (1e6, "Mbit"), (1e3, "kbit"), (1, "bit")),
}


def unit(kind: str, most: float) -> tuple[float, str]:
    """The scale and name in which cycles, energy [pJ] or bits up to `most` are told."""
    return next((u for u in UNITS[kind] if most >= u[0]), UNITS[kind][-1])


@dataclass(frozen=True, slots=True, eq=False)
class Plot:
    """A figure of a report.

    name : of its files, made plain; caption : what is seen
    """

    name: str
    caption: str
    figure: Figure

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", file_name(self.name))


def panel(height: float, columns: int = 1, rows: int = 1) -> tuple[Figure, list[Axes]]:
    """An empty figure of one panel's width, and its axes."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    return figure, list(axes.reshape(-1))


def colours(names: Iterable[str]) -> dict[str, str]:
    """{name: colour}, in order."""
    return {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}


def markers(names: Iterable[str]) -> dict[str, str]:
    """{name: marker}, in order."""
    return {name: MARKERS[i % len(MARKERS)] for i, name in enumerate(names)}


def legend(axes: Axes, entries: int, **options: Any) -> None:
    """A legend below the axes, in as few lines as its width allows."""
    axes.figure.legend(
        *axes.get_legend_handles_labels(),
        loc="outside lower center",
        ncol=min(entries, 3),
        columnspacing=1.2,
        handlelength=1.3,
        **options,
    )


def dots(
    table: pd.DataFrame,
    hues: dict[str, str],
    label: str,
    title: str,
    name: str,
    caption: str,
    limits: tuple[float | None, float | None] = (None, None),
) -> Plot:
    """A dot a policy (rows of a table) on a line a layer (its columns)."""
    layers = list(table.columns)
    figure, (axes,) = panel(1.3 + 0.16 * max(len(layers), 5))
    for policy, row in table.iterrows():
        axes.plot(
            row,
            range(len(layers)),
            "o",
            markersize=4,
            label=policy,
            color=hues[str(policy)],
            alpha=0.85,
        )
    axes.set_yticks(range(len(layers)), layers, fontsize=7)
    axes.set(xlabel=label, title=title, xlim=limits, ylim=(len(layers) - 0.4, -0.6))
    axes.grid()
    legend(axes, len(table))
    return Plot(name, caption, figure)


def svg(figure: Figure) -> str:
    """The figure as SVG on no background; the same figure gives the same text."""
    buffer = io.StringIO()
    with styled():
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    figure.set_layout_engine("none")  # it stays as laid out; once is slow enough
    return buffer.getvalue()


def inline(drawing: str, label: str) -> str:
    """An SVG as part of a page, in the page's colours."""
    text = drawing[drawing.index("<svg") :]
    text = text.replace(INK, "var(--ink)").replace(FAINT, "var(--line)")
    head = text.index(">")
    tag = re.sub(r' (width|height)="[^"]*"', "", text[:head])
    safe = label.replace("&", "and").replace('"', "'").replace("<", "")
    return f'{tag} role="img" aria-label="{safe}"{text[head:]}'


def save(plot: Plot, drawing: str, directory: Path, formats: Sequence[str]) -> list[Path]:
    """Write a figure in some formats; PNG on white at 300 dots an inch.

    drawing : its SVG
    """
    written = []
    for form in formats:
        path = directory / f"{plot.name}.{form}"
        with atomic_file(path) as fresh, styled():
            if form == "svg":
                fresh.write_text(drawing, encoding="utf-8")
            else:
                metadata = {"CreationDate": None} if form == "pdf" else None
                plot.figure.savefig(fresh, format=form, dpi=DPI, metadata=metadata)
        written.append(path)
    return written
