"""What layers with one weight matrix share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from fxsim.engine.contractions import Contraction
from fxsim.training.context import Parameter
from fxsim.training.layers.base import Layer, Shape, T, constant_parameter, uniform_parameter
from fxsim.training.operations import Operations
from fxsim.training.tape import Value


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedLayer(Layer):
    """A layer with a weight matrix, one row an output channel, and perhaps a bias."""

    bias: bool = True

    @property
    @abstractmethod
    def contraction(self) -> Contraction:
        """The product that it is."""

    @property
    @abstractmethod
    def weight_shape(self) -> tuple[int, int]:
        """The weight matrix."""

    @property
    def fan_in(self) -> int:
        """Products in one result."""
        return self.weight_shape[1]

    def initial_parameters(self, seed: int) -> dict[str, Parameter]:
        return weights_of(self.name, seed, self.weight_shape, self.fan_in, self._biases())

    def _biases(self) -> int:
        return self.out_shape[-1] if self.bias else 0

    def forward(self, ops: Operations[T], inputs: Sequence[Value[T]]) -> Value[T]:
        bias = f"{self.name}.bias" if self.bias else None
        return ops.product(self.name, inputs[0], self.contraction, f"{self.name}.weight", bias)

    @property
    def parameters(self) -> int:
        return prod(self.weight_shape) + self._biases()

    @property
    def macs(self) -> int:
        return prod(self.out_shape[:-1]) * prod(self.weight_shape)


def weights_of(
    name: str, seed: int, shape: Shape, fan_in: int, biases: int, gain: int = 6
) -> dict[str, Parameter]:
    """`<name>.weight`, and `<name>.bias` where there are any."""
    weight = f"{name}.weight"
    parameters = {weight: uniform_parameter(seed, weight, shape, fan_in, gain)}
    if biases:
        parameters[f"{name}.bias"] = constant_parameter((biases,), 0)
    return parameters
