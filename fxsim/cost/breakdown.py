"""A trace's cost taken apart: tables of what a priced trace holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from fxsim.cost.model import ENERGIES, TraceCost
from fxsim.identifiers import LAYER, OPERATION, PASS, STEP

GROUPINGS = (PASS, LAYER, OPERATION, STEP)
PARTS = ("component", "level", "operand")  # of energy; of cycles, there are components
VIEWS = ("cost", "roofline", "power", "mappings")
_SUMMED = ("macs", "cycles", "array_cycles", "memory_cycles", "vector_cycles", "dram_bits")


def breakdown(cost: TraceCost, by: Sequence[str]) -> pd.DataFrame:
    """A trace's cost taken apart, a row a group, and its total.

    Parameters
    ----------
    cost : of a trace
    by : any of pass, layer, operation, step: cycles, off-chip bits and energies by component [pJ];
        with component, level or operand among them: energy, and cycles where these are components

    Returns
    -------
    The table; its last row is the total.

    Examples
    --------
    >>> import fxsim
    >>> cost = fxsim.estimate("lenet5", "dynasty", batch=2)
    >>> bool(breakdown(cost, ["pass"])["cycles"].iloc[-1] == cost.cycles)
    True
    """
    if set(by) <= set(GROUPINGS):
        grouped = cost.table.groupby(list(by), sort=list(by) == [STEP])
        sums = grouped[[*_SUMMED, *ENERGIES]].sum().reset_index()
        sums["energy_pj"] = sums[list(ENERGIES)].sum(axis=1)
    else:
        sums = cost.energy(by)
        if not {"level", "operand"} & set(by):
            sums = cost.cycles_by(by).merge(sums, on=list(by), how="outer", sort=False)
    total = sums.sum(numeric_only=True).to_frame().T
    for name in by:
        sums, total[name] = sums.astype({name: object}), ""
    total[by[0]] = "total"
    return pd.concat([sums, total], ignore_index=True)[list(sums.columns)].fillna(0.0)


def view(cost: TraceCost, show: str, by: Sequence[str]) -> pd.DataFrame:
    """One of `VIEWS` of a cost.

    Parameters
    ----------
    cost : of a trace
    show : "cost", "roofline", "power" or "mappings"
    by : of "cost": how it is taken apart, see `breakdown`

    Returns
    -------
    The table.

    Examples
    --------
    >>> import fxsim
    >>> len(view(fxsim.estimate("lenet5", "dynasty", batch=2), "power", ["pass"]))
    1
    """
    if show == "roofline":
        return cost.roofline
    if show == "power":
        return power(cost)
    return mapping_table(cost) if show == "mappings" else breakdown(cost, by)


def power(cost: TraceCost) -> pd.DataFrame:
    """Time, energy, their product, power and area of a trace on a machine.

    Parameters
    ----------
    cost : of a trace

    Returns
    -------
    One row: cycles, seconds, energy_pj, edp_js, average_w, peak_w, leakage_w, array_mm2, area_mm2.

    Examples
    --------
    >>> import fxsim
    >>> table = power(fxsim.estimate("lenet5", "dynasty", batch=2))
    >>> bool((table["average_w"] <= table["peak_w"]).all())
    True
    """
    on = cost.machine
    return pd.DataFrame(
        [
            {
                "cycles": cost.cycles,
                "seconds": cost.seconds,
                "energy_pj": cost.energy_pj,
                "edp_js": cost.edp_js,
                "average_w": cost.average_power_w,
                "peak_w": on.peak_power_w(),
                "leakage_w": on.leakage_w,
                "array_mm2": on.array_area_mm2,
                "area_mm2": on.area_mm2,
            }
        ]
    )


def mapping_table(cost: TraceCost) -> pd.DataFrame:
    """How far each searched mapping can be from the best there is, at most.

    Parameters
    ----------
    cost : of a trace

    Returns
    -------
    A row a searched product: the word lengths that units run it as (those of its words, or wider
    ones where that costs less), cycles, energy_pj, and by which factor at most a better mapping
    could beat them.

    Examples
    --------
    >>> import fxsim
    >>> table = mapping_table(fxsim.estimate("lenet5", "dynasty", batch=2))
    >>> bool((table["at_most_x_cycles"] >= 1).all())
    True
    """
    rows = [
        {
            "product": str(priced.product.id),
            "run_as": "{} x {} bits".format(*priced.mode) if priced.mode else "its own bits",
            "cycles": search.cycles,
            "at_most_x_cycles": search.bound("cycles"),
            "energy_pj": search.energy_pj,
            "at_most_x_energy": search.bound("energy"),
            "evaluated": search.evaluated,
            "all_candidates": "yes" if search.complete else "no",
        }
        for priced in cost.products
        if (search := priced.search)
    ]
    return pd.DataFrame(rows)


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """Numbers as text, three significant figures or more; dashes for what there is not.

    Parameters
    ----------
    table : of numbers and text

    Returns
    -------
    The same in text.

    Examples
    --------
    >>> readable(pd.DataFrame({"cycles": [1234.5], "speedup": [1.5]})).iloc[0].tolist()
    ['1,234', '1.50x']
    """
    return pd.DataFrame({name: [_text(name, v) for v in table[name]] for name in table})


def _text(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value[:12] if name.endswith("sha256") else value
    if value != value:
        return "-"
    if value and abs(value) < 0.01:
        return f"{value:.3g}"
    if name in ("speedup", "energy_saving"):
        return f"{value:.2f}x"
    if name == "test_accuracy":
        return f"{100 * value:.2f} %"
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.2f}"
