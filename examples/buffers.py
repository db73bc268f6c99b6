"""How much does a larger weight buffer save? `buffers.py WORKLOAD ACCELERATOR LEVEL`.

Prices one training step of a workload with a memory level at a quarter to four times its size, and
prints cycles, energy, off-chip traffic, area, and the layer that gains the most: a design question
that a spreadsheet answers badly, because every size asks for other tiles.
"""

from __future__ import annotations

import argparse

import pandas as pd

from fxsim.config import resources
from fxsim.cost.model import TraceCost, evaluate_cost
from fxsim.hardware import accelerator
from fxsim.hardware.accelerator import Accelerator
from fxsim.policies.uniform import Uniform
from fxsim.runs import synthetic_trace
from fxsim.training import workload


def resized(machine: Accelerator, level: str, factor: float) -> Accelerator:
    """The machine with one memory level larger or smaller, in capacity and in area."""
    memory = tuple(
        m.model_copy(
            update={"capacity_bits": int(m.capacity_bits * factor), "area_mm2": m.area_mm2 * factor}
        )
        if m.name == level and m.capacity_bits
        else m
        for m in machine.memory
    )
    return machine.model_copy(update={"memory": memory})


def traffic(cost: TraceCost) -> pd.Series:
    """Off-chip bits by layer."""
    table = cost.table[cost.table["operation"] == "product"]
    return table.groupby("layer", sort=False)["dram_bits"].sum()


def main() -> None:
    known = argparse.ArgumentParser(description=__doc__)
    known.add_argument("workload")
    known.add_argument("accelerator")
    known.add_argument("level", help="name of the memory level that changes")
    given = known.parse_args()
    network, model = workload.load(resources.find("workloads", given.workload))
    trace = synthetic_trace.one_step(model, Uniform(), network.training.settings())
    machine = accelerator.load(resources.find("accelerators", given.accelerator))
    names = [m.name for m in machine.memory[1:]]
    if given.level not in names:
        known.error(f"level must be one of {', '.join(names)}, not {given.level!r}")
    now = traffic(evaluate_cost(trace, machine))
    rows = []
    for factor in (0.25, 0.5, 1, 2, 4):
        cost = evaluate_cost(trace, resized(machine, given.level, factor))
        change = now - traffic(cost)
        rows.append(
            {
                "size": f"{factor:g}x",
                "cycles": cost.cycles,
                "energy_uj": cost.energy_pj / 1e6,
                "dram_mbit": traffic(cost).sum() / 1e6,
                "area_mm2": cost.machine.area_mm2,
                "gains most": str(change.idxmax()) if change.max() > 0 else "-",
            }
        )
    print(pd.DataFrame(rows).to_string(index=False, float_format=lambda value: f"{value:,.2f}"))


if __name__ == "__main__":
    main()
