"""Operators of ONNX, one by one: shapes as ONNX infers them, windows, mistakes, what is refused."""

from __future__ import annotations

import pytest
from onnx_graphs import I64, Builder, classified, flat, onnx

from fxsim.errors import DataError
from fxsim.integrations.onnx.import_model import import_model
from fxsim.integrations.onnx.operators import EXECUTABLE
from fxsim.training import workload

OPERATORS = {
    "Conv": lambda b: (b.conv("x", 4, 6, 3, strides=[2, 2], pads=[1] * 4, dilations=[1, 1]), 6),
    "Conv depthwise": lambda b: (b.conv("x", 4, 4, 3, group=4), 4),
    "Conv grouped": lambda b: (b.conv("x", 4, 6, 3, group=2, bias=True), 6),
    "Conv by axis": lambda b: (
        b.conv("x", 4, 6, (1, 5), strides=[2, 1], dilations=[1, 2], pads=[0, 4, 0, 4]),
        6,
    ),
    "Conv by side": lambda b: (b.conv("x", 4, 6, 3, strides=[2, 2], pads=[0, 0, 1, 1]), 6),
    "Conv same, strided": lambda b: (
        b.conv("x", 4, 6, 3, strides=[2, 2], auto_pad="SAME_UPPER"),
        6,
    ),
    "Conv same, odd in front": lambda b: (b.conv("x", 4, 6, (2, 4), auto_pad="SAME_LOWER"), 6),
    "Conv same": lambda b: (b.conv("x", 4, 6, 3, auto_pad="SAME_UPPER"), 6),
    "ConvTranspose": lambda b: (
        b.node(
            "ConvTranspose",
            "x",
            b.constant("t.weight", 4, 5, 3, 3),
            strides=[2, 2],
            pads=[1] * 4,
            output_padding=[1, 1],
        ),
        5,
    ),
    "BatchNormalization": lambda b: (b.norm("x", 4, "n"), 4),
    "InstanceNormalization": lambda b: (
        b.node("InstanceNormalization", "x", b.constant("s", 4), b.constant("o", 4)),
        4,
    ),
    "GroupNormalization": lambda b: (
        b.node("GroupNormalization", "x", b.constant("s", 4), b.constant("o", 4), num_groups=2),
        4,
    ),
    "Relu": lambda b: (b.node("Relu", "x"), 4),
    "Clip": lambda b: (
        b.node("Clip", "x", b.constant("l", value=0.0), b.constant("h", value=6.0)),
        4,
    ),
    "LeakyRelu": lambda b: (b.node("LeakyRelu", "x", alpha=0.2), 4),
    "Sigmoid": lambda b: (b.node("Sigmoid", "x"), 4),
    "Tanh": lambda b: (b.node("Tanh", "x"), 4),
    "Gelu": lambda b: (b.node("Gelu", "x"), 4),
    "HardSwish": lambda b: (b.node("HardSwish", "x"), 4),
    "Mul silu": lambda b: (b.node("Mul", "x", b.node("Sigmoid", "x")), 4),
    "Mul": lambda b: (b.node("Mul", b.node("Relu", "x"), b.node("Tanh", "x")), 4),
    "Add": lambda b: (b.node("Add", b.node("Relu", "x"), "x"), 4),
    "Concat": lambda b: (b.node("Concat", b.node("Relu", "x"), "x", axis=1), 8),
    "MaxPool": lambda b: (
        b.node("MaxPool", "x", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4),
        4,
    ),
    "MaxPool rounded up": lambda b: (
        b.node("MaxPool", "x", kernel_shape=[3, 2], strides=[2, 3], ceil_mode=1, pads=[0, 1, 0, 0]),
        4,
    ),
    "MaxPool same": lambda b: (
        b.node("MaxPool", "x", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER"),
        4,
    ),
    "AveragePool of half": lambda b: (
        b.node("AveragePool", "x", kernel_shape=[12, 6], strides=[12, 6]),
        4,
    ),
    "ConvTranspose by axis": lambda b: (
        b.node(
            "ConvTranspose",
            "x",
            b.constant("t.weight", 4, 5, 3, 2),
            strides=[2, 1],
            pads=[1, 0, 0, 1],
            output_padding=[1, 0],
        ),
        5,
    ),
    "Pad by side": lambda b: (
        b.conv(
            b.node("Pad", "x", b.constant("sides", value=[0, 0, 0, 1, 0, 0, 2, 0], kind=I64)),
            4,
            6,
            3,
            pads=[1, 0, 0, 0],
        ),
        6,
    ),
    "AveragePool": lambda b: (b.node("AveragePool", "x", kernel_shape=[2, 2], strides=[2, 2]), 4),
    "Dropout": lambda b: (b.node("Dropout", "x", b.constant("p", value=0.3)), 4),
    "Identity": lambda b: (b.node("Relu", b.node("Identity", "x")), 4),
    "Pad": lambda b: (
        b.conv(
            b.node("Pad", "x", b.constant("pads", value=[0, 0, 1, 1, 0, 0, 1, 1], kind=I64)),
            4,
            6,
            3,
        ),
        6,
    ),
}


MISTAKEN = {
    "Conv": (
        {"strides": [1], "pads": [1, 1]},
        "Conv '/conv0/Conv': a window of 2 dimensions must have 2 strides, 2 dilations and 4 pads",
    ),
    "Conv pads": ({"pads": [-1, 0, 0, 0]}, "'/conv0/Conv': window: before must be at least 0"),
    "Conv strides": ({"strides": [0, 1]}, "'/conv0/Conv': window: stride must be at least 1"),
    "Conv dilations": ({"dilations": [9, 9]}, "'/conv0/Conv': a window of 19 rows does not fit"),
    "Conv auto_pad": ({"auto_pad": "FOO"}, "'/conv0/Conv': auto_pad must be NOTSET, VALID"),
}


@pytest.mark.parametrize("name", MISTAKEN)
def test_mistaken_windows_name_file_and_node(tmp_path, name):
    attributes, complaint = MISTAKEN[name]
    b = Builder((4, 12, 12))
    path = b.save(tmp_path / "wrong.onnx", b.conv("x", 4, 6, 3, **attributes))
    with pytest.raises(DataError, match=r"wrong\.onnx: node") as caught:
        import_model(path, tmp_path / "wrong.yaml", "npz:any.npz")
    assert complaint in str(caught.value)


PRICED_ONLY = {
    # windows of one dimension are priced by their positions, not their channels
    "ConvTranspose": ((3, 20), lambda b: b.constant("t.weight", 3, 4, 3), [2], 20 * 3 * 4 * 3),
    "ConvTranspose grouped": ((4, 20), lambda b: b.constant("t.weight", 4, 3, 3), [1], 720),
}


@pytest.mark.parametrize("name", PRICED_ONLY)
def test_transposed_windows_of_one_dimension_are_counted(tmp_path, name):
    shape, weights, strides, macs = PRICED_ONLY[name]
    b = Builder(shape)
    groups = 2 if "grouped" in name else 1
    x = b.node("ConvTranspose", "x", weights(b), strides=strides, group=groups)
    path = b.save(tmp_path / "t.onnx", b.node("Relu", x))
    assert import_model(path, tmp_path / "t.yaml", "npz:any.npz").macs == macs


def test_maxima_that_no_layer_keeps_are_priced_only(tmp_path):
    b = Builder((4, 17, 17))
    x = b.node("MaxPool", "x", kernel_shape=[17, 17])
    path = classified(b, x, 4, tmp_path / "large.onnx")
    (reason,) = import_model(path, tmp_path / "large.yaml", "npz:any.npz").refused
    assert "more than 256 places" in reason


@pytest.mark.parametrize("name", OPERATORS)
def test_every_operator_has_the_shape_that_onnx_infers(tmp_path, name):
    b = Builder((4, 12, 12))
    result, channels = OPERATORS[name](b)
    path = classified(b, result, channels, tmp_path / "one.onnx")
    found = import_model(path, tmp_path / "one.yaml", "npz:any.npz")
    assert found.refused == {}
    _, model = workload.load(tmp_path / "one.yaml")
    inferred = onnx.shape_inference.infer_shapes(onnx.load(path), data_prop=True).graph
    shapes = {
        v.name: [d.dim_value for d in v.type.tensor_type.shape.dim][1:] for v in inferred.value_info
    }
    pooled = next(layer for layer in model.layers if layer.name.endswith("globalaveragepool"))
    height, width, depth = pooled.in_shapes[0]
    # not all functions are inferred; those keep the shape
    assert [depth, height, width] == shapes.get(result, [4, 12, 12])


SMALL = {
    "mean without axes kept": (
        lambda b: b.node("ReduceMean", "x", b.constant("a", value=[2, 3], kind=I64), keepdims=0),
        ["global_average_pool", "flatten", "linear"],
        4,
    ),
    "a sigmoid that others read": (
        lambda b: flat(
            b,
            b.node(
                "Add",
                b.node("Mul", b.node("Relu", "x", name="r"), s := b.node("Sigmoid", "r_output_0")),
                b.node("Tanh", s),
            ),
        ),
        ["relu", "sigmoid", "multiply", "tanh", "add", "global_average_pool", "flatten", "linear"],
        4,
    ),
    "x + x first": (
        lambda b: flat(b, b.node("Add", "x", "x")),
        ["add", "global_average_pool", "flatten", "linear"],
        4,
    ),
    "limits of one element": (
        lambda b: flat(
            b, b.node("Clip", "x", b.constant("l", value=[0.0]), b.constant("h", value=[6.0]))
        ),
        ["relu6", "global_average_pool", "flatten", "linear"],
        4,
    ),
}


@pytest.mark.parametrize("name", SMALL)
def test_small_networks_are_what_they_say(tmp_path, name):
    make, kinds, channels = SMALL[name]
    b = Builder((4, 6, 6))
    path = b.save(tmp_path / "small.onnx", b.linear(make(b), channels, 10))
    found = import_model(path, tmp_path / "small.yaml", "npz:any.npz")
    assert found.refused == {}
    ours, model = workload.load(tmp_path / "small.yaml")
    assert [layer.kind for layer in ours.layers] == kinds
    assert model.label_shape == ()


REFUSED = {
    "one-dimensional batch norm": ((4, 12), lambda b: b.norm("x", 4, "n")),
    "a padding of ones": (
        (4, 6, 6),
        lambda b: b.conv(
            b.node(
                "Pad",
                "x",
                b.constant("p", value=[0, 0, 1, 1, 0, 0, 1, 1], kind=I64),
                b.constant("v", value=1.0),
            ),
            4,
            4,
        ),
    ),
    "a padding of edges": (
        (4, 6, 6),
        lambda b: b.conv(
            b.node(
                "Pad", "x", b.constant("p", value=[0, 0, 1, 1, 0, 0, 1, 1], kind=I64), mode="edge"
            ),
            4,
            4,
        ),
    ),
    "a logarithm inside": ((4,), lambda b: b.node("Relu", b.node("LogSoftmax", "x"))),
    "a computed summand": (
        (4,),
        lambda b: b.node("Gemm", b.node("Relu", "x"), b.constant("w.weight", 4, 4), "x", transB=1),
    ),
    "a scaled sigmoid": ((4, 6, 6), lambda b: b.node("Swish", "x", alpha=2.0)),
    "a product over the width": (
        (8, 4, 8),
        lambda b: b.node("MatMul", "x", b.constant("w.weight", 8, 5)),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_be_another_thing_is_refused(tmp_path, name):
    shape, make = REFUSED[name]
    b = Builder(shape, opset=24 if "sigmoid" in name else 21)
    path = b.save(tmp_path / "r.onnx", make(b))
    found = import_model(path, tmp_path / "r.yaml", "npz:any.npz")
    assert len(found.refused) == 1


def test_every_executable_operator_is_tested():
    tested = {name.split()[0] for name in OPERATORS} | {
        "Gemm",
        "MatMul",
        "Flatten",
        "Reshape",
        "GlobalAveragePool",
        "ReduceMean",
        "Gather",
        "LayerNormalization",
        "Softmax",
        "Transpose",
    }
    same = {"LogSoftmax", "RMSNormalization", "Swish", "Squeeze", "Unsqueeze"}  # as another
    assert set(EXECUTABLE) - tested == same
