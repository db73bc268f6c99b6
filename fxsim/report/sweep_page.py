"""A sweep's report: the Pareto front first, then what each axis does."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd

from fxsim.config.overrides import short_names
from fxsim.report import curves, sources
from fxsim.report.page import Page, Section
from fxsim.report.style import Plot, panel
from fxsim.runs.execute import machine_facts, versions
from fxsim.sweeps.search import BETTER
from fxsim.sweeps.spec import COLUMNS, GridSearch
from fxsim.sweeps.sweep import SweepResult, plain

LABELS = {
    "accuracy": "test accuracy [%]",
    "cycles": "cycles [millions]",
    "seconds": "time [s]",
    "energy": "energy [mJ]",
    "edp": "energy x delay [uJ s]",
    "area": "area [mm2]",
}
_SCALES = {"accuracy": 100, "cycles": 1e-6, "energy": 1e-3, "edp": 1e6}


def page(result: SweepResult) -> Page:
    """The report of a sweep."""
    sweep, spec = result.sweep, result.sweep.spec
    front, good = pareto(result), result.good
    failed = result.table[result.table["error"] != ""]
    search = spec.search
    how = (
        "all combinations"
        if isinstance(search, GridSearch)
        else f"{search.sampler}, generations of {search.generation}, seed {search.seed}"
    )
    seeds = ", ".join(map(str, spec.seeds))
    sections = [_fronts(result), _effects(result), _points(result)]
    if len(failed):
        text = failed[["point", "error"]].reset_index(drop=True)
        tables = [("What went wrong.", text)]
        sections.append(Section("failed", "Points that failed", tables=tables))
    recipes = [sweep.recipe(_values(result, row)) for _, row in front.head(1).iterrows()]
    return Page(
        title=spec.title,
        lead=(
            f"{spec.workload}, {len(result.table)} points ({how}), seeds {seeds}; axes:"
            f" {', '.join(axis.name for axis in sweep.axes)}. Costs are those of {spec.what}."
        ),
        answer=_answer(result, front, good, failed),
        answers=[],
        table=readable(result, front),
        below=(
            "The Pareto front: no other point is at least as good in all of"
            f" {', '.join(spec.objectives)} and better in one."
            + (f" Limits: {spec.limits}." if spec.limits else "")
        ),
        sections=sections,
        assumptions=sources.assumptions(),
        policies=sources.of_policies({(r.policy_name, r.policy_kind) for r in recipes}),
        machines=[sources.of_machine(recipe.machine) for recipe in recipes],
        commands=[f"fxsim sweep {sweep.path.as_posix()}"],
        manifest={"sweep": spec.name, **versions(), **machine_facts(), "points": len(result.table)},
        inputs={sweep.path.name: sweep.document.text},
    )


def pareto(result: SweepResult) -> pd.DataFrame:
    """The points that no other beats, the first objective's best first."""
    good, objectives = result.good, result.sweep.spec.objectives
    if good.empty:
        return good
    senses = {COLUMNS[name]: BETTER[name] for name in objectives}
    front = good[~curves.dominated(good, senses)]
    first = objectives[0]
    return front.sort_values(COLUMNS[first], ascending=BETTER[first] < 0, kind="stable")


def readable(result: SweepResult, table: pd.DataFrame) -> pd.DataFrame:
    """Points with their axes and what was measured, as text."""
    spec = result.sweep.spec
    short = short_names({axis.name: 0 for axis in result.sweep.axes})
    shown: dict[str, Any] = {
        short[axis.name]: [_number(v) for v in table[axis.name]]
        for axis in result.sweep.axes
        if axis.name in table
    }
    columns = [
        *spec.objectives,
        *(n for n in ("accuracy", "cycles", "energy", "area") if n not in spec.objectives),
    ]
    for name in columns:
        if COLUMNS[name] in table:
            scaled = table[COLUMNS[name]] * _SCALES.get(name, 1)
            shown[LABELS[name]] = [f"{v:,.4g}" if v == v else "-" for v in scaled]
    for name in ("speedup", "energy_saving"):
        if name in table:
            shown[name.replace("_", " ")] = [f"{v:.2f}x" if v == v else "-" for v in table[name]]
    return pd.DataFrame(shown)


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _values(result: SweepResult, row: pd.Series) -> dict[str, Any]:
    """The values of a row's axes, as the YAML has them."""
    values = {}
    for axis in result.sweep.axes:
        shown = row[axis.name]
        names = [v for v in axis.values or [] if str(plain(v)) == str(shown)]
        values[axis.name] = names[0] if names else shown
    return values


