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
trace/              see `fxsim.trace`; absent for float policies
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pandas as pd

import fxsim
from fxsim import earlier, journal, rehearsal, shipped, yaml_reader
from fxsim import workload as workloads
from fxsim.accelerator import schema
from fxsim.engine import processor
from fxsim.errors import ConfigError, DataError, hint
from fxsim.files import atomic_directory, source_sha256
from fxsim.precision.cost_aware import CostAware
from fxsim.precision.float32 import Float32
from fxsim.recorded import Policy, Run
from fxsim.recorder import TraceWriter
from fxsim.training import checkpoint, float32, loop
from fxsim.training import data as datasets
from fxsim.training.data import Dataset
from fxsim.training.model import Model
from fxsim.training.policy import Decisions, PrecisionPolicy
from fxsim.training.settings import Watcher
from fxsim.workload import Workload
from fxsim.yaml_reader import Document


@dataclass(frozen=True, slots=True)
class RunInputs:
    """Everything that determines a run's bits.

    source : the workload's YAML
    initial : the `.npz` of weights to begin from, those of an earlier run; None: the seed's own
    machine : the accelerator whose prices the policy weighs, if it does
    """

    source: Document
    workload: Workload
    model: Model
    dataset: Dataset
    policy_kind: str
    policy: Policy
    epochs: int
    seed: int
    initial: Path | None = None
    machine: Document | None = None

    def sha256(self) -> str:
        """Hash of the code and of all inputs; equal hashes give equal runs."""
        parts = [
            source_sha256(_CODE + (_PRICING if self.machine is not None else ())),
            self.source.text, self.dataset.digest(), self.policy_kind,
            self.policy.model_dump_json(), str(self.epochs), str(self.seed),
        ]  # fmt: skip
        if self.machine is not None:
            parts.append(self.machine.text)
        if self.initial is not None:
            parts.append(hashlib.sha256(self.initial.read_bytes()).hexdigest())
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


# the code that decides a run's bits; and where prices decide, too
_CODE = (
    "arithmetic", "engine", "training", "precision", "trace.py", "recorder.py", "workload.py",
    "earlier.py",
)  # fmt: skip
_PRICING = ("accelerator", "mapping", "cost", "rehearsal.py")


def prepare(
    workload_file: Path | Document,
    policy_kind: str,
    policy: Policy,
    seed: int,
    dataset: Dataset | None = None,
    data_directory: Path | None = None,
    data_name: str | None = None,
    epochs: int | None = None,
    initial: Path | None = None,
    near: Path | None = None,
    decided: bool = False,
    machine: Document | None = None,
) -> RunInputs:
    """Read and check all inputs of a run, before anything is written.

    initial : the directory of a run, or of a checkpoint, whose weights to begin from
    near : a directory in which a policy's accelerator is looked for as well
    decided : decisions are at hand, as in a replay: a policy's accelerator is not needed
    machine : the accelerator that a policy weighs, instead of the one that it names
    """
    source = yaml_reader.read(workload_file)
    workload, model = workloads.load(source)
    for i, layer in enumerate(workload.layers):
        if isinstance(layer, workloads.OpaqueSpec):
            source.fail(
                ("layers", i),
                f"layers.{i}, opaque {layer.name!r}: {layer.operator} is not executed, only priced"
                f" (fxsim estimate {source.path})",
            )
    for name in getattr(policy, "layers", {}):
        known = [layer.name for layer in model.layers]
        if name not in known:
            raise ConfigError(
                f"{source.path}: the policy's layers must be the network's; it has no"
                f" {name!r}{hint(name, known)}"
            )
    data = dataset or datasets.load(
        data_name or workload.dataset, data_directory, model.input_shape
    )
    if data.shape != model.input_shape or data.classes != workload.classes:
        raise ConfigError(
            f"{source.path}: input {list(model.input_shape)} and {workload.classes} classes must"
            f" be those of {data.name}, {list(data.shape)} and {data.classes}"
        )
    if data.label_shape != model.label_shape or data.tokens != model.reads_tokens:
        kinds = {True: "tokens", False: "images"}
        raise ConfigError(
            f"{source.path}: the network reads {kinds[model.reads_tokens]} and gives logits for"
            f" labels of shape {list(model.label_shape)} a sample; {data.name} has"
            f" {kinds[data.tokens]} and labels of shape {list(data.label_shape)}"
        )
    size = workload.training.batch
    if size > data.train_size:
        raise ConfigError(
            f"{source.path}: training.batch must be at most the {data.train_size} training"
            f" samples of {data.name}, not {size}"
        )
    if not isinstance(policy, CostAware) or decided:
        machine = None
    else:
        named = machine or shipped.find("accelerators", policy.accelerator, near)
        machine = yaml_reader.read(named)
        schema.load(machine)
    weights = None if initial is None else earlier.find(initial)
    if weights is not None:
        if isinstance(policy, Float32):
            raise ConfigError(f"{initial}: float32 begins from its own weights, not from a run's")
        earlier.load(weights, model)
    return RunInputs(
        source, workload, model, data, policy_kind, policy,
        epochs or workload.training.epochs, seed, weights, machine,
    )  # fmt: skip


