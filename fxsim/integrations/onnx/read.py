"""Reading an ONNX model: its inputs' sizes, QONNX's quantisers taken out, then made plain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fxsim.errors import ConfigError, DataError, hint, missing_extra
from fxsim.integrations.onnx.graph import Graph, Quantiser
from fxsim.integrations.onnx.nodes import attributes, described, id_of
from fxsim.integrations.onnx.shapes import Shape, Types, static
from fxsim.integrations.onnx.simplify import simplify

QUANTISERS = ("Quant", "BipolarQuant", "IntQuant")  # QONNX's, under Brevitas's and FINN's domains
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
_RECURRENT = ("LSTM", "GRU", "RNN", "DynamicQuantizeLSTM")


def read(path: Path, sizes: Mapping[str, Shape] | None = None) -> Graph:
    """Read a model.

    Parameters
    ----------
    path : the model's file
    sizes : {input: its shape} and {name of an axis: (its length,)}, for those without numbers

    Returns
    -------
    Its graph: constants folded, conditionals and loops opened, shapes inferred.

    Raises
    ------
    ConfigError : if it is no model, or an axis has no length
    DataError : where shapes contradict
    """
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
    if model.functions:
        from onnx import inliner

        model = inliner.inline_local_functions(model)
    batch, remarks = _sized(path, model.graph, dict(sizes or {}))
    constants = {t.name: _array(onnx, t) for t in model.graph.initializer}
    constants |= _constant_nodes(onnx, model.graph)
    quantisers = _without_quantisers(model.graph, constants)
    domains = {o.domain for o in model.opset_import}
    for domain in {n.domain for n in model.graph.node} - domains:
        model.opset_import.append(onnx.helper.make_opsetid(domain, 1))
    types = _types(onnx, path, model, constants)
    for value in model.graph.input:
        if 0 in (types.shape(value.name) or ()):  # a past of no steps: nothing is read
            constants[value.name] = np.zeros(types.shape(value.name) or (), np.float32)
    inputs = {
        v.name: types.shape(v.name) or () for v in model.graph.input if v.name not in constants
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
        batch,
        types,
        quantisers,
        remarks=remarks,
    )
    simplify(graph)
    return graph


def _types(onnx: Any, path: Path, model: Any, constants: dict[str, NDArray[Any]]) -> Types:
    """The types of tensors that ONNX infers for the model as a whole."""
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except Exception as problem:
        reason = " ".join(str(problem).split())
        raise DataError(f"{path}: the shapes of its tensors contradict: {reason}") from None
    by_name = {
        value.name: value.type
        for value in (*inferred.input, *inferred.value_info, *inferred.output)
        if static(value.type) is not None
    }
    return Types(by_name, constants, list(model.opset_import))


def _sized(path: Path, graph: Any, sizes: dict[str, Shape]) -> tuple[int, list[str]]:
    """Give each axis of the inputs its length; (samples in a batch, what was assumed).

    The first axis is the batch, one sample where it has no number; of an input in the layout
    (time, batch, features) it is the second. Axes of one name have one length.
    """
    initialisers = {t.name for t in graph.initializer}
    values = [v for v in graph.input if v.name not in initialisers]
    axes = {v.name: _batch_axis(graph.node, v.name) for v in values}
    resized = bool(sizes)
    for dim in (d for v in values for d in _dims(v)):
        if dim.HasField("dim_value") and dim.dim_value < 1:  # some exporters' way to say: free
            dim.Clear()
    names = {name for v in values for d in _dims(v) if (name := d.dim_param)}
    for name in sizes:
        if name not in {*axes, *names}:
            known = sorted({*axes, *names})
            raise ConfigError(
                f"--shape: {path} has no input or axis {name!r}{hint(name, known)}; it has"
                f" {', '.join(known)}"
            )
        shown = f"--shape {name}={','.join(map(str, sizes[name]))}"
        if name not in axes and len(sizes[name]) > 1:
            raise ConfigError(f"{shown}: an axis has one length")
    for value in values:
        if value.name in sizes:
            _resized(path, value, sizes.pop(value.name), sizes)
    remarks = []
    for value in values:
        for i, dim in enumerate(_dims(value)):
            if dim.HasField("dim_value"):
                continue
            name = dim.dim_param
            if name in sizes:
                (dim.dim_value,) = sizes[name]
            elif i == axes[value.name]:
                dim.dim_value = 1
                sizes |= {name: (1,)} if name else {}
    batch = 1
    for value in values[:1]:
        dims = list(_dims(value))
        if len(dims) > axes[value.name]:
            batch = max(dims[axes[value.name]].dim_value, 1)
    if batch > 1:
        remarks.append(f"counted for one sample: the model's batch is {batch}")
    _without_length(path, values)
    for value in [*graph.output, *graph.value_info]:
        for dim in _dims(value):
            if not dim.HasField("dim_value") or resized:
                dim.Clear()
    return batch, remarks


def _without_length(path: Path, values: Sequence[Any]) -> None:
    """Refuse axes that still have none."""
    for value in values:
        dims = _stated(value)
        if any(isinstance(d, str) for d in dims):
            shown = ", ".join(map(str, dims))
            raise ConfigError(
                f"{path}: input {value.name!r} must have a length on each axis, not [{shown}];"
                f" give it: --shape {value.name}="
                f"{','.join(str(d) if isinstance(d, int) else '<length>' for d in dims)}"
            )


def _resized(path: Path, value: Any, shape: Shape, sizes: dict[str, Shape]) -> None:
    dims = list(_dims(value))
    stated = _stated(value)
    fits = len(dims) == len(shape) and all(
        not isinstance(s, int) or s == n or i == 0
        for i, (s, n) in enumerate(zip(stated, shape, strict=False))
    )
    if not fits:
        raise ConfigError(
            f"--shape {value.name}={','.join(map(str, shape))}: must fit"
            f" [{', '.join(map(str, stated))}] of {path}"
        )
    for dim, length in zip(dims, shape, strict=True):
        if dim.dim_param:
            sizes.setdefault(dim.dim_param, (length,))
        dim.Clear()
        dim.dim_value = length


def _stated(value: Any) -> list[int | str]:
    """Each axis's length or name."""
    return [
        d.dim_value if d.HasField("dim_value") else str(d.dim_param or "?") for d in _dims(value)
    ]


