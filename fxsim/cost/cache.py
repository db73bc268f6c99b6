"""Costs of whole runs, kept on disk: what was evaluated once with the same inputs is not again."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from fxsim.cost.model import ENERGIES, Totals, TraceCost, evaluate_cost
from fxsim.hardware.accelerator import Accelerator
from fxsim.identifiers import LAYER, OPERATION, PASS, STEP
from fxsim.mapping.search import Objective
from fxsim.persistence.atomic import atomic_directory
from fxsim.persistence.code_hash import code_sha256
from fxsim.trace.reader import Trace

FOLDER = "costs"  # of costs that are kept, in a study's directory
TABLES = ("operations", "memory", "roofline", "steps")


@dataclass(frozen=True, slots=True, eq=False)
class RunCost(Totals):
    """What a run costs on a machine, steps summed.

    operations : a row a layer, pass and operation: the numbers of `TraceCost.table`
    memory : a row a layer, pass, operation, level and operand: bits read and written, their energy
    roofline : a row a layer and pass, see `TraceCost.roofline`
    steps : a row a step: cycles, energy_pj
    """

    machine: Accelerator
    operations: pd.DataFrame
    memory: pd.DataFrame
    roofline: pd.DataFrame
    steps: pd.DataFrame

    @classmethod
    def of(cls, cost: TraceCost) -> RunCost:
        """The sums over steps of a trace's cost.

        Parameters
        ----------
        cost : a trace's cost

        Returns
        -------
        The tables that are kept.

        Examples
        --------
        >>> import fxsim
        >>> cost = fxsim.estimate("lenet5", "dynasty", batch=2)
        >>> bool(RunCost.of(cost).cycles == cost.cycles)
        True
        """
        keys = [LAYER, PASS, OPERATION]
        numbers = cost.table.drop(columns=[STEP, "maps", "bound_by"])
        operations = numbers.groupby(keys, sort=False).sum().reset_index()
        moved = cost.traffic.drop(columns=STEP)
        memory = moved.groupby([*keys, "level", "operand"], sort=False).sum().reset_index()
        energy = cost.table[list(ENERGIES)].sum(axis=1)
        steps = cost.table[[STEP, "cycles"]].assign(energy_pj=energy)
        return cls(
            cost.machine,
            operations,
            memory,
            cost.roofline,
            steps.groupby(STEP).sum().reset_index(),
        )

    @property
    def cycles(self) -> float:
        """All cycles."""
        return float(self.operations["cycles"].sum())

    @property
    def energy_pj(self) -> float:
        """All energy [pJ]."""
        return float(self.operations[list(ENERGIES)].to_numpy().sum())


class TracedRun(Protocol):
    """A finished run with a trace; `fxsim.runs.directory.Run` is one."""

    @property
    def directory(self) -> Path:
        """Where it lies."""

    @property
    def manifest(self) -> dict[str, Any]:
        """What it was made from: `inputs_sha256` and `weights_sha256` among it."""

    def trace(self) -> Trace:
        """What each operation did."""


def model_sha256() -> str:
    """The hash of the code that decides costs: this module's, and of all that it imports.

    Returns
    -------
    A SHA-256 in hexadecimal.
    """
    return code_sha256(sys.modules[__name__])


def key(run: TracedRun, machine: Accelerator, objective: Objective) -> str:
    """The hash of all that decides a cost: code, run, machine, what the mapper minimises.

    Parameters
    ----------
    run : a finished one
    machine : the accelerator
    objective : of the mapper

    Returns
    -------
    A SHA-256 in hexadecimal.
    """
    parts = [
        model_sha256(),
        run.manifest["inputs_sha256"],
        run.manifest["weights_sha256"],
        machine.sha256,
        objective,
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def beside(run: TracedRun) -> Path | None:
    """Where the study that a run belongs to keeps costs, if it does.

    Parameters
    ----------
    run : a finished one

    Returns
    -------
    The folder, or None.
    """
    place = run.directory.parent.parent / FOLDER
    return place if run.directory.parent.name == "runs" and place.is_dir() else None


def cached(
    run: TracedRun, machine: Accelerator, objective: Objective = "edp", folder: Path | None = None
) -> RunCost | None:
    """The cost that is kept in a folder, if it is.

    Parameters
    ----------
    run : a finished one
    machine : the accelerator
    objective : of the mapper
    folder : where costs are kept

    Returns
    -------
    The cost, or None.
    """
    place = folder and folder / key(run, machine, objective)[:32]
    if place is None or not place.is_dir():
        return None
    return RunCost(machine, *(pd.read_parquet(place / f"{name}.parquet") for name in TABLES))


def costs(
    run: TracedRun, machine: Accelerator, objective: Objective = "edp", folder: Path | None = None
) -> RunCost:
    """What a run costs on a machine.

    Parameters
    ----------
    run : a finished one
    machine : the accelerator
    objective : of the mapper
    folder : where costs are kept; None: nowhere

    Returns
    -------
    The cost, from the folder, or evaluated and kept there.
    """
    cost = cached(run, machine, objective, folder)
    if cost is None:
        cost = RunCost.of(evaluate_cost(run.trace(), machine, objective))
        if folder is not None:
            with atomic_directory(folder / key(run, machine, objective)[:32]) as fresh:
                for name in TABLES:
                    getattr(cost, name).to_parquet(fresh / f"{name}.parquet", index=False)
    return cost
