"""Shapes of results, node by node: as ONNX infers them, and of operators of ONNX Runtime's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fxsim.integrations.onnx.nodes import attributes, domain_of

Shape = tuple[int, ...]
MOST_VALUES = 1 << 48  # of a tensor
_MOST_DATA = 4096  # values of a constant that a shape may depend on


def static(value: Any) -> Shape | None:
    """A tensor type's shape, if each of its axes has a number."""
    if not value.HasField("tensor_type") or not value.tensor_type.HasField("shape"):
        return None
    dims = value.tensor_type.shape.dim
    fixed = all(d.HasField("dim_value") and d.dim_value >= 0 for d in dims)
    return tuple(d.dim_value for d in dims) if fixed else None


@dataclass(slots=True)
class Types:
    """The types of tensors as far as they are known; `opsets` are the model's."""

    by_name: dict[str, Any]
    constants: dict[str, NDArray[Any]]
    opsets: list[Any]

    def shape(self, name: str) -> Shape | None:
        """A tensor's shape, all samples included."""
        if name in self.constants:
            return tuple(self.constants[name].shape)
        return static(self.by_name[name]) if name in self.by_name else None

    def kind(self, name: str) -> int:
        """The number of a tensor's type of elements; that of float where it is not known."""
        import onnx

        if name in self.constants:
            return int(onnx.helper.np_dtype_to_tensor_dtype(self.constants[name].dtype))
        is_tensor = name in self.by_name and self.by_name[name].HasField("tensor_type")
        return int(
            self.by_name[name].tensor_type.elem_type if is_tensor else onnx.TensorProto.FLOAT
        )

    def infer(self, node: Any) -> None:
        """Learn the types of a node's results from those of its inputs."""
        import onnx

        if all(self.shape(name) is not None for name in node.output if name):
            return
        domain = domain_of(node)
        version = next((o.version for o in self.opsets if o.domain in (domain, node.domain)), 1)
        if onnx.defs.has(node.op_type, version, domain):
            schema = onnx.defs.get_schema(node.op_type, version, domain)
            for name, inferred in self._inferred(schema, node).items():
                if name and self.shape(name) is None:
                    self.by_name[name] = inferred
        shapes = self._by_rule(domain, node)
        for name, shape in zip(node.output, shapes, strict=False):
            if name and self.shape(name) is None and prod(shape) <= MOST_VALUES:
                self.by_name[name] = self._typed(node, shape)

    def _inferred(self, schema: Any, node: Any) -> Mapping[str, Any]:
        import onnx

        types, data = {}, {}
        for name in filter(None, node.input):
            array = self.constants.get(name)
            if array is not None:
                kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
                types[name] = onnx.helper.make_tensor_type_proto(kind, array.shape)
                if array.size <= _MOST_DATA:
                    data[name] = onnx.numpy_helper.from_array(np.ascontiguousarray(array), name)
            elif name in self.by_name:
                types[name] = self.by_name[name]
            else:
                return {}
        try:
            results: Mapping[str, Any] = onnx.shape_inference.infer_node_outputs(
                schema, node, types, data, opset_imports=self.opsets
            )
        except Exception:  # it is named where its work is asked for
            return {}
        return results

    def _by_rule(self, domain: str, node: Any) -> list[Shape]:
        rule = _RULES.get((domain, node.op_type))
        shapes = [self.shape(name) if name else () for name in node.input]
        if rule is None:
            return []
        try:
            return rule(attributes(node), _Known(shapes), self._values(node))
        except (LookupError, ValueError, TypeError, ZeroDivisionError):  # they do not fit
            return []

    def _values(self, node: Any) -> list[NDArray[Any] | None]:
        return [self.constants.get(name) for name in node.input]

    def _typed(self, node: Any, shape: Shape) -> Any:
        import onnx

        kinds = [self.kind(name) for name in node.input if name in self.by_name]
        return onnx.helper.make_tensor_type_proto((kinds or [onnx.TensorProto.FLOAT])[0], shape)


