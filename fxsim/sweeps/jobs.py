"""What a worker does: train a network, price its runs. Workers share the sweep's directory."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fxsim.config.yaml_document import Document
from fxsim.cost import cache
from fxsim.engine.threads import set_threads
from fxsim.errors import DataError, FxsimError
from fxsim.hardware.accelerator import Accelerator
from fxsim.identifiers import OPERAND_ROLES, Phase
from fxsim.mapping.search import Objective
from fxsim.runs import inference
from fxsim.runs.directory import Run
from fxsim.runs.execute import execute, finished
from fxsim.runs.inputs import RunInputs, prepare
from fxsim.training.settings import Watcher

TOKEN = "sweep.yaml"  # the copy of the sweep by which a worker knows that it sees the directory


@dataclass(frozen=True, slots=True, eq=False)
class Training:
    """One run to train, once for all points that need it.

    sha256 : of its inputs, by which it is known
    """

    sha256: str
    directory: Path
    workload: Document
    policy_kind: str
    policy: Any
    seed: int
    dataset: str | None
    data_directory: Path | None
    epochs: int | None
    machine: Document
    threads: int

    @property
    def place(self) -> Path:
        """Where its run lies."""
        return self.directory / "runs" / self.sha256[:24]


@dataclass(frozen=True, slots=True, eq=False)
class CostJob:
    """Runs of all seeds to be priced on a machine."""

    directory: Path
    places: tuple[Path, ...]
    machine: Accelerator
    objective: Objective
    threads: int
    phase: Phase = Phase.TRAINING
    batch: int | None = None
    data_directory: Path | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong, in a line."""

    problem: str


def inputs_of(job: Training, dataset: Any = None) -> RunInputs:
    """The inputs of a run to train."""
    return prepare(
        job.workload,
        job.policy_kind,
        job.policy,
        job.seed,
        dataset,
        job.data_directory,
        job.dataset,
        job.epochs,
        machine=job.machine,
    )


def train(job: Training, watcher: Watcher | None = None) -> float | Failure:
    """Train a run, or find it trained; goes on from what a lost worker left. Seconds it took."""
    started = time.perf_counter()
    try:
        _at_home(job.directory)
        set_threads(job.threads)
        inputs = inputs_of(job)
        if inputs.sha256() != job.sha256:
            raise DataError(
                "this worker's code or data is not the scheduler's: the inputs' hash must be"
                f" {job.sha256[:12]}, it is {inputs.sha256()[:12]}"
            )
        if finished(job.place, inputs) is None:
            execute(inputs, job.place, watcher, resume=True)
    except Exception as problem:
        return Failure(line(problem))
    return time.perf_counter() - started


def measure(job: CostJob, trained: Sequence[float | Failure]) -> dict[str, float] | Failure:
    """What a point is worth: means over its seeds.

    trained : what `train` said of its runs
    """
    started = time.perf_counter()
    failed = [runs for runs in trained if isinstance(runs, Failure)]
    if failed:
        return failed[0]
    try:
        _at_home(job.directory)
        set_threads(job.threads)
        runs = [Run.load(place) for place in job.places]
        costs_folder = job.directory / cache.FOLDER
        costs = [
            cache.costs(
                inference.priced(run, job.phase, job.batch, job.data_directory),
                job.machine,
                job.objective,
                costs_folder,
            )
            for run in runs
        ]
        columns: dict[str, list[float]] = {
            "test_accuracy": [run.manifest["test_accuracy"] for run in runs],
            "cycles": [cost.cycles for cost in costs],
            "seconds": [cost.seconds for cost in costs],
            "energy_uj": [cost.energy_pj / 1e6 for cost in costs],
            "edp_js": [cost.edp_js for cost in costs],
        }
        for role in OPERAND_ROLES:
            columns[f"{role}_bits"] = [run.mean_bits()[role] for run in runs]
        means = {name: float(sum(values) / len(values)) for name, values in columns.items()}
        spread = sum((v - means["test_accuracy"]) ** 2 for v in columns["test_accuracy"])
        if len(runs) > 1:
            means["test_accuracy_sd"] = float((spread / (len(runs) - 1)) ** 0.5)
        means["area_mm2"] = job.machine.area_mm2
        means["wall_s"] = sum(map(float, trained)) + time.perf_counter() - started  # type: ignore[arg-type]
        return means
    except Exception as problem:
        return Failure(line(problem))


def line(problem: BaseException) -> str:
    """An error as one line, with its kind where it is not one of ours."""
    text = " ".join(str(problem).split()) or "no message"
    return text if isinstance(problem, FxsimError) else f"{type(problem).__name__}: {text}"


def _at_home(directory: Path) -> None:
    if not (directory / TOKEN).is_file():
        raise DataError(
            f"{directory}: must be a directory that this worker shares with the scheduler; it does"
            f" not see {TOKEN} there"
        )
