"""A network while it is imported: layers so far, and which tensor each gives."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from math import gcd
from typing import Any

from fxsim.errors import DataError
from fxsim.integrations.onnx.graph import Graph
from fxsim.integrations.onnx.nodes import id_of
from fxsim.integrations.onnx.work import Products, products_of
from fxsim.training.layers.cost_only import MatrixProduct

Shape = tuple[int, ...]
YAML_WORDS = ("null", "true", "false", "yes", "no", "on", "off", "y", "n")  # taken for values
WITH_WEIGHTS = (
    "conv1d",
    "conv2d",
    "depthwise_conv2d",
    "conv_transpose2d",
    "linear",
    "opaque",
)
NARROWEST, WIDEST = 2, 16  # words of the `uniform` policy
Spec = dict[str, Any]


class NotExecutableError(Exception):
    """Why an operator is not one of our layers."""


@dataclass(slots=True)
class Network:
    """Layers so far.

    made : {tensor: (layer that gives it, its shape without the batch, channels last)}
    remarks : what was assumed, a line each; refused : (layer, operator and why)
    unknown : operators whose work is not known, and why
    turned : sequences in the order (channels, positions), whose layers have (positions, channels)
    macs : multiply-accumulates of a sample, of all operators so far
    bits : {layer: {role: bits}} of QONNX
    padded : zeros that a tensor has got: top, left, bottom, right
    """

    graph: Graph
    layers: list[Spec] = field(default_factory=list)
    made: dict[str, tuple[str, Shape]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    turned: set[str] = field(default_factory=set)
    macs: int = 0
    bits: dict[str, dict[str, int]] = field(default_factory=dict)
    padded: dict[str, tuple[int, int, int, int]] = field(default_factory=dict)

    def shape(self, tensor: str) -> Shape:
        """One sample of a tensor, channels last."""
        return self.made[tensor][1] if tensor in self.made else self.shape_of(tensor)

    def shape_of(self, tensor: str) -> Shape:
        """One sample of a tensor by ONNX's own shape, channels last."""
        shape = self.graph.shape(tensor)
        if shape is None:
            raise DataError(f"{self.graph.path}: the shape of tensor {tensor!r} is not known")
        return self.sample(shape)

    def sample(self, shape: Shape) -> Shape:
        """One sample of a tensor of that shape, channels last; all of it where none is apart."""
        if shape[:1] == (self.graph.batch,):
            return channels_last(shape[1:]) or (1,)
        axis = shape.index(self.graph.batch) if self.graph.batch in shape else len(shape)
        return shape[:axis] + shape[axis + 1 :] or (1,)

    def products(self, node: Any) -> Products:
        """An operator's products, of one sample."""
        graph = self.graph
        alike = graph.batched.isdisjoint(node.input)  # of all samples
        products = products_of(graph, node)
        return products if alike else [(part, _share(p, graph.batch)) for part, p in products]

    def add(self, node: Any, kind: str, shape: Shape, inputs: list[str], **fields: Any) -> str:
        """Append a layer that gives the node's first result."""
        name = self.name(node)
        before = self.layers[-1]["name"] if self.layers else "input"
        sources = [self.made[tensor][0] for tensor in inputs] or ["input"]
        spec: Spec = {"name": name, "kind": kind}
        if sources != [before]:
            spec["inputs"] = sources
        self.layers.append({**spec, **fields})
        self.made[id_of(node)] = (name, shape)
        self._quantised(node, name, inputs, kind)
        return name

    def readers(self, tensor: str) -> list[Any]:
        """The nodes that read a tensor."""
        return [node for node in self.graph.nodes if tensor in node.input]

    def alone(self, tensor: str) -> bool:
        """Whether one node reads a tensor, and nobody else."""
        return len(self.readers(tensor)) == 1 and tensor not in self.graph.outputs

    def alias(self, node: Any, tensor: str, shape: Shape | None = None) -> None:
        """The node's result is a tensor that there is already."""
        name, layout = self.made[tensor]
        self.made[node.output[0]] = (name, shape or layout)

    def _quantised(self, node: Any, name: str, inputs: list[str], kind: str) -> None:
        if kind not in WITH_WEIGHTS:
            return
        roles = {}
        for index, role in ((0, "activation"), (1, "weight")):
            quantiser = self.graph.quantisers.get((id_of(node), index))
            if quantiser is not None:
                roles[role] = min(max(quantiser.bits, NARROWEST), WIDEST)
                if roles[role] != quantiser.bits:
                    self.remarks.append(
                        f"{quantiser.node}: {quantiser.bits} bits, executed at {roles[role]}"
                    )
        if roles:
            self.bits[name] = roles

    def name(self, node: Any) -> str:
        """A name for a node's layer: its weights', or its own."""
        weights = [n for n in node.input if n in self.graph.constants and n.endswith(".weight")]
        text = weights[0].removesuffix(".weight") if weights else node.name or node.op_type
        parts = [p for p in re.split(r"[/.]", text) if p]
        if not weights and len(parts) > 1 and parts[-1].startswith(node.op_type):
            parts = [*parts[:-1], node.op_type.lower()] if parts[-2:-1] else parts
        return self.unused("_".join(dict.fromkeys(parts)))

    def unused(self, text: str) -> str:
        """A name like some text that no layer has yet, and that YAML takes for text."""
        base = re.sub(r"[^A-Za-z0-9_]+", "_", text).strip("_").lower() or "layer"
        base = f"layer_{base}" if base[0].isdigit() or base in YAML_WORDS else base
        taken = {layer["name"] for layer in self.layers} | {"input"}
        name, number = base, 2
        while name in taken:
            name, number = f"{base}_{number}", number + 1
        return name


def _share(product: MatrixProduct, batch: int) -> MatrixProduct:
    """One sample's part of a product of a whole batch."""
    p, sizes = product, []
    for size in (p.rows, p.repeats, p.features, p.steps, p.depth):
        common = gcd(size, batch)
        batch //= common
        sizes.append(size // common)
    rows, repeats, features, steps, depth = sizes
    return MatrixProduct(rows, depth, features, repeats, p.weights, steps)


def channels_last(shape: Shape) -> Shape:
    """(C, H, W) as (H, W, C), (C, D, H, W) as (D, H, W, C)."""
    return (*shape[1:], shape[0]) if len(shape) >= 3 else shape
