"""Which axis of a model's inputs is the batch: one along which no result depends on another.

The axis is followed from the input through each operator. It is no batch where a product, a norm, a
window or a selection mixes it, or where it cannot be followed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from typing import Any

from fxsim.integrations.onnx.graph import Graph
from fxsim.integrations.onnx.nodes import attributes, domain_of, id_of
from fxsim.integrations.onnx.shapes import Shape


class _MixedError(Exception):
    """The axis is no batch."""


@dataclass(frozen=True, slots=True)
class _Label:
    """Where the followed axis lies in a tensor, in row-major order: outer x length x inner."""

    outer: int
    length: int
    inner: int

    @classmethod
    def at(cls, shape: Sequence[int], axis: int) -> _Label:
        return cls(prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :]))

    def axis(self, shape: Shape) -> int:
        """The axis that holds it, alone or merged with others."""
        for axis in range(len(shape)):
            inside, whole = prod(shape[axis + 1 :]), prod(shape[axis:])
            within = inside <= self.inner < whole and self.inner * self.length <= whole
            if within and self.inner % inside == 0 == whole % (self.inner * self.length):
                return axis
        raise _MixedError

    def moved(self, before: Shape, after: Shape, axis: int) -> _Label:
        """The label where its axis has become another axis."""
        part = self.inner // prod(before[self.axis(before) + 1 :])
        size = after[axis]
        if size % (part * self.length):
            raise _MixedError
        return _Label(
            prod(after[:axis]) * (size // (part * self.length)),
            self.length,
            part * prod(after[axis + 1 :]),
        )


def find_batch(graph: Graph) -> None:
    """Find how many samples the model takes at once, and which tensors depend on them."""
    recurrent = [node for node in graph.nodes if _RULES.get(node.op_type) is _recurrent]
    states = {name for node in recurrent for name in node.input[5:7]}
    for name, shape in sorted(graph.inputs.items(), key=lambda item: item[0] in states):
        for axis in range(1 if name in states else 0, min(len(shape), 2)):
            if shape[axis] == 1:
                return
            labels = _followed(graph, name, axis)
            place = _place(labels.get(graph.outputs[0]), graph.shape(graph.outputs[0]))
            if place == 0 or (place and (axis == 1 or (recurrent and len(shape) > 2))):
                graph.batch, graph.batched = shape[axis], set(labels)
                graph.remarks.append(f"counted for one sample: the model's batch is {shape[axis]}")
                return
    if any(shape and shape[0] > 1 for shape in graph.inputs.values()):
        graph.remarks.append("counted whole: no axis of its inputs is a batch")


def _place(label: _Label | None, shape: Shape | None) -> int | None:
    """The axis that a label is all of."""
    with suppress(_MixedError):
        if label and shape and shape[label.axis(shape)] == label.length:
            return label.axis(shape)
    return None


def _followed(graph: Graph, name: str, axis: int) -> dict[str, _Label]:
    """Where the axis lies in each tensor that has it; nothing if it is no batch."""
    labels: dict[str, _Label] = {}
    length = graph.inputs[name][axis]
    for other, shape in graph.inputs.items():  # of others the same axis, if it is as long
        if len(shape) > axis and shape[axis] == length:
            labels[other] = _Label.at(shape, axis)
    try:
        for node in graph.nodes:
            if any(source in labels for source in node.input):
                _through(graph, node, labels)
    except _MixedError:
        return {}
    return labels


def _through(graph: Graph, node: Any, labels: dict[str, _Label]) -> None:
    shapes = [graph.shape(source) if source else () for source in node.input]
    results = {name: graph.shape(name) for name in node.output if name}
    if any(shape is None for shape in shapes) or results[id_of(node)] is None:
        raise _MixedError
    rule = _RULES.get(node.op_type) if domain_of(node) in _DOMAINS else None
    if rule is None:
        raise _MixedError
    here = [labels.get(source) for source in node.input]
    for name, shape in results.items():
        try:
            labels[name] = rule(graph, node, [s or () for s in shapes], shape or (), here)
        except (_MixedError, LookupError, ValueError, ZeroDivisionError):
            if name == id_of(node):
                raise _MixedError from None


_Labels = list["_Label | None"]
_Rule = Callable[[Graph, Any, list[Shape], Shape, _Labels], _Label]


def _one(labels: Sequence[_Label | None]) -> _Label:
    """What several operands agree on."""
    distinct = {label for label in labels if label is not None}
    if len(distinct) != 1:
        raise _MixedError
    return distinct.pop()


def _element_by_element(
    graph: Graph, node: Any, shapes: list[Shape], result: Shape, here: _Labels
) -> _Label:
    """Axes are aligned at the right; an axis of one is repeated."""
    moved = [
        label.moved(shape, result, label.axis(shape) + len(result) - len(shape))
        for label, shape in zip(here, shapes, strict=True)
        if label is not None
    ]
    return _one(moved)


def _same_words(
    graph: Graph, node: Any, shapes: list[Shape], result: Shape, here: _Labels
) -> _Label:
    """Reshapes leave the order of words as it is."""
    label = _one(here[:1])
    label.axis(result)
    return label


def _turned(graph: Graph, node: Any, shapes: list[Shape], result: Shape, here: _Labels) -> _Label:
    order = attributes(node).get("perm") or list(range(len(result)))[::-1]
    label = _one(here)
    return label.moved(shapes[0], result, order.index(label.axis(shapes[0])))


def _first_axis(
    graph: Graph, node: Any, shapes: list[Shape], result: Shape, here: _Labels
) -> _Label:
    """Windows, attention and the like keep the first axis, and mix the others."""
    moved = []
    for label, shape in zip(here, shapes, strict=True):
        if label is not None:
            if label.axis(shape) != 0:
                raise _MixedError
            moved.append(label.moved(shape, result, 0))
    return _one(moved)


def _along(*names: str) -> _Rule:
    """What mixes the axes that an attribute, or the second input, names, and keeps the others."""

    def rule(graph: Graph, node: Any, shapes: list[Shape], result: Shape, here: _Labels) -> _Label:
        attrs, rank = attributes(node), len(shapes[0])
        axes: Any = next((attrs[name] for name in names if name in attrs), None)
        if axes is None and "axes" in names:
            place = 3 if node.op_type == "Slice" else 1
            stored = node.input[place] if len(node.input) > place else ""
            axes = graph.constants[stored].tolist() if stored in graph.constants else None
            if axes is None:
                axes = range(rank)
        elif axes is None:
            axes = _DEFAULT.get(node.op_type, -1)
        mixed = {a % rank for a in (axes if isinstance(axes, list | range) else [axes])}
        if node.op_type in ("LayerNormalization", "RMSNormalization"):
            mixed = set(range(min(mixed), rank))
        moved = []
        for label, shape in zip(here, shapes, strict=True):
            if label is None:
                continue
            axis = label.axis(shape)
            if axis in mixed:
                raise _MixedError
            if len(result) < rank:  # axes that are gone
                axis -= sum(other < axis for other in mixed)
            moved.append(label.moved(shape, result, axis))
        return _one(moved)

    return rule


_DOMAINS = ("", "com.microsoft", "ai.onnx.ml", "fxsim")
_DEFAULT = {"Concat": 0, "Split": 0, "ArgMax": 0, "ArgMin": 0}


def _product(graph: Graph, node: Any, shapes: list[Shape], result: Shape, here: _Labels) -> _Label:
    """Rows and features stay, and axes before them; the depth is summed."""
    attrs, moved = attributes(node), []
    second = 3 if node.op_type in ("QLinearMatMul", "QGemm") else 1
    for place, (label, shape) in enumerate(zip(here, shapes, strict=True)):
        if label is None:
            continue
        if place not in (0, second):
            moved.append(label.moved(shape, result, label.axis(shape) + len(result) - len(shape)))
            continue
        if min(len(shapes[0]), len(shapes[second])) < 2:  # a vector's only axis is the depth
            at = label.axis(shape)
            if len(shape) < 2 or at == len(shape) - (1 if place == 0 else 2):
                raise _MixedError
            moved.append(label.moved(shape, result, min(at, len(result) - 1)))
            continue
        axis = label.axis(shape) - len(shape)  # from the right
        if attrs.get("transA" if place == 0 else "transB", 0) and axis >= -2:
            axis = -3 - axis
        if axis == (-1 if place == 0 else -2):
            raise _MixedError
        moved.append(label.moved(shape, result, axis + len(result)))
    return _one(moved)


def _gathered(graph: Graph, node: Any, shapes: list[Shape], result: Shape, here: _Labels) -> _Label:
    axis, moved = int(attributes(node).get("axis", 0)) % max(len(shapes[0]), 1), []
    data, places = here[:2]
    if data is not None:
        at = data.axis(shapes[0])
        if at == axis:
            raise _MixedError
        moved.append(data.moved(shapes[0], result, at if at < axis else at + len(shapes[1]) - 1))
    if places is not None:
        moved.append(places.moved(shapes[1], result, axis + places.axis(shapes[1])))
    return _one(moved)


def _padded(graph: Graph, node: Any, shapes: list[Shape], result: Shape, here: _Labels) -> _Label:
    """Pads, tiles, resizes: an axis that keeps its length is kept."""
    label = _one(here[:1])
    axis = label.axis(shapes[0])
    if len(result) != len(shapes[0]) or result[axis] != shapes[0][axis]:
        raise _MixedError
    return label.moved(shapes[0], result, axis)


def _recurrent(
    graph: Graph, node: Any, shapes: list[Shape], result: Shape, here: _Labels
) -> _Label:
    first = bool(attributes(node).get("layout", 0))
    for place, (label, shape) in enumerate(zip(here, shapes, strict=True)):
        batch = 0 if first else (1 if place in (0, 5, 6) else 0)
        if label is not None and label.axis(shape) != batch:
            raise _MixedError
    label = _one(here[:1])
    whole = len(result) == 4
    return label.moved(shapes[0], result, 0 if first else (2 if whole else 1))


def _summed(graph: Graph, node: Any, shapes: list[Shape], result: Shape, here: _Labels) -> _Label:
    """Einsum: a letter that the result has."""
    equation = str(attributes(node)["equation"]).replace(" ", "")
    terms, arrow, letters = equation.partition("->")
    moved = []
    for term, label, shape in zip(terms.split(","), here, shapes, strict=True):
        if label is not None:
            if "." in equation or not arrow or term[label.axis(shape)] not in letters:
                raise _MixedError
            moved.append(label.moved(shape, result, letters.index(term[label.axis(shape)])))
    return _one(moved)


def _named(rule: _Rule, names: str) -> dict[str, _Rule]:
    return dict.fromkeys(names.split(), rule)


_RULES: dict[str, _Rule] = {
    **_named(
        _element_by_element,
        "Abs Acos Add And Asin Atan BatchNormalization BiasGelu BitShift Cast CastLike Ceil Celu"
        " Clip Cos DequantizeLinear Div Dropout DynamicQuantizeLinear Elu Equal Erf Exp FastGelu"
        " Floor Gelu Greater"
        " GreaterOrEqual HardSigmoid HardSwish Identity IsInf IsNaN LeakyRelu Less LessOrEqual Log"
        " Max Mean Min Mish Mod Mul Neg Not Or PRelu Pow QuantizeLinear QuickGelu Reciprocal Relu"
        " Round Selu Shrink Sigmoid Sign Sin Softplus Softsign Sqrt Stack Sub Sum Swish Tan Tanh"
        " ThresholdedRelu Where Xor Expand",
    ),
    **_named(_same_words, "Flatten Reshape Squeeze Unsqueeze"),
    **_named(
        _first_axis,
        "Attention AveragePool Conv ConvInteger ConvTranspose DeformConv DepthToSpace FusedConv"
        " GlobalAveragePool GlobalLpPool GlobalMaxPool GroupNormalization GroupQueryAttention"
        " InstanceNormalization LRN LpPool MaxPool MultiHeadAttention NhwcConv NhwcFusedConv"
        " NhwcMaxPool QAttention QLinearAveragePool QLinearConv QLinearGlobalAveragePool"
        " LinearClassifier LinearRegressor RotaryEmbedding SpaceToDepth",
    ),
    **_named(
        _along("axis"),
        "ArgMax ArgMin Concat CumSum Hardmax LayerNormalization LogSoftmax LpNormalization"
        " RMSNormalization SimplifiedLayerNormalization SkipLayerNormalization"
        " SkipSimplifiedLayerNormalization Softmax Split TopK",
    ),
    **_named(
        _along("axes"),
        "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd"
        " ReduceSum ReduceSumSquare Slice",
    ),
    **_named(
        _product,
        "DynamicQuantizeMatMul FusedGemm Gemm FusedMatMul MatMul MatMulBnb4 MatMulFpQ4"
        " MatMulInteger MatMulIntegerToFloat MatMulNBits QGemm QLinearMatMul",
    ),
    **_named(_padded, "Pad Resize Tile Trilu Upsample"),
    **_named(_recurrent, "DynamicQuantizeLSTM GRU LSTM RNN"),
    "Gather": _gathered,
    "Transpose": _turned,
    "Einsum": _summed,
}
