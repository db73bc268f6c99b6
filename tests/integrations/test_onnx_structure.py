"""How ONNX models are put together: branches, loops, batches, inputs, outputs, names, mistakes."""

from __future__ import annotations

import re

import numpy as np
import pytest
from onnx_graphs import FLOAT, I64, helper, numpy_helper, onnx, save_model
from support import fxsim

from fxsim.errors import ConfigError, DataError
from fxsim.integrations.onnx.import_model import import_model
from fxsim.training import workload

node = helper.make_node


def branch(name, features):
    """A branch that multiplies the outer x."""
    weight = numpy_helper.from_array(np.zeros((6, features), np.float32), "w")
    out = numpy_helper.from_array(np.zeros((features, 5), np.float32), "v")
    nodes = [node("MatMul", ["x", "w"], ["h"]), node("MatMul", ["h", "v"], ["o"])]
    value = helper.make_tensor_value_info("o", FLOAT, None)
    return helper.make_graph(nodes, name, [], [value], [weight, out])


@pytest.mark.parametrize(("condition", "macs"), [(True, 33), (False, 55), (None, 55)])
def test_conditionals_are_priced_by_branch(tmp_path, condition, macs):
    branches = {"then_branch": branch("then", 3), "else_branch": branch("else", 5)}
    nodes = [node("If", ["c"], ["y"], "fork", **branches)]
    constants = {} if condition is None else {"c": np.array(condition)}
    if condition is None:
        nodes = [
            node("ReduceSum", ["x"], ["t"], keepdims=0),
            node("Greater", ["t", "zero"], ["c"]),
            *nodes,
        ]
        constants = {"zero": np.array(0, np.float32)}
    path = save_model(tmp_path / "m.onnx", nodes, {"x": [1, 6]}, **constants)
    imported = import_model(path, tmp_path / "m.yaml")
    assert imported.macs == macs
    said = [remark for remark in imported.remarks if "If 'fork'" in remark]
    if condition is None:
        assert said == [
            "If 'fork': priced by its else branch, 55 multiply-accumulates; the then branch has"
            " 33 multiply-accumulates"
        ]
        assert any("it is inside of If 'fork'" in why for why in imported.refused)
    else:
        assert not said
        assert imported.refused == {}


def turns(length):
    """A loop whose state is multiplied each turn, and that gives each state."""
    values = [
        helper.make_tensor_value_info("i", onnx.TensorProto.INT64, []),
        helper.make_tensor_value_info("on", onnx.TensorProto.BOOL, []),
        helper.make_tensor_value_info("s", FLOAT, [1, 6]),
    ]
    nodes = [
        node("MatMul", ["s", "w"], ["t"]),
        node("Identity", ["on"], ["go"]),
        node("Identity", ["t"], ["kept"]),
    ]
    outs = [
        helper.make_tensor_value_info("go", onnx.TensorProto.BOOL, []),
        helper.make_tensor_value_info("t", FLOAT, [1, 6]),
        helper.make_tensor_value_info("kept", FLOAT, [1, 6]),
    ]
    body = helper.make_graph(nodes, "turn", values, outs)
    loop = node(
        "Loop", [length, "on" if length == "n" else "", "x"], ["last", "all"], "l", body=body
    )
    return [loop, node("Add", ["all", "last"], ["y"])]


def test_loops_of_a_known_number_of_turns(tmp_path):
    constants = {"w": [6, 6], "n": np.array(7, np.int64), "on": np.array(True)}
    path = save_model(tmp_path / "m.onnx", turns("n"), {"x": [1, 6]}, **constants)
    imported = import_model(path, tmp_path / "m.yaml")
    assert imported.macs == 7 * 36
    assert imported.parameters == 36
    nodes = [node("Size", ["x"], ["k"]), node("Cast", ["k"], ["f"], to=1), *turns("k")]
    path = save_model(
        tmp_path / "k.onnx", nodes, {"x": [1, 6]}, w=[6, 6]
    )  # as many as x has values
    assert import_model(path, tmp_path / "k.yaml").macs == 6 * 36


def test_a_loop_that_depends_on_data_is_unknown(tmp_path):
    nodes = [
        node("ReduceSum", ["x"], ["f"], keepdims=0),
        node("Cast", ["f"], ["k"], to=onnx.TensorProto.INT64),
        *turns("k"),
    ]
    path = save_model(tmp_path / "m.onnx", nodes, {"x": [1, 6]}, w=[6, 6])
    with pytest.raises(DataError, match="whose work is unknown: Loop 'l'"):
        import_model(path, tmp_path / "m.yaml")


