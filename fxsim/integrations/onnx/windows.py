"""Operators that slide windows over images: convolutions, pooling, and the padding before them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fxsim.engine.geometry import Convolution
from fxsim.engine.window import Window, Windows
from fxsim.errors import ShapeError
from fxsim.integrations.onnx import sequences
from fxsim.integrations.onnx.network import Network, NotExecutableError, Shape
from fxsim.training.layers.pooling import MOST_PLACES
from fxsim.training.layers.windows import check_fits, same


def convolution(net: Network, node: Any, tensors: list[str], attrs: dict[str, Any]) -> None:
    """A convolution of images, or of sequences."""
    filters, _, *kernel = weights_of(net, node)
    if len(tensors) > 1:
        raise NotExecutableError("a computed bias")
    if len(kernel) == 1 and len(net.shape(tensors[0])) == 2:
        sequences.convolution(net, node, tensors[0], filters, kernel[0], has_bias(node))
        return
    windows = _windows(net, node, attrs, kernel)
    groups, (height, width, channels) = int(attrs.get("group", 1)), net.shape(tensors[0])
    fields = _fields(windows) | ({} if has_bias(node) else {"bias": False})
    # which checks that groups divide both and that the kernel fits
    _ = Convolution(height, width, channels, filters, *windows, groups)
    check_fits(windows, (height, width, channels))
    shape = (windows[0].outputs(height), windows[1].outputs(width), filters)
    if groups == channels == filters and groups > 1:
        net.add(node, "depthwise_conv2d", shape, tensors[:1], **fields)
    else:
        several = {"groups": groups} if groups > 1 else {}
        net.add(node, "conv2d", shape, tensors[:1], filters=filters, **fields, **several)


def transposed_convolution(
    net: Network, node: Any, tensors: list[str], attrs: dict[str, Any]
) -> None:
    """A transposed convolution of images."""
    _, each, *kernel = weights_of(net, node)
    if len(tensors) > 1 or attrs.get("auto_pad", "NOTSET") != "NOTSET":
        raise NotExecutableError("a computed bias, or automatic padding")
    if "output_shape" in attrs:
        raise NotExecutableError("its padding follows from output_shape")
    windows = _windows(net, node, attrs, kernel)
    groups = int(attrs.get("group", 1))
    more = [int(n) for n in attrs.get("output_padding", [0, 0])]
    if any(n >= window.stride for n, window in zip(more, windows, strict=True)):
        raise NotExecutableError(f"an output padding of {more}, not below its strides")
    fields = _fields(windows) | ({} if has_bias(node) else {"bias": False})
    fields |= {"output_padding": _both(*more)} if any(more) else {}
    fields |= {"groups": groups} if groups > 1 else {}
    sides = [
        (length - 1) * window.stride - window.before - window.after + window.reach + extra
        for length, window, extra in zip(net.shape(tensors[0]), windows, more, strict=False)
    ]
    shape = (sides[0], sides[1], each * groups)
    net.add(node, "conv_transpose2d", shape, tensors[:1], filters=each * groups, **fields)


def pooling(net: Network, node: Any, tensors: list[str], attrs: dict[str, Any]) -> None:
    """The largest or the mean of windows."""
    windows = _windows(net, node, attrs, list(attrs["kernel_shape"]))
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
    if attrs.get("ceil_mode", 0):
        down, across = _rounded_up(windows[0], height), _rounded_up(windows[1], width)
        if average and (down, across) != windows:
            raise NotExecutableError("a mean of windows that are rounded up")
        windows = down, across
    if average and padded and not attrs.get("count_include_pad", 0):
        raise NotExecutableError("a mean that leaves its padding out")
    fields = _fields(windows, "size")
    stride = _both(windows[0].stride, windows[1].stride)
    if stride == fields["size"]:
        fields.pop("stride", None)
    else:
        fields["stride"] = stride
    shape = (windows[0].outputs(height), windows[1].outputs(width), channels)
    net.add(node, "average_pool" if average else "max_pool", shape, tensors[:1], **fields)


def padding(net: Network, node: Any, tensors: list[str], attrs: dict[str, Any]) -> None:
    """Zeros on the sides of an image, which the convolutions that read it take in."""
    pads = attrs.get("pads")
    if pads is None and len(node.input) > 1 and node.input[1] in net.graph.constants:
        pads = net.graph.constants[node.input[1]].tolist()
    readers = net.readers(node.output[0])
    value = net.graph.constants.get(node.input[2]) if len(node.input) > 2 else None
    filled = float(attrs.get("value", 0) if value is None or not value.size else value.item())
    if len(node.input) > 3 and node.input[3]:
        raise NotExecutableError("padding of some axes")
    pads = pads if pads and len(pads) == 8 else [1] * 8
    sides = (*pads[2:4], *pads[6:8])  # top, left, bottom, right
    others = any(pads[i] for i in (0, 1, 4, 5)) or min(sides) < 0
    if others or attrs.get("mode", "constant") != "constant" or filled:
        raise NotExecutableError("padding that is not zeros on the sides of an image")
    if not readers or any(reader.op_type != "Conv" for reader in readers):
        raise NotExecutableError("padding before something that is no convolution")
    net.alias(node, tensors[0])
    net.padded[node.output[0]] = sides


def _windows(net: Network, node: Any, attrs: dict[str, Any], kernel: list[int]) -> Windows:
    """Windows along rows and columns, with the zeros of a Pad before them."""
    if len(kernel) != 2:
        raise NotExecutableError(f"windows of {len(kernel)} dimensions")
    strides, dilations = attrs.get("strides", [1, 1]), attrs.get("dilations", [1, 1])
    automatic = attrs.get("auto_pad", "NOTSET")
    extra = net.padded.get(node.input[0], (0, 0, 0, 0))
    pads = list(attrs.get("pads", [0] * 4))
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


def _rounded_up(window: Window, length: int) -> Window:
    """With places behind for one more window, where one begins on the axis that does not fit."""
    last = window.outputs(length) * window.stride
    if last >= length + window.before:
        return window
    more = last + window.reach - (length + window.before + window.after)
    return replace(window, after=window.after + more) if 0 < more < window.stride else window


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


def weights_of(net: Network, node: Any) -> Shape:
    """The shape of a node's stored weights; NotExecutableError if they are computed."""
    name = node.input[1] if len(node.input) > 1 else ""
    if name not in net.graph.constants:
        raise NotExecutableError("its weights are computed, not stored")
    return tuple(net.graph.constants[name].shape)


def has_bias(node: Any) -> bool:
    """Whether a node adds a bias."""
    return len(node.input) > 2 and bool(node.input[2])
