"""What convolution and linear layers share: three passes around one weight matrix."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from fxsim.arithmetic.formats import Accumulator
from fxsim.engine import elementwise
from fxsim.engine.geometry import Convolution
from fxsim.engine.losses import Losses
from fxsim.engine.tensor import FixedTensor
from fxsim.training.context import Parameter, StepContext, VectorWork
from fxsim.training.layers.base import (
    WIDE_WORD_BITS,
    Layer,
    constant_parameter,
    uniform_parameter,
)
from fxsim.training.policy import Role

Product = tuple[FixedTensor, Losses]


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedLayer(Layer):
    """A layer with a (outputs, depth) weight matrix and perhaps a bias.

    first : no layer below needs its grad_input, so there is no such pass
    """

    bias: bool = True
    first: bool = False

    @property
    def trains(self) -> bool:
        return True

    @property
    @abstractmethod
    def weight_shape(self) -> tuple[int, int]:
        """(outputs, depth): one row of weights per output channel."""

    @property
    def geometry(self) -> Convolution | None:
        """The convolution that this is, None for a plain matrix."""
        return None

    @abstractmethod
    def multiply(self, x: FixedTensor, weight: FixedTensor, accumulator: Accumulator) -> Product:
        """The forward product."""

    @abstractmethod
    def grad_weight(self, x: FixedTensor, error: FixedTensor, accumulator: Accumulator) -> Product:
        """The gradient of the weights."""

    @abstractmethod
    def grad_input(
        self, error: FixedTensor, weight: FixedTensor, accumulator: Accumulator
    ) -> Product:
        """The gradient of the input."""

    def initial_parameters(self, seed: int) -> dict[str, Parameter]:
        outputs, depth = self.weight_shape
        name = f"{self.name}.weight"
        found = {name: uniform_parameter(seed, name, self.weight_shape, depth)}
        if self.bias:
            found[f"{self.name}.bias"] = constant_parameter((outputs,), 0)
        return found

    def forward(self, context: StepContext, inputs: Sequence[FixedTensor]) -> FixedTensor:
        x = context.operand(self.name, Role.ACTIVATION, inputs[0])
        master = context.parameters[f"{self.name}.weight"].master
        weight = context.operand(self.name, Role.WEIGHT, master)
        context.stash[self.name] = (x, weight)
        out, lost = self.multiply(x, weight, context.policy.accumulator)
        context.product(self.name, "forward", self.geometry, lost, Role.ACTIVATION, Role.WEIGHT)
        if self.bias:
            out = elementwise.add_bias(out, context.parameters[f"{self.name}.bias"].master)
            context.vector(self.name, "forward", _additions(out.codes.size))
        return out

    def backward(self, context: StepContext, error: FixedTensor) -> list[FixedTensor | None]:
        x, weight = context.stash.pop(self.name)
        accumulator = context.policy.accumulator
        e = context.operand(self.name, Role.ERROR, error)
        gradient, lost = self.grad_weight(x, e, accumulator)
        context.product(self.name, "grad_weight", self.geometry, lost, Role.ACTIVATION, Role.ERROR)
        context.gradient(f"{self.name}.weight", gradient)
        context.observe(self.name, Role.WEIGHT, gradient)
        if self.bias:
            context.gradient(f"{self.name}.bias", elementwise.column_sums(e))
            context.vector(self.name, "backward", _additions(e.codes.size))
        if self.first:
            return [None]
        back, lost = self.grad_input(e, weight, accumulator)
        context.product(self.name, "grad_input", self.geometry, lost, Role.ERROR, Role.WEIGHT)
        context.observe(self.name, Role.ACTIVATION, back)
        return [back]


def _additions(elements: int) -> VectorWork:
    """One addition an element, in wide words."""
    moved = WIDE_WORD_BITS * elements
    return VectorWork(elements, 1, 0, moved, moved)
