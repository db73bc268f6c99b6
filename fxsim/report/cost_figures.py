"""Cycles, energy, rooflines and utilisation."""

from __future__ import annotations

import numpy as np
import pandas as pd

from fxsim.hardware.accelerator import Accelerator
from fxsim.identifiers import LAYER, OPERATION, PASS, PROBE_MARK, Operation, Pass
from fxsim.report.style import FAINT, INK, MARKERS, Plot, colours, dots, legend, panel, unit
from fxsim.report.tables import PASSES
from fxsim.trace.schema import without_probes

_PEAKS = (8, 4, 2)  # word lengths whose peaks a roofline shows


def stacked(table: pd.DataFrame, kind: str, name: str, caption: str) -> Plot:
    """Bars of policies on accelerators (rows of `table`), stacked by its columns.

    kind : cycles, energy [pJ] or bits, see `UNITS`
    """
    table = table.loc[:, (table.abs() > 0).any()]
    scale, word = unit(kind, table.sum(axis=1).max())
    figure, (axes,) = panel(1.5 + 0.42 * len(table))
    rows = [f"{policy}\non {machine}" for policy, machine in table.index]
    left = np.zeros(len(table))
    for column, colour in colours(map(str, table.columns)).items():
        values = table[column].to_numpy() / scale
        axes.barh(rows, values, left=left, color=colour, label=column, height=0.68)
        left = left + values
    axes.set(xlabel=f"{kind} [{word}]")
    axes.invert_yaxis()
    axes.locator_params(axis="x", nbins=6)
    axes.grid(axis="x")
    legend(axes, len(table.columns))
    return Plot(name, caption, figure)


def by_layer(costs: pd.DataFrame, column: str, kind: str, hues: dict[str, str]) -> list[Plot]:
    """A dot a layer and policy, a panel an accelerator; sums over passes, means over seeds.

    costs : see `fxsim.studies.results.cost_table`, with `column`; kind : see `UNITS`
    """
    figures = []
    costs = costs.assign(
        layer=costs[LAYER].str.partition(PROBE_MARK)[0]
    )  # probes beside their layer
    for machine, rows in costs.groupby("accelerator", sort=False):
        sums = rows.groupby(["seed", "policy", LAYER], sort=False)[column].sum()
        table = sums.groupby(["policy", LAYER], sort=False).mean().unstack(sort=False)
        scale, word = unit(kind, table.max().max())
        caption = f"{kind.capitalize()} by layer on {machine}, all passes."
        place = f"{kind}_by_layer_{machine}"
        label = f"{kind} [{word}]"
        figures.append(dots(table / scale, hues, label, str(machine), place, caption, (0, None)))
    return figures


def roofline(table: pd.DataFrame, machine: Accelerator, hues: dict[str, str]) -> Plot:
    """Each layer and pass under a machine's roofs: off-chip bandwidth, and peaks at word lengths.

    table : rows of `fxsim.studies.results.roofline_table` on this machine
    """
    figure, (axes,) = panel(4.0)
    table = table[(table["achieved"] > 0) & (table["dram_bits"] > 0)]
    hues = {name: hue for name, hue in hues.items() if name in set(table["policy"])}
    passes = [p for p in PASSES if p in set(table[PASS])]
    for (policy, pass_), rows in table.groupby(["policy", PASS], sort=False):
        axes.plot(
            rows["intensity"],
            rows["achieved"],
            MARKERS[passes.index(Pass(str(pass_)))],
            markersize=4,
            color=hues[str(policy)],
            alpha=0.6,
            markeredgewidth=0,
        )
    dram = machine.dram
    rate = dram.bandwidth_bits_per_cycle + (dram.write_bandwidth_bits_per_cycle or 0)
    low, high = table["intensity"].min() / 2, table["intensity"].max() * 2
    top = max(machine.peak_macs(2, 2), table["achieved"].max())
    reach = np.geomspace(low, max(high, 2 * top / rate), 50)
    axes.plot(reach, np.minimum(reach * rate, top), color=INK, linewidth=1)
    annotated = set()
    for bits in _PEAKS:
        peak = machine.peak_macs(bits, bits)
        if np.isfinite(peak) and peak not in annotated:
            axes.axhline(peak, color=FAINT, linewidth=0.9, zorder=0)
            axes.annotate(
                f"{bits}x{bits} bits", (reach[-1], peak), ha="right", va="bottom", fontsize=7
            )
            annotated.add(peak)
    for policy, hue in hues.items():
        axes.plot([], [], "o", color=hue, label=policy)
    for pass_, marker in zip(passes, MARKERS, strict=False):
        axes.plot([], [], marker, color=INK, label=pass_, markersize=4)
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="multiply-accumulates a bit of off-chip traffic",
        ylabel="multiply-accumulates a cycle",
        title=machine.name,
    )
    legend(axes, len(hues) + len(passes))
    return Plot(
        f"roofline_{machine.name}",
        f"Each layer and pass on {machine.name}, first seed. Slope: off-chip bandwidth;"
        " grey: the array's peak at a word length.",
        figure,
    )


def utilisation(costs: pd.DataFrame, hues: dict[str, str]) -> list[Plot]:
    """Which share of its cycles the array works at full elasticity, by layer; a dot a policy."""
    products = without_probes(costs[costs[OPERATION] == Operation.PRODUCT])
    figures = []
    for machine, rows in products.groupby("accelerator", sort=False):
        sums = rows.groupby(["policy", LAYER], sort=False)[
            ["elastic_cycles", "array_cycles", "lockstep_cycles"]
        ].sum()
        share = (sums["elastic_cycles"] / sums["array_cycles"] * 100).unstack(sort=False)
        caption = f"Elastic cycles over the array's cycles, by layer, on {machine}; all passes."
        figures.append(
            dots(
                share,
                hues,
                "array utilisation [%]",
                str(machine),
                f"utilisation_{machine}",
                caption,
                (0, 102),
            )
        )
    return figures