class _Known(list[Any]):
    """Shapes by place; reading one that is not known is a ValueError."""

    def __getitem__(self, place: Any) -> Any:
        shape = super().__getitem__(place)
        if shape is None:
            raise ValueError("a shape is not known")
        return shape


_Values = list[NDArray[Any] | None]
_Rule = Callable[[dict[str, Any], list[Any], _Values], list[Shape]]


def matrices(left: Shape, right: Shape, attrs: Mapping[str, Any]) -> tuple[Shape, Shape]:
    """The operands of a product as (..., rows, depth) and (..., depth, features)."""
    left = (1, *left) if len(left) == 1 else left
    right = (*right, 1) if len(right) == 1 else right
    return (
        _turned(left, attrs.get("transA", 0), attrs.get("transBatchA", 0)),
        _turned(right, attrs.get("transB", 0), attrs.get("transBatchB", 0)),
    )


def _turned(shape: Shape, last: int, batch: int) -> Shape:
    if batch:  # the first axis goes before the last
        shape = (*shape[1:-1], shape[0], shape[-1])
    return (*shape[:-2], shape[-1], shape[-2]) if last else shape


def _product(second: int = 1) -> _Rule:
    def rule(attrs: dict[str, Any], shapes: list[Any], values: _Values) -> list[Shape]:
        left, right = matrices(shapes[0], shapes[second], attrs)
        batch = np.broadcast_shapes(left[:-2], right[:-2])
        return [(*batch, left[-2], right[-1])]

    return rule


def _same(place: int = 0) -> _Rule:
    def rule(attrs: dict[str, Any], shapes: list[Any], values: _Values) -> list[Shape]:
        return [tuple(shapes[place])]

    return rule


def _broadcast(*places: int) -> _Rule:
    def rule(attrs: dict[str, Any], shapes: list[Any], values: _Values) -> list[Shape]:
        return [np.broadcast_shapes(*(shapes[place] for place in places))]

    return rule


def _windows(weight: int, channels_last: bool = False) -> _Rule:
    """A convolution's results: its windows along each axis."""

    def rule(attrs: dict[str, Any], shapes: list[Any], values: _Values) -> list[Shape]:
        batch, *sides = shapes[0]
        filters, *taps = shapes[weight]
        if channels_last:
            sides = [sides[-1], *sides[:-1]]
        lengths, kernel = sides[1:], taps[1:]
        out = tuple(windows_along(attrs, lengths, kernel))
        return [(batch, *out, filters) if channels_last else (batch, filters, *out)]

    return rule


