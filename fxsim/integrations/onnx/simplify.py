"""Constants folded, conditionals and loops opened, shapes inferred: in one pass, node by node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any

import numpy as np

from fxsim.integrations.onnx.graph import Graph
from fxsim.integrations.onnx.nodes import attributes, described, id_of
from fxsim.integrations.onnx.shapes import Shape
from fxsim.integrations.onnx.work import UnknownWorkError, products_of

_PASSED = ("Identity", "Cast")
_LARGE = 1 << 20  # values of a constant from which on only its shape is computed


def simplify(graph: Graph) -> None:
    """Fold, open and infer; the graph's nodes are those that are left."""
    graph.nodes = _Simplifier(graph).run(graph.nodes)


@dataclass(slots=True)
class _Simplifier:
    graph: Graph
    renamed: dict[str, str] = field(default_factory=dict)

    def run(self, nodes: Sequence[Any], inside: str = "", times: int = 1) -> list[Any]:
        """The nodes that are left of some; `inside` says of what, and how often they run."""
        graph, left = self.graph, []
        for node in nodes:
            for i, name in enumerate(node.input):
                node.input[i] = self.renamed.get(name, name)
            inputs = [name for name in node.input if name]
            if node.op_type in _PASSED and inputs and inputs[0] not in graph.constants:
                self.renamed[node.output[0]] = inputs[0]
                continue
            graph.types.infer(node)
            if self._folded(node, inputs):
                continue
            opened = self._opened(node, times)
            if opened is not None:
                left += opened
                continue
            if inside:
                graph.inside[id_of(node)] = inside
                graph.times[id_of(node)] = times
            left.append(node)
        if not inside:
            graph.outputs = [self.renamed.get(name, name) for name in graph.outputs]
        return left

    def _folded(self, node: Any, inputs: list[str]) -> bool:
        """Whether its results are constants, which are then known."""
        graph = self.graph
        if node.op_type == "Shape" and (shape := graph.shape(inputs[0])) is not None:
            given = attributes(node)
            part = shape[given.get("start", 0) : given.get("end", len(shape))]
            graph.constants[node.output[0]] = np.array(part, np.int64)
            return True
        if node.op_type == "Size" and (shape := graph.shape(inputs[0])) is not None:
            graph.constants[node.output[0]] = np.array(np.prod(shape), np.int64)
            return True
        inner = any(a.HasField("g") for a in node.attribute)  # may read what is around it
        if inner or not all(name in graph.constants for name in inputs):
            return False
        arrays = {name: np.asarray(graph.constants[name]) for name in inputs}
        large = any(array.size > _LARGE for array in arrays.values())
        if not large and self._evaluated(node, arrays):
            return True
        shapes = {name: graph.shape(name) for name in node.output if name}
        if not inputs or None in shapes.values():
            return False
        for name, shape in shapes.items():  # as weights, of which only the shape counts
            graph.constants[name] = np.broadcast_to(np.zeros((), np.float32), shape or ())
        return True

    def _evaluated(self, node: Any, arrays: Mapping[str, Any]) -> bool:
        from onnx import helper
        from onnx.defs import onnx_opset_version
        from onnx.reference import ReferenceEvaluator

        inputs = [helper.make_tensor_value_info(name, 0, None) for name in arrays]
        results = [helper.make_tensor_value_info(name, 0, None) for name in node.output if name]
        one = helper.make_graph([node], "one", inputs, results)
        stated = {o.domain: o.version for o in self.graph.types.opsets}
        for opsets in (stated, {**stated, "": onnx_opset_version()}):  # not all old ones are there
            try:
                values = ReferenceEvaluator(one, opsets=opsets).run(None, dict(arrays))
            except Exception:  # it stays, and is named where it is converted
                continue
            named = zip((r.name for r in results), values, strict=True)
            self.graph.constants.update({name: np.asarray(value) for name, value in named})
            return True
        return False

    def _opened(self, node: Any, times: int) -> list[Any] | None:
        """The nodes inside a conditional or a loop; None for another node."""
        if node.domain not in ("", "ai.onnx"):
            return None
        if node.op_type == "If":
            return self._conditional(node, times)
        if node.op_type == "Loop":
            return self._loop(node, times)
        if node.op_type == "Scan":
            return self._scan(node, times)
        return None

    def _conditional(self, node: Any, times: int) -> list[Any]:
        given = attributes(node)
        bodies = {"then": given["then_branch"], "else": given["else_branch"]}
        condition = self.graph.constants.get(node.input[0])
        if condition is not None:
            taken = "then" if condition.item() else "else"
            return self._inlined(node, bodies[taken], {}, node.output, "", times)
        macs = {}
        for branch, body in bodies.items():
            trial = _Simplifier(_copied(self.graph), dict(self.renamed))
            nodes = trial._inlined(node, copy(body), {}, node.output, "a trial", times)
            macs[branch] = _macs(trial.graph, nodes)
        taken = max(macs, key=lambda branch: macs[branch])
        other = "else" if taken == "then" else "then"
        said = {
            b: "work that is not known" if m == inf else f"{m:,.0f} multiply-accumulates"
            for b, m in macs.items()
        }
        self.graph.remarks.append(
            f"{described(node)}: priced by its {taken} branch, {said[taken]}; the {other} branch"
            f" has {said[other]}"
        )
        return self._inlined(node, bodies[taken], {}, node.output, described(node), times)

    def _loop(self, node: Any, times: int) -> list[Any] | None:
        body, graph = attributes(node)["body"], self.graph
        turns = graph.constants.get(node.input[0]) if node.input[0] else None
        if turns is None or turns.item() < 1:
            return None
        carried = list(node.input[2:])
        first = f"{id_of(node)}/turn"
        graph.constants[first] = np.array(0, np.int64)
        graph.constants[f"{first}/goes_on"] = np.array(True)
        outer = dict(
            zip((v.name for v in body.input), [first, f"{first}/goes_on", *carried], strict=True)
        )
        results = [f"{name}/one" if name else "" for name in node.output]
        nodes = self._inlined(
            node, body, outer, ["", *results], described(node), times * int(turns.item())
        )
        kept = len(carried)
        for name, before in zip(results[:kept], carried, strict=True):
            if graph.shape(self.renamed.get(name, name)) != graph.shape(before):
                return None  # it grows by turn
        moved = [
            self._moved(result, name, self._outer(result))
            for name, result in zip(node.output[:kept], results[:kept], strict=True)
            if name
        ]
        stacked = [
            self._moved(result, name, _with(self._outer(result), 0, int(turns.item())))
            for name, result in zip(node.output[kept:], results[kept:], strict=True)
            if name
        ]
        return [*nodes, *moved, *stacked]

    def _scan(self, node: Any, times: int) -> list[Any] | None:
        given, graph = attributes(node), self.graph
        body, scanned = given["body"], int(given["num_scan_inputs"])
        states = list(node.input[: len(node.input) - scanned])
        sequences = list(node.input[len(states) :])
        axes = given.get("scan_input_axes", [0] * scanned)
        shapes = [graph.shape(name) for name in sequences]
        if None in shapes:
            return None
        whole: list[Shape] = [shape for shape in shapes if shape is not None]
        turns = whole[0][axes[0]]
        parts = [
            self._moved(name, f"{id_of(node)}/part{i}", _without(shape, axis))
            for i, (name, shape, axis) in enumerate(zip(sequences, whole, axes, strict=True))
        ]
        outer = dict(
            zip(
                (v.name for v in body.input),
                [*states, *(part.output[0] for part in parts)],
                strict=True,
            )
        )
        results = [f"{name}/one" if name else "" for name in node.output]
        nodes = self._inlined(node, body, outer, results, described(node), times * turns)
        out_axes = given.get("scan_output_axes", [0] * (len(results) - len(states)))
        more = []
        for i, (name, result) in enumerate(zip(node.output, results, strict=True)):
            if name:
                shape, place = self._outer(result), i - len(states)
                shape = shape if place < 0 else _with(shape, out_axes[place], turns)
                more.append(self._moved(result, name, shape))
        return [*parts, *nodes, *more]

    def _outer(self, name: str) -> Shape | None:
        return self.graph.shape(self.renamed.get(name, name))

    def _moved(self, source: str, name: str, shape: Shape | None) -> Any:
        """A node that only lays words elsewhere: a turn's part of a sequence, or all turns'."""
        from onnx import TensorProto, helper

        node = helper.make_node(
            "Stack", [self.renamed.get(source, source)], [name], name, domain="fxsim"
        )
        if shape is not None:
            self.graph.types.by_name[name] = helper.make_tensor_type_proto(TensorProto.FLOAT, shape)
        return node

    def _inlined(
        self,
        node: Any,
        body: Any,
        outer: dict[str, str],
        results: Sequence[str],
        inside: str,
        times: int,
    ) -> list[Any]:
        """The nodes of a body, under names of their own; its results get the outer names."""
        from onnx import numpy_helper

        names = dict(outer)
        for tensor in body.initializer:
            names[tensor.name] = f"{id_of(node)}/{tensor.name}"
            self.graph.constants[names[tensor.name]] = numpy_helper.to_array(tensor)
        for inner in body.node:
            names |= {name: f"{id_of(node)}/{name}" for name in inner.output if name}
        nodes = [_renamed(inner, names) for inner in body.node]
        left = self.run(nodes, inside, times)
        for name, result in zip(results, body.output, strict=False):
            if name:
                source = names.get(result.name, result.name)
                self.renamed[name] = self.renamed.get(source, source)
        return left


