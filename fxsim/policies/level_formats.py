"""What policies with DoReFa weights and PACT activations share."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Generic, TypeVar

from pydantic import Field

from fxsim.engine.tensor import FixedTensor
from fxsim.identifiers import LayerId, OperandId, Role
from fxsim.numerics.operand_formats import ClippedFormat, OperandFormat, TanhFormat, TensorFormat
from fxsim.policies.base import IntegerPolicy
from fxsim.policies.uniform import OperandBits
from fxsim.training.decisions import Decisions, table
from fxsim.training.policy import State, StepInfo


def owner_of(layer: str) -> LayerId:
    """The layer whose weight a product uses: a recurrent one's positions share theirs."""
    return LayerId.parse(re.sub(r"\.\d+$", "", layer))


@dataclass(slots=True, kw_only=True)
class LevelDecisions(Decisions):
    """Of policies with scaled integers.

    Attributes
    ----------
    bits : of a role everywhere, or of one layer's operand
    edge : 1 for the first and the last layer, where they have bits of their own
    signed : whether a product's input has negative values
    """

    bits: dict[OperandId, int] = table(OperandId.parse)
    edge: dict[LayerId, int] = table()
    signed: dict[LayerId, int] = table()


L = TypeVar("L", bound=LevelDecisions)


class ScaledIntegers(IntegerPolicy[L], Generic[L]):
    """Operands whose step is no power of two, executed as integers with a multiplier.

    error : word length of errors, at a dynamic power-of-two scale
    first_last_bits : of weights and activations of the first and last layer, at power-of-two
        scales; None treats them like the others
    alpha : first value of PACT's clipping levels, one learned for each product's input
    unit_weights : DoReFa's weights span [-1, 1] as printed; else each tensor keeps its largest
        magnitude, which is the same up to a factor that a batch norm removes, and without batch
        norm is what keeps signals in range

    A product's input that has negative values when it is first seen (or that has no weights:
    attention) takes a power-of-two scale instead of PACT.
    """

    folds: ClassVar[bool] = False

    error: OperandBits = 8
    first_last_bits: OperandBits | None = 8
    alpha: Annotated[int, Field(ge=1, le=31)] = 10
    unit_weights: bool = False

    def initial_state(self, shapes: Mapping[str, tuple[int, ...]]) -> State:
        """The layers with weights, in order."""
        return {"owners": list(shapes)}

    def edges(self, state: State) -> dict[LayerId, int]:
        """Marks of the first and last layer."""
        owners = state["owners"]
        if self.first_last_bits is None or not owners:
            return {}
        return {LayerId.parse(owner): 1 for owner in (owners[0], owners[-1])}

    def on_operand(
        self,
        state: State,
        step_info: StepInfo,
        decisions: L,
        layer: str,
        role: Role,
        tensor: FixedTensor,
    ) -> State:
        """Whether a product's input is signed, when it is first seen."""
        if role is not Role.ACTIVATION:
            return {}
        name = f"signed.{layer}"
        stored = state.get(name)
        if stored is None:
            stored = int(owner_of(layer) not in state["owners"] or int(tensor.codes.min()) < 0)
        decisions.signed[LayerId.parse(layer)] = stored
        return {name: stored}

    def bits_of(self, decisions: L, layer: str, role: Role) -> int:
        """The decided bits of a layer's weights or activations."""
        everywhere = decisions.bits.get(OperandId(role), 8)
        return decisions.bits.get(OperandId(role, owner_of(layer)), everywhere)

    def operand_format(self, decisions: L, layer: str, role: Role) -> OperandFormat:
        if role is Role.ERROR:
            return TensorFormat(self.error, rounding=self.error_rounding)
        if self.first_last_bits is not None and owner_of(layer) in decisions.edge:
            return TensorFormat(self.first_last_bits, rounding=self.rounding)
        bits = self.bits_of(decisions, layer, role)
        if role is Role.WEIGHT:
            return TanhFormat(bits, self.unit_weights)
        if decisions.signed[LayerId.parse(layer)]:
            return TensorFormat(max(bits, 2), rounding=self.rounding)
        return ClippedFormat(bits, self.alpha)
