"""Constants folded, conditionals and loops opened, shapes inferred: in one pass, node by node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf, prod
from typing import Any

import numpy as np

from fxsim.integrations.onnx.graph import Graph
from fxsim.integrations.onnx.nodes import attributes, described, domain_of, id_of
from fxsim.integrations.onnx.shapes import MOST_VALUES, Shape
from fxsim.integrations.onnx.work import UnknownWorkError, products_of

_PASSED = ("Identity", "Cast")
_MOST_SOURCES = 15
_LARGE = 1 << 16  # values of a constant from which on only its shape is computed


def simplify(graph: Graph) -> None:
    """Fold, open and infer; the graph's nodes are those that are left."""
    simplifier = _Simplifier(graph)
    graph.nodes = simplifier.run(graph.nodes)
    outputs = [simplifier.renamed.get(name, name) for name in graph.outputs]
    graph.outputs = [name for name in outputs if name not in graph.constants] or outputs


class _UnopenedError(Exception):
    """Why a conditional or a loop stays as it is: its work is not known."""


@dataclass(slots=True)
class _Simplifier:
    graph: Graph
    renamed: dict[str, str] = field(default_factory=dict)
    nodes: list[Any] = field(default_factory=list)

    def run(self, nodes: Sequence[Any], inside: str = "", times: int = 1) -> list[Any]:
        """The nodes that are left of some; `inside` says of what, and how often they run."""
        graph, left = self.graph, []
        for node in nodes:
            for i, name in enumerate(node.input):
                node.input[i] = self.renamed.get(name, name)
            inputs = [name for name in node.input if name]
            standard = domain_of(node) == ""
            if standard and node.op_type in _PASSED and inputs and inputs[0] not in graph.constants:
                self.renamed[node.output[0]] = inputs[0]
                continue
            graph.types.infer(node)
            if self._folded(node, inputs, standard):
                continue
            try:
                opened = self._opened(node, inside, times)
            except _UnopenedError as problem:
                graph.unopened[id_of(node)] = str(problem)
                opened = None
            if opened is not None:
                left += opened
                continue
            if inside:
                graph.inside[id_of(node)] = inside
                graph.times[id_of(node)] = times
            left.append(node)
        return left

    def _folded(self, node: Any, inputs: list[str], standard: bool) -> bool:
        """Whether its results are constants, which are then known."""
        graph = self.graph
        if standard and node.op_type in ("Shape", "Size"):
            shape = graph.shape(inputs[0])
            if shape is not None:
                attrs = attributes(node)
                part = shape[attrs.get("start", 0) : attrs.get("end", len(shape))]
                value = part if node.op_type == "Shape" else prod(shape)
                graph.constants[node.output[0]] = np.array(value, np.int64)
                return True
        inner = any(a.HasField("g") for a in node.attribute)  # may read what is around it
        drawn = node.op_type.startswith("Random") or node.op_type in ("Bernoulli", "Multinomial")
        if inner or drawn or not all(name in graph.constants for name in inputs):
            return False
        if not inputs and not (standard and node.op_type == "Constant"):
            return False
        arrays = {name: np.asarray(graph.constants[name]) for name in inputs}
        shapes = {name: graph.shape(name) for name in node.output if name}
        sizes = [array.size for array in arrays.values()]
        sizes += [prod(shape) for shape in shapes.values() if shape is not None]
        if max(sizes, default=0) <= _LARGE and self._evaluated(node, arrays):
            return True
        if not inputs or None in shapes.values():
            return False
        if max(sizes) > MOST_VALUES:
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

    def _opened(self, node: Any, inside: str, times: int) -> list[Any] | None:
        """The nodes inside a conditional or a loop; None for another node."""
        ways = {"If": self._conditional, "Loop": self._loop, "Scan": self._scan}
        if domain_of(node) or node.op_type not in ways:
            return None
        try:
            return ways[node.op_type](node, inside, times)
        except (LookupError, ValueError, TypeError, AttributeError, StopIteration):
            raise _UnopenedError("its attributes, inputs and bodies do not fit") from None

    def _conditional(self, node: Any, inside: str, times: int) -> list[Any]:
        attrs = attributes(node)
        bodies = {"then": attrs["then_branch"], "else": attrs["else_branch"]}
        condition = self.graph.constants.get(node.input[0])
        if condition is not None:
            taken = "then" if condition.item() else "else"
            return self._inlined(node, bodies[taken], {}, node.output, inside, times)
        trials, macs, shapes = {}, {}, []
        for branch, body in bodies.items():
            trial = trials[branch] = _Simplifier(_copied(self.graph), dict(self.renamed))
            nodes = trial._inlined(node, body, {}, node.output, described(node), times)
            macs[branch] = _macs(trial.graph, nodes)
            shapes.append([trial._shape(name) for name in node.output])
            trial.nodes = nodes
        if shapes[0] != shapes[1]:
            raise _UnopenedError("its branches give results of different shapes")
        taken = max(macs, key=lambda branch: macs[branch])
        other = "else" if taken == "then" else "then"
        said = {
            b: "work that is not known" if m == inf else f"{m:,.0f} multiply-accumulates"
            for b, m in macs.items()
        }
        self._adopt(trials[taken])
        self.graph.remarks.append(
            f"{described(node)}: priced by its {taken} branch, {said[taken]}; the {other} branch"
            f" has {said[other]}"
        )
        return trials[taken].nodes

    def _adopt(self, trial: _Simplifier) -> None:
        """Go on from where a trial has come."""
        for name in ("types", "inside", "unopened", "times", "remarks"):
            setattr(self.graph, name, getattr(trial.graph, name))
        self.renamed.clear()
        self.renamed |= trial.renamed

    def _loop(self, node: Any, inside: str, times: int) -> list[Any]:
        from onnx import TensorProto

        body, graph = attributes(node)["body"], self.graph
        count, start = [*node.input, "", ""][:2]
        carried = list(node.input[2:])
        if count not in graph.constants:
            raise _UnopenedError("its number of turns depends on data")
        if start and (start not in graph.constants or not graph.constants[start].item()):
            raise _UnopenedError("whether it begins depends on data")
        turns = int(graph.constants[count].item())
        turn = self._laid([], f"{id_of(node)}/turn", (), TensorProto.INT64)
        on = self._laid([], f"{id_of(node)}/on", (), TensorProto.BOOL)
        states = self._states(node, carried)
        before = [turn, on, *states]
        results = [f"{id_of(node)}/result{i}" for i in range(len(body.output))]
        nodes = self._body(node, body, before, results, inside, times * turns)
        goes_on = self.renamed.get(results[0], results[0])
        if goes_on != on.output[0] and not (
            goes_on in graph.constants and graph.constants[goes_on].item()
        ):
            raise _UnopenedError("when it ends depends on data")
        shapes = [self._shape(name) for name in results[1:]]
        states_count = len(carried)
        whole = [
            *shapes[:states_count],
            *(_with(shape, 0, turns) for shape in shapes[states_count:]),
        ]
        return [*before, *nodes, *self._given(node, carried, results[1:], whole)]

    def _scan(self, node: Any, inside: str, times: int) -> list[Any]:
        attrs, graph = attributes(node), self.graph
        if next(o.version for o in graph.types.opsets if o.domain in ("", "ai.onnx")) < 9:
            raise _UnopenedError("a scan of opset 8 is not known")
        body, scanned = attrs["body"], int(attrs["num_scan_inputs"])
        carried = list(node.input[: len(node.input) - scanned])
        sequences = list(node.input[len(carried) :])
        axes = attrs.get("scan_input_axes", [0] * scanned)
        lengths, parts = set(), []
        for i, (name, axis) in enumerate(zip(sequences, axes, strict=True)):
            shape = graph.shape(name)
            if shape is None:
                raise _UnopenedError(f"the shape of its input {name!r} is not known")
            lengths.add(shape[axis])
            axis %= len(shape)
            part = (*shape[:axis], *shape[axis + 1 :])
            parts.append(self._laid([name], f"{id_of(node)}/part{i}", part, graph.types.kind(name)))
        (turns,) = lengths
        before = [*self._states(node, carried), *parts]
        results = [f"{id_of(node)}/result{i}" for i in range(len(body.output))]
        nodes = self._body(node, body, before, results, inside, times * turns)
        states_count, shapes = len(carried), [self._shape(name) for name in results]
        out_axes = attrs.get("scan_output_axes", [0] * (len(results) - states_count))
        stacked = zip(shapes[states_count:], out_axes, strict=True)
        whole = [*shapes[:states_count], *(_with(shape, axis, turns) for shape, axis in stacked)]
        return [*before, *nodes, *self._given(node, carried, results, whole)]

    def _states(self, node: Any, carried: list[str]) -> list[Any]:
        """What the first turn begins with: another value in each turn, so no constant."""
        types = self.graph.types
        return [
            self._laid([name], f"{id_of(node)}/state{i}", types.shape(name), types.kind(name))
            for i, name in enumerate(carried)
        ]

    def _body(
        self,
        node: Any,
        body: Any,
        before: list[Any],
        results: list[str],
        inside: str,
        times: int,
    ) -> list[Any]:
        """The nodes of a turn."""
        if times < 1:
            raise _UnopenedError("it has no turns")
        names = (made.output[0] for made in before)
        outer = dict(zip((v.name for v in body.input), names, strict=True))
        return self._inlined(node, body, outer, results, described(node), times)

    def _given(
        self, node: Any, carried: list[str], results: list[str], shapes: list[Shape | None]
    ) -> list[Any]:
        """What a loop gives; each result needs what goes from turn to turn."""
        states_count, types = len(carried), self.graph.types
        if [*map(types.shape, carried)] != shapes[:states_count]:
            raise _UnopenedError("what it carries from turn to turn changes its shape")
        linked = results[:states_count]
        nodes = []
        for name, result, shape in zip(node.output, results, shapes, strict=True):
            if name:
                source = self.renamed.get(result, result)
                sources = list(dict.fromkeys([result, *linked]))
                nodes.append(self._laid(sources, name, shape, types.kind(source)))
        return nodes

    def _shape(self, name: str) -> Shape | None:
        return self.graph.shape(self.renamed.get(name, name))

    def _laid(self, sources: list[str], name: str, shape: Shape | None, kind: int) -> Any:
        """A node that only lays words elsewhere: a turn's part of a sequence, or all turns'."""
        from onnx import helper

        inputs = [self.renamed.get(source, source) for source in sources[:_MOST_SOURCES]]
        node = helper.make_node("Stack", inputs, [name], name, domain="fxsim")
        if shape is not None:
            self.graph.types.by_name[name] = helper.make_tensor_type_proto(kind, shape)
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
    return replace(
        graph,
        types=types,
        inside=dict(graph.inside),
        unopened=dict(graph.unopened),
        times=dict(graph.times),
        remarks=[*graph.remarks],
    )


def _macs(graph: Graph, nodes: list[Any]) -> float:
    """Multiply-accumulates of some nodes; infinite where a node's are not known."""
    try:
        return sum(product.macs for node in nodes for _, product in products_of(graph, node))
    except UnknownWorkError:
        return inf


def _with(shape: Shape | None, axis: int, length: int) -> Shape | None:
    if shape is None:
        return None
    axis %= len(shape) + 1
    return (*shape[:axis], length, *shape[axis:])
