"""Accuracy and loss while training, and what is gained for what: Pareto fronts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from fxsim.identifiers import OPERAND_ROLES, STEP
from fxsim.report.style import INK, Plot, colours, legend, markers, panel
from fxsim.runs.directory import Run
from fxsim.studies.study import StudyResult

__all__ = ["OPERAND_ROLES", "accuracy_and_loss", "dominated", "front"]


def accuracy_and_loss(result: StudyResult) -> list[Plot]:
    """Test accuracy after each epoch, and training loss by step; thin lines are seeds."""
    accuracy, (left,) = panel(3.2)
    losses, (right,) = panel(3.2)
    runs_by_policy, hues = _by_policy(result), colours(result.study.policies)
    for name, runs in runs_by_policy.items():
        colour = hues[name]
        curves = [run.evaluations["test_accuracy"].to_numpy() * 100 for run in runs]
        epochs = np.arange(1, len(curves[0]) + 1)
        smooth = [_smooth(run.metrics["loss"]) for run in runs]
        for curve, loss in zip(curves, smooth, strict=True):
            if len(curves) > 1:
                left.plot(epochs, curve, color=colour, linewidth=0.6, alpha=0.45)
                right.plot(loss, color=colour, linewidth=0.6, alpha=0.45)
        style: Any = {"color": colour, "linewidth": 1.8, "label": name}
        dot = "o" if len(epochs) == 1 else ""
        left.plot(epochs, np.mean(curves, axis=0), marker=dot, **style)
        right.plot(np.mean(smooth, axis=0), **style)
    left.set(xlabel="epoch", ylabel="test accuracy [%]")
    left.set_xlim(0.5, len(epochs) + 0.5)
    left.locator_params(axis="x", integer=True)
    right.set(xlabel=STEP, ylabel="training loss, smoothed", yscale="log")
    for axes in (left, right):
        axes.grid(axis="y")
        legend(axes, len(runs_by_policy))
    seeds = "Thick: mean over seeds; thin: each seed." if len(result.study.spec.seeds) > 1 else ""
    return [
        Plot("accuracy", f"Test accuracy after each epoch. {seeds}".strip(), accuracy),
        Plot("loss", f"Training loss. {seeds}".strip(), losses),
    ]


def _by_policy(result: StudyResult) -> dict[str, list[Run]]:
    runs: dict[str, list[Run]] = {}
    for (policy, _), run in result.runs.items():
        runs.setdefault(policy, []).append(run)
    return runs


def _smooth(values: pd.Series) -> np.ndarray:
    window = max(1, len(values) // 60)
    smoothed: np.ndarray = values.rolling(window, min_periods=1).mean().to_numpy()
    return smoothed


def dominated(table: pd.DataFrame, senses: dict[str, int]) -> pd.Series:
    """Whether another row is no worse in every column and better in one.

    senses : {column: 1 if more is better, -1 if less is}
    """
    values = table[list(senses)].to_numpy(float) * np.array(list(senses.values()))
    flags = [
        bool(((values >= row).all(axis=1) & (values > row).any(axis=1)).any()) for row in values
    ]
    return pd.Series(flags, table.index, dtype=bool)


def front(  # noqa: PLR0913
    table: pd.DataFrame,
    x: str,
    y: str,
    senses: dict[str, int],
    labels: Sequence[str],
    colour: str,
    marker: str,
    name: str,
    caption: str,
    on: str = "on",
    of: str = "",
    hues: dict[str, str] | None = None,
) -> Plot:
    """Points of a table by two of its columns, and the Pareto front among them.

    It takes more than seven parameters: columns, and words for each, as its two callers have them.

    labels : of the axes; colour, marker : the columns that these stand for; of, on : words before
        their values
    """
    table = table.dropna(subset=[x, y])
    shapes, there = markers(table[marker].unique()), set(table[colour])
    palette = hues or colours(table[colour].unique())
    hues = {name: hue for name, hue in palette.items() if name in there}
    figure, (axes,) = panel(3.5)
    best = table[~dominated(table, {k: senses[k] for k in (x, y)})].sort_values(x)
    axes.plot(best[x], best[y], color=INK, linewidth=0.9, linestyle=":", zorder=1)
    for (hue, shape), group in table.groupby([colour, marker], sort=False):
        errors = group.get(f"{y}_sd")
        axes.errorbar(
            group[x],
            group[y],
            yerr=errors,
            color=hues[hue],
            marker=shapes[shape],
            linestyle="",
            markersize=5.5,
            elinewidth=0.8,
        )
    for hue, value in hues.items():
        axes.plot([], [], color=value, marker="o", linestyle="", label=f"{of} {hue}".strip())
    if len(shapes) > 1 and marker != colour:
        for shape, value in shapes.items():
            axes.plot([], [], color=INK, marker=value, linestyle="", label=f"{on} {shape}")
    axes.set(xlabel=labels[0], ylabel=labels[1])
    if (table[x] > 0).all() and table[x].max() > 20 * table[x].min():
        axes.set_xscale("log")
    axes.grid()
    legend(axes, len(hues) + len(shapes))
    return Plot(name, caption, figure)
