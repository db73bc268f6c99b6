"""A run: one network trained under one policy with one seed, as a directory.

run.json            what was run, on what, with which result
workload.yaml       the workload as it was
metrics.parquet     a row a step
evaluations.parquet a row an epoch
decisions.parquet   what the policy decided, a row a step: with the data, all of the bits
constants.json      what it decided once for all steps, if anything
checkpoints/        the newest checkpoints, see `fxsim.training.checkpoint`; absent for floats
weights.npz         master weights, momenta, running statistics, as integers
initial.npz         those that it began from, where they are an earlier run's
trace/              see `fxsim.trace.schema`; absent for float policies
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import time
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pandas as pd

import fxsim
from fxsim.engine import instruction_set
from fxsim.errors import ConfigError, DataError
from fxsim.identifiers import STEP
from fxsim.persistence.atomic import atomic_directory
from fxsim.policies.base import IntegerPolicy, Policy
from fxsim.runs import initial_bit_costs, resume_state
from fxsim.runs.contents import contents_of
from fxsim.runs.directory import Run
from fxsim.runs.inputs import RunInputs
from fxsim.runs.train import train, train_float32
from fxsim.trace.writer import TraceWriter
from fxsim.training import checkpoint, loop
from fxsim.training.decisions import Decisions
from fxsim.training.policy import StepInfo
from fxsim.training.settings import Watcher


def finished(directory: Path, inputs: RunInputs) -> Run | None:
    """The run in a directory, if it was made from the same inputs.

    Parameters
    ----------
    directory : where a run may lie
    inputs : what it must be made from

    Returns
    -------
    The run, or None.
    """
    if not (directory / "run.json").is_file():
        return None
    old = Run.load(directory)
    return old if old.manifest["inputs_sha256"] == inputs.sha256() else None


def execute(
    inputs: RunInputs,
    directory: Path,
    watcher: Watcher | None = None,
    resume: bool = False,
    force: bool = False,
    keep: int = resume_state.KEEP,
) -> Run:
    """Train, and write the run's directory in one piece; an earlier run there is replaced.

    While it trains, its state lies in `<directory>.unfinished`, see `fxsim.runs.resume_state`.

    Parameters
    ----------
    inputs : what the run is made from, see `prepare`
    directory : where it is to lie
    watcher : hears of every step
    resume : go on from the newest checkpoint there
    force : begin again, whatever lies there
    keep : how many checkpoints stay

    Returns
    -------
    The run.

    Raises
    ------
    ConfigError : for a place that holds something else, or an unfinished run that is not to be
        resumed
    DataError : for a checkpoint that is damaged
    """
    foreign = directory.exists() and not (directory / "run.json").is_file()
    if foreign and (not directory.is_dir() or any(directory.iterdir())):
        raise ConfigError(
            f"{directory}: the place of a run must be new, empty or an earlier run; it holds"
            " something else"
        )
    digest = inputs.sha256()
    started = time.perf_counter()
    policy = inputs.policy
    with resume_state.ResumeState(directory, digest, keep) as state:
        state.begin(resume, force)
        if not isinstance(policy, IntegerPolicy):
            network = train_float32(inputs, watcher)
            _finish(inputs, digest, directory, network, started, None)
        elif not (resume and _is_done(directory, digest)):  # stopped after it was finished
            writer = TraceWriter(state.trace, policy.accumulator.bits)
            progress, costs = state.resumed(), {}
            if progress is None:
                settings = inputs.workload.training.settings(inputs.epochs)
                request = policy.bit_cost_request
                costs = initial_bit_costs.of(inputs.model, request, settings, inputs.machine)

            def after(now: loop.Progress, ended: bool) -> None:
                state.after(now, ended, writer)

            network = train(inputs, policy, writer, watcher, None, progress, after, costs)
            _finish(inputs, digest, directory, network, started, (writer, state))
        state.remove()
    return Run.load(directory)


def _is_done(directory: Path, digest: str) -> bool:
    """Whether the run there is finished, and of these inputs."""
    finished_here = (directory / "run.json").is_file()
    return finished_here and Run.load(directory).manifest["inputs_sha256"] == digest


def _finish(
    inputs: RunInputs,
    digest: str,
    directory: Path,
    network: loop.TrainedNetwork,
    started: float,
    unfinished: tuple[TraceWriter, resume_state.ResumeState] | None,
) -> None:
    """The run's directory, complete."""
    with atomic_directory(directory) as fresh:
        pd.DataFrame(network.metrics).to_parquet(fresh / "metrics.parquet")
        pd.DataFrame(network.evaluations).to_parquet(fresh / "evaluations.parquet")
        pd.DataFrame(network.decisions).to_parquet(fresh / "decisions.parquet")
        np.savez_compressed(fresh / "weights.npz", **checkpoint.arrays_of(network))
        (fresh / "workload.yaml").write_text(inputs.source.text, encoding="utf-8")
        if constants := _constants(inputs.policy, network):
            (fresh / "constants.json").write_text(json.dumps(constants), encoding="utf-8")
        if inputs.initial is not None:
            shutil.copyfile(inputs.initial, fresh / "initial.npz")
        if unfinished is not None:
            tracer, state = unfinished
            tracer.join(fresh / "trace")
            _check_whole(fresh / "trace", directory, len(network.metrics))
            shutil.copytree(state.checkpoints, fresh / "checkpoints")
        manifest = {
            "inputs_sha256": digest,
            "workload": inputs.workload.name,
            "dataset": inputs.dataset.name,
            "dataset_sha256": inputs.dataset.digest(),
            "policy": {"kind": inputs.policy_kind, **json.loads(inputs.policy.model_dump_json())},
            "epochs": inputs.epochs,
            "seed": inputs.seed,
            "initial": None if inputs.initial is None else str(inputs.initial.parent),
            "steps": len(network.metrics),
            "weights_sha256": network.weights_sha256,
            "test_accuracy": network.evaluations[-1]["test_accuracy"],
            "wall_s": round(time.perf_counter() - started, 2),
            "versions": versions(),
            "files": contents_of(fresh),
        }
        (fresh / "run.json").write_text(json.dumps(manifest, indent=2), encoding="utf-8")


def _check_whole(trace: Path, directory: Path, steps: int) -> None:
    """A trace that lacks steps would be priced as less work."""
    for table in ("operands", "products", "vectors"):
        recorded = pd.read_parquet(trace / f"{table}.parquet", columns=[STEP])[STEP].nunique()
        if recorded != steps:
            raise DataError(
                f"{directory}: its {table} must hold {steps} steps, not {recorded}: something else"
                " wrote into its trace; train it again with --force"
            )


def _constants(policy: Policy, network: loop.TrainedNetwork) -> dict[str, int]:
    """The decisions that hold for the whole run."""
    if not isinstance(policy, IntegerPolicy):
        return {}
    decisions: Decisions
    _, decisions = policy.decide(network.policy_state, StepInfo(), None)
    return decisions.columns(constant=True)


def versions() -> dict[str, str]:
    """The versions of what a run depends on.

    Returns
    -------
    {package: version}.
    """
    return {
        "fxsim": fxsim.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": numba.__version__,
        "engine_path": instruction_set.chosen().value,
        "machine": f"{platform.system()} {platform.machine()}",
    }


def machine_facts() -> dict[str, Any]:
    """What a run was made on.

    Returns
    -------
    {fact: value}, for people: no bit depends on it.
    """
    return {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()}
