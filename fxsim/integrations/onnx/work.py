"""The matrix products in an operator, by the shapes of its tensors; work that is not known."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from fxsim.integrations.onnx.graph import Graph
from fxsim.integrations.onnx.nodes import attributes, domain_of, id_of
from fxsim.integrations.onnx.shapes import Shape, matrices
from fxsim.training.layers.cost_only import MatrixProduct

Products = list[tuple[str, MatrixProduct]]
_Rule = Callable[[Graph, Any, dict[str, Any]], Products]


class UnknownWorkError(Exception):
    """Why an operator's work is not known."""


def products_of(graph: Graph, node: Any) -> Products:
    """The products in an operator, for all samples at once, each with the name of its part.

    Raises
    ------
    UnknownWorkError : for an operator that may do more than one addition a result, and is not one
        of those that are known; or where a shape is not known
    """
    if id_of(node) in graph.unopened:
        raise UnknownWorkError(graph.unopened[id_of(node)])
    _result(graph, node)
    domain = domain_of(node)
    rule = _RULES.get((domain, node.op_type))
    if rule is not None:
        try:
            products = rule(graph, node, attributes(node))
        except (KeyError, ValueError, IndexError, TypeError, ZeroDivisionError):
            raise UnknownWorkError("its attributes and shapes do not fit") from None
        times = graph.times.get(id_of(node), 1)
        return [(part, repeated(product, times)) for part, product in products]
    if node.op_type in _WITHOUT_PRODUCTS.get(domain, ()):
        return []
    raise UnknownWorkError("fxsim does not know what it computes")


def repeated(product: MatrixProduct, times: int) -> MatrixProduct:
    """The same product several times, one after the other."""
    p = product
    return MatrixProduct(p.rows, p.depth, p.features, p.repeats, p.weights, p.steps * times)


def _shape(graph: Graph, node: Any, place: int) -> Shape:
    """The shape of one of its inputs, of all samples."""
    if not _has(node, place):
        raise UnknownWorkError(f"it has no input {place + 1}")
    shape = graph.shape(node.input[place])
    if shape is None:
        raise UnknownWorkError(f"the shape of its input {node.input[place]!r} is not known")
    return shape


def _result(graph: Graph, node: Any) -> Shape:
    shape = graph.shape(id_of(node))
    if shape is None:
        raise UnknownWorkError("the shape of its result is not known")
    return shape


def _has(node: Any, place: int) -> bool:
    return len(node.input) > place and bool(node.input[place])


def _stored(graph: Graph, node: Any, place: int) -> bool:
    return node.input[place] in graph.constants


def _product(
    rows: int, depth: int, features: int, repeats: int = 1, weights: bool = True, steps: int = 1
) -> MatrixProduct:
    sizes = (rows, depth, features, repeats, steps)
    if min(sizes) < 1:
        raise UnknownWorkError(f"its product would be of sizes {', '.join(map(str, sizes))}")
    return MatrixProduct(rows, depth, features, repeats, weights, steps)


