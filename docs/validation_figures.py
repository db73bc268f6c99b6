"""Draws what the tests compare: our numbers against foreign tools', row by row.

    python docs/validation_figures.py

It needs the golden files beside the checkout (`../shared`, or FXSIM_SHARED), and writes
`docs/figures/validation_*.svg`. The comparisons are those of the tests, by their code.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), *(str(ROOT / "tests" / d) for d in ("cost", "mapping"))]

import test_bitfusion  # noqa: E402
import test_dnnsim  # noqa: E402
import test_scalesim  # noqa: E402
import test_timeloop  # noqa: E402
import test_zigzag  # noqa: E402
from support import shared  # noqa: E402

from fxsim.hardware import accelerator  # noqa: E402
from fxsim.mapping.search import best_mapping  # noqa: E402
from fxsim.report.style import INK, MARKERS, colours, legend, panel, styled, svg  # noqa: E402

Row = tuple[str, float, float]  # what, ours, theirs


def scalesim() -> Iterator[Row]:
    """Cycles, by dataflow."""
    path = shared("golden", "cost", "scalesim_public_resnet18_alexnet.csv")
    for row in csv.DictReader(path.read_text().splitlines()):
        flow = test_scalesim.FLOWS[row["dataflow"]].replace("_", " ")
        yield flow, float(test_scalesim.counted(row)[0]), float(row["total_cycles"])


def bitfusion() -> Iterator[Row]:
    """Cycles at its tiling, and at our mapper's."""
    machine = accelerator.load(ROOT / "accelerators" / "bitfusion.yaml")
    for name in test_bitfusion.FILES:
        for row in test_bitfusion.rows(name):
            problem = test_bitfusion.problem_of(row, machine)
            _, _, cycles, _ = problem.movement(test_bitfusion.its_mapping(row, problem))
            yield "at its tiling", float(cycles), float(row["cycles"])
            yield "at our mapping", float(best_mapping(problem).cycles), float(row["cycles"])


def bitfusion_energy() -> Iterator[Row]:
    """Energy of buffers and off-chip memory at its tiling [uJ]."""
    machine = accelerator.load(ROOT / "accelerators" / "bitfusion.yaml")
    for name in test_bitfusion.FILES:
        for row in test_bitfusion.rows(name):
            problem = test_bitfusion.problem_of(row, machine)
            _, _, _, memories_pj = problem.movement(test_bitfusion.its_mapping(row, problem))
            theirs = row["e_dram_nJ"] + row["e_sram_nJ"]
            yield "memories", memories_pj / 1e6, theirs / 1e3


def dnnsim() -> Iterator[Row]:
    """Compute cycles, by machine."""
    path = shared("golden", "cost", "dnnsim_synthetic_bitserial.csv")
    for row in csv.DictReader(path.read_text().splitlines()):
        name = test_dnnsim.MACHINES[row["arch"]]
        machine = accelerator.load(ROOT / "accelerators" / f"{name}.yaml")
        bits = int(row["activations precision"]), int(row["weights precision"])
        ours = test_dnnsim.cycles(machine, test_dnnsim.LAYERS[row["Layer"]], bits)
        yield name, float(ours), float(row["compute_cycles"])


def zigzag() -> Iterator[Row]:
    """Energy of its mappings, by machine [uJ]."""
    for hardware, found in test_zigzag.FOUND.items():
        machine = accelerator.load(test_zigzag.HERE / f"{hardware}.yaml")
        for row in found["layers"]:
            problem = test_zigzag.problem_of(machine, row)
            _, _, _, energy_pj = problem.movement(test_zigzag.its_mapping(problem, row))
            yield hardware, energy_pj / 1e6, row["energy_pj"] / 1e6


def timeloop() -> Iterator[Row]:
    """Cycles of our best mapping and of its."""
    for row, _, ours in test_timeloop.found():
        yield "eyeriss_like", float(ours.cycles), float(row["cycles"])


COMPARISONS: dict[str, tuple[Callable[[], Iterator[Row]], str, str]] = {
    "scalesim": (scalesim, "cycles", "SCALE-Sim v3"),
    "bitfusion": (bitfusion, "cycles", "Bit Fusion's simulator"),
    "bitfusion_energy": (bitfusion_energy, "energy of memories [uJ]", "Bit Fusion's simulator"),
    "dnnsim": (dnnsim, "compute cycles", "DNNsim"),
    "zigzag": (zigzag, "energy of its mappings [uJ]", "ZigZag 3.9.1"),
    "timeloop": (timeloop, "cycles of each one's best mapping", "Timeloop"),
}


def main() -> None:
    """All of them."""
    place = Path(__file__).parent / "figures"
    for name, (rows, what, tool) in COMPARISONS.items():
        table = pd.DataFrame(rows(), columns=["case", "ours", "theirs"])
        with styled():
            figure, (axes,) = panel(3.6)
            ends = [table[["ours", "theirs"]].min().min(), table[["ours", "theirs"]].max().max()]
            axes.plot(ends, ends, color=INK, linewidth=0.7)
            cases = list(dict.fromkeys(table["case"]))
            for case, hue, marker in zip(cases, colours(cases).values(), MARKERS, strict=False):
                part = table[table["case"] == case]
                axes.plot(
                    part["theirs"],
                    part["ours"],
                    marker,
                    color=hue,
                    label=case,
                    markersize=4,
                    alpha=0.7,
                    markeredgewidth=0,
                )
            axes.set(xscale="log", yscale="log", xlabel=f"{tool}: {what}", ylabel=f"fxsim: {what}")
            axes.grid()
            legend(axes, len(cases))
            (place / f"validation_{name}.svg").write_text(
                svg(figure).replace("<svg", '<svg style="background:#fff"', 1), encoding="utf-8"
            )
        ratio = table["ours"] / table["theirs"]
        print(
            f"{tool}, {what}: {len(table)} rows, ours over theirs {ratio.min():.4f} to"
            f" {ratio.max():.4f}"
        )


if __name__ == "__main__":
    main()
