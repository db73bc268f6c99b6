"""Operators that are not executable, as opaque layers with the matrix products in them."""

from __future__ import annotations

from math import prod
from typing import Any

from fxsim.integrations.onnx.graph import attributes, described
from fxsim.integrations.onnx.network import Network, Shape, channels_last


def append_cost_only(net: Network, node: Any, tensors: list[str], reason: str) -> None:
    """A node that is evaluated but not executed becomes a cost-only layer of the network."""
    dimensions = net.graph.shapes.get(node.output[0])
    shape = channels_last(dimensions[1:]) if dimensions is not None else net.shape(tensors[0])
    if dimensions is None:
        net.remarks.append(f"{described(node)}: its result's shape is taken as its input's")
    product = product_of(net, node, tensors, shape)
    fields: dict[str, Any] = {"operator": described(node), "out": list(shape or (1,))}
    if product:
        fields["product"] = product
    name = net.add(node, "opaque", shape or (1,), tensors, **fields)
    for output in node.output[1:]:
        if output:
            net.made[output] = (name, net.shape(output) if output in net.graph.shapes else shape)
    net.refused.append((name, f"{described(node)}: {reason}"))


def product_of(net: Network, node: Any, tensors: list[str], shape: Shape) -> dict[str, Any] | None:
    """The matrix product in an operator, if it is known to have one."""
    place = 3 if node.op_type.startswith("QLinear") else 1
    name = node.input[place] if len(node.input) > place else ""
    weights = net.graph.constants[name].shape if name in net.graph.constants else ()
    if node.op_type in ("Conv", "ConvTranspose", "ConvInteger", "QLinearConv") and len(weights) > 2:
        groups = int(attributes(node).get("group", 1))
        if node.op_type == "ConvTranspose":  # weights are (C, F / groups, ...)
            return {
                "rows": prod(net.shape(tensors[0])) // weights[0] * groups,
                "depth": weights[0] // groups,
                "features": prod(weights[1:]),
            }
        filters = weights[0]
        rows = prod(shape) // filters
        return {"rows": rows * groups, "depth": prod(weights[1:]), "features": filters // groups}
    if node.op_type in ("Gemm", "MatMul", "MatMulInteger", "QLinearMatMul"):
        first = net.graph.shapes.get(tensors[0])
        depth = first[-1] if first else net.shape(tensors[0])[-1]
        if len(tensors) == 1 and not weights:  # weights times a computed tensor
            rows, depth = net.graph.constants[node.input[0]].shape[-2:]
            return {"rows": prod(shape) // rows, "depth": depth, "features": rows}
        if len(tensors) == 1:
            features = prod(weights) // depth
            return {
                "rows": max(prod(shape) // max(features, 1), 1),
                "depth": depth,
                "features": features,
            }
        *batches, rows, features = net.graph.shapes.get(node.output[0], (1, *shape))
        return {
            "rows": rows,
            "depth": depth,
            "features": features,
            "weights": False,
            "repeats": max(prod(batches), 1),
        }
    if node.op_type in ("LSTM", "GRU", "RNN") and len(weights) == 3:
        steps = net.graph.shapes.get(tensors[0], (1, *net.shape(tensors[0])))[0]
        steps = max(steps, net.shape(tensors[0])[0] if len(net.shape(tensors[0])) == 2 else 1)
        units = int(attributes(node)["hidden_size"])
        return {"rows": steps, "depth": weights[2] + units, "features": weights[0] * weights[1]}
    return None
