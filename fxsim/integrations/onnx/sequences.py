"""Convolutions of sequences: ONNX has channels before positions, layers have them behind.

A tensor in ONNX's order whose layer has the other is *turned*; turning it in the model is nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fxsim.engine.geometry import Convolution
from fxsim.engine.window import Window
from fxsim.errors import ShapeError
from fxsim.integrations.onnx.network import Network, NotExecutableError
from fxsim.integrations.onnx.nodes import attributes, id_of
from fxsim.training.layers.windows import check_fits, same

# what gives a turned tensor from turned ones
KEEPS_TURNED = frozenset(
    {
        "Add",
        "BatchNormalization",
        "Clip",
        "Conv",
        "Dropout",
        "Gelu",
        "HardSwish",
        "LeakyRelu",
        "Mul",
        "Relu",
        "Sigmoid",
        "Swish",
        "Tanh",
    }
)


def convolution(net: Network, node: Any, tensor: str, filters: int, size: int, bias: bool) -> None:
    """A convolution along positions."""
    _turn(net, tensor)
    attrs, (length, channels) = attributes(node), net.shape(tensor)
    window, groups = _window(attrs, length, size), int(attrs.get("group", 1))
    geometry = Convolution(length, 1, channels, filters, window, Window(1), groups)
    check_fits((window, Window(1)), (length, channels))
    fields: dict[str, Any] = {"filters": filters, "kernel": size}
    fields |= {"stride": window.stride} if window.stride > 1 else {}
    if window.before != window.after:
        fields["padding"] = {"before": window.before, "after": window.after}
    elif window.before:
        fields["padding"] = window.before
    fields |= {"dilation": window.dilation} if window.dilation > 1 else {}
    fields |= {"groups": groups} if groups > 1 else {}
    fields |= {} if bias else {"bias": False}
    net.add(node, "conv1d", (geometry.out_height, filters), [tensor], **fields)
    net.turned.add(id_of(node))


def _window(attrs: dict[str, Any], length: int, size: int) -> Window:
    (stride,), (dilation,) = attrs.get("strides", [1]), attrs.get("dilations", [1])
    automatic, pads = attrs.get("auto_pad", "NOTSET"), attrs.get("pads", [0, 0])
    if automatic not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise ShapeError(f"auto_pad must be NOTSET, VALID, SAME_UPPER or SAME_LOWER: {automatic}")
    if automatic.startswith("SAME"):
        window = same(length, size, stride, dilation)
        if automatic == "SAME_LOWER":  # the odd zero in front
            return replace(window, before=window.after, after=window.before)
        return window
    before, after = [0, 0] if automatic == "VALID" else pads
    return Window(size, stride, before, after, dilation)


def _turn(net: Network, tensor: str) -> None:
    """Let the input, or what is only priced, have its positions first."""
    if tensor in net.turned:
        return
    name, shape = net.made[tensor]
    layer = next((layer for layer in net.layers if layer["name"] == name), None)
    readers = net.readers(tensor)
    if layer is not None and layer["kind"] != "opaque":
        raise NotExecutableError("channels that lie before positions")
    if any(reader.op_type != "Conv" for reader in readers) or tensor in net.graph.outputs:
        raise NotExecutableError("an image of one dimension that others read as a sequence")
    if layer is not None:
        layer["out"] = list(shape[::-1])
    net.made[tensor] = (name, shape[::-1])
    net.turned.add(tensor)


def transpose(net: Network, node: Any, tensors: list[str], attrs: dict[str, Any]) -> None:
    """Positions and channels change places: nothing but another order of axes."""
    if attrs.get("perm") != [0, 2, 1] or len(net.shape(tensors[0])) != 2:
        raise NotExecutableError("axes in another order")
    net.alias(node, tensors[0])
    if tensors[0] not in net.turned:
        net.turned.add(id_of(node))
