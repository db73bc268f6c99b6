"""A network: layers wired by name, run forward and backward."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fxsim.engine.normalisation import RunningStatistics
from fxsim.engine.tensor import FixedTensor
from fxsim.errors import FormatError, ShapeError
from fxsim.training.context import Parameter, StepContext
from fxsim.training.integer import IntegerOperations
from fxsim.training.layers import Layer
from fxsim.training.layers.activation import Relu
from fxsim.training.layers.base import T
from fxsim.training.layers.normalisation import BatchNorm
from fxsim.training.layers.sequence import Embedding
from fxsim.training.layers.structure import Add
from fxsim.training.operations import Operations
from fxsim.training.tape import Value

INPUT = "input"


@dataclass(frozen=True, slots=True)
class Model:
    """Layers in execution order; the last one's result are the logits of `classes` classes."""

    layers: tuple[Layer, ...]
    input_shape: tuple[int, ...]
    classes: int
    plan: tuple[Layer, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "plan", _fused(self.layers))
        last = self.layers[-1]
        if not last.out_shape or last.out_shape[-1] != self.classes:
            raise ShapeError(
                f"the last layer, {last.name!r}, must give {self.classes} logits, not"
                f" {' x '.join(map(str, last.out_shape))}"
            )

    @property
    def reads_tokens(self) -> bool:
        """Whether the input is integers that an embedding looks up."""
        return any(isinstance(layer, Embedding) for layer in self.layers)

    @property
    def label_shape(self) -> tuple[int, ...]:
        """The shape of one sample's labels: () or (positions,)."""
        return self.layers[-1].out_shape[:-1]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one sample's forward pass."""
        return sum(layer.macs for layer in self.layers)

    @property
    def parameters(self) -> int:
        """Words of all parameters."""
        return sum(layer.parameters for layer in self.layers)

    def initial_parameters(self, seed: int) -> dict[str, Parameter]:
        """All parameters, a pure function of the seed."""
        parameters: dict[str, Parameter] = {}
        for layer in self.layers:
            parameters.update(layer.initial_parameters(seed))
        return parameters

    def initial_running(self) -> dict[str, RunningStatistics]:
        """The running statistics of all batch norms."""
        return {
            layer.name: layer.initial_running()
            for layer in self.layers
            if isinstance(layer, BatchNorm)
        }

    def run(self, ops: Operations[T], x: Value[Any]) -> Value[T]:
        """A batch to its logits, on any operations."""
        values: dict[str, Value[Any]] = {INPUT: x}
        last = INPUT
        for layer in self.plan:
            with _named(layer):
                values[layer.name] = layer.forward(ops, [values[name] for name in layer.inputs])
            last = layer.name
        return values[last]

    def forward(
        self, context: StepContext, x: FixedTensor | np.ndarray[Any, Any]
    ) -> tuple[Value[FixedTensor], IntegerOperations]:
        """A batch to its logits in integers; the operations' tape sends errors back."""
        ops = IntegerOperations(context)
        return self.run(ops, Value(x, needs=False)), ops


def _fused(layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """The layers as they run: a batch norm or addition takes in the ReLU that alone follows."""
    users = Counter(name for layer in layers for name in layer.inputs)
    followed = {layer.inputs[0]: layer.name for layer in layers if isinstance(layer, Relu)}
    standing: dict[str, str] = {}  # the ReLU's name to that of the layer which takes it in
    fused: list[Layer] = []
    for layer in layers:
        if layer.name in standing:
            continue
        wired = replace(layer, inputs=tuple(standing.get(name, name) for name in layer.inputs))
        if isinstance(wired, BatchNorm | Add) and users[layer.name] == 1 and layer.name in followed:
            standing[followed[layer.name]] = layer.name
            wired = replace(wired, relu=True)
        fused.append(wired)
    return tuple(fused)


@contextmanager
def _named(layer: Layer) -> Iterator[None]:
    """Say in which layer a number did not fit."""
    try:
        yield
    except (FormatError, ShapeError) as problem:
        raise type(problem)(f"layer {layer.name!r}: {problem}") from None


def weight_hash(
    parameters: Mapping[str, Parameter], running: Mapping[str, RunningStatistics]
) -> str:
    """SHA-256 over all trained state: master weights, momenta and running statistics.

    Names in order, each followed by its codes as little-endian 64-bit integers.
    """
    digest = hashlib.sha256()
    for name in sorted(parameters):
        _feed(digest, name, [*parameters[name].state().values()])
    for name in sorted(running):
        _feed(digest, name, [running[name].mean, running[name].variance])
    return digest.hexdigest()


def _feed(digest: hashlib._Hash, name: str, arrays: Sequence[np.ndarray]) -> None:
    digest.update(name.encode() + b"\0")
    for array in arrays:
        digest.update(np.ascontiguousarray(array, "<i8").tobytes())
