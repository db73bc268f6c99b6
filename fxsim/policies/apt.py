"""APT: adaptive precision by quantisation error and its interval (Zhang et al.), see the class."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import log2
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from fxsim.engine import casts
from fxsim.engine.tensor import FixedTensor
from fxsim.identifiers import OperandId, Role
from fxsim.numerics.formats import Cast, FixedPoint, Rounding
from fxsim.numerics.operand_formats import TensorFormat
from fxsim.policies.base import IntegerPolicy
from fxsim.policies.log2 import ceil_log2
from fxsim.training.decisions import Decisions, table
from fxsim.training.enum_fields import RoundingName
from fxsim.training.policy import State, StepInfo

Real = Annotated[float, Field(ge=0)]


@dataclass(slots=True, kw_only=True)
class AptDecisions(Decisions):
    """Each operand's word length and fractional bits."""

    bits: dict[OperandId, int] = table(OperandId.parse)
    frac: dict[OperandId, int] = table(OperandId.parse)


class Apt(IntegerPolicy[AptDecisions]):
    """8, 16 or 24 bits a tensor, for weights, activations and errors, by what rounding does to it.

    Source: Zhang et al., "Adaptive Precision Training", arXiv 1911.00361 ("Fixed-Point
    Back-Propagation Training", CVPR 2020). The formulas are as a reimplementation has them
    (hustzxd/EfficientPyTorch), which agrees with memory of the paper; docs/policies/apt.md.

    - Scale: s = ceil(log2(Z / (2**(n-1) - 1))) with Z = max|x|; s = -12 where Z = 0.
    - QEM: Diff = log2(|mean|x| - mean|x_q|| / mean|x| + 1); while Diff > `threshold` and
      n < `most_bits`, n grows by 8. `mode`: "grow" keeps n between updates, "restart" begins at 8
      again at each.
    - QPA: R <- a s + (1 - a) R; the next update is I = max(round(b / max(a |s - R|, d Diff**2) -
      g), 1) steps away, an epoch at most; R falls by 8 whenever n grows by 8.
    - For `initial_share` of the first epoch every step updates; in the rest of it, every I steps;
      afterwards once an epoch. In between n and s stay, and values saturate.

    Ours: the datapath. A 24-bit operand holds the 16 bits of the words it comes from, and is stored
    and priced as 24; weights and updates are the master's 32 bits, in the paper float.
    """

    summary: ClassVar[str] = "int8/16/24 a tensor by quantisation error, at adapted intervals"
    source: ClassVar[str] = "Zhang et al., CVPR 2020, arXiv 1911.00361; from a reimplementation"

    mode: Literal["grow", "restart"] = "grow"
    threshold: Real = 0.03
    most_bits: Annotated[int, Field(ge=8, le=24, multiple_of=8)] = 24
    a: Annotated[float, Field(gt=0, le=1)] = 0.04
    b: Real = 0.1
    g: Real = 2.0
    d: Real = 100.0
    first_average: float = 100.0
    initial_share: Annotated[float, Field(ge=0, le=1)] = 0.01  # 0.1 in memory of the paper
    rounding: RoundingName = Rounding.RND_CONV
    error_rounding: RoundingName = Rounding.RND_CONV
    accumulator_bits: Annotated[int, Field(ge=16, le=64)] = 48
    weight_gradient_bits: Annotated[int, Field(ge=2, le=32)] = 32

    @property
    def name(self) -> str:
        return "apt"

    def on_operand(
        self,
        state: State,
        step_info: StepInfo,
        decisions: AptDecisions,
        layer: str,
        role: Role,
        tensor: FixedTensor,
    ) -> State:
        """Adapt a tensor's n and s if its next update is due, else move its average on."""
        name = OperandId(role, layer)
        interval = state.get(name) or {
            "bits": 8,
            "shift": 0,
            "average": self.first_average,
            "next": 0,
        }
        if step_info.step >= interval["next"]:
            interval = self._updated(interval, step_info, tensor)
        else:
            average = self.a * interval["shift"] + (1 - self.a) * interval["average"]
            interval = {**interval, "average": average}
        decisions.bits[name], decisions.frac[name] = interval["bits"], -interval["shift"]
        return {name: interval}

    def _updated(
        self, remembered: dict[str, Any], step_info: StepInfo, tensor: FixedTensor
    ) -> State:
        bits = 8 if self.mode == "restart" else remembered["bits"]
        average = remembered["average"] + remembered["bits"] - bits
        shift, difference = self.measured(tensor, bits)
        while difference > self.threshold and bits < self.most_bits:
            bits += 8
            average -= 8
            shift, difference = self.measured(tensor, bits)
        moved = self.a * shift + (1 - self.a) * average
        interval = self.interval(shift, average, difference, step_info.per_epoch)
        if step_info.epoch > 0:
            following = (step_info.epoch + 1) * step_info.per_epoch
        elif step_info.step < self.initial_share * step_info.per_epoch:
            following = step_info.step + 1
        else:
            following = min(step_info.step + interval, step_info.per_epoch)
        return {
            "bits": bits,
            "shift": shift,
            "average": moved,
            "next": following,
            "interval": interval,
            "difference": difference,
        }

    def measured(self, tensor: FixedTensor, bits: int) -> tuple[int, float]:
        """(s, Diff) of a tensor at n bits."""
        largest = casts.peak(tensor.codes)
        frac = tensor.format.frac
        if not largest:
            return -12, 0.0
        shift = ceil_log2(Fraction(largest, (1 << (bits - 1)) - 1) / Fraction(2) ** frac)
        rounded, _ = casts.cast(tensor, Cast(FixedPoint(bits, -shift), self.rounding))
        exact = Fraction(_magnitude(tensor)) / Fraction(2) ** frac
        rounded_sum = _magnitude(rounded) * Fraction(2) ** shift
        return shift, log2(float(abs(exact - rounded_sum) / exact) + 1)

    def interval(self, shift: int, average: float, difference: float, per_epoch: int) -> int:
        """QPA: steps until the next update."""
        urgency = max(self.a * abs(shift - average), self.d * difference**2)
        if not urgency:
            return per_epoch
        return min(max(round(self.b / urgency - self.g), 1), per_epoch)

    def operand_format(self, decisions: AptDecisions, layer: str, role: Role) -> TensorFormat:
        name = OperandId(role, layer)
        return TensorFormat(decisions.bits[name], decisions.frac[name], self.operand_rounding(role))


def _magnitude(tensor: FixedTensor) -> int:
    """The sum of |code|."""
    return int(np.abs(tensor.codes.astype(np.int64)).sum())
