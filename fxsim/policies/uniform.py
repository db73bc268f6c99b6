"""Uniform precision: each operand role has its own word length, the same everywhere and always."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from fxsim.identifiers import OPERAND_ROLES, LayerId, Role
from fxsim.numerics.formats import Overflow
from fxsim.numerics.operand_formats import TensorFormat
from fxsim.policies.base import IntegerPolicy
from fxsim.policies.update_words import StaticFrac
from fxsim.training.decisions import Decisions
from fxsim.training.enum_fields import OverflowName

OperandBits = Annotated[int, Field(ge=2, le=16)]


class LayerBits(BaseModel):
    """Word lengths of one layer's operands; None: as all layers'."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    weight: OperandBits | None = None
    activation: OperandBits | None = None
    error: OperandBits | None = None


class Uniform(IntegerPolicy[Decisions]):
    """The same bits for every tensor of a role, at a dynamic or a static power-of-two scale.

    weight, activation, error : word lengths
    weight_frac, activation_frac, error_frac : a role's fractional bits; None is dynamic, the finest
        scale at which a tensor's largest value fits
    overflow : what becomes of values outside a static scale's word; weight_overflow,
        activation_overflow, error_overflow : of a role that has its own
    layers : {layer: {role: bits}} of layers that have their own; a layer's parts count as the layer
    With a static scale, which may leave a bound on sums far from them, `word_scale` is "peak"
    unless it is given.

    With all three at 8 bits it is the baseline that speedups and energy savings are stated against.
    """

    summary: ClassVar[str] = "one word length a role, at a dynamic or static power-of-two scale"
    source: ClassVar[str] = "Gupta et al., arXiv 1502.02551 (stochastic rounding); the rest ours"

    weight: OperandBits = 8
    activation: OperandBits = 8
    error: OperandBits = 8
    weight_frac: StaticFrac = None
    activation_frac: StaticFrac = None
    error_frac: StaticFrac = None
    overflow: OverflowName = Overflow.SAT
    weight_overflow: OverflowName | None = None
    activation_overflow: OverflowName | None = None
    error_overflow: OverflowName | None = None
    layers: dict[str, LayerBits] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _peak_where_static(cls, given: Any) -> Any:
        if isinstance(given, dict) and any(
            given.get(f"{role}_frac") is not None for role in OPERAND_ROLES
        ):
            return {"word_scale": "peak", **given}
        return given

    @property
    def name(self) -> str:
        """As in studies and reports."""
        return "uniform"

    @property
    def own_layers(self) -> tuple[str, ...]:
        return tuple(self.layers)

    def operand_format(self, decisions: Decisions, layer: str, role: Role) -> TensorFormat:
        """The role's bits and scale."""
        bits, frac, overflow = {
            Role.WEIGHT: (self.weight, self.weight_frac, self.weight_overflow),
            Role.ACTIVATION: (self.activation, self.activation_frac, self.activation_overflow),
            Role.ERROR: (self.error, self.error_frac, self.error_overflow),
        }[role]
        own = self.layers.get(layer) or self.layers.get(LayerId.parse(layer).layer)
        bits = (own and getattr(own, role.value)) or bits
        overflow = self.overflow if overflow is None else overflow
        return TensorFormat(bits, frac, self.operand_rounding(role), overflow)
