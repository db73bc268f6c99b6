"""Running a sweep: points in generations, results kept as they come, resumed by what is kept."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from fxsim.config.overrides import label_of, short_names
from fxsim.cost import cache
from fxsim.display import Displayed
from fxsim.engine.threads import available_threads
from fxsim.errors import DataError, FxsimError
from fxsim.identifiers import Phase
from fxsim.persistence.atomic import atomic_file
from fxsim.persistence.code_hash import code_sha256
from fxsim.runs import inference
from fxsim.sweeps import search
from fxsim.sweeps.jobs import TOKEN, CostJob, Failure, Training, inputs_of, line
from fxsim.sweeps.pool import Outcome, pool
from fxsim.sweeps.spec import COLUMNS, GridSearch, Sweep
from fxsim.training.settings import Watcher

POINTS = "points"  # the folder of results, a Parquet file a point


class SweepWatcher(Protocol):
    """Hears of a sweep's progress."""

    def run(self, label: str, reused: bool) -> Watcher | None:
        """A run begins in this process.

        Parameters
        ----------
        label : for people
        reused : whether it is an old one

        Returns
        -------
        Who watches its steps.
        """

    def point(self, label: str, done: int, total: int) -> None:
        """A point is done.

        Parameters
        ----------
        label : for people
        done, total : how many are, and of how many
        """


@dataclass(frozen=True, slots=True, eq=False)
class SweepResult(Displayed):
    """What a sweep found.

    table : a row a point, in the order in which they were proposed: `point` (its name), a column an
        axis (text where a choice is a mapping), test_accuracy, cycles, seconds, energy_uj, edp_js,
        area_mm2, mean bits, wall_s, `error` (empty if none), `within` (its limits), `reused`;
        speedup and energy_saving where there is a baseline
    """

    sweep: Sweep
    directory: Path
    table: pd.DataFrame

    @property
    def good(self) -> pd.DataFrame:
        """The points that were measured and are within the limits."""
        return self.table[(self.table["error"] == "") & self.table["within"]]


class _Planner:
    """Makes jobs of points; datasets are read once."""

    def __init__(self, sweep: Sweep, directory: Path, data: Path | None, threads: int) -> None:
        self._sweep, self._directory, self._data = sweep, directory, data
        self._threads = threads
        self._datasets: dict[str, Any] = {}

    def of(self, sweep: Sweep) -> _Planner:
        """The same for another sweep."""
        return _Planner(sweep, self._directory, self._data, self._threads)

    def check_batch(self, values: Mapping[str, Any]) -> None:
        """Refuse inference on more samples than there are, from a point's dataset."""
        with contextlib.suppress(FxsimError):  # said again where the point is measured
            self.jobs(values)
        for dataset in self._datasets.values():
            self._sweep.spec.check_samples(self._sweep.document, dataset)

    def jobs(self, values: Mapping[str, Any]) -> tuple[str, list[Training], CostJob]:
        """(key, trainings, cost_job) of a point; raises FxsimError if it makes no sense."""
        spec, recipe = self._sweep.spec, self._sweep.recipe(values)
        trainings = []
        for seed in spec.seeds:
            job = Training(
                "",
                self._directory,
                recipe.workload,
                recipe.policy_kind,
                recipe.policy,
                seed,
                spec.dataset,
                self._data,
                spec.epochs,
                recipe.weighed,
                self._threads,
            )
            network = recipe.workload.data
            dataset_key = json.dumps([spec.dataset or network["dataset"], network["input"]])
            inputs = inputs_of(job, self._datasets.get(dataset_key))
            self._datasets[dataset_key] = inputs.dataset
            fields = {n: getattr(job, n) for n in Training.__dataclass_fields__}
            trainings.append(Training(**{**fields, "sha256": inputs.sha256()}))
        cost_job = CostJob(
            self._directory,
            tuple(job.place for job in trainings),
            recipe.machine,
            spec.objective,
            self._threads,
            spec.phase,
            spec.batch,
            self._data,
        )
        parts = [job.sha256 for job in trainings]
        parts += [cache.model_sha256(), recipe.machine.sha256, spec.objective, spec.what]
        if spec.phase is Phase.INFERENCE:
            parts.append(code_sha256(inference))
        return hashlib.sha256("\0".join(parts).encode()).hexdigest(), trainings, cost_job


