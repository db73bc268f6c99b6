"""The work of ONNX operators: multiply-accumulates by hand, and what is not known."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_graphs import helper, save_model
from support import fxsim

from fxsim.errors import DataError
from fxsim.integrations.onnx.import_model import import_model
from fxsim.training import workload

MS = "com.microsoft"
node = helper.make_node


def one(op, x, domain="", inputs=("x", "w"), opset=17, given=None, **constants):
    """A node that reads x (and what else there is) and gives y."""
    sizes = x if isinstance(x, dict) else {"x": x}
    return [node(op, list(inputs), ["y"], domain=domain, **(given or {}))], sizes, opset, constants


def uint8(*shape):
    return np.zeros(shape, np.uint8)


SCALE = {"s": np.array(0.1, np.float32), "z": np.array(0, np.uint8)}
QUANTISED = ("x", "s", "z", "w", "s", "z", "s", "z")
OPERATORS = {
    "conv of three axes": (one("Conv", [1, 3, 8, 9, 10], w=[4, 3, 3, 3, 3]), 4 * 6 * 7 * 8 * 81),
    "transposed, three axes": (
        one("ConvTranspose", [1, 8, 4, 4, 4], w=[8, 5, 2, 2, 2], given={"strides": [2, 2, 2]}),
        64 * 8 * 5 * 8,
    ),
    "transposed, groups": (
        one("ConvTranspose", [1, 8, 5], w=[8, 3, 4], given={"group": 2}),
        5 * 8 * 3 * 4,
    ),
    "conv, computed weights": (
        one("Conv", {"x": [1, 3, 8, 8], "w": [4, 3, 3, 3]}),
        36 * 4 * 27,
    ),
    "conv of integers": (
        (
            [
                node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
                node("ConvInteger", ["q", "w", "z"], ["y"]),
            ],
            {"x": [1, 3, 8, 8]},
            17,
            {"w": uint8(4, 3, 3, 3)},
        ),
        36 * 4 * 27,
    ),
    "fused conv": (one("FusedConv", [1, 3, 8, 8], MS, w=[4, 3, 3, 3]), 36 * 4 * 27),
    "conv, channels last": (
        one("NhwcConv", [1, 8, 8, 3], MS, w=[4, 3, 3, 3], given={"pads": [1, 1, 1, 1]}),
        64 * 4 * 27,
    ),
    "matrices of a batch": (one("MatMul", {"x": [1, 5, 6, 7], "w": [1, 5, 7, 8]}), 5 * 6 * 7 * 8),
    "weights by head": (one("MatMul", [1, 5, 6, 7], w=[5, 7, 8]), 5 * 6 * 7 * 8),
    "weights on the left": (
        one("MatMul", [1, 7, 8], inputs=("w", "x"), w=[6, 7]),
        6 * 7 * 8,
    ),
    "a row of weights": (one("MatMul", [1, 6, 7], w=[7]), 6 * 7),
    "scaled and turned": (
        one("FusedMatMul", {"x": [1, 7, 6], "w": [1, 8, 7]}, MS, given={"transA": 1, "transB": 1}),
        6 * 7 * 8,
    ),
    "packed weights": (
        one(
            "MatMulNBits",
            [1, 6, 64],
            MS,
            inputs=("x", "w", "s"),
            given={"K": 64, "N": 32, "bits": 4, "block_size": 32},
            w=uint8(32, 2, 16),
            s=[64],
        ),
        6 * 64 * 32,
    ),
    "quantised Gemm": (
        one(
            "QGemm",
            [1, 7],
            MS,
            inputs=("x", "s", "z", "w", "s", "z"),
            w=uint8(7, 8),
            **SCALE,
        ),
        56,
    ),
    "quantised while it runs": (
        one(
            "DynamicQuantizeMatMul",
            [1, 6, 7],
            MS,
            inputs=("x", "w", "s"),
            w=uint8(7, 8),
            s=np.array(0.1, np.float32),
        ),
        6 * 7 * 8,
    ),
    "einsum, letters that stay": (
        one("Einsum", {"x": [1, 5, 6, 7], "w": [1, 5, 8, 7]},
            given={"equation": "bhid,bhjd->bhij"}),
        5 * 6 * 7 * 8,
    ),
    "einsum, dots": (
        one("Einsum", [1, 5, 6, 7], w=[7, 8], given={"equation": "...d, de"}),
        5 * 6 * 7 * 8,
    ),
    "einsum of three": (
        one(
            "Einsum",
            [1, 6, 7],
            inputs=("x", "w", "v"),
            w=[7, 8],
            v=[8, 9],
            given={"equation": "bsd,de,ef->bsf"},
        ),
        6 * 7 * 8 + 6 * 8 * 9,
    ),
    "GRU, batch first": (
        one("GRU", [1, 9, 4], inputs=("x", "w", "r"), w=[1, 15, 4], r=[1, 15, 5],
            given={"hidden_size": 5, "layout": 1}),
        9 * 15 * (4 + 5),
    ),
    "RNN, a batch of 3": (
        one("RNN", [9, 3, 4], inputs=("x", "w", "r"), w=[2, 5, 4], r=[2, 5, 5],
            given={"hidden_size": 5, "direction": "bidirectional"}),
        9 * 2 * 5 * (4 + 5),
    ),
    "attention of its own": (
        one(
            "Attention",
            {"x": [1, 6, 12], "k": [1, 7, 6], "v": [1, 7, 6]},
            inputs=("x", "k", "v"),
            opset=23,
            given={"q_num_heads": 4, "kv_num_heads": 2},
        ),
        4 * 6 * 7 * 3 * 2,
    ),
    "attention, packed": (
        one("Attention", [1, 6, 8], MS, inputs=("x", "w", "b"), w=[8, 24], b=[24],
            given={"num_heads": 2}),
        6 * 8 * 24 + 2 * 2 * 6 * 6 * 4,
    ),
    "attention of several heads": (
        one(
            "MultiHeadAttention",
            {"x": [1, 6, 8], "k": [1, 7, 8], "v": [1, 7, 8]},
            MS,
            inputs=("x", "k", "v"),
            given={"num_heads": 2},
        ),
        2 * 2 * 6 * 7 * 4,
    ),
    "attention, grouped queries and a past": (
        one(
            "GroupQueryAttention",
            {"x": [1, 1, 16], "k": [1, 1, 8], "v": [1, 1, 8], "p": [1, 2, 9, 4], "q": [1, 2, 9, 4]},
            MS,
            inputs=("x", "k", "v", "p", "q"),
            given={"num_heads": 4, "kv_num_heads": 2},
        ),
        4 * (9 + 1) * 4 * 2,
    ),
    "a linear model": (
        one(
            "LinearRegressor",
            [1, 6],
            "ai.onnx.ml",
            inputs=("x",),
            given={"coefficients": [0.0] * 18, "targets": 3},
        ),
        18,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATORS)
def test_multiply_accumulates_by_hand(tmp_path, name):
    (nodes, inputs, opset, constants), macs = OPERATORS[name]
    path = save_model(tmp_path / "m.onnx", nodes, inputs, opset=opset, **constants)
    imported = import_model(path, tmp_path / "m.yaml", "npz:any.npz")
    assert imported.macs == macs
    assert imported.unknown == []
    _, model = workload.load(tmp_path / "m.yaml")
    assert model.macs == macs


def test_quantised_operators(tmp_path):
    x, nodes = {"x": [1, 3, 8, 8]}, [node("QLinearConv", list(QUANTISED), ["y"])]
    path = save_model(tmp_path / "c.onnx", nodes, x, w=uint8(4, 3, 3, 3), **SCALE)
    imported = import_model(path, tmp_path / "c.yaml")
    assert (imported.macs, imported.parameters) == (36 * 4 * 27, 4 * 27)
    nodes = [node("QLinearMatMul", list(QUANTISED), ["y"])]
    path = save_model(tmp_path / "m.onnx", nodes, {"x": [1, 6, 7]}, w=uint8(7, 8), **SCALE)
    assert import_model(path, tmp_path / "m.yaml").macs == 6 * 7 * 8


@pytest.mark.parametrize(
    ("op", "domain", "opset"),
    [("Whatever", "our.own", 17), ("Frobnicate", "", 17), ("BeamSearch", MS, 17), ("Det", "", 17)],
)
def test_unknown_work_ends_the_import(tmp_path, op, domain, opset):
    nodes = [node("Relu", ["x"], ["a"]), node(op, ["a"], ["y"], "odd", domain=domain)]
    path = save_model(tmp_path / "m.onnx", nodes, {"x": [1, 6, 6]}, opset=opset)
    with pytest.raises(DataError, match=rf"m\.onnx: 1 node whose work is unknown: .*{op} 'odd'"):
        import_model(path, tmp_path / "m.yaml")
    assert not (tmp_path / "m.yaml").exists()
    imported = import_model(path, tmp_path / "m.yaml", allow_unknown=True)
    assert len(imported.unknown) == 1
    loaded, _ = workload.load(tmp_path / "m.yaml")
    assert loaded.unknown_work == 1


def test_what_follows_an_unknown_shape_is_unknown_as_well(tmp_path):
    nodes = [
        node("Whatever", ["x"], ["a"], "odd", domain="our.own"),
        node("MatMul", ["a", "w"], ["y"], "product"),
    ]
    path = save_model(tmp_path / "m.onnx", nodes, {"x": [1, 6, 7]}, w=[7, 8])
    with pytest.raises(
        DataError, match=r"2 nodes whose work is unknown: .*; MatMul 'product': the"
    ):
        import_model(path, tmp_path / "m.yaml")


def test_the_first_nodes_are_named(tmp_path):
    nodes = [node("Odd", ["x"], [f"a{i}"], f"n{i}", domain="our.own") for i in range(8)]
    nodes.append(node("Sum", [f"a{i}" for i in range(8)], ["y"]))
    path = save_model(tmp_path / "m.onnx", nodes, {"x": [1, 6]})
    done = fxsim("import", "m.onnx", at=tmp_path, code=2)
    assert "9 nodes whose work is unknown" in done.stderr
    assert "'n4'" in done.stderr
    assert "'n5'" not in done.stderr
    assert done.stderr.count("\n") == 1
    assert path.with_suffix(".yaml").exists() is False
