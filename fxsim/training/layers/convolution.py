"""2-D convolution."""

from __future__ import annotations

from dataclasses import dataclass

from fxsim.arithmetic.formats import Accumulator
from fxsim.engine import linear
from fxsim.engine.geometry import Convolution
from fxsim.engine.tensor import FixedTensor
from fxsim.errors import ShapeError
from fxsim.training.layers.base import Shape
from fxsim.training.layers.weighted import Product, WeightedLayer


@dataclass(frozen=True, slots=True, kw_only=True)
class Conv2d(WeightedLayer):
    """(H, W, C) to (OH, OW, filters); weights are (filters, kernel * kernel * C)."""

    filters: int
    kernel: int
    stride: int = 1
    padding: int = 0

    def __post_init__(self) -> None:
        (shape,) = self.in_shapes
        if len(shape) != 3:
            raise ShapeError(f"conv2d needs an input of (height, width, channels), not {shape}")
        if self.geometry.out_height < 1 or self.geometry.out_width < 1:
            raise ShapeError(
                f"kernel {self.kernel} with padding {self.padding} does not fit an input of {shape}"
            )

    @property
    def geometry(self) -> Convolution:
        height, width, channels = self.in_shapes[0]
        return Convolution(
            height, width, channels, self.filters, self.kernel, self.stride, self.padding
        )

    @property
    def out_shape(self) -> Shape:
        return (self.geometry.out_height, self.geometry.out_width, self.filters)

    @property
    def weight_shape(self) -> tuple[int, int]:
        return (self.filters, self.geometry.depth)

    @property
    def macs(self) -> int:
        return self.elements * self.geometry.depth

    def multiply(self, x: FixedTensor, weight: FixedTensor, accumulator: Accumulator) -> Product:
        return linear.convolution_forward(x, weight, self.geometry, accumulator)

    def grad_weight(self, x: FixedTensor, error: FixedTensor, accumulator: Accumulator) -> Product:
        return linear.convolution_grad_weight(x, error, self.geometry, accumulator)

    def grad_input(
        self, error: FixedTensor, weight: FixedTensor, accumulator: Accumulator
    ) -> Product:
        return linear.convolution_grad_input(error, weight, self.geometry, accumulator)
