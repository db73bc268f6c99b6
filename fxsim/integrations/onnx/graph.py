"""An ONNX graph made plain: what importing reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fxsim.integrations.onnx.nodes import described, id_of
from fxsim.integrations.onnx.shapes import Shape, Types


@dataclass(frozen=True, slots=True)
class Quantiser:
    """What a QONNX node says of a tensor: its word length."""

    bits: int
    node: str


@dataclass(slots=True)
class Graph:
    """Nodes in execution order, and what is known of their tensors.

    inputs : {name: shape, batch included}; integers : those that are integers
    batch : samples that it takes at once; batched : the tensors that depend on which they are
    types : of tensors, and the constants
    quantisers : {(node, which of its inputs): quantiser}, see `id_of`
    inside : {node: the conditional or loop that it was in}
    times : {node: how often it is executed}, where that is more than once
    unopened : {conditional or loop: why its work is not known}
    remarks : what was assumed, a line each
    """

    path: Path
    nodes: list[Any]
    inputs: dict[str, Shape]
    outputs: list[str]
    integers: set[str]
    types: Types
    quantisers: dict[tuple[str, int], Quantiser] = field(default_factory=dict)
    inside: dict[str, str] = field(default_factory=dict)
    times: dict[str, int] = field(default_factory=dict)
    unopened: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    batch: int = 1
    batched: set[str] = field(default_factory=set)

    @property
    def constants(self) -> dict[str, NDArray[np.generic]]:
        """The tensors whose values are known; of large ones only the shape is."""
        return self.types.constants

    def shape(self, name: str) -> Shape | None:
        """A tensor's shape, batch included, if it is known."""
        return self.types.shape(name)

    def where(self, node: Any) -> str:
        """A node, for messages."""
        number = [id_of(other) for other in self.nodes].index(id_of(node)) + 1
        return f"{self.path}: node {number}, {described(node)}"