def test_a_scan_runs_as_often_as_its_input_is_long(tmp_path):
    values = [helper.make_tensor_value_info(n, FLOAT, None) for n in ("s", "part")]
    nodes = [node("Add", ["s", "part"], ["a"]), node("MatMul", ["a", "w"], ["t"]),
             node("Identity", ["t"], ["each"])]  # fmt: skip
    outs = [helper.make_tensor_value_info(n, FLOAT, None) for n in ("t", "each")]
    body = helper.make_graph(nodes, "turn", values, outs)
    scan = node("Scan", ["first", "x"], ["last", "y"], "s", body=body, num_scan_inputs=1,
                scan_input_axes=[1], scan_output_axes=[1])  # fmt: skip
    path = save_model(tmp_path / "m.onnx", [scan], {"x": [1, 9, 6]}, w=[6, 6], first=[1, 6])
    imported = import_model(path, tmp_path / "m.yaml")
    assert imported.macs == 9 * 36
    loaded, _ = workload.load(tmp_path / "m.yaml")
    assert loaded.classes == 6


def test_functions_of_the_model_are_opened(tmp_path):
    function = helper.make_function(
        "our.own", "Twice", ["a", "w"], ["c"],
        [node("MatMul", ["a", "w"], ["b"]), node("MatMul", ["b", "w"], ["c"])],
        [helper.make_opsetid("", 17)],
    )  # fmt: skip
    nodes = [node("Twice", ["x", "w"], ["y"], domain="our.own")]
    path = save_model(tmp_path / "m.onnx", nodes, {"x": [1, 6]}, functions=[function], w=[6, 6])
    assert import_model(path, tmp_path / "m.yaml").macs == 72


def test_outputs_behind_which_there_is_work_are_counted(tmp_path):
    nodes = [
        node("MatMul", ["x", "w"], ["h"]),
        node("Relu", ["h"], ["y"]),
        node("MatMul", ["h", "v"], ["z"]),
        node("Neg", ["h"], ["n"]),
    ]
    path = save_model(
        tmp_path / "m.onnx", nodes, {"x": [1, 6]}, ("y", "z", "n"), w=[6, 7], v=[7, 8]
    )
    imported = import_model(path, tmp_path / "m.yaml")
    assert imported.macs == 42 + 56
    assert "outputs n: left out" in imported.remarks
    assert any(why.startswith("outputs y, z") for why in imported.refused)


def test_free_axes_are_named_and_given(tmp_path):
    nodes = [node("MatMul", ["x", "w"], ["a"]), node("Concat", ["past", "a"], ["y"], axis=1)]
    inputs = {"x": ["batch", "steps", 6], "past": ["batch", "before", 7]}
    path = save_model(tmp_path / "m.onnx", nodes, inputs, w=[6, 7])
    with pytest.raises(ConfigError) as caught:
        import_model(path, tmp_path / "m.yaml")
    assert str(caught.value) == (
        f"{path}: input 'x' must have a length on each axis, not [1, steps, 6]; give it:"
        " --shape x=1,<length>,6"
    )
    first = import_model(path, tmp_path / "m.yaml", sizes={"steps": (5,), "before": (0,)})
    assert first.macs == 210
    asked = ("import", "m.onnx", "--shape", "x=1,5,6", "--shape", "before=9")
    assert "210 multiply-accumulates" in fxsim(*asked, at=tmp_path).stdout
    loaded, _ = workload.load(tmp_path / "m.yaml")
    assert loaded.layers[-1].kind == "opaque"
    assert tuple(loaded.layers[-1].out) == (14, 7)


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ("x", "--shape must be as x=1,3,224,224, not 'x'"),
        ("x=", "--shape must be as x=1,3,224,224, not 'x='"),
        ("x=1,-2,6", "--shape must be as x=1,3,224,224, not 'x=1,-2,6'"),
        ("z=1,5,6", "m.onnx has no input or axis 'z'; it has batch, steps, x"),
        ("x=1,5", "--shape x=1,5: must fit [batch, steps, 6] of m.onnx"),
        ("x=1,5,7", "--shape x=1,5,7: must fit [batch, steps, 6] of m.onnx"),
        ("steps=4,5", "--shape steps=4,5: an axis has one length"),
        ("steps=0", "nothing gives its output 'y'"),
    ],
)
def test_shapes_that_do_not_fit(tmp_path, shape, said):
    nodes = [node("MatMul", ["x", "w"], ["y"])]
    save_model(tmp_path / "m.onnx", nodes, {"x": ["batch", "steps", 6]}, w=[6, 7])
    done = fxsim("import", "m.onnx", "--shape", shape, at=tmp_path, code=2)
    assert said in re.sub(r"\s+", " ", done.stderr)


