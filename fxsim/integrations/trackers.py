"""Runs' scalars and artefacts for TensorBoard and MLflow, which are optional."""

from __future__ import annotations

import json
import logging
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from fxsim.cost import cache
from fxsim.errors import ConfigError, DataError, missing_extra
from fxsim.hardware.accelerator import Accelerator
from fxsim.identifiers import STEP
from fxsim.runs.directory import Run

ARTEFACTS = ("run.json", "workload.yaml", "metrics.parquet", "evaluations.parquet", "weights.npz")
_BATCH = 1000  # metrics that MLflow takes at once
_LONGEST = 6000  # characters of a parameter in MLflow
Scalar = tuple[str, int, float]


def scalars(run: Run, machines: Sequence[Accelerator] = ()) -> Iterator[Scalar]:
    """(name, step, value) of everything that a run recorded by step or epoch.

    machines : priced on these, cycles and energy [uJ] of each step, too
    """
    for name in run.metrics.columns:
        if name not in (STEP, "epoch"):
            values = run.metrics[name]
            for step, value in zip(run.metrics[STEP], values, strict=True):
                yield f"train/{name}", int(step), float(value)
    for name in run.evaluations.columns:
        if name not in (STEP, "epoch"):
            for epoch, value in enumerate(run.evaluations[name]):
                yield f"test/{name.removeprefix('test_')}", epoch, float(value)
    for machine in machines:
        if run.integer:
            steps = cache.costs(run, machine, folder=cache.beside(run)).steps
            for row in steps.itertuples():
                yield f"{machine.name}/cycles", int(row.step), float(row.cycles)
                yield f"{machine.name}/energy_uj", int(row.step), float(row.energy_pj) / 1e6


def parameters(run: Run) -> dict[str, str]:
    """What a run was made of, flat."""
    values = {key: run.manifest[key] for key in ("workload", "dataset", "epochs", "seed", "steps")}
    policy = run.manifest["policy"]
    values |= {f"policy.{k}" if k != "kind" else "policy": v for k, v in policy.items()}
    return {k: (v if isinstance(v, str) else json.dumps(v))[:_LONGEST] for k, v in values.items()}


def tensorboard(
    runs: Sequence[Run],
    directory: Path,
    machines: Sequence[Accelerator] = (),
    tell: Callable[[str], None] = lambda label: None,
) -> list[Path]:
    """Write each run as an event log in a folder of its own; the folders.

    A run's earlier log there is replaced.
    """
    try:
        from tensorboard.summary import Writer
    except ModuleNotFoundError:
        raise missing_extra("--tensorboard", "track") from None
    written: list[Path] = []
    for run in runs:
        tell(run.label)
        if directory / run.directory.name in written:
            raise DataError(f"{run.directory}: another run of this name was given; rename one")
        place = directory / run.directory.name
        values = list(scalars(run, machines))
        if place.exists() and not list(place.glob("events.out.tfevents.*")):
            raise DataError(f"{place}: must be new, or an event log; it holds something else")
        shutil.rmtree(place, ignore_errors=True)
        writer = Writer(str(place))
        for name, step, value in values:
            writer.add_scalar(name, value, step)
        writer.close()
        written.append(place)
    return written


def mlflow(
    runs: Sequence[Run],
    uri: str,
    experiment: str,
    machines: Sequence[Accelerator] = (),
    tell: Callable[[str], None] = lambda label: None,
) -> list[str]:
    """Log each run to an MLflow server or database; their ids there.

    uri : as `sqlite:///mlflow.db` or `http://host:5000`
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own, about its database
        return _logged(runs, uri, experiment, machines, tell)


def _logged(
    runs: Sequence[Run],
    uri: str,
    experiment: str,
    machines: Sequence[Accelerator],
    tell: Callable[[str], None],
) -> list[str]:
    try:
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param
        from mlflow.exceptions import MlflowException
    except ModuleNotFoundError:
        raise missing_extra("--mlflow", "track") from None
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        client: Any = MlflowClient(tracking_uri=uri)
        existing = client.get_experiment_by_name(experiment)
        number = existing.experiment_id if existing else client.create_experiment(experiment)
        identities = []
        for run in runs:
            tell(run.label)
            name = run.directory.name
            tags = {
                "fxsim.weights_sha256": run.manifest["weights_sha256"],
                "fxsim.inputs_sha256": run.manifest["inputs_sha256"],
            }
            identity = client.create_run(number, run_name=name, tags=tags).info.run_id
            try:
                now = int(time.time() * 1000)  # [ms]
                logged = [Param(k, v) for k, v in parameters(run).items()]
                client.log_batch(identity, params=logged)
                metrics = [Metric(n, value, now, step) for n, step, value in scalars(run, machines)]
                metrics.append(Metric("test_accuracy", run.manifest["test_accuracy"], now, 0))
                for i in range(0, len(metrics), _BATCH):
                    client.log_batch(identity, metrics=metrics[i : i + _BATCH])
                for artefact in ARTEFACTS:
                    if (run.directory / artefact).is_file():
                        client.log_artifact(identity, str(run.directory / artefact))
            except BaseException:
                client.set_terminated(identity, "FAILED")
                raise
            client.set_terminated(identity)
            identities.append(identity)
    except MlflowException as problem:
        raise ConfigError(f"--mlflow {uri}: {' '.join(str(problem).split())}") from None
    return identities
