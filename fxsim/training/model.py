"""A network: layers wired by name, run forward and backward in integers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from fxsim.engine import elementwise
from fxsim.engine.normalisation import RunningStatistics
from fxsim.engine.tensor import FixedTensor
from fxsim.errors import FormatError, ShapeError
from fxsim.training.context import Parameter, StepContext, VectorWork
from fxsim.training.layers import Layer
from fxsim.training.layers.base import WIDE_WORD_BITS
from fxsim.training.layers.normalisation import BatchNorm
from fxsim.training.layers.weighted import WeightedLayer

INPUT = "input"


@dataclass(frozen=True, slots=True)
class Model:
    """Layers in execution order; the last one's result are the logits of `classes` classes."""

    layers: tuple[Layer, ...]
    input_shape: tuple[int, ...]
    classes: int

    def __post_init__(self) -> None:
        last = self.layers[-1]
        if last.out_shape != (self.classes,):
            raise ShapeError(
                f"the last layer, {last.name!r}, must give ({self.classes},) logits,"
                f" not {last.out_shape}"
            )

    def weighted(self) -> list[WeightedLayer]:
        """The layers that multiply."""
        return [layer for layer in self.layers if isinstance(layer, WeightedLayer)]

    def initial_parameters(self, seed: int) -> dict[str, Parameter]:
        """All parameters, a pure function of the seed."""
        found: dict[str, Parameter] = {}
        for layer in self.layers:
            found.update(layer.initial_parameters(seed))
        return found

    def initial_running(self) -> dict[str, RunningStatistics]:
        """The running statistics of all batch norms."""
        return {
            layer.name: layer.initial_running()
            for layer in self.layers
            if isinstance(layer, BatchNorm)
        }

    def forward(self, context: StepContext, x: FixedTensor) -> FixedTensor:
        """A batch to its logits."""
        values: dict[str, FixedTensor] = {INPUT: x}
        for layer in self.layers:
            inputs = [values[name] for name in layer.inputs]
            with _named(context, layer):
                values[layer.name] = layer.forward(context, inputs)
        return values[self.layers[-1].name]

    def backward(self, context: StepContext, error: FixedTensor) -> None:
        """The logits' error to the gradients of all parameters, in the context."""
        errors: dict[str, FixedTensor] = {self.layers[-1].name: error}
        for layer in reversed(self.layers):
            if layer.name not in errors:  # nothing below it is trained
                continue
            with _named(context, layer):
                backs = layer.backward(context, errors.pop(layer.name))
            for name, back in zip(layer.inputs, backs, strict=True):
                if back is None or name == INPUT:
                    continue
                if name in errors:  # its result went to several layers
                    back = elementwise.add(errors[name], back)
                    size = back.codes.size
                    moved = WIDE_WORD_BITS * size
                    context.vector(name, "backward", VectorWork(size, 1, 0, 2 * moved, moved))
                errors[name] = back


@contextmanager
def _named(context: StepContext, layer: Layer) -> Iterator[None]:
    """Say in which layer and step a number did not fit."""
    try:
        yield
    except (FormatError, ShapeError) as problem:
        raise type(problem)(f"step {context.step}, layer {layer.name!r}: {problem}") from None


def weight_hash(
    parameters: Mapping[str, Parameter], running: Mapping[str, RunningStatistics]
) -> str:
    """SHA-256 over all trained state: master weights, momenta and running statistics.

    Names in order, each followed by its codes as little-endian 64-bit integers.
    """
    digest = hashlib.sha256()
    for name in sorted(parameters):
        _feed(digest, name, [parameters[name].master.codes, parameters[name].momentum.codes])
    for name in sorted(running):
        _feed(digest, name, [running[name].mean, running[name].variance])
    return digest.hexdigest()


def _feed(digest: hashlib._Hash, name: str, arrays: Sequence[np.ndarray]) -> None:
    digest.update(name.encode() + b"\0")
    for array in arrays:
        digest.update(np.ascontiguousarray(array, "<i8").tobytes())
