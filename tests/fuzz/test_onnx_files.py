"""Damaged ONNX files: a workload or one line, never a traceback.

`HYPOTHESIS_PROFILE=fuzz pytest tests/fuzz` tries very many more.
"""

from __future__ import annotations

import random
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from onnx_graphs import FLOAT, I64, Builder, classified, helper, numpy_helper, onnx

from fxsim.errors import FxsimError
from fxsim.integrations.onnx.import_model import import_model

KINDS = [
    "Attention",
    "Concat",
    "Conv",
    "ConvTranspose",
    "Einsum",
    "Expand",
    "Foo",
    "Gather",
    "Gemm",
    "If",
    "LSTM",
    "Loop",
    "MatMul",
    "MaxPool",
    "Pad",
    "QLinearConv",
    "Reshape",
    "Resize",
    "Scan",
    "Slice",
    "Split",
    "TopK",
    "Transpose",
]
NUMBERS = (-5, -1, 0, 1, 3, 7, 10**6, 2**31, 2**40, 2**62)
TYPES = (0, 1, 2, 3, 7, 8, 9, 10, 11, 16, 17, 22, 99)


@cache
def models() -> list[bytes]:
    """Good files to begin from."""
    folder = Path(tempfile.mkdtemp())
    b = Builder((3, 8, 8))
    x = b.node("Relu", b.norm(b.conv("x", 3, 4, 3, "c", pads=[1] * 4), 4, "n"))
    x = b.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    image = classified(b, b.conv(x, 4, 6, 3, "d", group=2), 6, folder / "image.onnx")
    b = Builder((9, 4))
    x = b.node("Transpose", "x", perm=[1, 0, 2])
    weights = b.constant("w", 2, 20, 4), b.constant("r", 2, 20, 5)
    x = b.node("LSTM", x, *weights, hidden_size=5, direction="bidirectional")
    x = b.node("Reshape", x, b.constant("s", value=[1, 9, 10], kind=I64))
    x = b.node("Einsum", x, b.constant("v", 10, 6), equation="btd,de->bte")
    sequence = b.save(folder / "sequence.onnx", b.node("Softmax", x, axis=-1))
    b = Builder((6,))
    values = [
        helper.make_tensor_value_info("i", onnx.TensorProto.INT64, []),
        helper.make_tensor_value_info("on", onnx.TensorProto.BOOL, []),
        helper.make_tensor_value_info("h", FLOAT, [1, 6]),
    ]
    weight = numpy_helper.from_array(np.zeros((6, 6), np.float32), "w")
    nodes = [
        helper.make_node("Identity", ["on"], ["go"]),
        helper.make_node("MatMul", ["h", "w"], ["t"]),
    ]
    outs = [helper.make_tensor_value_info("go", onnx.TensorProto.BOOL, []),
            helper.make_tensor_value_info("t", FLOAT, [1, 6])]  # fmt: skip
    body = helper.make_graph(nodes, "turn", values, outs, [weight])
    loop = b.node("Loop", b.constant("n", value=5, kind=I64), "", "x", body=body)
    looped = b.save(folder / "loop.onnx", b.node("Tanh", loop))
    return [path.read_bytes() for path in (image, sequence, looped)]


def damaged(data: bytes, rng: random.Random) -> bytes:
    """The same file with some bytes lost, added or changed."""
    parts = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(parts) + 1)
        parts[at : at + rng.choice((0, 1, 1, 5))] = rng.randbytes(rng.choice((0, 1, 1, 4)))
    return bytes(parts)


def rewritten(data: bytes, rng: random.Random) -> bytes:
    """The same model with some fields at other values."""
    model = onnx.load_from_string(data)
    graph = model.graph
    for _ in range(rng.randint(1, 3)):
        node, tensor = rng.choice(graph.node), rng.choice(graph.initializer)
        names = [name for other in graph.node for name in (*other.input, *other.output)]
        change = rng.randrange(9)
        if change == 0 and tensor.dims:
            tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(NUMBERS)
        elif change == 1 and node.attribute:
            del node.attribute[rng.randrange(len(node.attribute))]
        elif change == 2 and node.attribute:
            attribute = rng.choice(node.attribute)
            if attribute.ints:
                attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice(NUMBERS)
            else:
                attribute.i = rng.choice(NUMBERS)
        elif change == 3 and node.input:
            node.input[rng.randrange(len(node.input))] = rng.choice([*names, "", "nope"])
        elif change == 4:
            node.op_type = rng.choice(KINDS)
        elif change == 5:
            dim = rng.choice(graph.input[0].type.tensor_type.shape.dim)
            dim.Clear()
            dim.dim_value = rng.choice(NUMBERS)
        elif change == 6:
            tensor.data_type = rng.choice(TYPES)
        elif change == 7:
            model.opset_import[0].version = rng.choice((0, 1, 6, 9, 13, 18, 23, 99))
        elif node.input:
            del node.input[-1]
    return model.SerializeToString()


@given(st.integers(0, 2), st.integers(0, 2**32), st.booleans())
def test_a_damaged_model_is_one_line(model, seed, fields):
    rng = random.Random(seed)
    data = (rewritten if fields else damaged)(models()[model], rng)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.onnx"
        path.write_bytes(data)
        said = None
        try:
            import_model(path, Path(folder) / "m.yaml", allow_unknown=rng.random() < 0.5)
        except FxsimError as problem:
            said = str(problem)
        assert "\n" not in (said or "")
        assert (Path(folder) / "m.yaml").exists() == (said is None)
