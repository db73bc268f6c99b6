"""Weights of earlier runs, from which a run may begin."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from fxsim.errors import ConfigError, DataError
from fxsim.runs import contents
from fxsim.training import checkpoint
from fxsim.training.model import Model


def find(directory: Path) -> Path:
    """The `.npz` of a run's weights, of those that it began from, or of a checkpoint's."""
    if (directory / "run.json").is_file():
        contents.verify(directory, contents.recorded(directory), "weights.npz")
    for name in ("weights.npz", "state.npz"):
        if (directory / name).is_file():
            return directory / name
    if directory.suffix == ".npz" and directory.is_file():
        return directory
    raise ConfigError(
        f"{directory}: must be the directory of a run or of a checkpoint; it holds no weights.npz"
        " and no state.npz"
    )


def load(path: Path, model: Model) -> checkpoint.Trained:
    """The weights and running statistics in a file, which must be those of the network."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files if not name.startswith("/")}
        parameters, running = checkpoint.state_of(arrays)
    except (
        OSError,
        ValueError,
        TypeError,
        KeyError,
        EOFError,
        AttributeError,
        zipfile.BadZipFile,
    ) as problem:
        reason = str(problem) or "nothing is in it"
        raise DataError(f"{path}: must be a run's weights: {reason}") from None
    lacking = [name for name in model.initial_running() if name not in running]
    if lacking:
        raise ConfigError(f"{path}: must hold the running statistics of {lacking[0]!r}")
    for name, expected in model.initial_parameters(0).items():
        parameter = parameters.get(name)
        whole = parameter is not None and parameter.master.codes.dtype.kind == "i"
        if not whole or parameter is None or parameter.master.shape != expected.master.shape:
            shape = (
                "none"
                if parameter is None
                else f"{parameter.master.codes.dtype} {parameter.master.shape}"
            )
            raise ConfigError(
                f"{path}: must hold {name!r} of shape {list(expected.master.shape)} for this"
                f" workload, not {shape}"
            )
    return parameters, running
