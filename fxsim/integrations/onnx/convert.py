"""A node of the graph becomes a layer, or is only priced."""

from __future__ import annotations

from contextlib import suppress
from copy import copy
from typing import Any

from fxsim.errors import DataError, ShapeError
from fxsim.integrations.onnx.cost_only import append_cost_only
from fxsim.integrations.onnx.network import Network, NotExecutableError
from fxsim.integrations.onnx.nodes import attributes, domain_of, id_of
from fxsim.integrations.onnx.operators import HANDLERS, Handler
from fxsim.integrations.onnx.sequences import KEEPS_TURNED
from fxsim.integrations.onnx.work import UnknownWorkError

_MISFITS = (KeyError, ValueError, IndexError, TypeError, ZeroDivisionError)


def convert(net: Network, node: Any) -> None:
    """Append what a node is."""
    if id_of(node) in net.made:  # with another, as one layer
        return
    tensors = [name for name in node.input if name and name not in net.graph.constants]
    unknown = [name for name in tensors if name not in net.made]
    if unknown:
        raise DataError(f"{net.graph.where(node)}: nothing gives its input {unknown[0]!r}")
    handler = HANDLERS.get(node.op_type) if domain_of(node) == "" else None
    try:
        _check_known(net, node, tensors, handler)
        net.macs += sum(product.macs for _, product in net.products(node))
        if id_of(node) in net.graph.inside:
            raise NotExecutableError(f"it is inside of {net.graph.inside[id_of(node)]}")
        if not tensors:
            raise NotExecutableError("it has no input that is computed")
        if handler is None:
            raise NotExecutableError("fxsim has no such layer")
        for name in (*tensors, id_of(node)):
            _check_batched(net, name)
        _execute(net, node, tensors, handler)
    except ShapeError as problem:
        raise DataError(f"{net.graph.where(node)}: {problem}") from None
    except (NotExecutableError, UnknownWorkError) as reason:
        append_cost_only(net, node, tensors, str(reason))


def _check_known(net: Network, node: Any, tensors: list[str], handler: Handler | None) -> None:
    """Raise ShapeError with what is wrong, where a layer would know it, and no result is known."""
    graph = net.graph
    if handler and graph.shape(id_of(node)) is None and all(map(graph.shape, tensors)):
        trial = copy(net)
        trial.layers, trial.made, trial.remarks = [*net.layers], dict(net.made), []
        trial.bits, trial.padded = dict(net.bits), dict(net.padded)
        with suppress(NotExecutableError, *_MISFITS):
            handler(trial, node, tensors, attributes(node))


def _check_batched(net: Network, name: str) -> None:
    """Layers take batches of samples: the first axis of all that they read."""
    shape = net.graph.shape(name)
    if shape is None:
        raise NotExecutableError(f"the shape of {name!r} is not known")
    if shape[:1] != (net.graph.batch,):
        raise NotExecutableError(f"the first axis of {name!r}, {list(shape)}, is no batch")


def _execute(net: Network, node: Any, tensors: list[str], handler: Handler) -> None:
    """Append layers for a node; undone where they do not give what ONNX says."""
    before = len(net.layers), dict(net.made), dict(net.bits), len(net.remarks)
    name, padded, turned = id_of(node), set(net.padded), [t in net.turned for t in tensors]
    if any(turned) and not (all(turned) and node.op_type in (*KEEPS_TURNED, "Transpose")):
        raise NotExecutableError("channels that lie before positions")
    try:
        handler(net, node, tensors, attributes(node))
    except _MISFITS:
        raise NotExecutableError("its attributes and shapes do not fit") from None
    if any(turned) and node.op_type in KEEPS_TURNED:
        net.turned.add(name)
    order = -1 if name in net.turned else 1
    if set(net.padded) == padded and net.made[name][1] != net.shape_of(name)[::order]:
        del net.layers[before[0] :], net.remarks[before[3] :]
        net.made, net.bits = before[1], before[2]
        raise NotExecutableError("as a layer of fxsim it would give another shape")
