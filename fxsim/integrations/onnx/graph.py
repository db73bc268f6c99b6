"""An ONNX graph made plain: constants folded, quantisers taken out, shapes known."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fxsim.errors import ConfigError, DataError, missing_extra

QUANTISERS = ("Quant", "BipolarQuant", "IntQuant")  # QONNX's, under Brevitas's and FINN's domains
_PASSED = ("Identity", "Cast")
_MOVING = (
    "MaxPool",
    "Flatten",
    "Reshape",
    "Squeeze",
    "Unsqueeze",
    "Transpose",
    "Identity",
    "Dropout",
)


@dataclass(frozen=True, slots=True)
class Quantiser:
    """What a QONNX node says of a tensor: its word length."""

    bits: int
    node: str


@dataclass(slots=True)
class Graph:
    """Nodes in execution order, and what is known of their tensors.

    inputs : {name: shape, batch included}; constants : {name: array}
    shapes : {name: shape, batch included}
    quantisers : {(node, which of its inputs): quantiser}, see `id_of`
    """

    path: Path
    nodes: list[Any]
    inputs: dict[str, tuple[int, ...]]
    outputs: list[str]
    integers: set[str]
    constants: dict[str, NDArray[Any]]
    shapes: dict[str, tuple[int, ...]]
    quantisers: dict[tuple[str, int], Quantiser] = field(default_factory=dict)

    def where(self, node: Any) -> str:
        """A node, for messages."""
        return f"{self.path}: node {self.nodes.index(node) + 1}, {described(node)}"


def described(node: Any) -> str:
    """A node's operator and name."""
    domain = f"{node.domain}." if node.domain not in ("", "ai.onnx") else ""
    return f"{domain}{node.op_type} {node.name or (node.output[0] if node.output else '?')!r}"


def attributes(node: Any) -> dict[str, Any]:
    """A node's attributes as Python values; text as text."""
    from onnx import helper

    values = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return {k: v.decode() if isinstance(v, bytes) else v for k, v in values.items()}


def read(path: Path) -> Graph:
    """Read a model; raises ConfigError if it is none, DataError where a shape is not known."""
    try:
        import onnx
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    except ModuleNotFoundError:
        raise missing_extra("fxsim import", "onnx") from None
    try:
        model = onnx.load(path, load_external_data=False)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (DecodeError, OSError, ValueError) as problem:
        reason = " ".join(str(problem).split())
        raise ConfigError(f"{path}: must be an ONNX model: {reason}") from None
    if not model.graph.node:
        raise ConfigError(f"{path}: must be an ONNX model with nodes; it has none")
    _fix_batch(model.graph)
    constants = {t.name: _array(onnx, t) for t in model.graph.initializer}
    constants |= _constant_nodes(onnx, model.graph)
    quantisers = _without_quantisers(model.graph, constants)
    domains = {o.domain for o in model.opset_import}
    for domain in {n.domain for n in model.graph.node} - domains:
        model.opset_import.append(onnx.helper.make_opsetid(domain, 1))
    shapes_by_name = _shapes(onnx, path, model)
    inputs = {
        v.name: shapes_by_name.get(v.name, ()) for v in model.graph.input if v.name not in constants
    }
    integers = {
        v.name
        for v in model.graph.input
        if v.type.tensor_type.elem_type in (onnx.TensorProto.INT32, onnx.TensorProto.INT64)
    }
    graph = Graph(
        path,
        list(model.graph.node),
        inputs,
        [v.name for v in model.graph.output],
        integers,
        constants,
        shapes_by_name,
        quantisers,
    )
    for _ in range(2):  # shapes that depend on constants that depend on shapes
        _fold(graph)
        _know_more(onnx, model, graph)
    return graph


def _shapes(onnx: Any, path: Path, model: Any) -> dict[str, tuple[int, ...]]:
    """The shapes that can be inferred."""
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except Exception as problem:
        reason = " ".join(str(problem).split())
        raise DataError(f"{path}: the shapes of its tensors contradict: {reason}") from None
    shapes = {}
    for value in [*inferred.input, *inferred.value_info, *inferred.output]:
        shape = _shape(value)
        if shape is not None:
            shapes[value.name] = shape
    return shapes


def _know_more(onnx: Any, model: Any, graph: Graph) -> None:
    """Infer shapes again, with the constants that were folded."""
    initialisers = {t.name for t in model.graph.initializer}
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(np.asarray(array), name)
        for name, array in graph.constants.items()
        if name not in initialisers
    )
    nodes = list(graph.nodes)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    graph.nodes = list(model.graph.node)
    for name, shape in _shapes(onnx, graph.path, model).items():
        graph.shapes.setdefault(name, shape)