def test_a_batch_is_divided_out(tmp_path):
    nodes = [node("MatMul", ["x", "w"], ["a"]), node("Sin", ["a"], ["y"])]
    path = save_model(tmp_path / "m.onnx", nodes, {"x": [8, 5, 3, 6]}, w=[5, 6, 7])
    imported = import_model(path, tmp_path / "m.yaml")
    assert imported.macs == 5 * 3 * 6 * 7
    assert "counted for one sample: the model's batch is 8" in imported.remarks


def test_a_channel_shuffle_is_a_layer(tmp_path):
    nodes = [
        node("Reshape", ["x", "cut"], ["a"]),
        node("Transpose", ["a"], ["b"], perm=[0, 2, 1, 3, 4]),
        node("Reshape", ["b", "join"], ["c"]),
        node("Flatten", ["c"], ["d"]),
        node("Gemm", ["d", "w"], ["y"]),
    ]
    sizes = {"cut": np.array([1, 2, 4, 3, 3], I64), "join": np.array([1, 8, 3, 3], I64)}
    path = save_model(tmp_path / "m.onnx", nodes, {"x": [1, 8, 3, 3]}, w=[72, 10], **sizes)
    imported = import_model(path, tmp_path / "m.yaml")
    assert imported.refused == {}
    loaded, _ = workload.load(tmp_path / "m.yaml")
    assert [layer.kind for layer in loaded.layers] == ["channel_shuffle", "flatten", "linear"]
    assert loaded.layers[0].groups == 2