def finished(directory: Path, inputs: RunInputs) -> Run | None:
    """The run in a directory, if it was made from the same inputs."""
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
    keep: int = journal.KEEP,
) -> Run:
    """Train, and write the run's directory in one piece; an earlier run there is replaced.

    While it trains, its state lies in `<directory>.unfinished`, see `fxsim.journal`.
    resume : go on from the newest checkpoint there; force : begin again, whatever lies there
    keep : how many checkpoints stay
    """
    foreign = directory.exists() and not (directory / "run.json").is_file()
    if foreign and (not directory.is_dir() or any(directory.iterdir())):
        raise ConfigError(
            f"{directory}: the place of a run must be new, empty or an earlier run; it holds"
            " something else"
        )
    digest = inputs.sha256()
    journal.check(directory, digest, resume, force)
    started = time.perf_counter()
    if isinstance(inputs.policy, Float32):
        settings = inputs.workload.training.settings(inputs.epochs)
        floats = float32.train(inputs.model, inputs.dataset, settings, inputs.seed, watcher)
        _finish(inputs, digest, directory, floats.rounded(), started, None)
        return Run.load(directory)
    if resume and (directory / "run.json").is_file():
        done = Run.load(directory)
        if done.manifest["inputs_sha256"] == digest:  # stopped after it was finished
            journal.remove(directory)
            return done
    with journal.Journal(directory, digest, keep) as kept:
        progress = kept.resumed()
        recorder = TraceWriter(kept.trace, inputs.policy.accumulator.bits)
        network = train(inputs, recorder, watcher, None, progress, kept)
        _finish(inputs, digest, directory, network, started, (recorder, kept))
    journal.remove(directory)
    return Run.load(directory)


def _finish(
    inputs: RunInputs, digest: str, directory: Path, network: loop.TrainedNetwork, started: float,
    unfinished: tuple[TraceWriter, journal.Journal] | None,
) -> None:  # fmt: skip
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
            recorder, kept = unfinished
            recorder.join(fresh / "trace")
            _check_whole(fresh / "trace", directory, len(network.metrics))
            shutil.copytree(kept.checkpoints, fresh / "checkpoints")
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
        }
        (fresh / "run.json").write_text(json.dumps(manifest, indent=2), encoding="utf-8")


def _check_whole(trace: Path, directory: Path, steps: int) -> None:
    """A trace that lacks steps would be priced as less work."""
    recorded = pd.read_parquet(trace / "operands.parquet", columns=["step"])["step"].nunique()
    if recorded != steps:
        raise DataError(
            f"{directory}: its trace must hold {steps} steps, not {recorded}: something else wrote"
            " into it; train it again with --force"
        )


def _constants(policy: Policy, network: loop.TrainedNetwork) -> Decisions:
    """The decisions that hold for the whole run."""
    return {} if isinstance(policy, Float32) else policy.constants(network.policy_state)


def train(
    inputs: RunInputs,
    recorder: TraceWriter,
    watcher: Watcher | None,
    recorded: list[dict[str, int]] | None,
    progress: loop.Progress | None = None,
    kept: journal.Journal | None = None,
) -> loop.TrainedNetwork:
    policy: PrecisionPolicy = inputs.policy
    settings = inputs.workload.training.settings(inputs.epochs)
    if progress is not None:
        recorder.resume(progress.step)
    else:
        prices = {}
        if recorded is None:
            prices = rehearsal.market(inputs.model, policy, settings, inputs.machine)
        initial = None if inputs.initial is None else earlier.load(inputs.initial, inputs.model)
        progress = loop.begin(inputs.model, policy, inputs.seed, initial, prices)

    def after(now: loop.Progress, ended: bool) -> None:
        if kept is not None:
            kept.after(now, ended, recorder)

    network = loop.train(
        inputs.model, inputs.dataset, policy, settings, inputs.seed, recorder, watcher, recorded,
        progress, after,
    )  # fmt: skip
    recorder.flush(network.step)
    return network


def versions() -> dict[str, str]:
    """What a run was made with."""
    return {
        "fxsim": fxsim.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": numba.__version__,
        "engine_path": processor.chosen().value,
        "machine": f"{platform.system()} {platform.machine()}",
    }


def machine_facts() -> dict[str, Any]:
    """The machine that a report was made on; no run's bits depend on it."""
    return {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()}
