"""Uniform precision: each operand role has its own word length, the same everywhere and always."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from fxsim.arithmetic.formats import Accumulator, Overflow, Rounding, TensorFormat
from fxsim.engine.tensor import FixedTensor
from fxsim.precision.names import RoundingName
from fxsim.training.policy import Decisions, Feedback, Role, State

OperandBits = Annotated[int, Field(ge=2, le=16)]


class Uniform(BaseModel):
    """The same bits for every tensor of a role, at a dynamic power-of-two scale per tensor.

    With all three at 8 it is the baseline that speedups and energy savings are stated against.
    Errors are rounded stochastically by default, as in Gupta et al., "Deep Learning with Limited
    Numerical Precision", arXiv 1502.02551; the word lengths of gradients and sums are ours.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    summary: ClassVar[str] = "one word length a role, dynamic power-of-two scale per tensor"
    source: ClassVar[str] = "Gupta et al., arXiv 1502.02551 (stochastic rounding); the rest ours"
    integer: ClassVar[bool] = True

    weight: OperandBits = 8
    activation: OperandBits = 8
    error: OperandBits = 8
    weight_gradient_bits: Annotated[int, Field(ge=2, le=32)] = 16
    accumulator_bits: Annotated[int, Field(ge=16, le=64)] = 32
    rounding: RoundingName = Rounding.RND_CONV
    error_rounding: RoundingName = Rounding.STOCHASTIC
    update_rounding: RoundingName = Rounding.STOCHASTIC

    @property
    def name(self) -> str:
        return "uniform"

    @property
    def accumulator(self) -> Accumulator:
        return Accumulator(self.accumulator_bits, Overflow.SAT)

    @property
    def weight_gradient(self) -> TensorFormat:
        return TensorFormat(self.weight_gradient_bits, rounding=self.rounding)

    def initial_state(self) -> State:
        return {}

    def decide(self, state: State, feedback: Feedback | None) -> tuple[State, Decisions]:
        return state, {}

    def operand_format(self, decisions: Decisions, layer: str, role: Role) -> TensorFormat:
        bits = {
            Role.WEIGHT: self.weight,
            Role.ACTIVATION: self.activation,
            Role.ERROR: self.error,
        }[role]
        rounding = self.error_rounding if role is Role.ERROR else self.rounding
        return TensorFormat(bits, rounding=rounding)

    def observe(
        self, gains: NDArray[np.int64] | None, role: Role, gradient: FixedTensor
    ) -> NDArray[np.int64] | None:
        return None
