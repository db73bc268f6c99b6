"""ONNX graphs for tests, built node by node."""

from __future__ import annotations

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
helper, numpy_helper, FLOAT = onnx.helper, onnx.numpy_helper, onnx.TensorProto.FLOAT
I64 = np.int64


class Builder:
    """A graph, node by node."""

    def __init__(self, shape, opset=21, kind=FLOAT):
        self.input = helper.make_tensor_value_info("x", kind, ["batch", *shape])
        self.nodes, self.initial, self.opset = [], [], opset
        self.domains = set()

    def constant(self, name, *shape, value=None, kind=np.float32):
        array = np.zeros(shape, kind) if value is None else np.asarray(value, kind)
        self.initial.append(numpy_helper.from_array(array, name))
        return name

    def node(self, kind, *inputs, name=None, domain="", outputs=1, **attributes):
        label = name or f"/{kind.lower()}{len(self.nodes)}/{kind}"
        results = [f"{label}_output_{i}" for i in range(outputs)]
        self.nodes.append(
            helper.make_node(kind, list(inputs), results, label, domain=domain, **attributes)
        )
        self.domains.add(domain)
        return results[0]

    def conv(self, x, channels, filters, kernel=3, layer=None, bias=False, **attributes):
        layer = layer or f"conv{len(self.nodes)}"
        kernel = kernel if isinstance(kernel, tuple) else (kernel, kernel)
        groups = attributes.get("group", 1)
        inputs = [x, self.constant(f"{layer}.weight", filters, channels // groups, *kernel)]
        inputs += [self.constant(f"{layer}.bias", filters)] if bias else []
        return self.node("Conv", *inputs, name=f"/{layer}/Conv", **attributes)

    def norm(self, x, channels, layer):
        parts = [self.constant(f"{layer}.{p}", channels) for p in ("weight", "bias", "m", "v")]
        return self.node("BatchNormalization", x, *parts, name=f"/{layer}/BatchNormalization")

    def linear(self, x, depth, features, layer="fc"):
        weight = self.constant(f"{layer}.weight", features, depth)
        bias = self.constant(f"{layer}.bias", features)
        return self.node("Gemm", x, weight, bias, name=f"/{layer}/Gemm", transB=1)

    def save(self, path, output, **shapes):
        """`shapes` are of results that ONNX does not infer."""
        out = helper.make_tensor_value_info(output, FLOAT, None)
        known = [helper.make_tensor_value_info(n, FLOAT, s) for n, s in shapes.items()]
        graph = helper.make_graph(
            self.nodes, "net", [self.input], [out], self.initial, value_info=known
        )
        opsets = [helper.make_opsetid("", self.opset)]
        opsets += [helper.make_opsetid(d, 1) for d in self.domains if d]
        onnx.save(helper.make_model(graph, opset_imports=opsets), path)
        return path


def classified(b, x, channels, path, **shapes):
    """Global pooling and a classifier after some operator."""
    x = b.node("Flatten", b.node("GlobalAveragePool", x))
    return b.save(path, b.linear(x, channels, 10), **shapes)


def flat(b, x):
    return b.node("Flatten", b.node("GlobalAveragePool", x))


def save_model(path, nodes, inputs, outputs=("y",), opset=17, functions=(), **constants):
    """A model; constants are shapes of zeros, or arrays."""
    arrays = [
        numpy_helper.from_array(v if isinstance(v, np.ndarray) else np.zeros(v, np.float32), n)
        for n, v in constants.items()
    ]
    domains = {n.domain for n in nodes if n.domain}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(n, FLOAT, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, FLOAT, None) for n in outputs],
        arrays,
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    model = helper.make_model(
        graph, opset_imports=opsets, ir_version=8 if not functions else 9, functions=functions
    )
    onnx.save(model, path)
    return path