def run(
    sweep: Sweep,
    directory: Path,
    watcher: SweepWatcher,
    data_directory: Path | None = None,
    jobs: int = 1,
    scheduler: str | None = None,
    force: bool = False,
) -> SweepResult:
    """Measure the points of a sweep.

    A point that is kept in the directory with the same inputs (code, YAML, data, seeds) is not
    measured again; one that failed is tried again. Failures are rows, not errors.

    Parameters
    ----------
    sweep : what varies
    directory : of the results
    watcher : hears of every run and point
    data_directory : of the datasets' official files
    jobs : local processes; 1 is this one
    scheduler : a dask cluster's address, whose workers see the directory
    force : measure again what has not changed

    Returns
    -------
    The table of all points.

    Raises
    ------
    ConfigError : for a scheduler that does not answer, or an extra that is not installed
    DataError : for a directory that holds something else
    """
    home = directory.resolve()  # as workers in other directories have it
    _claim(sweep, home)
    for part in ("runs", cache.FOLDER, POINTS) if force else ():
        shutil.rmtree(home / part, ignore_errors=True)
    threads = max(1, available_threads() // jobs) if scheduler is None else 1
    data = data_directory and data_directory.resolve()
    planner = _Planner(sweep, home, data, threads)
    measured = _kept(directory)
    rows: list[dict[str, Any]] = []
    steps = search.generations(sweep)
    grid = isinstance(sweep.spec.search, GridSearch)
    with pool(jobs, scheduler, lambda label: watcher.run(label, False)) as workers:
        generation = next(steps)
        planner.check_batch(generation[0])
        total = len(generation) if grid else sweep.spec.search.points  # type: ignore[union-attr]
        base = _baseline(sweep, planner, measured, workers, directory)
        while generation:
            points: list[dict[str, Any]] = [
                {**_named(sweep, values), "error": "", "within": True, "reused": False}
                for values in generation
            ]
            waiting: list[tuple[int, str]] = []
            again: list[tuple[int, str]] = []  # proposed twice in one generation
            work = []
            for i, values in enumerate(generation):
                try:
                    key, trainings, cost_job = planner.jobs(values)
                except FxsimError as problem:
                    points[i]["error"] = line(problem)
                    continue
                if key in measured:
                    points[i] |= {**measured[key], "reused": True}
                elif any(key == other for _, other in waiting):
                    again.append((i, key))
                else:
                    waiting.append((i, key))
                    work.append((points[i]["point"], trainings, cost_job))
            ready = len(points) - len(waiting)
            for number, outcome in workers.work(work):
                i, key = waiting[number]
                _take(points[i], outcome)
                if not points[i]["error"]:
                    measured[key] = _numbers(points[i])
                    _keep(directory, key, points[i])
                ready += 1
                said = points[i]["error"] or _words(sweep, points[i])
                watcher.point(f"{points[i]['point']}: {said}", len(rows) + ready, total)
            for i, key in again:
                first = next(points[j] for j, other in waiting if other == key)
                points[i] |= {**_numbers(first), "error": first["error"], "reused": True}
            for row in points:
                if not row["error"]:
                    within = search.excesses(sweep.spec.limits, row)
                    row["within"] = all(v <= 0 for v in within)
            rows += points
            generation = _next(steps, points)
    table = pd.DataFrame(rows)
    table = table.reindex(columns=[*table.columns, *(set(COLUMNS.values()) - set(table.columns))])
    if base is not None:
        table["speedup"] = base["seconds"] / table["seconds"]
        table["energy_saving"] = base["energy_uj"] / table["energy_uj"]
    return SweepResult(sweep, directory, table)


def _next(steps: Any, rows: list[dict[str, Any]]) -> list[search.Values]:
    try:
        generation: list[search.Values] = steps.send(rows)
        return generation
    except StopIteration:
        return []


def _claim(sweep: Sweep, directory: Path) -> None:
    """The directory is this sweep's; a file in it shows workers that they see it."""
    if directory.exists() and not directory.is_dir():
        raise DataError(f"{directory}: must be a directory, for the results of a sweep")
    with atomic_file(directory / TOKEN) as fresh:
        fresh.write_text(sweep.document.text, encoding="utf-8")


def _kept(directory: Path) -> dict[str, dict[str, Any]]:
    """{key: numbers} of the points that are kept."""
    rows_by_key = {}
    for path in sorted((directory / POINTS).glob("[!.]*.parquet")):
        try:
            row = pd.read_parquet(path).iloc[0].to_dict()
        except (OSError, ValueError, IndexError) as problem:
            reason = str(problem).splitlines()[0]
            raise DataError(f"{path}: must be a point's result: {reason}; remove it") from None
        rows_by_key[path.stem] = _numbers(row)
    return rows_by_key


def _keep(directory: Path, key: str, row: Mapping[str, Any]) -> None:
    with atomic_file(directory / POINTS / f"{key}.parquet") as fresh:
        pd.DataFrame([row]).drop(columns=["reused", "within"]).to_parquet(fresh, index=False)


_NUMBERS = (
    *COLUMNS.values(),
    "test_accuracy_sd",
    "weight_bits",
    "activation_bits",
    "error_bits",
    "wall_s",
)


def _numbers(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in _NUMBERS if name in row}


def _take(row: dict[str, Any], outcome: Outcome) -> None:
    if isinstance(outcome, Failure):
        row["error"] = outcome.problem
    else:
        row |= _numbers(outcome)


def _named(sweep: Sweep, values: Mapping[str, Any]) -> dict[str, Any]:
    """A point's name and its axes' values, mappings as their names."""
    short = short_names(values)
    labels = [label_of(short[name] if "." in name else "", v) for name, v in values.items()]
    return {"point": "-".join(labels), **{name: plain(value) for name, value in values.items()}}


def plain(value: Any) -> Any:
    """A YAML value as a table has it.

    Parameters
    ----------
    value : of an axis

    Returns
    -------
    A number if it is one, a mapping or list as its name, else the text.

    Examples
    --------
    >>> plain("8"), plain("1e-3"), plain("dynasty")
    (8, 0.001, 'dynasty')
    """
    if isinstance(value, dict | list):
        return label_of("", value)
    for kind in (int, float):
        try:
            return kind(value)
        except (TypeError, ValueError):
            continue
    return value


def _words(sweep: Sweep, row: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {row[COLUMNS[name]]:.4g}" for name in sweep.spec.objectives)


def _baseline(
    sweep: Sweep,
    planner: _Planner,
    measured: dict[str, dict[str, Any]],
    workers: Any,
    directory: Path,
) -> dict[str, Any] | None:
    """What the baseline costs."""
    if sweep.spec.baseline is None:
        return None
    key, trainings, cost_job = planner.of(sweep.baseline()).jobs({})
    if key not in measured:
        ((_, outcome),) = workers.work([("baseline", trainings, cost_job)])
        if isinstance(outcome, Failure):
            raise DataError(f"{sweep.document.mark(('baseline',))}: baseline: {outcome.problem}")
        measured[key] = _numbers(outcome)
        _keep(
            directory, key, {"point": "baseline", "error": "", "reused": 0, "within": 0, **outcome}
        )
    return measured[key]
