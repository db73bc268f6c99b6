"""Executing a recorded run again, from its decisions alone."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from fxsim.errors import ReplayError
from fxsim.policies.base import IntegerPolicy
from fxsim.runs.directory import Run
from fxsim.runs.inputs import RunInputs, prepare
from fxsim.runs.train import train, train_float32
from fxsim.trace.reader import Trace
from fxsim.trace.schema import POWERS
from fxsim.trace.writer import TraceWriter
from fxsim.training.settings import Watcher


def replay(run: Run, data_directory: Path | None = None, watcher: Watcher | None = None) -> str:
    """Execute a run again from its recorded decisions.

    The policy decides nothing. The full block maps of all sampled steps must be equal, too.

    Parameters
    ----------
    run : a finished one
    data_directory : of the datasets' official files
    watcher : hears of every step

    Returns
    -------
    The SHA-256 of all weights, which is the recorded one.

    Raises
    ------
    ReplayError : if a bit differs
    """
    run.verify()
    policy, kind = run.policy(), run.manifest["policy"]["kind"]
    inputs = prepare(
        run.directory / "workload.yaml",
        kind,
        policy,
        run.manifest["seed"],
        data_directory=data_directory,
        data_name=run.manifest["dataset"],
        epochs=run.manifest["epochs"],
        initial=run.directory / "initial.npz" if run.manifest.get("initial") else None,
        decided=True,
    )
    if inputs.dataset.digest() != run.manifest["dataset_sha256"]:
        raise ReplayError(f"{run.directory}: the dataset is not the one that the run was made with")
    if isinstance(policy, IntegerPolicy):
        replayed = _replay_integer(run, inputs, policy, watcher)
    else:
        replayed = train_float32(inputs, watcher).weights_sha256
    recorded = run.manifest["weights_sha256"]
    if replayed != recorded:
        raise ReplayError(
            f"{run.directory}: the replayed weights' SHA-256 must be {recorded[:16]}..., it is"
            f" {replayed[:16]}..."
        )
    return replayed


def _replay_integer(
    run: Run, inputs: RunInputs, policy: IntegerPolicy[Any], watcher: Watcher | None
) -> str:
    with tempfile.TemporaryDirectory() as scratch:
        with TraceWriter(Path(scratch) / "trace", policy.accumulator.bits) as tracer:
            trained = train(inputs, policy, tracer, watcher, run.decided(policy))
        again = Trace.load(Path(scratch) / "trace").maps
    # powers are floats, which machines may sum differently
    recorded = run.trace().maps.drop(columns=POWERS)
    if not again.drop(columns=POWERS).equals(recorded):
        raise ReplayError(f"{run.directory}: the replayed block maps differ from the recorded ones")
    return trained.weights_sha256
