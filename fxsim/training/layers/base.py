"""What every layer is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import isqrt, prod
from typing import Any, TypeVar

import numpy as np

from fxsim.engine.kernels import casting
from fxsim.engine.tensor import FixedTensor
from fxsim.engine.update import MOMENTUM
from fxsim.errors import ShapeError
from fxsim.numerics.draws import stream_key
from fxsim.numerics.state_formats import MASTER
from fxsim.training.context import Parameter
from fxsim.training.operations import Operations
from fxsim.training.tape import Value

Shape = tuple[int, ...]  # without the batch axis
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer(ABC):
    """A node of the graph: a name, the names of its inputs, and its geometry.

    Its forward pass is written once, with `Operations`; parameters are named
    `<layer>.<parameter>`, or `<layer>.<part>.<parameter>`.
    """

    name: str
    inputs: tuple[str, ...]
    in_shapes: tuple[Shape, ...]

    @property
    def out_shape(self) -> Shape:
        """The shape of one sample's result."""
        return self.in_shapes[0]

    @abstractmethod
    def forward(self, ops: Operations[T], inputs: Sequence[Value[T]]) -> Value[T]:
        """Inputs to a result."""

    def initial_parameters(self, seed: int) -> dict[str, Parameter]:
        """Parameters by name, a pure function of the seed."""
        return {}

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one sample's forward pass."""
        return 0

    @property
    def parameters(self) -> int:
        """Words of its parameters."""
        return sum(p.master.codes.size for p in self.initial_parameters(0).values())

    @property
    def elements(self) -> int:
        """Values in one sample's result."""
        return prod(self.out_shape)

    def _need(self, dimensions: int, described: str) -> None:
        """Raise ShapeError unless the input has so many dimensions."""
        if len(self.in_shapes[0]) != dimensions:
            raise ShapeError(f"needs an input of {described}, not {shown(self.in_shapes[0])}")


def shown(shape: Sequence[int]) -> str:
    """A shape as people write it: 32 x 32 x 3."""
    return " x ".join(map(str, shape))


def uniform_parameter(seed: int, name: str, shape: Shape, fan_in: int, gain: int = 6) -> Parameter:
    """Master weights uniform on +-sqrt(gain / fan_in), by integers alone.

    Source: He et al., "Delving Deep into Rectifiers", arXiv 1502.01852, equation 10 (its variance,
    uniform); gain 3 is the same without the factor that makes up for ReLU.
    """
    codes = np.empty(prod(shape), np.int64)
    bound = isqrt((gain << (2 * MASTER.frac)) // fan_in)
    key = np.uint64(stream_key(seed, 0, name, "initial"))
    casting.uniform_range(0, codes.size, codes, key, bound)
    return parameter(codes.reshape(shape))


def constant_parameter(shape: Shape, value: int | Fraction) -> Parameter:
    """Master weights that all equal a number."""
    return parameter(np.full(shape, int(value * (1 << MASTER.frac)), np.int64))


def parameter(codes: np.ndarray[tuple[int, ...], np.dtype[Any]]) -> Parameter:
    """A parameter with these master codes and no momentum."""
    narrow = codes.astype(np.int32)
    return Parameter(
        FixedTensor.trusted(narrow, MASTER), FixedTensor.trusted(np.zeros_like(narrow), MOMENTUM)
    )