def _answer(
    result: SweepResult, front: pd.DataFrame, good: pd.DataFrame, failed: pd.DataFrame
) -> str:
    if good.empty:
        return f"None of {len(result.table)} points was measured and is within the limits."
    objectives = result.sweep.spec.objectives
    parts = []
    for name in objectives:
        column = COLUMNS[name]
        best = good.loc[good[column].idxmax() if BETTER[name] > 0 else good[column].idxmin()]
        unit = LABELS[name].partition(" [")[2].rstrip("]")
        value = f"{best[column] * _SCALES.get(name, 1):.4g} {unit}"
        parts.append(f"the best {_short(name)} is {value} at {best['point']}")
    trouble = f"; {len(failed)} failed" if len(failed) else ""
    share = f"Of {len(good)} points, {len(front)} lie on the Pareto front: "
    return share + "; ".join(parts) + trouble + "."


def _short(name: str) -> str:
    return LABELS[name].partition(" [")[0]


def _scaled(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(**{name: table[c] * _SCALES.get(name, 1) for name, c in COLUMNS.items()})


def _fronts(result: SweepResult) -> Section:
    spec, good = result.sweep.spec, result.good
    plots: list[Plot] = []
    if not good.empty:
        table = _scaled(good)
        short = short_names({axis.name: 0 for axis in result.sweep.axes})
        axes = [axis.name for axis in result.sweep.axes]
        few = [name for name in axes if table[name].nunique() <= 8] or axes[:1]
        hue = next((n for n in few if n.partition(".")[0] == "policy"), few[0])
        shape = next((n for n in few if n != hue), hue)
        table = table.assign(**{n: table[n].map(_number) for n in {hue, shape}})
        if table[hue].nunique() > 8:
            table, shape = table.assign(**{hue: "points"}), hue
        pairs = list(itertools.combinations(spec.objectives, 2)) or [(spec.objectives[0], "cycles")]
        for one, other in pairs:
            x, y = (other, one) if one == "accuracy" else (one, other)
            senses: dict[str, int] = {x: BETTER[x], y: BETTER[y]}
            plots.append(
                curves.front(
                    table,
                    x,
                    y,
                    senses,
                    (LABELS[x], LABELS[y]),
                    hue,
                    shape,
                    f"front_{y}_{x}",
                    f"{_short(y).capitalize()} against {x}; dotted: what no other point beats in"
                    f" both. Colours: {hue}" + (f"; markers: {shape}." if shape != hue else "."),
                    short[shape],
                    short[hue] if "." in hue else "",
                )
            )
    return Section("front", "Pareto fronts", plots=plots)


def _effects(result: SweepResult) -> Section:
    """Each axis against each objective: every point, and the mean at each value."""
    spec, good = result.sweep.spec, _scaled(result.good)
    plots = []
    for axis in result.sweep.axes:
        values = good[axis.name]
        if values.nunique() < 2:
            continue
        numeric = pd.api.types.is_numeric_dtype(values)
        places = values if numeric else values.astype("category").cat.codes
        for name in spec.objectives:
            figure, (axes,) = panel(2.8)
            axes.plot(places, good[name], "o", markersize=3.5, alpha=0.5, color="#0072B2")
            if values.nunique() <= 16:
                means = good.groupby(places)[name].mean()
                axes.plot(means.index, means, "-", color="#E69F00", linewidth=1.8)
            if numeric and values.min() > 0 and values.max() >= 8 * values.min():
                axes.set_xscale("log", base=2 if axis.range and axis.range.powers_of_two else 10)
            elif not numeric:
                names = values.astype("category").cat.categories
                axes.set_xticks(range(len(names)), names, rotation=20, ha="right")
            if not numeric or values.nunique() <= 8:
                axes.margins(x=0.1)
            axes.set(xlabel=axis.name, ylabel=LABELS[name])
            axes.grid()
            caption = f"{LABELS[name]} by {axis.name}: points, and the mean at each value."
            if np.isfinite(good[name]).all():
                plots.append(Plot(f"effect_{axis.name}_{name}", caption, figure))
    return Section("effects", "What each axis does", plots=plots)


def _points(result: SweepResult) -> Section:
    table = readable(result, result.good)
    return Section("points", "All points", tables=[(f"{len(table)} points, as proposed.", table)])
