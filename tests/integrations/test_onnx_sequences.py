"""Convolutions along positions: ONNX's channels first, our channels last."""

from __future__ import annotations

import json

import pytest
from onnx_graphs import Builder
from support import fxsim, jit_only

from fxsim.integrations.onnx.import_model import import_model
from fxsim.training import workload


def conv(b, x, channels, filters, kernel, layer, **attributes):
    weight = b.constant(f"{layer}.weight", filters, channels // attributes.get("group", 1), kernel)
    return b.node("Conv", x, weight, name=f"/{layer}/Conv", **attributes)


def imported(b, x, path):
    found = import_model(b.save(path / "m.onnx", x), path / "m.yaml", "npz:any.npz")
    loaded, model = workload.load(path / "m.yaml")
    assert found.macs == model.macs
    return found, loaded, model


def test_a_network_along_positions_is_executable(tmp_path):
    b = Builder((6, 20))
    x = b.node("Relu", b.norm(conv(b, "x", 6, 8, 5, "c1", strides=[2], pads=[2, 1]), 8, "n1"))
    y = conv(b, x, 8, 8, 3, "c2", group=8, pads=[2, 2], dilations=[2])
    x = b.node("Add", x, y)
    x = conv(b, x, 8, 4, 4, "c3", auto_pad="SAME_LOWER")
    x = b.node("Transpose", x, perm=[0, 2, 1])
    x = b.node("MatMul", x, b.constant("l", 4, 10))
    found, loaded, model = imported(b, x, tmp_path)
    assert found.refused == {}
    assert loaded.input == (20, 6)
    kinds = [layer.kind for layer in loaded.layers]
    assert kinds == ["conv1d", "batch_norm", "relu", "conv1d", "add", "conv1d", "linear"]
    assert model.layers[0].out_shape == (10, 8)
    assert (loaded.layers[0].padding.before, loaded.layers[0].padding.after) == (2, 1)
    assert (loaded.layers[5].padding.before, loaded.layers[5].padding.after) == (2, 1)
    assert model.layers[-1].out_shape == (10, 10)
    assert found.macs == 10 * 8 * 6 * 5 + 10 * 8 * 3 + 10 * 4 * 8 * 4 + 10 * 4 * 10


def test_positions_first_are_turned_and_turned_back(tmp_path):
    b = Builder((20, 6))
    x = b.node("LayerNormalization", "x", b.constant("g", 6), b.constant("o", 6), axis=-1)
    x = b.node("Transpose", x, perm=[0, 2, 1])
    x = b.node("Relu", conv(b, x, 6, 8, 3, "c", pads=[1, 1]))
    x = b.node("Transpose", x, perm=[0, 2, 1])
    found, loaded, model = imported(b, b.node("Softmax", x, axis=-1), tmp_path)
    assert found.refused == {}
    assert [layer.kind for layer in loaded.layers] == ["layer_norm", "conv1d", "relu"]
    assert model.layers[-1].out_shape == (20, 8)


@pytest.mark.parametrize("reader", ["MatMul", "Softmax", "MaxPool"])
def test_what_reads_channels_first_is_priced_only(tmp_path, reader):
    b = Builder((6, 20))
    x = conv(b, "x", 6, 8, 3, "c")
    if reader == "MatMul":
        x = b.node("MatMul", x, b.constant("l", 18, 10))
    else:
        x = b.node(reader, x, **({"kernel_shape": [2]} if reader == "MaxPool" else {"axis": -1}))
    x = b.node("Sin", x)
    found, loaded, _ = imported(b, x, tmp_path)
    assert [layer.kind for layer in loaded.layers] == ["conv1d", "opaque", "opaque"]
    assert found.macs == 18 * 8 * 6 * 3 + (8 * 18 * 10 if reader == "MatMul" else 0)


def test_an_input_that_others_read_stays_as_it_is(tmp_path):
    b = Builder((6, 20))
    x = b.node("Concat", conv(b, "x", 6, 8, 3, "c", pads=[1, 1]), "x", axis=1)
    found, loaded, _ = imported(b, x, tmp_path)
    assert [layer.kind for layer in loaded.layers] == ["opaque", "opaque"]
    assert found.macs == 20 * 8 * 6 * 3


def test_it_trains_and_is_priced_as_a_convolution(tmp_path):
    jit_only()
    b = Builder((6, 20))
    x = conv(b, "x", 6, 32, 3, "c", pads=[1, 1])
    x = b.node("MatMul", b.node("Transpose", x, perm=[0, 2, 1]), b.constant("l", 32, 10))
    imported(b, x, tmp_path)
    asked = ("estimate", "m.yaml", "-a", "int8_systolic", "--batch", 1, "--by", "pass", "--json")
    rows = json.loads(fxsim(*asked, at=tmp_path).stdout)["int8_systolic"]
    assert {row["pass"] for row in rows} >= {"forward", "grad_weight", "update"}
