"""ONNX and QONNX to workloads: shapes, counts and bits, and what is not executable by its line."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from onnx_graphs import I64, Builder, classified, flat, numpy_helper, onnx
from support import ROOT, fxsim, jit_only

from fxsim.errors import ConfigError, FxsimError
from fxsim.integrations.onnx.import_model import import_model
from fxsim.policies.uniform import Uniform
from fxsim.runs.inputs import prepare
from fxsim.training import workload


def resnet18(path):
    """As torchvision's, operator by operator."""
    b = Builder((3, 224, 224))
    x = b.norm(b.conv("x", 3, 64, 7, "conv1", strides=[2, 2], pads=[3] * 4), 64, "bn1")
    x = b.node("Relu", x)
    x = b.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    channels = 64
    for stage, filters in enumerate((64, 128, 256, 512), 1):
        for i in range(2):
            layer, stride = f"layer{stage}.{i}", 2 if stage > 1 and i == 0 else 1
            y = b.conv(
                x, channels, filters, 3, f"{layer}.conv1", strides=[stride] * 2, pads=[1] * 4
            )
            y = b.node("Relu", b.norm(y, filters, f"{layer}.bn1"))
            y = b.norm(
                b.conv(y, filters, filters, 3, f"{layer}.conv2", pads=[1] * 4),
                filters,
                f"{layer}.bn2",
            )
            if stride > 1:
                x = b.conv(x, channels, filters, 1, f"{layer}.downsample.0", strides=[2, 2])
                x = b.norm(x, filters, f"{layer}.downsample.1")
            x = b.node("Relu", b.node("Add", y, x))
            channels = filters
    x = b.node("ReduceMean", x, b.constant("axes", value=[2, 3], kind=np.int64), keepdims=1)
    x = b.node("Reshape", x, b.constant("to", value=[-1, 512], kind=np.int64))
    return b.save(path, b.linear(x, 512, 1000))


def test_resnet18_is_the_shipped_one(tmp_path):
    found = import_model(resnet18(tmp_path / "resnet18.onnx"), tmp_path / "net.yaml")
    assert found.refused == {}
    ours, model = workload.load(tmp_path / "net.yaml")
    _, shipped = workload.load(ROOT / "workloads" / "resnet18.yaml")
    assert (found.macs, found.parameters) == (1_814_073_344, 11_689_512)
    assert model.macs == shipped.macs
    kinds = [layer.kind for layer in ours.layers if layer.kind != "flatten"]
    assert sorted(kinds) == sorted(
        layer.kind
        for layer in workload.load(ROOT / "workloads" / "resnet18.yaml")[0].layers
        if layer.kind != "flatten"
    )
    assert [layer.name for layer in ours.layers][4] == "layer1_0_conv1"


def test_an_imported_network_trains_and_is_priced(tmp_path):
    jit_only()
    b = Builder((1, 8, 8))
    x = b.node("Relu", b.norm(b.conv("x", 1, 8, 3, "c1", pads=[1] * 4), 8, "n1"))
    x = b.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    classified(b, b.conv(x, 8, 8, 3, "c2", bias=True, pads=[1] * 4), 8, tmp_path / "small.onnx")
    done = fxsim("import", "small.onnx", "--json", at=tmp_path)
    found = json.loads(done.stdout)
    assert found["macs"] == 64 * 9 * 8 + 16 * 9 * 64 + 80
    assert found["refused"] == {}
    trained = fxsim("simulate", "small.yaml", "--epochs", 1, "--json", at=tmp_path)
    assert json.loads(trained.stdout)["test_accuracy"] > 0.2
    priced = fxsim(
        "estimate",
        "small.yaml",
        "-a",
        "eyeriss",
        "--batch",
        1,
        "--by",
        "layer",
        "--json",
        at=tmp_path,
    )
    layers = {row["layer"]: row for row in json.loads(priced.stdout)["eyeriss"]}
    assert layers["c2"]["macs"] == 3 * 16 * 9 * 64


