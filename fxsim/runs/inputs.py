"""What a run is made from: read and checked before anything is written, and hashed."""

from __future__ import annotations

import hashlib
import inspect
import sys
from dataclasses import dataclass
from pathlib import Path

from fxsim.config import resources, yaml_document
from fxsim.config.yaml_document import Document
from fxsim.errors import ConfigError, hint
from fxsim.hardware import accelerator
from fxsim.persistence.code_hash import PACKAGE, code_sha256
from fxsim.policies.base import Policy
from fxsim.runs import initial_bit_costs, initial_weights, train
from fxsim.training import data as datasets
from fxsim.training import workload as workloads
from fxsim.training.data import Dataset
from fxsim.training.layer_specs import CostOnlySpec
from fxsim.training.model import Model
from fxsim.training.workload import Workload


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
        """A hash of the code and of all inputs: equal hashes give equal runs.

        Returns
        -------
        A SHA-256 in hexadecimal.
        """
        parts = [
            self._code(),
            self.source.text,
            self.dataset.digest(),
            self.policy_kind,
            self.policy.model_dump_json(),
            str(self.epochs),
            str(self.seed),
        ]
        if self.machine is not None:
            parts.append(self.machine.text)
        if self.initial is not None:
            parts.append(hashlib.sha256(self.initial.read_bytes()).hexdigest())
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def _code(self) -> str:
        """The hash of the code that decides the run's bits, the policy's own included."""
        makers = [train] if self.machine is None else [train, initial_bit_costs]
        kind = type(self.policy)
        if kind.__module__.partition(".")[0] == PACKAGE:
            return code_sha256(*makers, sys.modules[kind.__module__])
        return code_sha256(*makers) + _foreign_code(kind)


def _foreign_code(kind: type) -> str:
    """The code of a class that is not ours: its module's source, or its methods as compiled."""
    try:
        return inspect.getsource(sys.modules[kind.__module__])
    except (OSError, TypeError, KeyError):
        codes = [getattr(value, "__code__", None) for value in vars(kind).values()]
        return repr([(code.co_name, code.co_code, code.co_names) for code in codes if code])


def prepare(  # noqa: PLR0913
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

    It takes more than seven parameters: each is an input that a caller may have at hand, or not.

    Parameters
    ----------
    workload_file : its YAML, or what was read of it
    policy_kind, policy : the policy
    seed : of weights, data order and draws
    dataset : if it has been read
    data_directory : of the datasets' official files
    data_name : a dataset, instead of the workload's
    epochs : instead of the workload's
    initial : the directory of a run, or of a checkpoint, whose weights to begin from
    near : a directory in which a policy's accelerator is looked for as well
    decided : decisions are at hand, as in a replay: a policy's accelerator is not needed
    machine : the accelerator that a policy weighs, instead of the one that it names

    Returns
    -------
    The inputs, with their hash.

    Raises
    ------
    ConfigError : for inputs that do not fit each other; with file and line where there is one
    DataError : for a dataset that is not there
    """
    source = yaml_document.read(workload_file)
    workload, model = workloads.load(source)
    for i, layer in enumerate(workload.layers):
        if isinstance(layer, CostOnlySpec):
            source.fail(
                ("layers", i),
                f"layers.{i}, opaque {layer.name!r}: {layer.operator} is not executed, only priced"
                f" (fxsim estimate {source.path})",
            )
    if workload.classes < 2:
        source.fail(("classes",), "classes must be at least 2 to train, not 1: it is priced only")
    for name in policy.own_layers:
        layers = [layer.name for layer in model.layers]
        if name not in layers:
            raise ConfigError(
                f"{source.path}: the policy's layers must be the network's; it has no"
                f" {name!r}{hint(name, layers)}"
            )
    if idle := policy.idle_words(workload.training.optimizer):
        raise ConfigError(
            f"{source.path}: the policy's {idle[0]} must not be given, because the workload's"
            f" optimizer, {workload.training.optimizer}, has none"
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
    request = policy.bit_cost_request
    if request is None or decided:
        machine = None
    else:
        named = machine or resources.find("accelerators", request.accelerator, near)
        machine = yaml_document.read(named)
        accelerator.load(machine)
    weights = None if initial is None else initial_weights.find(initial)
    if weights is not None:
        if not policy.integer:
            raise ConfigError(
                f"{initial}: {policy_kind} begins from its own weights, not from a run's"
            )
        initial_weights.load(weights, model)
    return RunInputs(
        source,
        workload,
        model,
        data,
        policy_kind,
        policy,
        epochs or workload.training.epochs,
        seed,
        weights,
        machine,
    )
