"""Figures, as matplotlib objects and as SVG text."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fxsim.runs import Run
from fxsim.study import StudyResult

# Okabe and Ito's colour-blind safe palette.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999", "#F0E442")
_STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "fxsim",
}


def to_svg(figure: Figure) -> str:
    """The figure as an inline `<svg>` element; the same figure gives the same text."""
    buffer = io.StringIO()
    with matplotlib.rc_context(_STYLE):
        figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _figure(
    width: float, height: float, rows: int = 1, columns: int = 1
) -> tuple[Figure, list[Axes]]:
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False)
    return figure, list(axes.reshape(-1))


def accuracy_curves(result: StudyResult) -> Figure:
    """Test accuracy after each epoch and training loss, a line a policy, thin lines the seeds."""
    figure, (left, right) = _figure(8.4, 3.1, 1, 2)
    for number, name in enumerate(result.study.policies):
        colour = COLOURS[number % len(COLOURS)]
        line = "-" if number < len(COLOURS) else "--"
        found = [run for (policy, _), run in result.runs.items() if policy == name]
        curves = [run.evaluations["test_accuracy"].to_numpy() * 100 for run in found]
        epochs = np.arange(1, len(curves[0]) + 1)
        losses = [_smooth(run.metrics["loss"]) for run in found]
        for curve, loss in zip(curves, losses, strict=True):
            left.plot(epochs, curve, color=colour, linewidth=0.6, alpha=0.4)
            right.plot(loss, color=colour, linewidth=0.6, alpha=0.4)
        left.plot(epochs, np.mean(curves, axis=0), color=colour, linewidth=1.8, label=name, ls=line)
        right.plot(np.mean(losses, axis=0), color=colour, linewidth=1.8, ls=line)
    left.set(xlabel="epoch", ylabel="test accuracy [%]")
    right.set(xlabel="step", ylabel="training loss (smoothed)", yscale="log")
    left.legend(frameon=False, fontsize=8, ncol=1 + len(result.study.policies) // 6)
    return figure


def _smooth(values: pd.Series) -> np.ndarray:
    window = max(1, len(values) // 60)
    smoothed: np.ndarray = values.rolling(window, min_periods=1).mean().to_numpy()
    return smoothed


def bit_width_map(run: Run, columns: int = 120) -> Figure:
    """Mean word length of every layer's operands (rows) over the steps (columns)."""
    operands = run.trace().operands
    operands = operands[~operands["layer"].str.contains("@")]  # of the pass that trains
    mean = operands["word_bits"] / (operands["rows"] * operands["columns"])
    bins = operands["step"] * columns // (operands["step"].max() + 1)
    table = pd.DataFrame(
        {"row": operands["layer"] + " " + operands["role"], "bin": bins, "bits": mean}
    ).pivot_table(index="row", columns="bin", values="bits", sort=False)
    order = sorted(table.index, key=lambda name: (name.split()[1], list(table.index).index(name)))
    table = table.loc[order]
    figure, (axes,) = _figure(8.4, 0.9 + 0.21 * len(table))
    steps = int(operands["step"].max()) + 1
    image = axes.imshow(
        table.to_numpy(), aspect="auto", cmap="viridis", vmin=0, vmax=max(8, mean.max()),
        extent=(0, steps, len(table) - 0.5, -0.5), interpolation="nearest",
    )  # fmt: skip
    axes.set_yticks(range(len(table)), order)
    axes.set(xlabel="step")
    figure.colorbar(image, ax=axes, label="mean bits", pad=0.01)
    return figure


def block_maps(run: Run, shown: int = 4, largest: int = 96) -> Figure:
    """The blocks of one layer's operands at a few sampled steps (a corner, where large)."""
    trace = run.trace()
    macs = trace.layers.set_index("layer")["macs"]
    layer = str(macs.idxmax())
    steps = trace.sampled()
    steps = [steps[i * (len(steps) - 1) // max(shown - 1, 1)] for i in range(shown)]
    roles = ("weight", "activation", "error")
    figure, axes = _figure(8.4, 4.6, len(roles), shown)
    for i, step in enumerate(steps):
        maps = trace.block_maps(step)
        for j, role in enumerate(roles):
            grid = maps[layer, role].bits[:largest, :largest]
            grid = grid if grid.shape[0] <= grid.shape[1] else grid.T
            panel = axes[j * shown + i]
            image = panel.imshow(grid, cmap="viridis", vmin=0, vmax=8, aspect="auto")
            panel.set_xticks([])
            panel.set_yticks([])
            if j == 0:
                panel.set_title(f"step {step}", fontsize=9)
            if i == 0:
                panel.set_ylabel(role)
    figure.colorbar(image, ax=axes, label="bits of a block", shrink=0.7, ticks=[0, 2, 4, 8])
    figure.suptitle(f"{layer}: one cell a block", fontsize=9)
    return figure


def stacked(
    table: pd.DataFrame, groups: Sequence[tuple[str, str]], title: str, unit: str
) -> Figure:
    """Bars of policies on accelerators (rows of `table`), stacked by its columns, two groupings.

    table : index (policy, accelerator), columns (grouping, part)
    """
    figure, axes = _figure(9.4, 1.2 + 0.42 * len(table), 1, 2)
    labels = [f"{policy}\non {machine}" for policy, machine in table.index]
    for panel, (grouping, heading) in zip(axes, groups, strict=True):
        part = table[grouping]
        left = np.zeros(len(part))
        for colour, column in zip(COLOURS, part.columns, strict=False):
            panel.barh(labels, part[column], left=left, color=colour, label=column, height=0.66)
            left = left + part[column].to_numpy()
        panel.set(xlabel=f"{title} [{unit}]", title=heading)
        panel.invert_yaxis()
        panel.locator_params(axis="x", nbins=6)
        panel.legend(
            frameon=False, fontsize=8, loc="upper center", ncol=3, bbox_to_anchor=(0.5, -0.25),
            columnspacing=1.2, handlelength=1.2,
        )  # fmt: skip
    axes[1].set_yticklabels([])
    return figure