def _dims(value: Any) -> Any:
    return value.type.tensor_type.shape.dim


def _batch_axis(nodes: Sequence[Any], name: str) -> int:
    """0, or where the batch of what a recurrent layer reads in ONNX's own layout lies.

    Followed through what keeps or turns axes, to a layer that reads (time, batch, features) or a
    state of (directions, batch, units).
    """
    axes: dict[str, tuple[int, ...]] = {name: (0, 1, 2)}
    for node in nodes:
        for place, source in enumerate(node.input):
            if source not in axes or not axes[source]:
                continue
            order = axes[source]
            if node.op_type in _RECURRENT and not attributes(node).get("layout", 0):
                return order[1] if place in (0, 5, 6) else 0
            if node.op_type == "Transpose":
                turned = attributes(node).get("perm", [])
                order = tuple(order[i] for i in turned) if sorted(turned) == [0, 1, 2] else ()
            elif node.op_type not in _ROW_BY_ROW.split() or place:
                continue
            axes[node.output[0]] = order
    return 0


# what keeps the first axes of its first input
_ROW_BY_ROW = """
Add Cast Clip DequantizeLinear Div Dropout DynamicQuantizeLinear Gelu Identity LayerNormalization
MatMul MatMulInteger Mul QuantizeLinear Relu Sigmoid Sub Tanh
"""


def _array(onnx: Any, tensor: Any) -> NDArray[Any]:
    """An initialiser; one kept in another file as zeros, of which no more than the shape counts."""
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
        return np.broadcast_to(np.zeros((), kind), tuple(tensor.dims))
    array: NDArray[Any] = onnx.numpy_helper.to_array(tensor)
    return array


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