def _renamed(node: Any, names: dict[str, str]) -> Any:
    """A copy of a node under other names, bodies in it included."""
    fresh = type(node)()
    fresh.CopyFrom(node)
    for i, name in enumerate(fresh.input):
        fresh.input[i] = names.get(name, name)
    for i, name in enumerate(fresh.output):
        fresh.output[i] = names.get(name, name)
    for attribute in fresh.attribute:
        if attribute.HasField("g"):
            own = {v.name for v in (*attribute.g.input, *attribute.g.initializer)}
            own |= {name for inner in attribute.g.node for name in inner.output}
            around = {name: other for name, other in names.items() if name not in own}
            inner_nodes = [_renamed(inner, around) for inner in attribute.g.node]
            del attribute.g.node[:]
            attribute.g.node.extend(inner_nodes)
            for value in attribute.g.output:
                value.name = around.get(value.name, value.name)
    return fresh


def _copied(graph: Graph) -> Graph:
    """A graph to try things on."""
    types = replace(
        graph.types, by_name=dict(graph.types.by_name), constants=dict(graph.types.constants)
    )
    return replace(graph, types=types, inside={}, times=dict(graph.times), remarks=[])


def _macs(graph: Graph, nodes: list[Any]) -> float:
    """Multiply-accumulates of some nodes; infinite where a node's are not known."""
    try:
        return sum(product.macs for node in nodes for _, product in products_of(graph, node))
    except UnknownWorkError:
        return inf


def _with(shape: Shape | None, axis: int, length: int) -> Shape | None:
    return None if shape is None else (*shape[:axis], length, *shape[axis:])


def _without(shape: Shape, axis: int) -> Shape:
    axis %= len(shape)
    return (*shape[:axis], *shape[axis + 1 :])
