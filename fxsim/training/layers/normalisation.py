"""Normalisation layers; the arithmetic is `fxsim.engine.normalisation`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from fxsim.engine import normalisation
from fxsim.engine.normalisation import RunningStatistics
from fxsim.errors import ShapeError
from fxsim.training.context import Parameter
from fxsim.training.layers.base import Layer, T, constant_parameter
from fxsim.training.operations import Operations
from fxsim.training.tape import Value


@dataclass(frozen=True, slots=True, kw_only=True)
class _Normalisation(Layer):
    """gamma and beta, one a channel (last axis)."""

    @property
    def channels(self) -> int:
        """Size of the last axis."""
        return self.in_shapes[0][-1]

    def initial_parameters(self, seed: int) -> dict[str, Parameter]:
        shape = (self.channels,)
        return {
            f"{self.name}.gamma": constant_parameter(shape, 1),
            f"{self.name}.beta": constant_parameter(shape, 0),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchNorm(_Normalisation):
    """Per channel, over the batch and all positions; at inference with running statistics.

    relu : whether the ReLU that follows is executed in the same pass (the bits are the same)
    """

    relu: bool = False

    def initial_running(self) -> RunningStatistics:
        """Mean 0, variance 1."""
        one = np.full(self.channels, 1 << normalisation.RUNNING_VARIANCE.frac, np.int64)
        return RunningStatistics(np.zeros(self.channels, np.int64), one)

    def forward(self, ops: Operations[T], inputs: Sequence[Value[T]]) -> Value[T]:
        return ops.batch_norm(self.name, inputs[0], self.relu)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerNorm(_Normalisation):
    """Each position over its channels."""

    def forward(self, ops: Operations[T], inputs: Sequence[Value[T]]) -> Value[T]:
        return ops.scale_shift(self.name, ops.normalise_rows(self.name, inputs[0], True))


@dataclass(frozen=True, slots=True, kw_only=True)
class RmsNorm(_Normalisation):
    """Each position over its channels, the mean left as it is."""

    def forward(self, ops: Operations[T], inputs: Sequence[Value[T]]) -> Value[T]:
        return ops.scale_shift(self.name, ops.normalise_rows(self.name, inputs[0], False))


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupNorm(_Normalisation):
    """Each sample and group of channels, over all positions."""

    groups: int

    def __post_init__(self) -> None:
        if self.channels % self.groups:
            raise ShapeError(f"groups must divide {self.channels} channels, not be {self.groups}")

    def forward(self, ops: Operations[T], inputs: Sequence[Value[T]]) -> Value[T]:
        x, each = inputs[0], self.channels // self.groups
        count, shift = x.shape[0], prod(self.in_shapes[0][:-1])
        grouped = ops.transpose(ops.reshape(x, count, shift, self.groups, each), 0, 2, 1, 3)
        rows = ops.reshape(grouped, count * self.groups, shift * each)
        normal = ops.normalise_rows(self.name, rows, True)
        back = ops.reshape(normal, count, self.groups, shift, each)
        laid = ops.reshape(ops.transpose(back, 0, 2, 1, 3), *x.shape)
        return ops.scale_shift(self.name, laid)
