"""Studies: a workload under several policies and seeds, on several accelerators, compared."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fxsim.cost import cache
from fxsim.cost.cache import RunCost
from fxsim.display import Displayed
from fxsim.errors import DataError
from fxsim.runs import inference, resume_state
from fxsim.runs.directory import Run
from fxsim.runs.execute import execute, finished
from fxsim.runs.inputs import RunInputs, prepare
from fxsim.studies.spec import Study
from fxsim.training.settings import Watcher


@dataclass(frozen=True, slots=True, eq=False)
class StudyResult(Displayed):
    """What a study found.

    runs : {(policy, seed): run}; costs : {(policy, seed, accelerator): what it costs}
    """

    study: Study
    directory: Path
    runs: dict[tuple[str, int], Run]
    costs: dict[tuple[str, int, str], RunCost]

    def base(self, seed: int, machine: str) -> RunCost | None:
        """What the baseline costs, for what a run costs on a machine to be compared with.

        Parameters
        ----------
        seed : of the run
        machine : the accelerator's name

        Returns
        -------
        The cost; None where the baseline has none.
        """
        spec = self.study.spec
        return self.costs.get((spec.baseline, seed, spec.baseline_accelerator or machine))


class StudyWatcher(Protocol):
    """Hears of a study's progress."""

    def run(self, label: str, reused: bool) -> Watcher | None:
        """A run begins, or an old one with the same inputs is used.

        Parameters
        ----------
        label : for people
        reused : whether it is an old one

        Returns
        -------
        Who watches its steps.
        """

    def evaluating(self, total: int) -> Callable[[str], None]:
        """So many costs follow.

        Parameters
        ----------
        total : how many

        Returns
        -------
        What is told of each as it begins, and of the end with "".
        """


def run(
    study: Study,
    directory: Path,
    watcher: StudyWatcher,
    data_directory: Path | None = None,
    force: bool = False,
    epochs: int | None = None,
) -> StudyResult:
    """Train every policy and seed, and evaluate every trace on every accelerator.

    What is in `directory` with the same inputs (code, workload, data, policy, epochs, seed; for a
    cost also the machine) is used again.

    Parameters
    ----------
    study : what is compared
    directory : of the results
    watcher : hears of every run and cost
    data_directory : of the datasets' official files
    force : compute again what has not changed
    epochs : instead of the study's

    Returns
    -------
    The runs, and what each costs on each machine.

    Raises
    ------
    ConfigError, DataError : for inputs that do not fit each other, before anything is trained
    """
    dataset = None
    planned: dict[tuple[str, int], RunInputs] = {}
    for name, (kind, policy) in study.policies.items():
        for seed in study.spec.seeds:
            planned[name, seed] = prepare(
                study.workload,
                kind,
                policy,
                seed,
                dataset,
                data_directory,
                study.spec.dataset,
                epochs or study.spec.epochs,
                near=study.path.parent,
            )
            dataset = planned[name, seed].dataset
            study.spec.check_samples(study.document, dataset)
    runs: dict[tuple[str, int], Run] = {}
    for (name, seed), inputs in planned.items():
        place = directory / "runs" / f"{name}-seed{seed}"
        old = None if force else finished(place, inputs)
        following = watcher.run(f"{name}, seed {seed}", old is not None)
        if old is None:
            with resume_state.ResumeState(place, inputs.sha256()) as state:
                state.drop_other()
        runs[name, seed] = old or execute(inputs, place, following, resume=not force, force=force)
    if force:
        shutil.rmtree(directory / cache.FOLDER, ignore_errors=True)
    return evaluated(study, directory, runs, watcher, data_directory)


def evaluated(
    study: Study,
    directory: Path,
    runs: dict[tuple[str, int], Run],
    watcher: StudyWatcher | None = None,
    data_directory: Path | None = None,
) -> StudyResult:
    """Evaluate every integer run on every accelerator of a study.

    Parameters
    ----------
    study, directory : what is compared, and where costs are kept
    runs : {(policy, seed): run}
    watcher : hears of every cost
    data_directory : of the datasets' official files, of which inference takes samples

    Returns
    -------
    The runs, and what each costs on each machine.
    """
    spec = study.spec
    tasks = [
        (name, seed, machine)
        for (name, seed), run_ in runs.items()
        if run_.integer
        for machine in study.machines.values()
    ]
    priced = {
        key: inference.priced(run_, spec.phase, spec.batch, data_directory)
        for key, run_ in runs.items()
    }
    announce = watcher.evaluating(len(tasks)) if watcher else lambda label: None
    bills: dict[tuple[str, int, str], RunCost] = {}
    for name, seed, machine in tasks:
        announce(f"{name}, seed {seed}, on {machine.name}")
        bills[name, seed, machine.name] = cache.costs(
            priced[name, seed], machine, spec.objective, directory / cache.FOLDER
        )
    announce("")
    return StudyResult(study, directory, runs, bills)


def load_result(directory: Path, study: Study, watcher: StudyWatcher | None = None) -> StudyResult:
    """The finished runs of a study, with their costs, without training.

    Parameters
    ----------
    directory : of the results
    study : as it is now
    watcher : hears of every cost

    Returns
    -------
    The runs, and what each costs on each machine.

    Raises
    ------
    DataError : if one of them was made from another policy, workload or number of epochs
    """
    runs: dict[tuple[str, int], Run] = {}
    for name, (kind, policy) in study.policies.items():
        for seed in study.spec.seeds:
            run_ = Run.load(directory / "runs" / f"{name}-seed{seed}")
            same = run_.matches(kind, policy, study.workload, study.spec.epochs)
            dataset = study.spec.dataset or study.workload.data["dataset"]
            if not same or run_.manifest["dataset"] != dataset:
                raise DataError(
                    f"{run_.directory}: must be a run of the study as it is now, not of an earlier"
                    f" version; fxsim run {study.path}"
                )
            runs[name, seed] = run_
    return evaluated(study, directory, runs, watcher)
