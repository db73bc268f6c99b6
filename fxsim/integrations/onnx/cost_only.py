"""Operators that are not executable, as opaque layers with the matrix products in them."""

from __future__ import annotations

from math import prod
from typing import Any

from fxsim.integrations.onnx.network import Network, Shape
from fxsim.integrations.onnx.nodes import described, id_of
from fxsim.integrations.onnx.work import UnknownWorkError
from fxsim.training.layers.cost_only import MatrixProduct


def append_cost_only(net: Network, node: Any, tensors: list[str], reason: str) -> None:
    """A node that is evaluated but not executed becomes cost-only layers of the network."""
    graph, name, first = net.graph, "", id_of(node)
    times = graph.times.get(first, 1)
    try:
        products = net.products(node)
    except UnknownWorkError as problem:
        whole = graph.shape(first)
        shape = net.sample(whole) if whole is not None else (1,)
        fields = {"operator": described(node), "out": written(shape), "unknown_work": True}
        name = net.add(node, "opaque", shape, tensors, **fields)
        net.unknown.append(f"{described(node)}: {problem}")
        reason = f"its work is unknown, and counted nowhere: {problem}"
    else:
        shape = net.shape(first)
        for part, product in products[:-1]:  # each reads what the one before it gave
            made = _result(product)
            fields = {"operator": f"{described(node)}, {part}", "out": written(made)}
            reads = len(tensors) if product.weights else 2
            name = net.add(
                node, "opaque", made, tensors[:reads], **fields, product=_fields(product)
            )
            tensors = [first, *tensors[reads:]]
        of = f", {products[-1][0]}" if len(products) > 1 else ""
        out = shape if times == 1 else (times, prod(shape))
        fields = {"operator": f"{described(node)}{of}", "out": written(out)}
        if products:
            fields["product"] = _fields(products[-1][1])
        name = net.add(node, "opaque", shape, tensors, **fields)
    for output in node.output:
        if output:
            whole = graph.shape(output)
            net.made[output] = (name, shape if whole is None else net.sample(whole))
    net.refused.append((name, f"{described(node)}: {reason}"))


def _result(product: MatrixProduct) -> Shape:
    return (product.steps * product.rows * product.repeats, product.features)


def written(shape: Shape) -> list[int]:
    """A shape of at most three axes, as layers have."""
    return list(shape if len(shape) <= 3 else (prod(shape[:-2]), *shape[-2:])) or [1]


def _fields(product: MatrixProduct) -> dict[str, Any]:
    """A product as a workload writes it, defaults left out."""
    p = product
    fields: dict[str, Any] = {"rows": p.rows, "depth": p.depth, "features": p.features}
    fields |= {"repeats": p.repeats} if p.repeats > 1 else {}
    fields |= {"steps": p.steps} if p.steps > 1 else {}
    return fields | ({} if p.weights else {"weights": False})