FOLDED = {
    "rows in the batch's axis": (
        [node("Reshape", ["x", "s"], ["a"]), node("Gemm", ["a", "w"], ["y"])],
        {"s": np.array([16, 6], I64), "w": [6, 7]},
        16 * 42,
    ),
    "squeezed": (
        [node("Squeeze", ["x", "s"], ["a"]), node("Gemm", ["a", "w"], ["y"])],
        {"s": np.array([0], I64), "w": [6, 7]},
        16 * 42,
    ),
    "flattened further right": (
        [node("Flatten", ["x"], ["a"], axis=2), node("Gemm", ["a", "w"], ["y"])],
        {"w": [6, 7]},
        16 * 42,
    ),
    "windows in the batch's axis": (
        [node("Reshape", ["x", "s"], ["a"]), node("MatMul", ["a", "w"], ["y"])],
        {"s": np.array([4, 4, 6], I64), "w": [6, 7]},
        16 * 42,
    ),
    "frames": (
        [node("Reshape", ["x", "s"], ["a"]), node("Conv", ["a", "w"], ["y"])],
        {"s": np.array([6, 1, 4, 4], I64), "w": [5, 1, 3, 3]},
        6 * 4 * 45,
    ),
    "words of noise": (
        [node("RandomNormal", [], ["n"], shape=[1, 16, 6]), node("Add", ["x", "n"], ["a"]),
         node("MatMul", ["n", "w"], ["b"]), node("Concat", ["a", "b"], ["y"], axis=2)],
        {"w": [6, 7]},
        16 * 42,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FOLDED)
def test_what_lies_in_the_first_axis_is_counted(tmp_path, name):
    nodes, constants, macs = FOLDED[name]
    path = save_model(tmp_path / "m.onnx", nodes, {"x": [1, 16, 6]}, **constants)
    assert import_model(path, tmp_path / "m.yaml").macs == macs


def attention(turned):
    """Each position meets each other; the two orders of axes differ in what is turned."""
    first, second = ([1, 0, 2], [1, 2, 0]) if turned else ([0, 1, 2], [0, 2, 1])
    return [
        node("MatMul", ["x", "w"], ["q"]),
        node("Transpose", ["q"], ["a"], perm=first),
        node("Transpose", ["q"], ["b"], perm=second),
        node("MatMul", ["a", "b"], ["s"]),
        node("Softmax", ["s"], ["p"]),
        node("MatMul", ["p", "a"], ["o"]),
        node("Transpose", ["o"], ["y"], perm=first),
    ]


@pytest.mark.parametrize(
    ("shape", "turned", "batch"),
    [([1, 9, 6], False, 1), ([9, 1, 6], True, 1), ([3, 9, 6], False, 3), ([9, 3, 6], True, 3)],
)
def test_the_batch_is_the_axis_that_nothing_mixes(tmp_path, shape, turned, batch):
    path = save_model(tmp_path / "m.onnx", attention(turned), {"x": shape}, w=[6, 6])
    imported = import_model(path, tmp_path / "m.yaml")
    assert imported.macs == 9 * 36 + 2 * 9 * 9 * 6
    said = f"counted for one sample: the model's batch is {batch}"
    assert (said in imported.remarks) == (batch > 1)


def test_an_input_without_a_batch_gives_none(tmp_path):
    nodes = [
        node("Transpose", ["x"], ["t"], perm=[0, 2, 1]),
        node("MatMul", ["x", "t"], ["s"]),
        node("Add", ["s", "mask"], ["m"]),
        node("Softmax", ["m"], ["p"]),
        node("MatMul", ["p", "x"], ["y"]),
    ]
    path = save_model(tmp_path / "m.onnx", nodes, {"mask": [9, 9], "x": [1, 9, 6]})
    assert import_model(path, tmp_path / "m.yaml").macs == 2 * 9 * 9 * 6


@pytest.mark.parametrize(
    ("start", "ends", "macs"), [([1, 6], True, 7 * 36), ("x", True, 7 * 36), ("x", False, None)]
)
def test_states_of_loops_are_no_constants(tmp_path, start, ends, macs):
    values = [
        helper.make_tensor_value_info("i", onnx.TensorProto.INT64, []),
        helper.make_tensor_value_info("on", onnx.TensorProto.BOOL, []),
        helper.make_tensor_value_info("s", FLOAT, [1, 6]),
    ]
    end = node("Identity", ["on"], ["go"])
    if not ends:
        end = node("Greater", ["sum", "zero"], ["go"])
    nodes = [node("MatMul", ["s", "w"], ["t"]), node("ReduceSum", ["t"], ["sum"], keepdims=0), end]
    outs = [
        helper.make_tensor_value_info("go", onnx.TensorProto.BOOL, []),
        helper.make_tensor_value_info("t", FLOAT, [1, 6]),
    ]
    body = helper.make_graph(nodes, "turn", values, outs)
    begins = "x" if start == "x" else "h"
    nodes = [
        node("Loop", ["n", "", begins], ["l"], "loop", body=body),
        node("Add", ["l", "x"], ["y"]),
    ]
    more = {} if start == "x" else {"h": start}
    path = save_model(tmp_path / "m.onnx", nodes, {"x": [1, 6]}, w=[6, 6], n=np.array(7, np.int64),
                zero=np.array(0, np.float32), **more)  # fmt: skip
    if macs is None:
        with pytest.raises(DataError, match="Loop 'loop': when it ends depends on data"):
            import_model(path, tmp_path / "m.yaml")
    else:
        assert import_model(path, tmp_path / "m.yaml").macs == macs


@pytest.mark.parametrize("op", ["Identity", "Cast", "Shape", "Constant", "Quant"])
def test_a_name_of_onnx_in_another_domain_is_not_onnxs(tmp_path, op):
    inputs = [] if op == "Constant" else ["x"]
    nodes = [node(op, inputs, ["a"], "n", domain="my.ops"), node("Add", ["x", "a"], ["y"])]
    path = save_model(tmp_path / "m.onnx", nodes, {"x": [1, 6]})
    with pytest.raises(DataError, match=rf"whose work is unknown: my\.ops\.{op} 'n'"):
        import_model(path, tmp_path / "m.yaml")


WRONG = {
    "given twice": ([node("Relu", ["x"], ["a"]), node("Neg", ["x"], ["a"]),
                     node("Relu", ["a"], ["y"])], {}, "node 2, Neg 'a': 'a' is given twice"),
    "channels": ([node("Conv", ["x", "w"], ["y"], "c")], {"w": [4, 5, 3, 3]},
                 "Conv 'c': 3 channels of an image [1, 3, 8, 8] in 1 groups do not fit weights"),
    "no equation": ([node("Einsum", ["x"], ["y"], "e")], {}, "node 1, Einsum 'e': "),
    "no window": ([node("MaxPool", ["x"], ["y"], "p")], {}, "node 1, MaxPool 'p': "),
    "gives nothing": ([node("Relu", ["x"], [], "r"), node("Relu", ["x"], ["y"])], {},
                      "node 1, Relu 'r': it gives nothing"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_graph_is_refused_by_node(tmp_path, name):
    nodes, constants, said = WRONG[name]
    path = save_model(tmp_path / "m.onnx", nodes, {"x": [1, 3, 8, 8]}, **constants)
    with pytest.raises(DataError) as caught:
        import_model(path, tmp_path / "m.yaml")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_small_tensors_in_another_file_are_read(tmp_path):
    nodes = [node("Reshape", ["x", "s"], ["a"]), node("MatMul", ["a", "w"], ["y"])]
    path = save_model(
        tmp_path / "m.onnx", nodes, {"x": [1, 12]}, s=np.array([1, 2, 6], I64), w=[6, 7]
    )
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="m.bin", size_threshold=0)
    assert import_model(path, tmp_path / "m.yaml").macs == 84
    (tmp_path / "m.bin").unlink()
    with pytest.raises(DataError, match="tensor 's': its values must lie beside the model"):
        import_model(path, tmp_path / "m.yaml")


def test_tokens_beside_a_mask_are_priced(tmp_path):
    nodes = [
        node("Gather", ["words", "x"], ["e"]),
        node("Mul", ["e", "mask"], ["h"]),
        node("MatMul", ["h", "w"], ["y"]),
    ]
    path = save_model(
        tmp_path / "m.onnx", nodes, {"x": [1, 9], "mask": [1, 9, 1]}, words=[50, 6], w=[6, 7]
    )
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    onnx.save(model, path)
    assert import_model(path, tmp_path / "m.yaml").macs == 9 * 42
    done = fxsim("estimate", "m.yaml", "-a", "int8_systolic", "--batch", 1, at=tmp_path)
    assert "Inference of m, batch 1" in done.stdout


def test_a_network_without_products_is_priced(tmp_path):
    path = save_model(tmp_path / "m.onnx", [node("Sin", ["x"], ["y"])], {"x": [1, 8]})
    assert import_model(path, tmp_path / "m.yaml").macs == 0
    done = fxsim("estimate", "m.yaml", "-a", "int8_systolic", "--batch", 1, at=tmp_path)
    assert "forward" in done.stdout


@pytest.mark.parametrize("name", ["a\nkind: study", "null", "é漢", "1e3", "a\x85b", "\x07", "a: b"])
def test_any_name_makes_a_good_file(tmp_path, name):
    nodes = [node("MatMul", [name, "w"], ["a"], name), node("Sin", ["a"], ["y"], name)]
    path = save_model(tmp_path / "m.onnx", nodes, {name: [1, 6]}, w=[6, 7])
    assert import_model(path, tmp_path / "m.yaml").macs == 42
    assert [layer.kind for layer in workload.load(tmp_path / "m.yaml")[0].layers] == [
        "linear",
        "opaque",
    ]


def test_a_shape_that_the_file_says_must_be_its_operators(tmp_path):
    nodes = [node("Relu", ["x"], ["a"]), node("MatMul", ["a", "w"], ["y"])]
    path = save_model(tmp_path / "m.onnx", nodes, {"x": [1, 9, 6]}, w=[6, 7])
    model = onnx.load(path)
    model.graph.value_info.append(helper.make_tensor_value_info("a", FLOAT, [1, 3, 6]))
    onnx.save(model, path)
    with pytest.raises(
        DataError, match=r"'a': it says \[1, 3, 6\], its operator gives \[1, 9, 6\]"
    ):
        import_model(path, tmp_path / "m.yaml")


@pytest.mark.parametrize(("name", "asks"), [("N", True), ("batch_size", False)])
def test_an_axis_of_the_batchs_name_elsewhere_is_asked_for(tmp_path, name, asks):
    nodes = [node("MatMul", ["x", "w"], ["a"]), node("Reshape", ["p", "s"], ["b"]),
             node("Concat", ["a", "b"], ["y"], axis=0)]  # fmt: skip
    inputs = {"x": [name, 6], "p": [2, name, 7]}
    path = save_model(tmp_path / "m.onnx", nodes, inputs, w=[6, 7], s=np.array([-1, 7], I64))
    if asks:
        with pytest.raises(ConfigError, match=r"input 'p' must have a length on each axis"):
            import_model(path, tmp_path / "m.yaml")
    else:
        assert import_model(path, tmp_path / "m.yaml").macs == 42


def test_words_of_what_has_time_first_are_counted_whole(tmp_path):
    nodes = [node("LSTM", ["x", "w", "r"], ["y"], hidden_size=5, direction="bidirectional")]
    path = save_model(tmp_path / "m.onnx", nodes, {"x": [9, 1, 4]}, w=[2, 20, 4], r=[2, 20, 5])
    import_model(path, tmp_path / "m.yaml")
    loaded, _ = workload.load(tmp_path / "m.yaml")
    assert loaded.input == (9, 4)
    assert loaded.layers[-1].out == (9, 2, 5)
