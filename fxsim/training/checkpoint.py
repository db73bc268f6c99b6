"""Checkpoints: all state of a run between two steps, as integers in `.npz` plus JSON.

A checkpoint is a directory `step-00000390` with `state.npz` (weights, optimizer, running
statistics, the policy's gains and memory) and `state.json` (step, policy state, what it was last
told, plateau counters). It appears under its name in one piece. The order of the data is a function
of seed and epoch, so the step is all there is to keep of it.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from fxsim.engine.normalisation import RunningStatistics
from fxsim.engine.tensor import FixedTensor
from fxsim.errors import DataError
from fxsim.identifiers import Role
from fxsim.numerics.formats import FixedPoint
from fxsim.numerics.state_formats import MASTER
from fxsim.persistence.atomic import atomic_directory
from fxsim.training.context import Parameter
from fxsim.training.loop import Progress
from fxsim.training.policy import Feedback
from fxsim.training.schedule import Plateau

Trained = tuple[dict[str, Parameter], dict[str, RunningStatistics]]
PREFIX = "step-"
GAINS, MEMORY = "/gains/", "/memory/"  # no layer has such names


def arrays_of(progress: Progress) -> dict[str, Any]:
    """The trained state as integer arrays, by name."""
    arrays: dict[str, Any] = {}
    for name, parameter in progress.parameters.items():
        for part, codes in parameter.state().items():
            arrays[f"{name}/{part}"] = codes
    for name, running in progress.running.items():
        arrays[f"{name}/running_mean"] = running.mean
        arrays[f"{name}/running_variance"] = running.variance
    return arrays


def state_of(arrays: Any) -> Trained:
    """Parameters and running statistics from `arrays_of`."""
    parts_by_name: dict[str, dict[str, Any]] = {}
    for key in arrays:
        name, _, part = key.rpartition("/")
        parts_by_name.setdefault(name, {})[part] = arrays[key]

    def tensor(parts: dict[str, Any], part: str) -> FixedTensor:
        bits, frac = (int(number) for number in parts[f"{part}_format"])
        return FixedTensor.trusted(parts[part], FixedPoint(bits, frac))

    parameters, running = {}, {}
    for name, parts in parts_by_name.items():
        if "master" in parts:
            parameters[name] = Parameter(
                FixedTensor.trusted(parts["master"], MASTER),
                tensor(parts, "momentum"),
                tensor(parts, "square") if "square" in parts else None,
            )
        elif "running_mean" in parts:
            running[name] = RunningStatistics(parts["running_mean"], parts["running_variance"])
    return parameters, running


def save(progress: Progress, directory: Path, keep: int) -> Path:
    """Write a checkpoint into a directory, and remove all but the newest `keep`."""
    path = directory / f"{PREFIX}{progress.step:08d}"
    gains: dict[str, Any] = {
        f"{GAINS}{layer}/{role}": gain for (layer, role), gain in progress.gains.items()
    }
    with atomic_directory(path) as fresh:
        memory: dict[str, Any] = {f"{MEMORY}{n}": array for n, array in progress.memory.items()}
        np.savez(fresh / "state.npz", **{**arrays_of(progress), **gains, **memory})
        described = {
            "step": progress.step,
            "policy_state": progress.policy_state,
            "feedback": None if progress.feedback is None else asdict(progress.feedback),
            "plateau": asdict(progress.plateau),
        }
        (fresh / "state.json").write_text(json.dumps(described, indent=1), encoding="utf-8")
    for old in sorted(directory.glob(f"{PREFIX}*"))[: -max(keep, 1)]:
        shutil.rmtree(old, ignore_errors=True)
    return path


def latest(directory: Path) -> Path | None:
    """The newest checkpoint in a directory."""
    return max(directory.glob(f"{PREFIX}*"), default=None)


def load(path: Path) -> Progress:
    """The state in a checkpoint; its rows of metrics, evaluations and decisions are elsewhere."""
    try:
        described = json.loads((path / "state.json").read_text(encoding="utf-8"))
        with np.load(path / "state.npz", allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        gains = {}
        for key in [key for key in arrays if key.startswith(GAINS)]:
            layer, _, role = key.removeprefix(GAINS).rpartition("/")
            gains[layer, Role(role)] = arrays.pop(key)
        memory_keys = [key for key in arrays if key.startswith(MEMORY)]
        memory = {key.removeprefix(MEMORY): arrays.pop(key) for key in memory_keys}
        parameters, running = state_of(arrays)
        feedback = described["feedback"]
        return Progress(
            described["step"],
            parameters,
            running,
            gains,
            described["policy_state"],
            memory,
            None if feedback is None else Feedback(**feedback),
            Plateau(**described["plateau"]),
        )
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as problem:
        reason = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
        raise DataError(f"{path}: must be a checkpoint: {reason}") from None
