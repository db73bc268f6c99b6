"""Importing a model: reading it, converting it, writing its workload (and study) as YAML."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fxsim.errors import ConfigError, DataError, FxsimError
from fxsim.integrations.onnx.graph import read
from fxsim.integrations.onnx.network import Network, Shape, channels_last
from fxsim.integrations.onnx.operators import convert
from fxsim.persistence.atomic import atomic_file
from fxsim.training import data as datasets
from fxsim.training import workload

# what a shape of input usually is; assumed where no dataset is named
_USUAL: dict[Shape, str] = {
    (28, 28, 1): "mnist",
    (32, 32, 3): "cifar10",
    (8, 8, 1): "digits",
    (224, 224, 3): "folder:imagenet",
}
_TRAINING = {
    "epochs": 10,
    "batch": 64,
    "learning_rate": 0.05,
    "momentum": 0.9,
    "schedule": "cosine",
}


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import wrote.

    refused : {(operator and why): line of the workload's YAML} of what is priced but not executed
    remarks : what was assumed or left out, a line each
    bits : {layer: {role: bits}} of QONNX
    """

    workload: Path
    study: Path | None
    refused: dict[str, int]
    remarks: list[str]
    bits: dict[str, dict[str, int]]
    macs: int
    parameters: int
    layers: int


def import_model(
    path: Path, out: Path | None = None, dataset: str | None = None, name: str | None = None
) -> Imported:
    """An ONNX (or QONNX) file as a workload's YAML, and, where it says bit-widths, a study's.

    out : the workload's file; `<name>.yaml` here if None; a study goes beside it
    dataset : to train on; assumed from the input's shape if None
    The weights' values are not imported: training begins from the seed's own.
    """
    label = name or re.sub(r"\W+", "_", path.stem)
    target = out or Path(f"{label}.yaml")
    if target.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"{target}: must be named .yaml, it is a workload's file")
    if dataset is not None and (problem := datasets.unknown(dataset)):
        raise ConfigError(f"--{problem}")
    net, shape, classes = _network(path)
    remarks = list(net.remarks)
    if dataset is None:
        dataset = _USUAL.get(shape, "tinyshakespeare" if _tokens(net) else f"npz:{label}.npz")
        remarks.append(f"dataset {dataset}: assumed from the input's shape {list(shape)}")
    remarks.append("training: assumed; ONNX says nothing of it")
    if net.bits and net.refused:
        remarks.append("word lengths: no study, for the network cannot be trained")
    weights = [n for node in net.graph.nodes for n in node.input[1:2] if n in net.graph.constants]
    shared = sorted({name for name in weights if weights.count(name) > 1})
    remarks += [f"weights {name}: shared in the model, apart here" for name in shared]
    text = _text(net, path, label, dataset, shape, classes, remarks)
    with atomic_file(target) as fresh:
        fresh.write_text(text, encoding="utf-8")
        try:
            _, model = workload.load(fresh)
        except FxsimError as problem:
            said = str(problem).replace(str(fresh), str(target))
            raise DataError(f"{path}: does not make a network: {said}") from None
    lines = {
        name: n
        for n, line in enumerate(text.splitlines(), 1)
        for name in re.findall(r"^  - \{?name: (\w+)", line)
    }
    study = _study(target, label, net) if net.bits and not net.refused else None
    sizes = (p.master.codes.size for p in model.initial_parameters(0).values())
    return Imported(
        target,
        study,
        {why: lines[layer] for layer, why in net.refused},
        remarks,
        net.bits,
        model.macs,
        sum(sizes),
        len(model.layers),
    )


def _network(path: Path) -> tuple[Network, Shape, int]:
    """(the layers, one sample's shape, the number of classes)."""
    graph = read(path)
    if len(graph.inputs) != 1:
        raise DataError(
            f"{path}: must have one input, not {len(graph.inputs)}: {', '.join(graph.inputs)}"
        )
    ((given, whole),) = graph.inputs.items()
    if len(whole) < 2 or not all(n > 0 for n in whole[1:]):
        raise DataError(
            f"{path}: input {given!r} must have a fixed shape beside its batch, not {list(whole)};"
            " export it with a sample of the wanted size"
        )
    net = Network(graph)
    shape = channels_last(whole[1:])
    if len(shape) > 3:
        raise DataError(
            f"{path}: input {given!r} must have at most 3 axes beside its batch,"
            f" not {list(whole[1:])}"
        )
    net.made[given] = ("input", shape)
    needed = _needed(graph.nodes, graph.outputs[:1])
    if len(graph.outputs) > 1:
        net.remarks.append(f"outputs {', '.join(graph.outputs[1:])}: left out")
    for node in graph.nodes:
        if needed & set(node.output):
            convert(net, node)
    last = net.made.get(graph.outputs[0])
    if last is None or not net.layers:
        raise DataError(f"{path}: nothing gives its output {graph.outputs[0]!r}")
    return net, shape, last[1][-1]


def _needed(nodes: list[Any], outputs: list[str]) -> set[str]:
    """The tensors that lead to some outputs."""
    needed = set(outputs)
    for node in reversed(nodes):
        if needed & set(node.output):
            needed |= set(node.input)
    return needed


def _tokens(net: Network) -> bool:
    return any(layer["kind"] == "embedding" for layer in net.layers)


def _text(
    net: Network,
    path: Path,
    label: str,
    dataset: str,
    shape: Shape,
    classes: int,
    remarks: list[str],
) -> str:
    refused = dict(net.refused)
    head = [
        "kind: workload",
        f"name: {_scalar(label)}",
        f"source: {_scalar('imported from ' + path.name)}",
        *(f"# {remark}" for remark in remarks),
        f"dataset: {dataset}",
        f"input: [{', '.join(map(str, shape))}]",
        f"classes: {max(classes, 2)}",
        f"training: {_flow(_TRAINING)}",
        "layers:",
    ]
    for layer in net.layers:
        if layer["name"] in refused:
            head.append(f"  # not executable, priced only: {refused[layer['name']]}")
        head.append(f"  - {_flow(layer)}")
    return "\n".join(head) + "\n"


def _flow(values: Mapping[str, Any]) -> str:
    """A mapping on one line."""
    return "{" + ", ".join(f"{key}: {_scalar(value)}" for key, value in values.items()) + "}"


def _scalar(value: Any) -> str:
    if isinstance(value, Mapping):
        return _flow(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_scalar(v) for v in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    plain = re.fullmatch(r"[\w.+-]+", text)
    return text if plain else '"' + text.replace("\\", "/").replace('"', "'") + '"'


def _study(target: Path, label: str, net: Network) -> Path:
    """A study of the model's own word lengths beside uniform 8 bits."""
    layers = "".join(f"      {layer}: {_flow(roles)}\n" for layer, roles in net.bits.items())
    text = (
        f"kind: study\nname: {label}_bits\n"
        f"title: {label} at the word lengths of its QONNX model, and at 8 bits\n"
        f"workload: {target.name}\npolicies:\n  - {{name: uniform8, kind: uniform}}\n"
        f"  - name: qonnx\n    kind: uniform\n    layers:\n{layers}"
        "accelerators: [bitfusion, dynasty]\nseeds: [0]\nbaseline: uniform8\n"
    )
    path = target.with_name(f"{target.stem}_study.yaml")
    with atomic_file(path) as fresh:
        fresh.write_text(text, encoding="utf-8")
    return path
