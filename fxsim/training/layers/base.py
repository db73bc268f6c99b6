"""What every layer is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt, prod

import numpy as np

from fxsim.arithmetic.draws import stream_key
from fxsim.engine.kernels import casting
from fxsim.engine.tensor import FixedTensor
from fxsim.engine.update import MASTER, MOMENTUM
from fxsim.training.context import Parameter, StepContext

Shape = tuple[int, ...]  # without the batch axis

WIDE_WORD_BITS = 32  # words between the accumulators and the next cast


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer(ABC):
    """A node of the graph: a name, the names of its inputs, and its geometry.

    Subclasses keep what the backward pass needs in `context.stash[self.name]`, and parameters
    under `<layer>.<parameter>`.
    """

    name: str
    inputs: tuple[str, ...]
    in_shapes: tuple[Shape, ...]

    @property
    @abstractmethod
    def out_shape(self) -> Shape:
        """The shape of one sample's result."""

    @abstractmethod
    def forward(self, context: StepContext, inputs: Sequence[FixedTensor]) -> FixedTensor:
        """Wide inputs to a wide result."""

    @abstractmethod
    def backward(self, context: StepContext, error: FixedTensor) -> list[FixedTensor | None]:
        """The error of the result to the errors of the inputs (None: nobody needs it)."""

    def initial_parameters(self, seed: int) -> dict[str, Parameter]:
        """Parameters by name, a pure function of the seed."""
        return {}

    @property
    def trains(self) -> bool:
        """Whether it has parameters of its own."""
        return False

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one sample's forward pass."""
        return 0

    @property
    def elements(self) -> int:
        """Values in one sample's result."""
        return prod(self.out_shape)


def uniform_parameter(seed: int, name: str, shape: Shape, fan_in: int) -> Parameter:
    """Master weights uniform on +-sqrt(6 / fan_in), by integers alone.

    Source: He et al., "Delving Deep into Rectifiers", arXiv 1502.01852, equation 10 (its variance,
    uniform).
    """
    codes = np.empty(prod(shape), np.int64)
    bound = isqrt((6 << (2 * MASTER.frac)) // fan_in)
    key = np.uint64(stream_key(seed, 0, name, "initial"))
    casting.uniform_range(0, codes.size, codes, key, bound)
    return parameter(codes.reshape(shape))


def constant_parameter(shape: Shape, value: int) -> Parameter:
    """Master weights that all equal an integer."""
    return parameter(np.full(shape, value << MASTER.frac, np.int64))


def parameter(codes: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> Parameter:
    """A parameter with these master codes and no momentum."""
    return Parameter(
        FixedTensor.trusted(codes, MASTER), FixedTensor.trusted(np.zeros_like(codes), MOMENTUM)
    )