def test_what_is_not_executable_is_named_by_node_and_line_and_priced(tmp_path):
    jit_only()
    b = Builder((1, 8, 8))
    x = b.node("Pad", "x", b.constant("pads", value=[0, 0, 1, 1, 0, 0, 1, 1], kind=I64))
    x = b.conv(x, 1, 4, (1, 5), "wide", auto_pad="SAME_UPPER")
    sizes = b.constant("sizes", value=[1, 1, 2, 2])
    x = b.node("Resize", x, "", sizes, name="/up/Resize")
    x = b.node("Whatever", x, name="/odd/Whatever", domain="our.own")
    shapes = {x: [1, 4, 20, 20]}
    classified(b, b.conv(x, 4, 6, 3, "c"), 6, tmp_path / "odd.onnx", **shapes)
    asked = ("import", "odd.onnx", "--data", "digits")
    stopped = fxsim(*asked, at=tmp_path, code=2).stderr
    assert "odd.onnx: 1 node whose work is unknown: our.own.Whatever '/odd/Whatever'" in stopped
    assert "--allow-unknown" in stopped
    done = fxsim(*asked, "--allow-unknown", at=tmp_path)
    lines = (tmp_path / "odd.yaml").read_text().splitlines()
    for node, why in (
        ("Conv '/wide/Conv'", "automatic padding of what is padded"),
        ("Resize '/up/Resize'", "fxsim has no such layer"),
        ("our.own.Whatever '/odd/Whatever'", "its work is unknown, and counted nowhere"),
    ):
        (said,) = [line for line in done.stderr.splitlines() if node in line]
        assert why in said
        number = int(said.split("odd.yaml:")[1].split(":")[0])
        assert f'operator: "{node}"' in lines[number - 1]
    assert "priced only" in done.stdout
    refused = fxsim("simulate", "odd.yaml", at=tmp_path, code=2).stderr
    assert refused.startswith("odd.yaml:")
    assert "Conv '/wide/Conv' is not executed, only priced" in refused
    estimate = ("estimate", "odd.yaml", "-a", "int8_systolic", "--batch", 2, "--by", "layer")

    def layers(*more):
        rows = json.loads(fxsim(*estimate, "--json", *more, at=tmp_path).stdout)["int8_systolic"]
        return {row["layer"]: row for row in rows}

    # it cannot be trained: what is priced is inference, unless a step is asked for
    title = "Inference of odd, batch 2, uniform, without 1 node of unknown work"
    assert title in fxsim(*estimate, at=tmp_path).stdout
    forward, step = layers(), layers("--mode", "training")
    assert forward["wide"]["macs"] == 2 * 100 * 5 * 4
    assert forward["up_resize"]["macs"] == 0
    assert forward["up_resize"]["cycles"] > 0
    assert forward["c"]["macs"] == 2 * 18 * 18 * 9 * 4 * 6
    # forward and grad_weight; the first layer has no grad_input
    assert step["wide"]["macs"] == 2 * 2 * 100 * 5 * 4
    assert step["c"]["macs"] == 2 * (2 * 18 * 18 + 20 * 20) * 9 * 4 * 6


def test_sequences_are_imported(tmp_path):
    b = Builder((12,), kind=onnx.TensorProto.INT64)
    x = b.node("Gather", b.constant("words.weight", 50, 8), "x")
    x = b.node("Add", x, b.constant("positions", 1, 12, 8))
    x = b.node("LayerNormalization", x, b.constant("g", 8), b.constant("o", 8), axis=-1)
    x = b.node("Add", b.node("MatMul", x, b.constant("m.weight", 8, 50)), b.constant("c", 50))
    found = import_model(b.save(tmp_path / "s.onnx", b.node("Softmax", x)), tmp_path / "s.yaml")
    ours, _ = workload.load(tmp_path / "s.yaml")
    assert [layer.kind for layer in ours.layers] == [
        "embedding",
        "position_embedding",
        "layer_norm",
        "linear",
    ]
    assert found.parameters == 50 * 8 + 12 * 8 + 2 * 8 + 8 * 50 + 50
    assert found.macs == 12 * 8 * 50
    assert any("left out; the loss takes logits" in remark for remark in found.remarks)
    assert ours.dataset == "tinyshakespeare"


def quantised(b, x, bits, signed=1):
    parts = [
        b.constant(f"q{len(b.nodes)}{p}", value=v) for p, v in (("s", 0.1), ("z", 0.0), ("b", bits))
    ]
    return b.node(
        "Quant",
        x,
        *parts,
        domain="qonnx.custom_op.general",
        signed=signed,
        narrow=0,
        rounding_mode="ROUND",
    )


