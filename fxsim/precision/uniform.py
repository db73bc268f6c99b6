"""Uniform precision: each operand role has its own word length, the same everywhere and always."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from fxsim.arithmetic.formats import TensorFormat
from fxsim.precision.base import IntegerPolicy
from fxsim.training.policy import Decisions, Role

OperandBits = Annotated[int, Field(ge=2, le=16)]


class Uniform(IntegerPolicy):
    """The same bits for every tensor of a role, at a dynamic power-of-two scale per tensor.

    With all three at 8 it is the baseline that speedups and energy savings are stated against.
    """

    summary: ClassVar[str] = "one word length a role, dynamic power-of-two scale per tensor"
    source: ClassVar[str] = "Gupta et al., arXiv 1502.02551 (stochastic rounding); the rest ours"

    weight: OperandBits = 8
    activation: OperandBits = 8
    error: OperandBits = 8

    @property
    def name(self) -> str:
        """As in studies and reports."""
        return "uniform"

    def operand_format(self, decisions: Decisions, layer: str, role: Role) -> TensorFormat:
        """The role's bits."""
        bits = {
            Role.WEIGHT: self.weight,
            Role.ACTIVATION: self.activation,
            Role.ERROR: self.error,
        }[role]
        return TensorFormat(bits, rounding=self.operand_rounding(role))