def windows_along(attrs: Mapping[str, Any], lengths: list[int], kernel: list[int]) -> list[int]:
    """How many windows there are along each axis."""
    rank, automatic = len(lengths), attrs.get("auto_pad", "NOTSET")
    strides, dilations = attrs.get("strides", [1] * rank), attrs.get("dilations", [1] * rank)
    pads = attrs.get("pads", [0] * 2 * rank) if automatic == "NOTSET" else [0] * 2 * rank
    if str(automatic).startswith("SAME"):
        return [-(-n // s) for n, s in zip(lengths, strides, strict=True)]
    return [
        (lengths[i] + pads[i] + pads[rank + i] - dilations[i] * (kernel[i] - 1) - 1) // strides[i]
        + 1
        for i in range(rank)
    ]


def _pooled(attrs: dict[str, Any], shapes: list[Any], values: _Values) -> list[Shape]:
    batch, *sides = shapes[0]
    last = bool(attrs.get("channels_last", 0))
    channels, lengths = (sides[-1], sides[:-1]) if last else (sides[0], sides[1:])
    out = windows_along(attrs, lengths, attrs["kernel_shape"])
    return [(batch, *out, channels) if last else (batch, channels, *out)]


def _pooled_whole(attrs: dict[str, Any], shapes: list[Any], values: _Values) -> list[Shape]:
    batch, *sides = shapes[0]
    ones = [1] * (len(sides) - 1)
    return [
        (batch, *ones, sides[-1]) if attrs.get("channels_last", 0) else (batch, sides[0], *ones)
    ]


def _bit_packed(attrs: dict[str, Any], shapes: list[Any], values: _Values) -> list[Shape]:
    return [(*shapes[0][:-1], int(attrs["N"]))]


def _concatenated(attrs: dict[str, Any], shapes: list[Any], values: _Values) -> list[Shape]:
    parts = [shapes[i] for i in range(2, len(shapes), 3)]
    axis = attrs["axis"] % len(parts[0])
    return [(*parts[0][:axis], sum(p[axis] for p in parts), *parts[0][axis + 1 :])]


def _packed_attention(past_at: int) -> _Rule:
    def rule(attrs: dict[str, Any], shapes: list[Any], values: _Values) -> list[Shape]:
        batch, steps, _ = shapes[0]
        width, heads = shapes[1][1], attrs["num_heads"]
        sizes = attrs.get("qkv_hidden_sizes") or [width // 3] * 3
        past = shapes[past_at][3] if len(shapes) > past_at and shapes[past_at] else 0
        present = (2, batch, heads, past + steps, sizes[0] // heads)
        return [(batch, steps, sizes[2]), present]

    return rule


def _multi_head(attrs: dict[str, Any], shapes: list[Any], values: _Values) -> list[Shape]:
    query, heads = shapes[0], attrs["num_heads"]
    if len(query) == 5:
        return [(query[0], query[1], query[2] * query[4])]
    value = shapes[2] if len(shapes) > 2 and shapes[2] else query
    past = shapes[6][2] if len(shapes) > 6 and shapes[6] else 0
    width = heads * value[3] if len(value) == 4 else value[2]
    keys = past + (value[2] if len(value) == 4 else value[1])
    present = (query[0], heads, keys, width // heads)
    return [(query[0], query[1], width), present, present]


def _grouped_query(attrs: dict[str, Any], shapes: list[Any], values: _Values) -> list[Shape]:
    batch, steps, width = shapes[0]
    heads, groups = attrs["num_heads"], attrs["kv_num_heads"]
    channels = width // (heads if len(shapes) > 1 and shapes[1] else heads + 2 * groups)
    past = shapes[3][2] if len(shapes) > 3 and shapes[3] else 0
    present = (batch, groups, past + steps, channels)
    return [(batch, steps, heads * channels), present, present]


def _recurrent(attrs: dict[str, Any], shapes: list[Any], values: _Values) -> list[Shape]:
    steps, batch, _ = shapes[0]
    directions, units = shapes[1][0], attrs["hidden_size"]
    state = (directions, batch, units)
    return [(steps, directions, batch, units), state, state]


def _regressed(attrs: dict[str, Any], shapes: list[Any], values: _Values) -> list[Shape]:
    rows, depth = (1, *shapes[0])[-2:]
    return [(rows, len(attrs["coefficients"]) // depth)]


def _classified(attrs: dict[str, Any], shapes: list[Any], values: _Values) -> list[Shape]:
    scores = _regressed(attrs, shapes, values)
    return [scores[0][:1], *scores]


def _embedded(attrs: dict[str, Any], shapes: list[Any], values: _Values) -> list[Shape]:
    batch, steps = shapes[0]
    return [(batch, steps, shapes[2][1]), (batch,), (batch, steps, shapes[2][1])]


def _skipped(attrs: dict[str, Any], shapes: list[Any], values: _Values) -> list[Shape]:
    """Results, mean, inverse deviation, and the sum before the norm."""
    each = (*shapes[0][:-1], 1)
    return [shapes[0], each, each, shapes[0]]


def _selected(attrs: dict[str, Any], shapes: list[Any], values: _Values) -> list[Shape]:
    """Non-maximum suppression: as many as it may keep at most."""
    batch, boxes, _ = shapes[0]
    limit = values[2] if len(values) > 2 else None
    if limit is None:
        raise ValueError("its limit is not known")
    return [(batch * shapes[1][1] * min(boxes, int(limit.item())), 3)]


def _scanned(attrs: dict[str, Any], shapes: list[Any], values: _Values) -> list[Shape]:
    """All places at most."""
    return [(len(shapes[0]), prod(shapes[0]))]


_MICROSOFT = "com.microsoft"
_RULES: dict[tuple[str, str], _Rule] = {
    ("", "NonMaxSuppression"): _selected,
    ("", "NonZero"): _scanned,
    ("", "DeformConv"): _windows(1),
    ("", "ConvInteger"): _windows(1),
    ("", "MatMulInteger"): _product(),
    ("", "QLinearConv"): _windows(3),
    ("", "QLinearMatMul"): _product(3),
    ("ai.onnx.ml", "LinearClassifier"): _classified,
    ("ai.onnx.ml", "LinearRegressor"): _regressed,
    ("", "GreaterOrEqual"): _broadcast(0, 1),
    ("", "GroupNormalization"): _same(),
    ("", "LessOrEqual"): _broadcast(0, 1),
    ("", "MeanVarianceNormalization"): _same(),
    ("", "SimplifiedLayerNormalization"): _same(),
    (_MICROSOFT, "FusedConv"): _windows(1),
    (_MICROSOFT, "NhwcConv"): _windows(1, channels_last=True),
    (_MICROSOFT, "NhwcFusedConv"): _windows(1, channels_last=True),
    (_MICROSOFT, "QGemm"): _product(3),
    (_MICROSOFT, "MatMulNBits"): _bit_packed,
    (_MICROSOFT, "MatMulFpQ4"): _bit_packed,
    (_MICROSOFT, "MatMulBnb4"): _bit_packed,
    (_MICROSOFT, "DynamicQuantizeLSTM"): _recurrent,
    (_MICROSOFT, "Attention"): _packed_attention(4),
    (_MICROSOFT, "QAttention"): _packed_attention(8),
    (_MICROSOFT, "MultiHeadAttention"): _multi_head,
    (_MICROSOFT, "GroupQueryAttention"): _grouped_query,
    (_MICROSOFT, "EmbedLayerNormalization"): _embedded,
    (_MICROSOFT, "SkipLayerNormalization"): _skipped,
    (_MICROSOFT, "SkipSimplifiedLayerNormalization"): _skipped,
    ("ai.onnx.ml", "Binarizer"): _same(),
    ("ai.onnx.ml", "Imputer"): _same(),
    ("ai.onnx.ml", "Normalizer"): _same(),
    ("ai.onnx.ml", "Scaler"): _same(),
    (_MICROSOFT, "QLinearConcat"): _concatenated,
    (_MICROSOFT, "QLinearAdd"): _broadcast(0, 3),
    (_MICROSOFT, "QLinearMul"): _broadcast(0, 3),
    (_MICROSOFT, "QLinearAveragePool"): _pooled,
    (_MICROSOFT, "NhwcMaxPool"): lambda attrs, shapes, values: _pooled(
        {**attrs, "channels_last": 1}, shapes, values
    ),
    (_MICROSOFT, "QLinearGlobalAveragePool"): _pooled_whole,
    **{
        (_MICROSOFT, name): _product()
        for name in (
            "DynamicQuantizeMatMul",
            "FusedGemm",
            "FusedMatMul",
            "MatMulIntegerToFloat",
            "TransposeMatMul",
        )
    },
    **{
        (_MICROSOFT, name): _same()
        for name in (
            "BiasAdd",
            "BiasDropout",
            "BiasGelu",
            "BiasSoftmax",
            "BitmaskBiasDropout",
            "BitmaskDropout",
            "DequantizeLinear",
            "FastGelu",
            "Gelu",
            "GroupNorm",
            "QLinearLeakyRelu",
            "QLinearSigmoid",
            "QLinearSoftmax",
            "QuantizeLinear",
            "QuickGelu",
            "RotaryEmbedding",
            "SimplifiedLayerNormalization",
            "SkipGroupNorm",
            "Trilu",
        )
    },
}
