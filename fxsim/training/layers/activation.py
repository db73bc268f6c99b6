"""Activation functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

from fxsim.errors import ShapeError
from fxsim.training.context import Parameter
from fxsim.training.layers.base import Layer, T, constant_parameter
from fxsim.training.operations import Operations
from fxsim.training.tape import Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Relu(Layer):
    """max(x, 0)."""

    def forward(self, ops: Operations[T], inputs: Sequence[Value[T]]) -> Value[T]:
        return ops.relu(self.name, inputs[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Relu6(Layer):
    """x limited to [0, 6]. Source: Howard et al., MobileNets, arXiv 1704.04861."""

    def forward(self, ops: Operations[T], inputs: Sequence[Value[T]]) -> Value[T]:
        return ops.clip(self.name, inputs[0], 6)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeakyRelu(Layer):
    """x, or slope * x where negative; the slope is rounded to 15 fractional bits."""

    slope: Fraction = Fraction(1, 100)

    def forward(self, ops: Operations[T], inputs: Sequence[Value[T]]) -> Value[T]:
        return ops.leaky_relu(self.name, inputs[0], round(self.slope * (1 << 15)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pact(Layer):
    """x limited to [0, alpha], alpha learned: its gradient is the errors' sum where x >= alpha.

    Source: Choi et al., "PACT", arXiv 1805.06085, equations 1 to 3.
    """

    alpha: Fraction = Fraction(6)

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 32:
            raise ShapeError(f"alpha must be above 0 and below 32, not {self.alpha}")

    def initial_parameters(self, seed: int) -> dict[str, Parameter]:
        return {f"{self.name}.alpha": constant_parameter((1,), self.alpha)}

    def forward(self, ops: Operations[T], inputs: Sequence[Value[T]]) -> Value[T]:
        return ops.learned_clip(self.name, inputs[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Smooth(Layer):
    """A function of `fxsim.engine.activation_functions`, which states its error."""

    function: ClassVar[str]

    def forward(self, ops: Operations[T], inputs: Sequence[Value[T]]) -> Value[T]:
        return ops.function(self.name, inputs[0], self.function)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sigmoid(_Smooth):
    """1 / (1 + exp(-x))."""

    function: ClassVar[str] = "sigmoid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tanh(_Smooth):
    """The hyperbolic tangent."""

    function: ClassVar[str] = "tanh"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gelu(_Smooth):
    """x times the normal distribution's cumulative. Source: Hendrycks, Gimpel, arXiv 1606.08415."""

    function: ClassVar[str] = "gelu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Silu(_Smooth):
    """x * sigmoid(x). Source: Elfwing et al., arXiv 1702.03118."""

    function: ClassVar[str] = "silu"


@dataclass(frozen=True, slots=True, kw_only=True)
class HardSwish(_Smooth):
    """x * relu6(x + 3) / 6. Source: Howard et al., MobileNetV3, arXiv 1905.02244, section 5.2."""

    function: ClassVar[str] = "hard_swish"


@dataclass(frozen=True, slots=True, kw_only=True)
class Softmax(Layer):
    """Probabilities over the last axis."""

    def forward(self, ops: Operations[T], inputs: Sequence[Value[T]]) -> Value[T]:
        return ops.softmax(self.name, inputs[0], False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropout(Layer):
    """Zero with a probability, rounded to 16 bits, while training; the rest is scaled up.

    The mask is a hash of seed, step, layer and element, so it does not depend on threads.
    """

    probability: Fraction = Fraction(1, 2)

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= Fraction(15, 16):
            raise ShapeError(f"probability must be 0 to 0.9375, not {float(self.probability)}")

    def forward(self, ops: Operations[T], inputs: Sequence[Value[T]]) -> Value[T]:
        return ops.dropout(self.name, inputs[0], round(self.probability * (1 << 16)))
