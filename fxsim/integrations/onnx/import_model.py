"""Importing a model: reading it, converting it, writing its workload (and study) as YAML."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from fxsim.errors import ConfigError, DataError, FxsimError
from fxsim.integrations.onnx.convert import convert
from fxsim.integrations.onnx.cost_only import written
from fxsim.integrations.onnx.network import YAML_WORDS, Network, Shape
from fxsim.integrations.onnx.nodes import printable
from fxsim.integrations.onnx.read import read
from fxsim.integrations.onnx.work import UnknownWorkError, products_of
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
_SHOWN = 5  # nodes that a message names
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
    unknown : operators whose work is not known, and is counted nowhere
    remarks : what was assumed or left out, a line each
    bits : {layer: {role: bits}} of QONNX
    """

    workload: Path
    study: Path | None
    refused: dict[str, int]
    unknown: list[str]
    remarks: list[str]
    bits: dict[str, dict[str, int]]
    macs: int
    parameters: int
    layers: int


def import_model(
    path: Path,
    out: Path | None = None,
    dataset: str | None = None,
    name: str | None = None,
    sizes: Mapping[str, Shape] | None = None,
    allow_unknown: bool = False,
) -> Imported:
    """An ONNX (or QONNX) file as a workload's YAML, and, where it says bit-widths, a study's.

    out : the workload's file; `<name>.yaml` here if None; a study goes beside it
    dataset : to train on; assumed from the input's shape if None
    sizes : {input: shape} and {name of an axis: (length,)} of those without numbers in the model
    allow_unknown : go on without the operators whose work is not known; the workload says so
    The weights' values are not imported: training begins from the seed's own.
    """
    label = name or re.sub(r"\W+", "_", path.stem)
    target = out or Path(f"{label}.yaml")
    if target.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"{target}: must be named .yaml, it is a workload's file")
    if dataset is not None and (problem := datasets.unknown(dataset)):
        raise ConfigError(f"--{problem}")
    try:
        net, shape, classes = _network(path, sizes or {})
    except (MemoryError, RecursionError):
        raise DataError(f"{path}: it is too large, or nested too deeply, to be read here") from None
    if net.unknown and not allow_unknown:
        raise DataError(_unknown(path, net.unknown))
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
            _check_counted(path, net, model.macs)
        except FxsimError as problem:
            said = str(problem).replace(str(fresh), str(target))
            raise DataError(f"{path}: does not make a network: {said}") from None
    lines = {
        name: n
        for n, line in enumerate(text.splitlines(), 1)
        for name in re.findall(r"^  - \{?name: (\w+)", line)
    }
    study = _study(target, label, net) if net.bits and not net.refused else None
    return Imported(
        target,
        study,
        {why: lines[layer] for layer, why in net.refused},
        net.unknown,
        remarks,
        net.bits,
        model.macs,
        model.parameters,
        len(model.layers),
    )


def _check_counted(path: Path, net: Network, macs: int) -> None:
    """The layers do what the operators do, or nothing is written."""
    if macs != net.macs:
        raise DataError(
            f"{path}: its operators do {net.macs:,} multiply-accumulates a sample, but the layers"
            f" that they would become {macs:,}"
        )


def _unknown(path: Path, nodes: list[str]) -> str:
    """One line about operators whose work is not known: the first by name."""
    shown = "; ".join(nodes[:_SHOWN]) + ("; ..." if len(nodes) > _SHOWN else "")
    number = "1 node" if len(nodes) == 1 else f"{len(nodes)} nodes"
    return f"{path}: {number} whose work is unknown: {shown} (--allow-unknown prices the rest)"


def _network(path: Path, sizes: Mapping[str, Shape]) -> tuple[Network, Shape, int]:
    """(the layers, one sample's shape, the number of classes)."""
    graph = read(path, sizes)
    net = Network(graph)
    net.remarks += graph.remarks
    outputs = _counted_outputs(net)
    needed = _needed(graph.nodes, outputs)
    inputs = [name for name in graph.inputs if name in needed]
    if not inputs:
        raise DataError(f"{path}: nothing gives its output {graph.outputs[0]!r}")
    first = inputs[0]
    shape = net.sample(graph.inputs[first])
    if not graph.inputs[first]:
        raise DataError(f"{path}: input {first!r} must be a tensor of one axis at least")
    net.made[first] = ("input", shape)
    for name in inputs[1:]:
        _further_input(net, name)
    for node in graph.nodes:
        if needed & set(node.output):
            convert(net, node)
    last = net.made.get(graph.outputs[0])
    if last is None or not net.layers:
        raise DataError(f"{path}: nothing gives its output {graph.outputs[0]!r}")
    _joined(net, outputs)
    return net, net.made[first][1], net.made[outputs[-1]][1][-1]


def _further_input(net: Network, name: str) -> None:
    """A network has one input: another one's words are taken as computed from the first."""
    label = net.unused(name)
    shape = net.sample(net.graph.inputs[name])
    operator = f"input {name!r}"
    net.layers.append(
        {
            "name": label,
            "kind": "opaque",
            "inputs": ["input"],
            "operator": operator,
            "out": written(shape),
        }
    )
    net.made[name] = (label, shape)
    net.refused.append((label, f"{operator}: a network that is executed has one input"))


def _counted_outputs(net: Network) -> list[str]:
    """The outputs that are imported: the first, and those that more products lead to."""
    graph = net.graph
    first, *others = graph.outputs
    counted, needed = [first], _needed(graph.nodes, [first])
    for output in others:
        more = _needed(graph.nodes, [output]) - needed
        if any(_has_products(net, node) for node in graph.nodes if more & set(node.output)):
            counted.append(output)
            needed |= more
    left_out = [name for name in others if name not in counted]
    if left_out:
        net.remarks.append(f"outputs {', '.join(left_out)}: left out")
    return counted


def _has_products(net: Network, node: Any) -> bool:
    try:
        return bool(products_of(net.graph, node))
    except UnknownWorkError:
        return True


def _joined(net: Network, outputs: list[str]) -> None:
    """Several outputs become one, side by side."""
    layers = dict.fromkeys(net.made[name][0] for name in outputs)
    last, shape = net.layers[-1], net.made[outputs[0]][1]
    if list(layers) == [last["name"]] and last.get("out", written(shape)) == written(shape):
        return
    size = sum(prod(shape) for shape in dict(net.made[name] for name in outputs).values())
    operator = f"outputs {', '.join(outputs)}"
    label = net.unused("outputs")
    net.layers.append(
        {
            "name": label,
            "kind": "opaque",
            "inputs": list(layers),
            "operator": operator,
            "out": [size],
        }
    )
    net.made[outputs[-1]] = (label, (size,))
    net.refused.append((label, f"{operator}: a network that is executed has one output"))


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
        *(f"# {printable(remark)}" for remark in remarks),
        f"dataset: {dataset}",
        f"input: [{', '.join(map(str, written(shape)))}]",
        f"classes: {classes}",
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
    text = printable(text)
    plain = re.fullmatch(r"[A-Za-z_][\w.+-]*|[0-9]+", text) and text.lower() not in YAML_WORDS
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
