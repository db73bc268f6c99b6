"""NITI: training with 8-bit integers alone."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from fxsim.identifiers import LayerId, ParameterId, Role
from fxsim.numerics.formats import Overflow, Rounding
from fxsim.numerics.operand_formats import TensorFormat
from fxsim.policies.base import IntegerPolicy
from fxsim.policies.coarse_grid import Shares, on_grid, refuse_master, stretched
from fxsim.policies.log2 import floor_log2
from fxsim.training.decisions import NitiDecisions
from fxsim.training.enum_fields import RoundingName
from fxsim.training.policy import Feedback, LossGradient, State, StepInfo

BITS = 8
MOST = 127


class Niti(IntegerPolicy[NitiDecisions]):
    """8-bit mantissas with one power-of-two exponent a tensor, weights without a wider copy.

    Source: Wang et al., NITI, arXiv 2009.13108, and the authors' code.

    - Activations and errors: int32 sums shifted to 7 bits and a sign, to nearest, within +-127.
    - Update: the weights' gradient, shifted to `gradient_bits` bits with pseudo-stochastic
      rounding, is subtracted from the mantissa, its exponent ignored: the bits are the learning
      rate, 5, then 4 and 3 at `drops` of the run (epochs 100 and 150 of 200).
    - The loss's gradient knows whole powers of two, and of small logits the second-order form
      (`engine.softmax.power_of_two_error`).
    - Weights are drawn as Xavier's: U(+-sqrt(6 / (fan_in + fan_out))), fan_out counting a
      convolution's filters.

    Ours: sums pass through 16-bit words before they become mantissas; biases and batch norms,
    which NITI's networks lack, follow the workload's optimizer.
    """

    summary: ClassVar[str] = "int8 only: mantissas, exponents, and updates of 5 to 3 bits"
    source: ClassVar[str] = "Wang et al., TPDS 2022, arXiv 2009.13108, and the authors' code"
    folds: ClassVar[bool] = False
    loss_gradient: ClassVar[LossGradient] = LossGradient.POWERS_OF_TWO

    gradient_bits: tuple[int, ...] = (5, 4, 3)
    drops: Shares = (0.5, 0.75)
    weight_gradient_bits: Annotated[int, Field(ge=2, le=32)] = 32
    rounding: RoundingName = Rounding.RND
    error_rounding: RoundingName = Rounding.RND

    @model_validator(mode="after")
    def _phases(self) -> Niti:
        refuse_master(self)
        if len(self.gradient_bits) != len(self.drops) + 1 or min(self.gradient_bits) < 1:
            raise ValueError(
                f"gradient_bits must be one more than the {len(self.drops)} drops, each at least 1,"
                f" not {list(self.gradient_bits)}"
            )
        return self

    @property
    def name(self) -> str:
        return "niti"

    def grid(self, shape: tuple[int, ...]) -> int:
        """Fractional bits of a layer's mantissas: the finest at which Xavier's bound fits."""
        return (floor_log2(Fraction(MOST * MOST * (shape[0] + shape[1]), 6))) // 2

    def initial_state(self, shapes: Mapping[str, tuple[int, ...]]) -> State:
        return {"grids": {owner: self.grid(shape) for owner, shape in shapes.items()}}

    def initial_codes(
        self, parameter: str, codes: NDArray[np.int64], drawn: bool
    ) -> NDArray[np.int64]:
        if not ParameterId.parse(parameter).is_weight:
            return codes
        spread = stretched(codes, Fraction(6, sum(codes.shape))) if drawn else codes
        return on_grid(spread, self.grid(codes.shape), BITS)

    def decide(
        self, state: State, step_info: StepInfo, feedback: Feedback | None
    ) -> tuple[State, NitiDecisions]:
        phase = sum(step_info.step >= share * step_info.steps for share in self.drops)
        return state, NitiDecisions(
            grid=state["grids"], stored_bits=BITS, gradient_bits=self.gradient_bits[phase]
        )

    def operand_format(self, decisions: NitiDecisions, layer: str, role: Role) -> TensorFormat:
        frac = decisions.grid[LayerId.parse(layer)] if role is Role.WEIGHT else None
        return TensorFormat(BITS, frac, self.operand_rounding(role), Overflow.SAT_SYM)
