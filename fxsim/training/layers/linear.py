"""Fully connected layer."""

from __future__ import annotations

from dataclasses import dataclass

from fxsim.arithmetic.formats import Accumulator
from fxsim.engine import linear
from fxsim.engine.tensor import FixedTensor
from fxsim.errors import ShapeError
from fxsim.training.layers.base import Shape
from fxsim.training.layers.weighted import Product, WeightedLayer


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear(WeightedLayer):
    """(inputs,) to (features,); weights are (features, inputs)."""

    features: int

    def __post_init__(self) -> None:
        if len(self.in_shapes[0]) != 1:
            raise ShapeError(
                f"linear needs a flat input, not {self.in_shapes[0]}; put a flatten layer before it"
            )

    @property
    def out_shape(self) -> Shape:
        return (self.features,)

    @property
    def weight_shape(self) -> tuple[int, int]:
        return (self.features, self.in_shapes[0][0])

    @property
    def macs(self) -> int:
        return self.features * self.in_shapes[0][0]

    def multiply(self, x: FixedTensor, weight: FixedTensor, accumulator: Accumulator) -> Product:
        return linear.linear_forward(x, weight, accumulator)

    def grad_weight(self, x: FixedTensor, error: FixedTensor, accumulator: Accumulator) -> Product:
        return linear.linear_grad_weight(x, error, accumulator)

    def grad_input(
        self, error: FixedTensor, weight: FixedTensor, accumulator: Accumulator
    ) -> Product:
        return linear.linear_grad_input(error, weight, accumulator)
