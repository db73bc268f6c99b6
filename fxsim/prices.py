"""Prices of whole runs, kept on disk: what was priced once with the same inputs is not again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fxsim.accelerator.schema import Accelerator
from fxsim.cost.price import ENERGIES, Priced, Totals, price
from fxsim.files import atomic_directory, source_sha256
from fxsim.mapping.search import Objective
from fxsim.recorded import Run

KEPT = "prices"  # the folder of prices that are kept, in a study's directory
TABLES = ("operations", "memory", "roofline", "steps")
_CODE = ("trace.py", "prices.py", "accelerator", "mapping", "cost", "arithmetic", "engine")


@dataclass(frozen=True, slots=True, eq=False)
class Costs(Totals):
    """What a run costs on a machine, steps summed.

    operations : a row a layer, pass and operation: the numbers of `fxsim.cost.price.Priced.table`
    memory : a row a layer, pass, operation, level and operand: bits read and written, their energy
    roofline : a row a layer and pass, see `Priced.roofline`
    steps : a row a step: cycles, energy_pj
    """

    machine: Accelerator
    operations: pd.DataFrame
    memory: pd.DataFrame
    roofline: pd.DataFrame
    steps: pd.DataFrame

    @classmethod
    def of(cls, priced: Priced) -> Costs:
        """Of a priced trace."""
        keys = ["layer", "pass", "operation"]
        numbers = priced.table.drop(columns=["step", "maps", "bound_by"])
        operations = numbers.groupby(keys, sort=False).sum().reset_index()
        moved = priced.traffic.drop(columns="step")
        memory = moved.groupby([*keys, "level", "operand"], sort=False).sum().reset_index()
        energy = priced.table[list(ENERGIES)].sum(axis=1)
        steps = priced.table[["step", "cycles"]].assign(energy_pj=energy)
        return cls(
            priced.machine, operations, memory, priced.roofline,
            steps.groupby("step").sum().reset_index(),
        )  # fmt: skip

    @property
    def cycles(self) -> float:
        """All cycles."""
        return float(self.operations["cycles"].sum())

    @property
    def energy_pj(self) -> float:
        """All energy [pJ]."""
        return float(self.operations[list(ENERGIES)].to_numpy().sum())


def code_sha256() -> str:
    """The hash of the code that decides prices."""
    return source_sha256(_CODE)


def key(run: Run, machine: Accelerator, objective: Objective) -> str:
    """The hash of all that decides a price: code, run, machine, what the mapper minimises."""
    parts = [
        code_sha256(), run.manifest["inputs_sha256"], run.manifest["weights_sha256"],
        machine.sha256, objective,
    ]  # fmt: skip
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def beside(run: Run) -> Path | None:
    """Where the study that a run belongs to keeps prices, if it does."""
    place = run.directory.parent.parent / KEPT
    return place if run.directory.parent.name == "runs" and place.is_dir() else None


def known(
    run: Run, machine: Accelerator, objective: Objective = "edp", kept: Path | None = None
) -> Costs | None:
    """The price that is kept in a directory, if it is."""
    place = kept and kept / key(run, machine, objective)[:32]
    if place is None or not place.is_dir():
        return None
    return Costs(machine, *(pd.read_parquet(place / f"{name}.parquet") for name in TABLES))


def costs(
    run: Run, machine: Accelerator, objective: Objective = "edp", kept: Path | None = None
) -> Costs:
    """What a run costs on a machine; taken from the directory `kept`, or priced and kept there."""
    found = known(run, machine, objective, kept)
    if found is None:
        found = Costs.of(price(run.trace(), machine, objective))
        if kept is not None:
            with atomic_directory(kept / key(run, machine, objective)[:32]) as fresh:
                for name in TABLES:
                    getattr(found, name).to_parquet(fresh / f"{name}.parquet", index=False)
    return found
