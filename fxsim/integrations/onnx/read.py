"""Reading an ONNX model: its inputs' sizes, QONNX's quantisers taken out, then made plain."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fxsim.errors import ConfigError, DataError, hint, missing_extra
from fxsim.integrations.onnx.batch import find_batch
from fxsim.integrations.onnx.graph import Graph, Quantiser
from fxsim.integrations.onnx.nodes import attributes, described, domain_of, id_of, printable
from fxsim.integrations.onnx.shapes import MOST_VALUES, Shape, Types, static
from fxsim.integrations.onnx.simplify import simplify
from fxsim.training.fields import LARGEST

QUANTISERS = ("Quant", "BipolarQuant", "IntQuant")  # QONNX's, under Brevitas's and FINN's domains
_QUANTISED = ("qonnx", "brevitas", "finn", "onnx")  # parts of their domains' names
_NO_TEXT = "must be an ONNX model; its names are no UTF-8 text"
_LATEST = 1 << 15  # no version is near it
_MOST_NUMBERS = 1 << 24  # of a range
_SMALL = 1 << 12  # values of a tensor in another file that may say a shape or a condition
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
_OTHER_AXES = re.compile(r"^(?!.*batch).*(seq|time|len|step|token|frame)", re.IGNORECASE)
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
        return _read(path, dict(sizes or {}))
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: {_NO_TEXT}") from None


def _read(path: Path, sizes: dict[str, Shape]) -> Graph:
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
        model = _without_functions(path, model)
    if not model.graph.output:
        raise ConfigError(f"{path}: must be an ONNX model with an output; it has none")
    if not all(isinstance(text, str) for text in _texts(model)):  # else bytes
        raise ConfigError(f"{path}: {_NO_TEXT}")
    for opset in model.opset_import:
        if not 1 <= opset.version <= _LATEST:
            raise ConfigError(f"{path}: opset {opset.version} of {opset.domain!r} is not known")
    if not 1 <= model.ir_version <= _LATEST:
        raise ConfigError(f"{path}: must be an ONNX model; its version is {model.ir_version}")
    _check_nodes(onnx, path, model)
    _sized(path, model.graph, sizes)
    constants = {t.name: _array(onnx, t, path) for t in model.graph.initializer}
    constants |= _constant_nodes(onnx, model.graph, path)
    _check_ranges(path, model.graph, constants)
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
        types,
        quantisers,
    )
    simplify(graph)
    find_batch(graph)
    return graph


def _without_functions(path: Path, model: Any) -> Any:
    """The model with its own functions opened."""
    from onnx import inliner

    try:
        return inliner.inline_local_functions(model, convert_version=True)
    except Exception as problem:
        raise DataError(f"{path}: its functions cannot be opened: {_first_line(problem)}") from None


def _types(onnx: Any, path: Path, model: Any, constants: dict[str, NDArray[Any]]) -> Types:
    """The types of tensors that ONNX infers for the model as a whole."""
    stated = {value.name: value.type for value in model.graph.value_info}
    del model.graph.value_info[:]  # or they would be believed
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
    for name, kind in stated.items():
        shape = static(kind)
        if shape is not None and shape != static(by_name.setdefault(name, kind)):
            raise DataError(
                f"{path}: tensor {name!r}: it says {list(shape)}, its operator gives"
                f" {list(static(by_name[name]) or ())}"
            )
    return Types(by_name, constants, list(model.opset_import))


def _sized(path: Path, graph: Any, sizes: dict[str, Shape]) -> None:
    """Give each axis of the inputs its length.

    The first axis is the batch, one sample where it has no number and no name of another thing; of
    an input in the layout (time, batch, features) it is the second. Axes of one name have one
    length.
    """
    initialisers = {t.name for t in graph.initializer}
    values = [v for v in graph.input if v.name not in initialisers]
    axes = {v.name: _batch_axis(graph.node, v.name) for v in values}
    resized, batches = bool(sizes), set()
    for dim in (d for v in values for d in _dims(v)):
        if dim.HasField("dim_value") and dim.dim_value < 1:  # some exporters' way to say: free
            dim.Clear()
    names = {name for v in values for d in _dims(v) if (name := d.dim_param)}
    for name in sizes:
        if name not in {*axes, *names}:
            choices = sorted({*axes, *names})
            raise ConfigError(
                f"--shape: {path} has no input or axis {name!r}{hint(name, choices)}; it has"
                f" {', '.join(choices)}"
            )
        shown = f"--shape {name}={','.join(map(str, sizes[name]))}"
        if max(sizes[name], default=0) > LARGEST:
            raise ConfigError(f"{shown}: must be at most {LARGEST}")
        if name not in axes and len(sizes[name]) > 1:
            raise ConfigError(f"{shown}: an axis has one length")
    for value in values:
        if value.name in sizes:
            _resized(path, value, sizes.pop(value.name), sizes)
    for value in values:
        for i, dim in enumerate(_dims(value)):
            if dim.HasField("dim_value"):
                continue
            name = dim.dim_param
            if name in batches and i != axes[value.name] and "batch" not in name.lower():
                continue  # of one name with the batch, but perhaps no batch
            if name in sizes:
                (dim.dim_value,) = sizes[name]
            elif i == axes[value.name] and not _OTHER_AXES.search(name):
                dim.dim_value = 1
                sizes |= {name: (1,)} if name else {}
                batches.add(name)
    _without_length(path, values)
    for value in [*graph.output, *graph.value_info]:
        for dim in _dims(value):
            if not dim.HasField("dim_value") or resized:
                dim.Clear()


def _without_length(path: Path, values: Sequence[Any]) -> None:
    """Refuse axes that still have none."""
    for value in values:
        dims = _stated(value)
        if any(isinstance(d, str) for d in dims):
            shown = ", ".join(map(str, dims))
            raise ConfigError(
                f"{path}: input {value.name!r} must have a length on each axis, not [{shown}];"
                f" give it: --shape {printable(value.name)}="
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
        if dim.dim_param and sizes.setdefault(dim.dim_param, (length,)) != (length,):
            raise ConfigError(
                f"--shape: axis {dim.dim_param!r} of {path} has one length, not"
                f" {sizes[dim.dim_param][0]} and {length}"
            )
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
            elif node.op_type == "Gather" and place == 1:  # a table of words
                pass
            elif node.op_type not in _ROW_BY_ROW.split() or place:
                continue
            axes[node.output[0]] = order
    return 0


# what keeps the first axes of its first input
_ROW_BY_ROW = """
Add Cast Clip Concat DequantizeLinear Div Dropout DynamicQuantizeLinear Elu Erf Gelu HardSwish
Identity LayerNormalization LeakyRelu MatMul MatMulInteger Mul Pow QuantizeLinear Relu Sigmoid Slice
Softplus Sqrt Sub Tanh
"""


def _texts(model: Any) -> Iterator[Any]:
    """Every name in a model."""
    yield from (opset.domain for opset in model.opset_import)
    yield from (tensor.name for tensor in model.graph.initializer)
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        yield from (value.name, *(d.dim_param for d in _dims(value)))
    for node in model.graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)


def _check_nodes(onnx: Any, path: Path, model: Any) -> None:
    """Refuse what is no graph: nodes without what their operators need, results made twice."""
    context = onnx.checker.C.CheckerContext()
    context.ir_version = model.ir_version
    context.opset_imports = {o.domain: o.version for o in model.opset_import}
    made = {v.name for v in model.graph.input}
    for number, node in enumerate(model.graph.node, 1):
        where = f"{path}: node {number}, {described(node)}"
        if not any(node.output):
            raise DataError(f"{where}: it gives nothing")
        for name in filter(None, node.output):
            if name in made:
                raise DataError(f"{where}: {name!r} is given twice")
            made.add(name)
        bodies = any(a.HasField("g") for a in node.attribute)  # which read what is around them
        if domain_of(node) == "" and onnx.defs.has(node.op_type) and not bodies:
            try:
                onnx.checker.check_node(node, context)
            except onnx.checker.ValidationError as problem:
                raise DataError(f"{where}: {_first_line(problem)}") from None


def _check_ranges(path: Path, graph: Any, constants: dict[str, NDArray[Any]]) -> None:
    """Refuse ranges that inference would write out."""
    for node in graph.node:
        if node.op_type == "Range" and all(name in constants for name in node.input):
            try:
                first, last, step = (float(constants[name].item()) for name in node.input)
            except ValueError:
                continue
            if step and abs((last - first) / step) > _MOST_NUMBERS:
                raise DataError(f"{path}: {described(node)}: must be of at most 2^24 numbers")


def _first_line(problem: Exception) -> str:
    return " ".join(str(problem).split("==> Context")[0].split())


def _array(onnx: Any, tensor: Any, path: Path) -> NDArray[Any]:
    """An initialiser; of a large one in another file only the shape counts, so it is not read."""
    size = prod(tensor.dims)
    if min(tensor.dims, default=1) < 0 or size > MOST_VALUES:
        raise DataError(
            f"{path}: tensor {tensor.name!r} must be of less than 2^48 values, not of"
            f" [{', '.join(map(str, tensor.dims))}]"
        )
    where = f"{path}: tensor {tensor.name!r}"
    try:
        kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            if size > _SMALL:
                return np.broadcast_to(np.zeros((), kind), tuple(tensor.dims))
            onnx.external_data_helper.load_external_data_for_tensor(tensor, str(path.parent))
        array: NDArray[Any] = onnx.numpy_helper.to_array(tensor)
    except (OSError, onnx.checker.ValidationError):
        if np.issubdtype(kind, np.floating):
            return np.broadcast_to(np.zeros((), kind), tuple(tensor.dims))
        raise DataError(f"{where}: its values must lie beside the model, in their file") from None
    except (ValueError, TypeError, KeyError) as problem:
        raise DataError(
            f"{where}: its type and values do not fit: {_first_line(problem)}"
        ) from None
    return array


def _constant_nodes(onnx: Any, graph: Any, path: Path) -> dict[str, NDArray[Any]]:
    """{result: value} of nodes that are constants."""
    constants = {}
    for node in graph.node:
        if node.op_type == "Constant" and domain_of(node) == "":
            value = next(iter(attributes(node).values()), None)
            if isinstance(value, onnx.TensorProto):
                constants[node.output[0]] = _array(onnx, value, path)
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
        if node.op_type in QUANTISERS and any(d in node.domain for d in _QUANTISED):
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
