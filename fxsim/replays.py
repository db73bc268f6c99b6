"""Executing a recorded run again, from its decisions alone."""

from __future__ import annotations

import tempfile
from pathlib import Path

from fxsim import runs
from fxsim.errors import ReplayError
from fxsim.precision import POLICIES
from fxsim.precision.float32 import Float32
from fxsim.recorded import Run
from fxsim.recorder import TraceWriter
from fxsim.runs import RunInputs
from fxsim.trace import POWERS, Trace
from fxsim.training import float32
from fxsim.training.settings import Watcher


def replay(run: Run, data_directory: Path | None = None, watcher: Watcher | None = None) -> str:
    """Execute a run again from its recorded decisions; its hash, which must be the recorded one.

    The policy decides nothing. The full block maps of all sampled steps must be equal too.
    Raises ReplayError if a bit differs.
    """
    recipe = dict(run.manifest["policy"])
    kind = recipe.pop("kind")
    policy = POLICIES[kind].model_validate(recipe)
    inputs = runs.prepare(
        run.directory / "workload.yaml", kind, policy, run.manifest["seed"],
        data_directory=data_directory, data_name=run.manifest["dataset"],
        epochs=run.manifest["epochs"],
        initial=run.directory / "initial.npz" if run.manifest.get("initial") else None,
        decided=True,
    )  # fmt: skip
    if inputs.dataset.digest() != run.manifest["dataset_sha256"]:
        raise ReplayError(f"{run.directory}: the dataset is not the one that the run was made with")
    if isinstance(policy, Float32):
        settings = inputs.workload.training.settings(inputs.epochs)
        network = float32.train(inputs.model, inputs.dataset, settings, inputs.seed, watcher)
        found = network.rounded().weights_sha256
    else:
        found = _replay_integer(run, inputs, watcher)
    wanted = run.manifest["weights_sha256"]
    if found != wanted:
        raise ReplayError(
            f"{run.directory}: the replayed weights' SHA-256 must be {wanted[:16]}..., it is"
            f" {found[:16]}..."
        )
    return found


def _replay_integer(run: Run, inputs: RunInputs, watcher: Watcher | None) -> str:
    constants = run.constants()
    decisions = [
        {**constants, **{str(k): int(v) for k, v in row.items()}}
        for row in run.decisions.to_dict("records")
    ]
    if len(decisions) != run.manifest["steps"]:
        raise ReplayError(
            f"{run.directory}: must hold {run.manifest['steps']} steps of decisions,"
            f" not {len(decisions)}"
        )
    with tempfile.TemporaryDirectory() as scratch:
        with TraceWriter(Path(scratch) / "trace", inputs.policy.accumulator.bits) as recorder:
            trained = runs.train(inputs, recorder, watcher, decisions)
        again = Trace.load(Path(scratch) / "trace").maps
    # an earlier version kept fewer columns; powers are floats, which machines may sum differently
    recorded = run.trace().maps.drop(columns=POWERS).dropna(axis=1, how="all")
    if not again[recorded.columns].equals(recorded):
        raise ReplayError(f"{run.directory}: the replayed block maps differ from the recorded ones")
    return trained.weights_sha256