def test_qonnx_bit_widths_become_a_study(tmp_path):
    jit_only()
    b = Builder((1, 8, 8))
    weight = quantised(b, b.constant("c1.weight", 8, 1, 3, 3), 4.0)
    x = b.node("Conv", quantised(b, "x", 8.0, 0), weight, name="/c1/Conv", pads=[1] * 4)
    x = quantised(b, b.node("Relu", x), 3.0, 0)
    weight = quantised(b, b.constant("c2.weight", 8, 8, 3, 3), 2.0)
    x = b.node("Conv", x, weight, name="/c2/Conv", pads=[1] * 4)
    classified(b, x, 8, tmp_path / "q.onnx")
    done = fxsim("import", "q.onnx", "--json", at=tmp_path)
    found = json.loads(done.stdout)
    assert found["bits"] == {
        "c1": {"activation": 8, "weight": 4},
        "c2": {"activation": 3, "weight": 2},
    }
    fxsim("check", "q.yaml", "q_study.yaml", at=tmp_path)
    fxsim("run", "q_study.yaml", "--epochs", 1, at=tmp_path)
    run = tmp_path / "reports" / "q_bits" / "runs" / "qonnx-seed0" / "trace"
    operands = pd.read_parquet(run / "operands.parquet")
    bits = {(r.layer, r.role): [int(v) for v in r.bits] for r in operands.itertuples()}
    assert bits["c1", "weight"] == [4]
    assert bits["c2", "activation"] == [3]
    assert bits["c2", "weight"] == [2]
    assert bits["fc", "weight"] == [8]
    assert bits["c2", "error"] == [8]


def test_a_policys_layers_must_be_the_networks():
    with pytest.raises(ConfigError, match="the policy's layers must be the network's; it has no"):
        prepare(
            ROOT / "workloads" / "digits_cnn.yaml",
            "uniform",
            Uniform(layers={"conv9": {"weight": 4}}),
            0,
        )


def test_a_bias_is_folded_only_where_nothing_else_sees_the_product(tmp_path):
    b = Builder((12, 4))
    product = b.node("MatMul", "x", b.constant("w.weight", 4, 4))
    biased = b.node("Relu", b.node("Add", product, b.constant("c", 4)))
    path = b.save(tmp_path / "b.onnx", b.node("Add", biased, product))
    found = import_model(path, tmp_path / "b.yaml", "npz:any.npz")
    (why,) = found.refused
    assert "an operand that is a constant" in why
    ours, _ = workload.load(tmp_path / "b.yaml")
    assert ours.layers[0].bias is False


def test_large_constants_are_folded(tmp_path):
    b = Builder((12, 300))
    turned = b.node("Transpose", b.constant("l.weight", 300, 300), perm=[1, 0])
    x = b.node("Add", b.node("MatMul", "x", turned), b.constant("l.bias", 300))
    found = import_model(b.save(tmp_path / "l.onnx", x), tmp_path / "l.yaml", "npz:any.npz")
    assert found.refused == {}
    assert found.macs == 12 * 300 * 300
    assert found.parameters == 300 * 300 + 300


def test_bits_pass_through_what_moves_words(tmp_path):
    b = Builder((1, 8, 8))
    width = b.node("Constant", value=numpy_helper.from_array(np.float32(3)), name="three")
    scale = [b.constant(n, value=v) for n, v in (("s", 0.1), ("z", 0.0))]
    x = b.node("Quant", "x", *scale, width, domain="qonnx.custom_op.general", signed=0)
    other = quantised(b, "x", 6.0)
    pooled = b.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    one = b.conv(pooled, 1, 4, 3, "c1", pads=[1] * 4)
    two = b.conv(other, 1, 4, 3, "c2", strides=[2, 2], pads=[1] * 4)
    x = flat(b, b.node("Add", one, two))
    turned = b.node("Transpose", quantised(b, b.constant("w", 10, 4), 1.0), perm=[1, 0])
    found = import_model(
        b.save(tmp_path / "q.onnx", b.node("MatMul", x, turned)), tmp_path / "q.yaml", "digits"
    )
    assert found.bits["c1"] == {"activation": 3}
    assert found.bits["c2"] == {"activation": 6}
    (last,) = set(found.bits) - {"c1", "c2"}
    assert found.bits[last] == {"weight": 2}
    assert any("1 bits, executed at 2" in remark for remark in found.remarks)
    fxsim("check", tmp_path / "q_study.yaml", at=tmp_path)


def bad(path, what):
    if what == "text":
        path.write_text("no model")
    elif what == "free size":
        b = Builder(("channels", 4, 4))
        b.save(path, b.node("Relu", "x"))
    elif what == "no layers":
        b = Builder((4,))
        b.save(path, b.node("Identity", "x"))


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("missing", "no such file"),
        ("text", "must be an ONNX model"),
        ("free size", "input 'x' must have a length on each axis, not [1, channels, 4, 4]"),
        ("no layers", "nothing gives its output"),
    ],
)
def test_bad_models_are_one_line(tmp_path, what, message):
    path = tmp_path / "bad.onnx"
    bad(path, what)
    with pytest.raises(FxsimError) as caught:
        import_model(path, tmp_path / "bad.yaml")
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "bad.yaml").exists()
    with pytest.raises(ConfigError, match=r"must be named \.yaml"):
        import_model(path, tmp_path / "bad.onnx")
