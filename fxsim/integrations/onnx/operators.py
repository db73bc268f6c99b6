"""ONNX operators as layers; what is not executable becomes an `opaque` layer."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from fxsim.integrations.onnx import sequences, windows
from fxsim.integrations.onnx.network import Network, NotExecutableError, Shape, Spec
from fxsim.integrations.onnx.nodes import attributes, described, id_of

Handler = Callable[[Network, Any, list[str], dict[str, Any]], None]


def _flat(net: Network, node: Any, tensor: str) -> None:
    """Make a tensor a vector, for a layer that reads one."""
    shape = net.shape(tensor)
    if len(shape) == 1:
        net.alias(node, tensor)
    else:
        net.add(node, "flatten", (prod(shape),), [tensor])


def _gemm(net: Network, node: Any, tensors: list[str], attrs: dict[str, Any]) -> None:
    weights = windows.weights_of(net, node)
    if attrs.get("transA", 0) or float(attrs.get("alpha", 1)) != 1:
        raise NotExecutableError("a transposed or scaled input")
    if len(tensors) > 1:
        raise NotExecutableError("a computed summand")
    features, depth = weights if attrs.get("transB", 0) else weights[::-1]
    beta = float(attrs.get("beta", 1))
    if beta not in (0, 1):
        raise NotExecutableError("a scaled summand")
    _linear(net, node, tensors[0], depth, features, windows.has_bias(node) and beta == 1)


def _matmul(net: Network, node: Any, tensors: list[str], attrs: dict[str, Any]) -> None:
    if len(tensors) > 1:
        raise NotExecutableError("a product of two computed tensors")
    weights = windows.weights_of(net, node)
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
    def handler(net: Network, node: Any, tensors: list[str], attrs: dict[str, Any]) -> None:
        net.add(node, kind, net.shape(tensors[0]), tensors[:1])

    return handler


def _clip(net: Network, node: Any, tensors: list[str], attrs: dict[str, Any]) -> None:
    limits = [attrs.get("min"), attrs.get("max")]
    for i, name in enumerate(node.input[1:3]):
        if name in net.graph.constants:
            limits[i] = float(net.graph.constants[name].item())
    if limits == [0, 6]:
        net.add(node, "relu6", net.shape(tensors[0]), tensors[:1])
    elif limits[0] == 0 and limits[1] is None:
        net.add(node, "relu", net.shape(tensors[0]), tensors[:1])
    else:
        raise NotExecutableError(f"limits other than 0 and 6: {limits}")


def _swish(net: Network, node: Any, tensors: list[str], attrs: dict[str, Any]) -> None:
    if float(attrs.get("alpha", 1)) != 1:
        raise NotExecutableError("a scaled sigmoid")
    net.add(node, "silu", net.shape(tensors[0]), tensors[:1])


def _leaky(net: Network, node: Any, tensors: list[str], attrs: dict[str, Any]) -> None:
    slope = f"{float(attrs.get('alpha', 0.01)):.6g}"
    net.add(node, "leaky_relu", net.shape(tensors[0]), tensors[:1], slope=slope)


def _layer_norm(net: Network, node: Any, tensors: list[str], attrs: dict[str, Any]) -> None:
    shape = net.shape(tensors[0])
    if attrs.get("axis", -1) not in (-1, len(shape)) or len(shape) == 3:
        raise NotExecutableError("it must normalise the last axis of a sequence")
    kind = "rms_norm" if node.op_type == "RMSNormalization" else "layer_norm"
    net.add(node, kind, shape, tensors[:1])


def _batch_norm(net: Network, node: Any, tensors: list[str], attrs: dict[str, Any]) -> None:
    shape = net.shape(tensors[0])
    if len(shape) == 2 and tensors[0] not in net.turned:
        raise NotExecutableError("its input is no image and no vector")
    net.add(node, "batch_norm", shape, tensors[:1])


def _group_norm(net: Network, node: Any, tensors: list[str], attrs: dict[str, Any]) -> None:
    shape = net.shape(tensors[0])
    if len(shape) != 3:
        raise NotExecutableError("its input is no image")
    groups = int(attrs.get("num_groups", shape[-1]))  # an instance norm has a group a channel
    net.add(node, "group_norm", shape, tensors[:1], groups=groups)


def _global_pool(net: Network, node: Any, tensors: list[str], attrs: dict[str, Any]) -> None:
    shape = net.shape(tensors[0])
    if len(shape) != 3:
        raise NotExecutableError("its input is no image")
    net.add(node, "global_average_pool", (1, 1, shape[2]), tensors[:1])


def _mean(net: Network, node: Any, tensors: list[str], attrs: dict[str, Any]) -> None:
    axes = attrs.get("axes")
    if axes is None and len(node.input) > 1 and node.input[1] in net.graph.constants:
        axes = net.graph.constants[node.input[1]].tolist()
    if axes is None or sorted(a % 4 for a in axes) != [2, 3] or len(net.shape(tensors[0])) != 3:
        raise NotExecutableError(f"a mean over axes {axes} of {list(net.shape(tensors[0]))}")
    _global_pool(net, node, tensors, attrs)
    if not attrs.get("keepdims", 1):
        channels = net.shape(tensors[0])[2]
        net.layers.append({"name": net.unused(f"{net.layers[-1]['name']}_flat"), "kind": "flatten"})
        net.made[node.output[0]] = (net.layers[-1]["name"], (channels,))


def _binary(kind: str) -> Handler:
    def handler(net: Network, node: Any, tensors: list[str], attrs: dict[str, Any]) -> None:
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


def _concat(net: Network, node: Any, tensors: list[str], attrs: dict[str, Any]) -> None:
    shapes = [net.shape(tensor) for tensor in tensors]
    rank = len(shapes[0]) + 1
    channel_axis = 1 if rank == 4 else rank - 1
    if attrs["axis"] % rank != channel_axis or len(tensors) < len(node.input):
        raise NotExecutableError("parts that are not computed, or not side by side in channels")
    channels = sum(shape[-1] for shape in shapes)
    net.add(node, "concat", (*shapes[0][:-1], channels), tensors)


def _reshaped(net: Network, node: Any, tensors: list[str], attrs: dict[str, Any]) -> None:
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


def _dropout(net: Network, node: Any, tensors: list[str], attrs: dict[str, Any]) -> None:
    ratio = float(attrs.get("ratio", 0.5))
    if len(node.input) > 1 and node.input[1] in net.graph.constants:
        ratio = float(net.graph.constants[node.input[1]].item())
    if ratio >= 0.95:
        raise NotExecutableError(f"a ratio of {ratio:g}")
    if ratio:
        net.add(node, "dropout", net.shape(tensors[0]), tensors[:1], probability=f"{ratio:.6g}")
    else:
        net.alias(node, tensors[0])


def _softmax(net: Network, node: Any, tensors: list[str], attrs: dict[str, Any]) -> None:
    shape = net.shape(tensors[0])
    if id_of(node) == net.graph.outputs[0] and not net.readers(node.output[0]):
        net.alias(node, tensors[0])
        net.remarks.append(f"{described(node)}: left out; the loss takes logits")
    elif node.op_type == "LogSoftmax":
        raise NotExecutableError("a logarithm inside the network")
    elif attrs.get("axis", -1) in (-1, len(shape)) and len(shape) < 3:
        net.add(node, "softmax", shape, tensors[:1])
    else:
        raise NotExecutableError("an axis that is not the last")


def _gather(net: Network, node: Any, tensors: list[str], attrs: dict[str, Any]) -> None:
    if len(net.graph.inputs) > 1:
        raise NotExecutableError("words beside other inputs")
    table = net.graph.constants.get(node.input[0])
    if table is None or table.ndim != 2 or node.input[1] not in net.graph.integers:
        raise NotExecutableError("not a table of words looked up by the input")
    vocabulary, channels = table.shape
    shape = (*net.shape(tensors[0]), channels)
    net.add(node, "embedding", shape, tensors[:1], vocabulary=vocabulary, channels=channels)


HANDLERS: dict[str, Handler] = {
    "Conv": windows.convolution,
    "ConvTranspose": windows.transposed_convolution,
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
    "MaxPool": windows.pooling,
    "AveragePool": windows.pooling,
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
    "Pad": windows.padding,
    "Transpose": sequences.transpose,
    "Gather": _gather,
}
EXECUTABLE = tuple(HANDLERS)