def _array(onnx: Any, tensor: Any) -> NDArray[Any]:
    """An initialiser; one kept in another file as zeros, of which no more than the shape counts."""
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
        return np.broadcast_to(np.zeros((), kind), tuple(tensor.dims))
    array: NDArray[Any] = onnx.numpy_helper.to_array(tensor)
    return array


def _fix_batch(graph: Any) -> None:
    """The first axis of inputs is the batch: one sample, where it has no number."""
    initialisers = {t.name for t in graph.initializer}
    for value in graph.input:
        if value.name in initialisers:
            continue
        for i, dim in enumerate(value.type.tensor_type.shape.dim):
            if i == 0:
                dim.ClearField("dim_param")
                dim.dim_value = 1
    for value in [*graph.output, *graph.value_info]:
        for i, dim in enumerate(value.type.tensor_type.shape.dim):
            if i == 0 or not dim.HasField("dim_value"):
                dim.Clear()


def _shape(value: Any) -> tuple[int, ...] | None:
    if not value.type.HasField("tensor_type") or not value.type.tensor_type.HasField("shape"):
        return None
    dims = value.type.tensor_type.shape.dim
    return tuple(d.dim_value for d in dims) if all(d.HasField("dim_value") for d in dims) else None


def id_of(node: Any) -> str:
    """What names a node among the others: its first result."""
    return str(node.output[0])


def _constant_nodes(onnx: Any, graph: Any) -> dict[str, NDArray[Any]]:
    """{result: value} of nodes that are constants."""
    constants = {}
    for node in graph.node:
        if node.op_type == "Constant":
            value = next(iter(attributes(node).values()), None)
            if isinstance(value, onnx.TensorProto):
                constants[node.output[0]] = _array(onnx, value)
            elif isinstance(value, int | float | list | tuple):
                constants[node.output[0]] = np.asarray(value)
    return constants


def _without_quantisers(
    graph: Any, constants: dict[str, NDArray[Any]]
) -> dict[tuple[str, int], Quantiser]:
    """Take QONNX's quantisers out; {(node, which of its inputs): how it is quantised}.

    What only moves words, or picks some, leaves them quantised.
    """
    quantisers: dict[tuple[str, int], Quantiser] = {}
    tagged: dict[str, Quantiser] = {}
    renamed: dict[str, str] = {}
    others = []
    for node in graph.node:
        tags = [tagged.get(name) for name in node.input]
        for i, name in enumerate(node.input):
            node.input[i] = renamed.get(name, name)
        if node.op_type in QUANTISERS:
            renamed[node.output[0]] = node.input[0]
            bits = 1
            if node.op_type != "BipolarQuant":
                width = constants.get(node.input[3]) if len(node.input) > 3 else None
                if width is None or not width.size:
                    raise DataError(f"{described(node)}: its bit-width must be a constant")
                bits = int(np.ceil(float(width.reshape(-1)[0])))
            tagged[node.output[0]] = Quantiser(bits, described(node))
            continue
        others.append(node)
        if node.op_type in _MOVING and tags and tags[0] is not None:
            tagged[node.output[0]] = tags[0]
        quantisers |= {(id_of(node), i): tag for i, tag in enumerate(tags) if tag is not None}
    del graph.node[:]
    graph.node.extend(others)
    for value in graph.output:
        value.name = renamed.get(value.name, value.name)
    return quantisers


def _fold(graph: Graph) -> None:
    """Compute what depends on constants and shapes alone, and drop what changes nothing."""
    from onnx.reference import ReferenceEvaluator

    others = []
    renamed: dict[str, str] = {}
    for node in graph.nodes:
        for i, name in enumerate(node.input):
            node.input[i] = renamed.get(name, name)
        inputs = [name for name in node.input if name]
        if node.op_type in _PASSED and inputs and inputs[0] not in graph.constants:
            renamed[node.output[0]] = inputs[0]
            continue
        if node.op_type == "Shape" and inputs[0] in graph.shapes and not node.attribute:
            shape = graph.shapes[inputs[0]]
            graph.constants[node.output[0]] = np.array(shape, np.int64)
            continue
        inner = any(a.HasField("g") for a in node.attribute)  # may read what is around it
        if all(name in graph.constants for name in inputs) and not inner:
            feeds = {name: np.asarray(graph.constants[name]) for name in inputs}
            try:
                results = ReferenceEvaluator(node).run(None, feeds)
            except Exception:  # it is left as it is, and named where it is converted
                others.append(node)
                continue
            graph.constants |= dict(zip(node.output, results, strict=True))
            continue
        others.append(node)
    graph.nodes = others
    graph.outputs = [renamed.get(name, name) for name in graph.outputs]