def _convolution(weight: int, channels_last: bool = False) -> _Rule:
    def rule(graph: Graph, node: Any, attrs: dict[str, Any]) -> Products:
        filters, *taps = _shape(graph, node, weight)
        batch, *sides = _result(graph, node)
        places = prod(sides[:-1] if channels_last else sides[1:])
        groups, image = int(attrs.get("group", 1)), _shape(graph, node, 0)
        channels = image[-1 if channels_last else 1]
        fits = len(image) == len(taps) + 1 and channels == taps[0] * groups
        if not fits or filters % groups:
            raise UnknownWorkError(
                f"{channels} channels of an image {list(image)} in {groups} groups do not fit"
                f" weights {[filters, *taps]}"
            )
        stored = _stored(graph, node, weight)
        return [
            ("", _product(batch * places, prod(taps), filters // groups, groups, weights=stored))
        ]

    return rule


def _transposed(graph: Graph, node: Any, attrs: dict[str, Any]) -> Products:
    channels, *taps = _shape(graph, node, 1)
    batch, depth, *sides = _shape(graph, node, 0)
    if depth != channels or len(sides) != len(taps) - 1:
        raise UnknownWorkError(f"{depth} channels do not fit weights {[channels, *taps]}")
    groups, stored = int(attrs.get("group", 1)), _stored(graph, node, 1)
    return [
        ("", _product(batch * prod(sides), channels // groups, prod(taps), groups, weights=stored))
    ]


def _matmul(second: int = 1) -> _Rule:
    def rule(graph: Graph, node: Any, attrs: dict[str, Any]) -> Products:
        left, right = matrices(_shape(graph, node, 0), _shape(graph, node, second), attrs)
        if "Gemm" in node.op_type and (len(left), len(right)) != (2, 2):
            raise UnknownWorkError(f"its operands, {list(left)} and {list(right)}, are no matrices")
        if left[-1] != right[-2]:
            raise UnknownWorkError(f"its operands, {list(left)} and {list(right)}, do not fit")
        try:
            batch = prod(np.broadcast_shapes(left[:-2], right[:-2]))
        except ValueError:
            raise UnknownWorkError(
                f"its operands, {list(left)} and {list(right)}, do not fit"
            ) from None
        rows, depth, features = left[-2], left[-1], right[-1]
        if _stored(graph, node, second):
            own = prod(right[:-2])
            return [("", _product(batch // own * rows, depth, features, own))]
        if _stored(graph, node, 0):  # weights times what is computed
            own = prod(left[:-2])
            return [("", _product(batch // own * features, depth, rows, own))]
        return [("", _product(rows, depth, features, batch, weights=False))]

    return rule


def _bit_packed(graph: Graph, node: Any, attrs: dict[str, Any]) -> Products:
    """Weights that are packed: only the attributes say their shape."""
    *rows, depth = _shape(graph, node, 0)
    if depth != attrs["K"]:
        raise UnknownWorkError(f"rows of {depth} words do not fit weights of {attrs['K']} (K)")
    return [("", _product(prod(rows), depth, int(attrs["N"])))]


def _einsum(graph: Graph, node: Any, attrs: dict[str, Any]) -> Products:
    equation = str(attrs["equation"]).replace(" ", "")
    inputs, arrow, result = equation.partition("->")
    shapes = [_shape(graph, node, i) for i in range(len(node.input))]
    rank = max(len(shape) for shape in shapes)
    axes: list[dict[str, int]] = []
    for term, shape in zip(inputs.split(","), shapes, strict=True):
        named = len(term.replace("...", ""))
        between = "".join(map(str, range(rank)))[rank - (len(shape) - named) :]
        letters = term.replace("...", between)
        if len(letters) != len(shape):
            raise UnknownWorkError(f"its equation {equation!r} does not fit {list(shape)}")
        axes.append(dict(zip(letters, shape, strict=True)))
    for letter in {letter for sized in axes for letter in sized}:
        lengths = {sized[letter] for sized in axes if letter in sized} - {1}
        if len(lengths) > 1:
            raise UnknownWorkError(f"letter {letter!r} of {equation!r} is of several lengths")
    sizes = {letter: size for sized in axes for letter, size in sized.items() if size > 1}
    every = [letter for sized in axes for letter in sized]
    sizes = dict.fromkeys(every, 1) | sizes
    in_result = set(result) if arrow else {letter for letter in every if every.count(letter) == 1}
    in_result |= {letter for letter in every if letter.isdigit()}  # those of the dots
    products: Products = []
    left = axes[0]
    for i, right in enumerate(axes[1:], 1):  # from left to right
        later = {letter for sized in axes[i + 1 :] for letter in sized}
        both = set(left) & set(right)
        batch = {c for c in both if c in in_result | later}
        depth = prod(sizes[c] for c in both - batch)
        rows = prod(sizes[c] for c in set(left) - both)
        features = prod(sizes[c] for c in set(right) - both)
        repeats = prod(sizes[c] for c in batch)
        stored = _stored(graph, node, i)
        products.append((f"of_{i + 1}", _product(rows, depth, features, repeats, stored)))
        left = {c: sizes[c] for c in set(left) | set(right) if c in in_result | later}
    return [("", products[0][1])] if len(products) == 1 else products


def _recurrent(gates: int, packed_last: bool = False) -> _Rule:
    """Recurrent layers; weights are (directions, gates x units, features), or turned."""

    def rule(graph: Graph, node: Any, attrs: dict[str, Any]) -> Products:
        steps, batch, features = _shape(graph, node, 0)
        if attrs.get("layout", 0):
            steps, batch = batch, steps
        directions, *sides = _shape(graph, node, 1)
        rows, columns = sides[::-1] if packed_last else sides
        units = int(attrs.get("hidden_size", rows // gates))
        if (rows, columns) != (gates * units, features):
            raise UnknownWorkError(
                f"{units} units and rows of {features} words do not fit weights of {sides}"
            )
        return [
            ("input", _product(steps * batch, features, directions * gates * units)),
            ("recurrent", _product(batch, units, gates * units, directions, steps=steps)),
        ]

    return rule


def _scores_and_values(
    batch: int, heads: int, queries: int, keys: int, channels: int, values: int
) -> Products:
    repeats = batch * heads
    return [
        ("scores", _product(queries, channels, keys, repeats, weights=False)),
        ("values", _product(queries, keys, values, repeats, weights=False)),
    ]


def _attention(graph: Graph, node: Any, attrs: dict[str, Any]) -> Products:
    """Source: ONNX operators, Attention, opset 23."""
    query, key, value = (_shape(graph, node, i) for i in range(3))
    past = _shape(graph, node, 4)[2] if _has(node, 4) else 0
    if len(query) == 4:
        batch, heads, queries, channels = query
        keys, values = key[2], value[3]
    else:
        batch, queries, width = query
        heads, groups = int(attrs["q_num_heads"]), int(attrs["kv_num_heads"])
        keys, channels, values = key[1], width // heads, value[2] // groups
    return _scores_and_values(batch, heads, queries, past + keys, channels, values)


def _packed_attention(past_at: int) -> _Rule:
    """Query, key and value are computed inside; source: ONNX Runtime's contrib operators."""

    def rule(graph: Graph, node: Any, attrs: dict[str, Any]) -> Products:
        batch, steps, depth = _shape(graph, node, 0)
        width, heads = _shape(graph, node, 1)[1], int(attrs["num_heads"])
        sizes = attrs.get("qkv_hidden_sizes") or [width // 3] * 3
        past = _shape(graph, node, past_at)[3] if _has(node, past_at) else 0
        projection = ("qkv", _product(batch * steps, depth, width))
        channels, values = int(sizes[0]) // heads, int(sizes[2]) // heads
        return [
            projection,
            *_scores_and_values(batch, heads, steps, past + steps, channels, values),
        ]

    return rule


def _multi_head(graph: Graph, node: Any, attrs: dict[str, Any]) -> Products:
    """Source: ONNX Runtime's contrib operators, MultiHeadAttention."""
    query, heads = _shape(graph, node, 0), int(attrs["num_heads"])
    past = _shape(graph, node, 6)[2] if _has(node, 6) else 0
    if len(query) == 5:  # (batch, steps, heads, 3, channels)
        batch, steps, _, _, channels = query
        return _scores_and_values(batch, heads, steps, past + steps, channels, channels)
    batch, steps, width = query
    key = _shape(graph, node, 1)
    keys = key[2] if len(key) == 4 else key[1]  # else packed with values, or (batch, keys, width)
    values = width // heads
    if _has(node, 2):
        value = _shape(graph, node, 2)
        values = value[3] if len(value) == 4 else value[2] // heads
    return _scores_and_values(batch, heads, steps, past + keys, width // heads, values)


def _grouped_query(graph: Graph, node: Any, attrs: dict[str, Any]) -> Products:
    """Source: ONNX Runtime's contrib operators, GroupQueryAttention."""
    batch, steps, width = _shape(graph, node, 0)
    heads, groups = int(attrs["num_heads"]), int(attrs["kv_num_heads"])
    channels = width // (heads if _has(node, 1) else heads + 2 * groups)
    past = _shape(graph, node, 3)[2] if _has(node, 3) else 0
    return _scores_and_values(batch, heads, steps, past + steps, channels, channels)


def _linear_model(graph: Graph, node: Any, attrs: dict[str, Any]) -> Products:
    """ONNX-ML's linear models: coefficients are attributes."""
    rows, depth = (1, *_shape(graph, node, 0))[-2:]
    return [("", _product(rows, depth, len(attrs["coefficients"]) // depth))]


_MICROSOFT = "com.microsoft"
_RULES: dict[tuple[str, str], _Rule] = {
    ("", "Conv"): _convolution(1),
    ("", "ConvInteger"): _convolution(1),
    ("", "QLinearConv"): _convolution(3),
    ("", "DeformConv"): _convolution(1),
    ("", "ConvTranspose"): _transposed,
    ("", "Gemm"): _matmul(),
    ("", "MatMul"): _matmul(),
    ("", "MatMulInteger"): _matmul(),
    ("", "QLinearMatMul"): _matmul(3),
    ("", "Einsum"): _einsum,
    ("", "LSTM"): _recurrent(4),
    ("", "GRU"): _recurrent(3),
    ("", "RNN"): _recurrent(1),
    ("", "Attention"): _attention,
    ("ai.onnx.ml", "LinearClassifier"): _linear_model,
    ("ai.onnx.ml", "LinearRegressor"): _linear_model,
    (_MICROSOFT, "FusedConv"): _convolution(1),
    (_MICROSOFT, "NhwcFusedConv"): _convolution(1, channels_last=True),
    (_MICROSOFT, "NhwcConv"): _convolution(1, channels_last=True),
    (_MICROSOFT, "FusedGemm"): _matmul(),
    (_MICROSOFT, "FusedMatMul"): _matmul(),
    (_MICROSOFT, "TransposeMatMul"): _matmul(),
    (_MICROSOFT, "DynamicQuantizeMatMul"): _matmul(),
    (_MICROSOFT, "MatMulIntegerToFloat"): _matmul(),
    (_MICROSOFT, "QGemm"): _matmul(3),
    (_MICROSOFT, "MatMulNBits"): _bit_packed,
    (_MICROSOFT, "MatMulFpQ4"): _bit_packed,
    (_MICROSOFT, "MatMulBnb4"): _bit_packed,
    (_MICROSOFT, "DynamicQuantizeLSTM"): _recurrent(4, packed_last=True),
    (_MICROSOFT, "Attention"): _packed_attention(4),
    (_MICROSOFT, "QAttention"): _packed_attention(8),
    (_MICROSOFT, "MultiHeadAttention"): _multi_head,
    (_MICROSOFT, "GroupQueryAttention"): _grouped_query,
}

# at most one addition a result, or a few for each that it reads
_ONNX = """
Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool
BatchNormalization Bernoulli BitCast BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast
CastLike Ceil Celu CenterCropPad Clip Col2Im Compress Concat ConstantOfShape Cos Cosh CumProd
CumSum DepthToSpace DequantizeLinear Div Dropout DynamicQuantizeLinear Elu Equal Erf Exp Expand
EyeLike Flatten Floor Gather GatherElements GatherND Gelu GlobalAveragePool GlobalLpPool
GlobalMaxPool Greater GreaterOrEqual GridSample GroupNormalization HardSigmoid HardSwish Hardmax
Identity InstanceNormalization IsInf IsNaN LRN LayerNormalization LeakyRelu Less LessOrEqual Log
LogSoftmax LpNormalization LpPool Max MaxPool MaxRoiPool MaxUnpool Mean
MeanVarianceNormalization Min Mish Mod Mul Multinomial Neg NegativeLogLikelihoodLoss
NonMaxSuppression NonZero Not OneHot Or PRelu Pad Pow QuantizeLinear RMSNormalization
RandomNormal RandomNormalLike RandomUniform RandomUniformLike Range Reciprocal ReduceL1 ReduceL2
ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare
Relu Reshape Resize ReverseSequence RoiAlign RotaryEmbedding Round Scatter ScatterElements
ScatterND Selu Shape Shrink Sigmoid Sign SimplifiedLayerNormalization Sin Sinh Size Slice
Softmax SoftmaxCrossEntropyLoss Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum SwiGLU
Swish Tan Tanh TensorScatter ThresholdedRelu Tile TopK Transpose Trilu Unique Unsqueeze Upsample
Where Xor
"""
_ML = """
ArrayFeatureExtractor Binarizer CastMap FeatureVectorizer Imputer LabelEncoder Normalizer
OneHotEncoder Scaler ZipMap
"""
_ONNX_RUNTIME = """
BiasAdd BiasDropout BiasGelu BiasSoftmax BiasSplitGelu BitmaskDropout BitmaskBiasDropout
DequantizeLinear DynamicQuantizeLinear EmbedLayerNormalization FastGelu Gelu GroupNorm
NhwcMaxPool QLinearAdd QLinearAveragePool QLinearConcat QLinearGlobalAveragePool
QLinearLeakyRelu QLinearMul QLinearReduceMean QLinearSigmoid QLinearSoftmax QLinearWhere
QuantizeLinear QuickGelu RotaryEmbedding SimplifiedLayerNormalization SkipGroupNorm
SkipLayerNormalization SkipSimplifiedLayerNormalization Trilu
"""
_WITHOUT_PRODUCTS = {
    "": frozenset(_ONNX.split()),
    "ai.onnx.ml": frozenset(_ML.split()),
    _MICROSOFT: frozenset(_ONNX_RUNTIME.split()),
    "fxsim": frozenset({"Stack"}),  # what turns of a loop give, one behind the other
}
