"""MuPPET: block fixed point with a precision schedule driven by gradient diversity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import exp
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field, field_validator

from fxsim.engine import casts
from fxsim.engine.tensor import FixedTensor
from fxsim.identifiers import OperandId, ParameterId, Role
from fxsim.numerics.formats import FixedPoint, Rounding
from fxsim.numerics.operand_formats import TensorFormat
from fxsim.policies.base import IntegerPolicy
from fxsim.policies.log2 import floor_log2
from fxsim.training.decisions import Decisions, table
from fxsim.training.enum_fields import RoundingName
from fxsim.training.policy import Feedback, Memory, State, StepInfo, UpdateInfo

FLOAT_BITS = 32
SUMMED = FixedPoint(62, 44)  # of gradients: up to 131,072, in steps of 6e-14


@dataclass(slots=True, kw_only=True)
class MuppetDecisions(Decisions):
    """The network's word length, and each operand's fractional bits."""

    bits: int
    frac: dict[OperandId, int] = table(OperandId.parse)


class Muppet(IntegerPolicy[MuppetDecisions]):
    """One word length for the whole network, raised when gradients of epochs agree too much.

    Source: Rajagopal et al., MuPPET, arXiv 2006.09049, as its code has it (ICIdsl/muppet).

    - Scale: sf = floor(log2(min((2**(b-1) - 1/2) / max x, (2**(b-1) + 1/2) / |min x|))), each
      cast; stochastic rounding.
    - Of the last mini-batch of each epoch: GD = mean over layers of sum ||g||**2 / ||sum g||**2
      over `window` epochs; it violates if max GD / GD > 1 + 1.5 exp(-0.1 epoch); `violations` of
      them raise the precision: 8, 12, 14, 16, float32.

    Ours: there is no float on the datapath. The last level keeps the 16 bits of the words, and is
    stored and priced as 32-bit words.
    """

    summary: ClassVar[str] = "8, 12, 14, 16, 32 bits in turn, by gradient diversity of epochs"
    source: ClassVar[str] = "Rajagopal et al., ICML 2020, arXiv 2006.09049"

    levels: tuple[int, ...] = (8, 12, 14, 16, FLOAT_BITS)
    window: Annotated[int, Field(ge=2)] = 3
    violations: Annotated[int, Field(ge=1)] = 2
    margin: Annotated[float, Field(ge=0)] = 1.5
    decay: Annotated[float, Field(ge=0)] = 0.1
    rounding: RoundingName = Rounding.STOCHASTIC
    accumulator_bits: Annotated[int, Field(ge=16, le=64)] = 48

    @field_validator("levels")
    @classmethod
    def _rising(cls, levels: tuple[int, ...]) -> tuple[int, ...]:
        good = levels and list(levels) == sorted(set(levels))
        if not good or levels[0] < 2 or levels[-1] > FLOAT_BITS:
            raise ValueError(f"must be rising bits of 2 to {FLOAT_BITS}, not {list(levels)}")
        return levels

    @property
    def name(self) -> str:
        return "muppet"

    def initial_state(self, shapes: Mapping[str, tuple[int, ...]]) -> State:
        return {"level": 0, "largest": 0.0, "violated": 0, "epochs": 0, "squares": {}}

    def decide(
        self, state: State, step_info: StepInfo, feedback: Feedback | None
    ) -> tuple[State, MuppetDecisions]:
        return state, MuppetDecisions(bits=self.levels[state["level"]])

    def on_operand(
        self,
        state: State,
        step_info: StepInfo,
        decisions: MuppetDecisions,
        layer: str,
        role: Role,
        tensor: FixedTensor,
    ) -> State:
        """A tensor's scale, from its extremes."""
        decisions.frac[OperandId(role, layer)] = scale_of(tensor, decisions.bits)
        return {}

    def operand_format(self, decisions: MuppetDecisions, layer: str, role: Role) -> TensorFormat:
        rounding = self.operand_rounding(role)
        return TensorFormat(decisions.bits, decisions.frac[OperandId(role, layer)], rounding)

    def after_update(self, state: State, memory: Memory, seen: UpdateInfo) -> tuple[State, Memory]:
        """At an epoch's end: add its last gradients up; at a window's end: judge them."""
        if not seen.step_info.ends_epoch:
            return {}, {}
        squares, sums = dict(state["squares"]), {}
        for name, gradient in seen.gradients.items():
            if ParameterId.parse(name).is_weight:
                codes = casts.cast(gradient, SUMMED)[0].codes.astype(np.int64)
                sums[name] = memory.get(name, np.zeros_like(codes)) + codes
                squares[name] = squares.get(name, 0.0) + _square(codes)
        epochs = state["epochs"] + 1
        if epochs < self.window:
            return {"epochs": epochs, "squares": squares}, sums
        ratios = [squares[name] / max(_square(sums[name]), 1.0) for name in sums]
        judged = self.judged(state, sum(ratios) / len(ratios), seen.step_info.epoch)
        empty = {name: np.zeros_like(total) for name, total in sums.items()}
        return {**judged, "epochs": 0, "squares": {}}, empty

    def judged(self, state: State, diversity: float, epoch: int) -> State:
        """The schedule's state after a window of this gradient diversity."""
        largest = max(state["largest"], diversity)
        ratio = largest / diversity if diversity else 1.0
        violated = state["violated"] + (ratio > 1 + self.margin * exp(-self.decay * epoch))
        if violated < self.violations:
            return {"largest": largest, "violated": violated, "diversity": diversity}
        level = min(state["level"] + 1, len(self.levels) - 1)
        return {"largest": 0.0, "violated": 0, "level": level, "diversity": diversity}


def scale_of(tensor: FixedTensor, bits: int) -> int:
    """MuPPET's sf: fractional bits at which the extremes round into the word."""
    high, low = int(tensor.codes.max(initial=0)), -int(tensor.codes.min(initial=0))
    half = 1 << (bits - 1)
    room = [Fraction(2 * half - 1, 2 * high)] if high > 0 else []
    room += [Fraction(2 * half + 1, 2 * low)] if low > 0 else []
    return tensor.format.frac + floor_log2(min(room)) if room else 0


def _square(codes: np.ndarray) -> float:
    """The sum of squares of codes of a gradient."""
    values = codes.astype(np.float64)
    return float((values * values).sum())
