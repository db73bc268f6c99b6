"""ONNX operators as layers; what is not executable becomes an `opaque` layer."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from copy import copy
from dataclasses import replace
from math import prod
from typing import Any

from fxsim.engine.geometry import Convolution
from fxsim.engine.window import Window, Windows
from fxsim.errors import DataError, ShapeError
from fxsim.integrations.onnx import sequences
from fxsim.integrations.onnx.cost_only import append_cost_only
from fxsim.integrations.onnx.network import Network, NotExecutableError, Shape, Spec
from fxsim.integrations.onnx.nodes import attributes, described, domain_of, id_of
from fxsim.integrations.onnx.sequences import KEEPS_TURNED
from fxsim.integrations.onnx.work import UnknownWorkError
from fxsim.training.layers.pooling import MOST_PLACES
from fxsim.training.layers.windows import check_fits, same

_MISFITS = (KeyError, ValueError, IndexError, TypeError, ZeroDivisionError)
Handler = Callable[[Network, Any, list[str], dict[str, Any]], None]


def convert(net: Network, node: Any) -> None:
    """Append what a node is."""
    if id_of(node) in net.made:  # with another, as one layer
        return
    tensors = [name for name in node.input if name and name not in net.graph.constants]
    unknown = [name for name in tensors if name not in net.made]
    if unknown:
        raise DataError(f"{net.graph.where(node)}: nothing gives its input {unknown[0]!r}")
    handler = _HANDLERS.get(node.op_type) if domain_of(node) == "" else None
    try:
        _check_known(net, node, tensors, handler)
        net.macs += sum(product.macs for _, product in net.products(node))
        if id_of(node) in net.graph.inside:
            raise NotExecutableError(f"it is inside of {net.graph.inside[id_of(node)]}")
        if not tensors:
            raise NotExecutableError("it has no input that is computed")
        if handler is None:
            raise NotExecutableError("fxsim has no such layer")
        for name in (*tensors, id_of(node)):
            _check_batched(net, name)
        _execute(net, node, tensors, handler)
    except ShapeError as problem:
        raise DataError(f"{net.graph.where(node)}: {problem}") from None
    except (NotExecutableError, UnknownWorkError) as reason:
        append_cost_only(net, node, tensors, str(reason))


def _check_known(net: Network, node: Any, tensors: list[str], handler: Handler | None) -> None:
    """Raise ShapeError with what is wrong, where a layer would know it, and no result is known."""
    graph = net.graph
    if handler and graph.shape(id_of(node)) is None and all(map(graph.shape, tensors)):
        trial = copy(net)
        trial.layers, trial.made, trial.remarks = [*net.layers], dict(net.made), []
        trial.bits, trial.padded = dict(net.bits), dict(net.padded)
        with suppress(NotExecutableError, *_MISFITS):
            handler(trial, node, tensors, attributes(node))


def _check_batched(net: Network, name: str) -> None:
    """Layers take batches of samples: the first axis of all that they read."""
    shape = net.graph.shape(name)
    if shape is None:
        raise NotExecutableError(f"the shape of {name!r} is not known")
    if shape[:1] != (net.graph.batch,):
        raise NotExecutableError(f"the first axis of {name!r}, {list(shape)}, is no batch")


def _execute(net: Network, node: Any, tensors: list[str], handler: Handler) -> None:
    """Append layers for a node; undone where they do not give what ONNX says."""
    before = len(net.layers), dict(net.made), dict(net.bits), len(net.remarks)
    name, padded, turned = id_of(node), set(net.padded), [t in net.turned for t in tensors]
    if any(turned) and not (all(turned) and node.op_type in (*KEEPS_TURNED, "Transpose")):
        raise NotExecutableError("channels that lie before positions")
    try:
        handler(net, node, tensors, attributes(node))
    except _MISFITS:
        raise NotExecutableError("its attributes and shapes do not fit") from None
    if any(turned) and node.op_type in KEEPS_TURNED:
        net.turned.add(name)
    wanted = net.shape_of(name)
    wanted = wanted[::-1] if name in net.turned else wanted
    if set(net.padded) == padded and net.made[name][1] != wanted:
        del net.layers[before[0] :], net.remarks[before[3] :]
        net.made, net.bits = before[1], before[2]
        raise NotExecutableError("as a layer of fxsim it would give another shape")


def _windows(net: Network, node: Any, given: dict[str, Any], kernel: list[int]) -> Windows:
    """Windows along rows and columns, with the zeros of a Pad before them."""
    if len(kernel) != 2:
        raise NotExecutableError(f"windows of {len(kernel)} dimensions")
    strides, dilations = given.get("strides", [1, 1]), given.get("dilations", [1, 1])
    automatic = given.get("auto_pad", "NOTSET")
    extra = net.padded.get(node.input[0], (0, 0, 0, 0))
    pads = list(given.get("pads", [0] * 4))
    if (len(strides), len(dilations), len(pads)) != (2, 2, 4):
        raise ShapeError(
            f"a window of 2 dimensions must have 2 strides, 2 dilations and 4 pads, not"
            f" {len(strides)}, {len(dilations)} and {len(pads)}"
        )
    if automatic not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise ShapeError(f"auto_pad must be NOTSET, VALID, SAME_UPPER or SAME_LOWER: {automatic}")
    if automatic.startswith("SAME"):
        if any(extra):
            raise NotExecutableError("automatic padding of what is padded")
        sides = net.shape(node.input[0])[:2]
        down, across = (same(*axis) for axis in zip(sides, kernel, strides, dilations, strict=True))
        if automatic == "SAME_LOWER":  # the odd zero in front
            return (
                replace(down, before=down.after, after=down.before),
                replace(across, before=across.after, after=across.before),
            )
        return down, across
    pads = [0] * 4 if automatic == "VALID" else pads
    top, left, bottom, right = (int(a + b) for a, b in zip(pads, extra, strict=True))
    return (
        Window(int(kernel[0]), int(strides[0]), top, bottom, int(dilations[0])),
        Window(int(kernel[1]), int(strides[1]), left, right, int(dilations[1])),
    )


def _fields(windows: Windows, size: str = "kernel") -> dict[str, Any]:
    """Windows as a workload writes them, defaults left out."""
    down, across = windows
    fields: dict[str, Any] = {size: _both(down.size, across.size)}
    if (stride := _both(down.stride, across.stride)) != 1:
        fields["stride"] = stride
    if (down.before, across.before) != (down.after, across.after):
        ends = (down.before, down.after, across.before, across.after)
        fields["padding"] = dict(zip(("top", "bottom", "left", "right"), ends, strict=True))
    elif padding := _both(down.before, across.before):
        fields["padding"] = padding
    if (dilation := _both(down.dilation, across.dilation)) != 1:
        fields["dilation"] = dilation
    return fields


def _both(down: int, across: int) -> int | list[int]:
    return down if down == across else [down, across]


def _weights(net: Network, node: Any) -> Shape:
    name = node.input[1] if len(node.input) > 1 else ""
    if name not in net.graph.constants:
        raise NotExecutableError("its weights are computed, not stored")
    return tuple(net.graph.constants[name].shape)


def _has_bias(node: Any) -> bool:
    return len(node.input) > 2 and bool(node.input[2])


def _convolution(net: Network, node: Any, tensors: list[str], given: dict[str, Any]) -> None:
    filters, _, *kernel = _weights(net, node)
    if len(tensors) > 1:
        raise NotExecutableError("a computed bias")
    if len(kernel) == 1 and len(net.shape(tensors[0])) == 2:
        sequences.convolution(net, node, tensors[0], filters, kernel[0], _has_bias(node))
        return
    windows = _windows(net, node, given, kernel)
    groups, (height, width, channels) = int(given.get("group", 1)), net.shape(tensors[0])
    fields = _fields(windows) | ({} if _has_bias(node) else {"bias": False})
    # which checks that groups divide both and that the kernel fits
    _ = Convolution(height, width, channels, filters, *windows, groups)
    check_fits(windows, (height, width, channels))
    shape = (windows[0].outputs(height), windows[1].outputs(width), filters)
    if groups == channels == filters and groups > 1:
        net.add(node, "depthwise_conv2d", shape, tensors[:1], **fields)
    else:
        several = {"groups": groups} if groups > 1 else {}
        net.add(node, "conv2d", shape, tensors[:1], filters=filters, **fields, **several)


def _transposed(net: Network, node: Any, tensors: list[str], given: dict[str, Any]) -> None:
    _, each, *kernel = _weights(net, node)
    if len(tensors) > 1 or given.get("auto_pad", "NOTSET") != "NOTSET":
        raise NotExecutableError("a computed bias, or automatic padding")
    if "output_shape" in given:
        raise NotExecutableError("its padding follows from output_shape")
    windows = _windows(net, node, given, kernel)
    groups = int(given.get("group", 1))
    more = [int(n) for n in given.get("output_padding", [0, 0])]
    if any(n >= window.stride for n, window in zip(more, windows, strict=True)):
        raise NotExecutableError(f"an output padding of {more}, not below its strides")
    fields = _fields(windows) | ({} if _has_bias(node) else {"bias": False})
    fields |= {"output_padding": _both(*more)} if any(more) else {}
    fields |= {"groups": groups} if groups > 1 else {}
    sides = [
        (length - 1) * window.stride - window.before - window.after + window.reach + extra
        for length, window, extra in zip(net.shape(tensors[0]), windows, more, strict=False)
    ]
    shape = (sides[0], sides[1], each * groups)
    net.add(node, "conv_transpose2d", shape, tensors[:1], filters=each * groups, **fields)


def _flat(net: Network, node: Any, tensor: str) -> None:
    """Make a tensor a vector, for a layer that reads one."""
    shape = net.shape(tensor)
    if len(shape) == 1:
        net.alias(node, tensor)
    else:
        net.add(node, "flatten", (prod(shape),), [tensor])


def _gemm(net: Network, node: Any, tensors: list[str], given: dict[str, Any]) -> None:
    weights = _weights(net, node)
    if given.get("transA", 0) or float(given.get("alpha", 1)) != 1:
        raise NotExecutableError("a transposed or scaled input")
    if len(tensors) > 1:
        raise NotExecutableError("a computed summand")
    features, depth = weights if given.get("transB", 0) else weights[::-1]
    beta = float(given.get("beta", 1))
    if beta not in (0, 1):
        raise NotExecutableError("a scaled summand")
    _linear(net, node, tensors[0], depth, features, _has_bias(node) and beta == 1)


def _matmul(net: Network, node: Any, tensors: list[str], given: dict[str, Any]) -> None:
    if len(tensors) > 1:
        raise NotExecutableError("a product of two computed tensors")
    weights = _weights(net, node)
    if len(weights) != 2:
        raise NotExecutableError(f"weights of {len(weights)} dimensions")
    _linear(net, node, tensors[0], *weights, False)


def _linear(net: Network, node: Any, tensor: str, depth: int, features: int, bias: bool) -> None:
    shape = net.shape(tensor)
    if not shape or len(shape) >= 3 or shape[-1] != depth:
        raise NotExecutableError(f"its input of {list(shape)} does not end in {depth}")
    more = {} if bias else {"bias": False}
    net.add(node, "linear", (*shape[:-1], features), [tensor], features=features, **more)


def _plain(kind: str) -> Handler:
    def handler(net: Network, node: Any, tensors: list[str], given: dict[str, Any]) -> None:
        net.add(node, kind, net.shape(tensors[0]), tensors[:1])

    return handler


def _clip(net: Network, node: Any, tensors: list[str], given: dict[str, Any]) -> None:
    limits = [given.get("min"), given.get("max")]
    for i, name in enumerate(node.input[1:3]):
        if name in net.graph.constants:
            limits[i] = float(net.graph.constants[name].item())
    if limits == [0, 6]:
        net.add(node, "relu6", net.shape(tensors[0]), tensors[:1])
    elif limits[0] == 0 and limits[1] is None:
        net.add(node, "relu", net.shape(tensors[0]), tensors[:1])
    else:
        raise NotExecutableError(f"limits other than 0 and 6: {limits}")


def _swish(net: Network, node: Any, tensors: list[str], given: dict[str, Any]) -> None:
    if float(given.get("alpha", 1)) != 1:
        raise NotExecutableError("a scaled sigmoid")
    net.add(node, "silu", net.shape(tensors[0]), tensors[:1])


def _leaky(net: Network, node: Any, tensors: list[str], given: dict[str, Any]) -> None:
    slope = f"{float(given.get('alpha', 0.01)):.6g}"
    net.add(node, "leaky_relu", net.shape(tensors[0]), tensors[:1], slope=slope)


def _layer_norm(net: Network, node: Any, tensors: list[str], given: dict[str, Any]) -> None:
    shape = net.shape(tensors[0])
    if given.get("axis", -1) not in (-1, len(shape)) or len(shape) == 3:
        raise NotExecutableError("it must normalise the last axis of a sequence")
    kind = "rms_norm" if node.op_type == "RMSNormalization" else "layer_norm"
    net.add(node, kind, shape, tensors[:1])


def _batch_norm(net: Network, node: Any, tensors: list[str], given: dict[str, Any]) -> None:
    shape = net.shape(tensors[0])
    if len(shape) == 2 and tensors[0] not in net.turned:
        raise NotExecutableError("its input is no image and no vector")
    net.add(node, "batch_norm", shape, tensors[:1])


def _group_norm(net: Network, node: Any, tensors: list[str], given: dict[str, Any]) -> None:
    shape = net.shape(tensors[0])
    if len(shape) != 3:
        raise NotExecutableError("its input is no image")
    groups = int(given.get("num_groups", shape[-1]))  # an instance norm has a group a channel
    net.add(node, "group_norm", shape, tensors[:1], groups=groups)


def _pool(net: Network, node: Any, tensors: list[str], given: dict[str, Any]) -> None:
    windows = _windows(net, node, given, list(given["kernel_shape"]))
    average = node.op_type == "AveragePool"
    if len(node.output) > 1 and node.output[1]:
        raise NotExecutableError("the places of its maxima are read")
    if not average and windows[0].size * windows[1].size > MOST_PLACES:
        raise NotExecutableError(f"a window of more than {MOST_PLACES} places")
    if any(window.dilation > 1 for window in windows):
        raise NotExecutableError("dilated windows")
    height, width, channels = net.shape(tensors[0])
    check_fits(windows, (height, width, channels))
    padded = any(window.before or window.after for window in windows)
    if given.get("ceil_mode", 0):
        down, across = _rounded_up(windows[0], height), _rounded_up(windows[1], width)
        if average and (down, across) != windows:
            raise NotExecutableError("a mean of windows that are rounded up")
        windows = down, across
    if average and padded and not given.get("count_include_pad", 0):
        raise NotExecutableError("a mean that leaves its padding out")
    fields = _fields(windows, "size")
    stride = _both(windows[0].stride, windows[1].stride)
    if stride == fields["size"]:
        fields.pop("stride", None)
    else:
        fields["stride"] = stride
    shape = (windows[0].outputs(height), windows[1].outputs(width), channels)
    net.add(node, "average_pool" if average else "max_pool", shape, tensors[:1], **fields)


def _rounded_up(window: Window, length: int) -> Window:
    """With places behind for one more window, where one begins on the axis that does not fit."""
    last = window.outputs(length) * window.stride
    if last >= length + window.before:
        return window
    more = last + window.reach - (length + window.before + window.after)
    return replace(window, after=window.after + more) if 0 < more < window.stride else window


def _global_pool(net: Network, node: Any, tensors: list[str], given: dict[str, Any]) -> None:
    shape = net.shape(tensors[0])
    if len(shape) != 3:
        raise NotExecutableError("its input is no image")
    net.add(node, "global_average_pool", (1, 1, shape[2]), tensors[:1])


def _mean(net: Network, node: Any, tensors: list[str], given: dict[str, Any]) -> None:
    axes = given.get("axes")
    if axes is None and len(node.input) > 1 and node.input[1] in net.graph.constants:
        axes = net.graph.constants[node.input[1]].tolist()
    if axes is None or sorted(a % 4 for a in axes) != [2, 3] or len(net.shape(tensors[0])) != 3:
        raise NotExecutableError(f"a mean over axes {axes} of {list(net.shape(tensors[0]))}")
    _global_pool(net, node, tensors, given)
    if not given.get("keepdims", 1):
        channels = net.shape(tensors[0])[2]
        net.layers.append({"name": net.unused(f"{net.layers[-1]['name']}_flat"), "kind": "flatten"})
        net.made[node.output[0]] = (net.layers[-1]["name"], (channels,))


def _binary(kind: str) -> Handler:
    def handler(net: Network, node: Any, tensors: list[str], given: dict[str, Any]) -> None:
        if len(tensors) == 1:
            _constant_operand(net, node, tensors[0], kind)
            return
        one, other = (net.shape(tensor) for tensor in tensors)
        if one != other:
            raise NotExecutableError(f"shapes {list(one)} and {list(other)}, one broadcast")
        sources = [net.made[tensor][0] for tensor in tensors]
        last = net.layers[-1] if net.layers else {"name": "", "kind": ""}
        gate = [s for s in sources if s == last["name"] and last["kind"] == "sigmoid"]
        if kind == "multiply" and gate and net.alone(_of(net, tensors, last)):  # x * sigmoid(x)
            before = net.layers[-2]["name"] if len(net.layers) > 1 else "input"
            if last.get("inputs", [before])[0] in sources:
                last["kind"] = "silu"
                net.made[node.output[0]] = (last["name"], one)
                return
        net.add(node, kind, one, tensors)

    return handler


def _of(net: Network, tensors: list[str], layer: Spec) -> str:
    """Which of some tensors a layer gives."""
    return next(tensor for tensor in tensors if net.made[tensor][0] == layer["name"])


def _constant_operand(net: Network, node: Any, tensor: str, kind: str) -> None:
    constant = next(n for n in node.input if n in net.graph.constants)
    array = net.graph.constants[constant]
    size = array.size
    channels = array.shape[-1:] == (size,)  # a value a channel, not a position
    last = net.layers[-1] if net.layers else None
    shape = net.shape(tensor)
    if (
        kind == "add"
        and last is not None
        and last["kind"] == "linear"
        and net.made[tensor][0] == last["name"]
        and last.get("bias") is False
        and size == shape[-1]
        and channels
        and net.alone(tensor)
    ):
        del last["bias"]
        net.alias(node, tensor)
    elif kind == "add" and size == prod(shape) and len(shape) == 2:
        net.add(node, "position_embedding", shape, [tensor])
    else:
        raise NotExecutableError("an operand that is a constant")


def _concat(net: Network, node: Any, tensors: list[str], given: dict[str, Any]) -> None:
    shapes = [net.shape(tensor) for tensor in tensors]
    rank = len(shapes[0]) + 1
    channel_axis = 1 if rank == 4 else rank - 1
    if given["axis"] % rank != channel_axis or len(tensors) < len(node.input):
        raise NotExecutableError("parts that are not computed, or not side by side in channels")
    channels = sum(shape[-1] for shape in shapes)
    net.add(node, "concat", (*shapes[0][:-1], channels), tensors)


def _reshaped(net: Network, node: Any, tensors: list[str], given: dict[str, Any]) -> None:
    """Flatten, Reshape, Squeeze, Unsqueeze: to a vector, or nothing but axes of one."""
    before = net.shape(tensors[0])
    whole = net.graph.shape(node.output[0])
    if whole is None:
        raise NotExecutableError("the shape of its result is not known")
    after = net.sample(whole)
    if (groups := _shuffled(net, node, before, whole)) > 1:
        net.add(node, "channel_shuffle", before, tensors[:1], groups=groups)
        for _ in range(2):
            reader = net.readers(id_of(node))[0]
            net.alias(reader, id_of(node))
            net.made[id_of(node)] = (net.made[id_of(node)][0], net.shape_of(id_of(node)))
            node = reader
    elif after == before:
        net.alias(node, tensors[0])
    elif after == (prod(before),):
        _flat(net, node, tensors[0])
    else:
        raise NotExecutableError(f"{list(before)} to {list(after)}, which is no flattening")


def _shuffled(net: Network, node: Any, before: Shape, whole: Shape) -> int:
    """The groups of a channel shuffle that begins with a reshape: cut, turned, and joined; or 1."""
    if len(whole) != 5 or len(before) != 3 or whole[3:] != before[:2]:
        return 1
    ends = [node]
    for kind in ("Transpose", "Reshape"):
        if not net.alone(id_of(ends[-1])):
            return 1
        ends.append(net.readers(id_of(ends[-1]))[0])
        if ends[-1].op_type != kind:
            return 1
    joined = net.graph.shape(id_of(ends[2]))
    turned = attributes(ends[1]).get("perm") == [0, 2, 1, 3, 4]
    return whole[1] if turned and joined is not None and net.sample(joined) == before else 1


def _dropout(net: Network, node: Any, tensors: list[str], given: dict[str, Any]) -> None:
    ratio = float(given.get("ratio", 0.5))
    if len(node.input) > 1 and node.input[1] in net.graph.constants:
        ratio = float(net.graph.constants[node.input[1]].item())
    if ratio >= 0.95:
        raise NotExecutableError(f"a ratio of {ratio:g}")
    if ratio:
        net.add(node, "dropout", net.shape(tensors[0]), tensors[:1], probability=f"{ratio:.6g}")
    else:
        net.alias(node, tensors[0])


def _pad(net: Network, node: Any, tensors: list[str], given: dict[str, Any]) -> None:
    pads = given.get("pads")
    if pads is None and len(node.input) > 1 and node.input[1] in net.graph.constants:
        pads = net.graph.constants[node.input[1]].tolist()
    readers = net.readers(node.output[0])
    value = net.graph.constants.get(node.input[2]) if len(node.input) > 2 else None
    filled = float(given.get("value", 0) if value is None or not value.size else value.item())
    if len(node.input) > 3 and node.input[3]:
        raise NotExecutableError("padding of some axes")
    pads = pads if pads and len(pads) == 8 else [1] * 8
    sides = (*pads[2:4], *pads[6:8])  # top, left, bottom, right
    others = any(pads[i] for i in (0, 1, 4, 5)) or min(sides) < 0
    if others or given.get("mode", "constant") != "constant" or filled:
        raise NotExecutableError("padding that is not zeros on the sides of an image")
    if not readers or any(reader.op_type != "Conv" for reader in readers):
        raise NotExecutableError("padding before something that is no convolution")
    net.alias(node, tensors[0])
    net.padded[node.output[0]] = sides


def _softmax(net: Network, node: Any, tensors: list[str], given: dict[str, Any]) -> None:
    shape = net.shape(tensors[0])
    if id_of(node) == net.graph.outputs[0] and not net.readers(node.output[0]):
        net.alias(node, tensors[0])
        net.remarks.append(f"{described(node)}: left out; the loss takes logits")
    elif node.op_type == "LogSoftmax":
        raise NotExecutableError("a logarithm inside the network")
    elif given.get("axis", -1) in (-1, len(shape)) and len(shape) < 3:
        net.add(node, "softmax", shape, tensors[:1])
    else:
        raise NotExecutableError("an axis that is not the last")


def _gather(net: Network, node: Any, tensors: list[str], given: dict[str, Any]) -> None:
    if len(net.graph.inputs) > 1:
        raise NotExecutableError("words beside other inputs")
    table = net.graph.constants.get(node.input[0])
    if table is None or table.ndim != 2 or node.input[1] not in net.graph.integers:
        raise NotExecutableError("not a table of words looked up by the input")
    vocabulary, channels = table.shape
    shape = (*net.shape(tensors[0]), channels)
    net.add(node, "embedding", shape, tensors[:1], vocabulary=vocabulary, channels=channels)


_HANDLERS: dict[str, Handler] = {
    "Conv": _convolution,
    "ConvTranspose": _transposed,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "RMSNormalization": _layer_norm,
    "GroupNormalization": _group_norm,
    "InstanceNormalization": _group_norm,
    "Relu": _plain("relu"),
    "Clip": _clip,
    "LeakyRelu": _leaky,
    "Sigmoid": _plain("sigmoid"),
    "Tanh": _plain("tanh"),
    "Gelu": _plain("gelu"),
    "Swish": _swish,
    "HardSwish": _plain("hard_swish"),
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
    "MaxPool": _pool,
    "AveragePool": _pool,
    "GlobalAveragePool": _global_pool,
    "ReduceMean": _mean,
    "Add": _binary("add"),
    "Mul": _binary("multiply"),
    "Concat": _concat,
    "Flatten": _reshaped,
    "Reshape": _reshaped,
    "Squeeze": _reshaped,
    "Unsqueeze": _reshaped,
    "Dropout": _dropout,
    "Pad": _pad,
    "Transpose": sequences.transpose,
    "Gather": _gather,
}
EXECUTABLE = tuple(_HANDLERS)
