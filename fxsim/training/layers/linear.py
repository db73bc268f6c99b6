"""Fully connected layer."""

from __future__ import annotations

from dataclasses import dataclass

from fxsim.engine.contractions import Contraction, Matrix
from fxsim.training.layers.base import Shape
from fxsim.training.layers.weighted import WeightedLayer


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear(WeightedLayer):
    """(..., inputs) to (..., features), position by position; weights are (features, inputs)."""

    features: int

    @property
    def contraction(self) -> Contraction:
        return Matrix()

    @property
    def out_shape(self) -> Shape:
        return (*self.in_shapes[0][:-1], self.features)

    @property
    def weight_shape(self) -> tuple[int, int]:
        return (self.features, self.in_shapes[0][-1])
