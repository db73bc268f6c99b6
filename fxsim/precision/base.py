"""What the integer policies share: accumulator, gradient words and rounding."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from fxsim.arithmetic.formats import Accumulator, Overflow, Rounding, TensorFormat
from fxsim.engine.tensor import FixedTensor
from fxsim.precision.names import RoundingName
from fxsim.training.policy import Decisions, Feedback, Role, State


class IntegerPolicy(BaseModel):
    """Parameters of the datapath around the operands, and a policy that decides nothing.

    Errors and updates are rounded stochastically by default, as in Gupta et al., "Deep Learning
    with Limited Numerical Precision", arXiv 1502.02551; the word lengths are ours.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    integer: ClassVar[bool] = True

    weight_gradient_bits: Annotated[int, Field(ge=2, le=32)] = 16
    accumulator_bits: Annotated[int, Field(ge=16, le=64)] = 32
    word_scale: Literal["bound", "peak"] = "bound"
    rounding: RoundingName = Rounding.RND_CONV
    error_rounding: RoundingName = Rounding.STOCHASTIC
    update_rounding: RoundingName = Rounding.STOCHASTIC

    @property
    def accumulator(self) -> Accumulator:
        """The register of all dot products; it saturates at every addition."""
        return Accumulator(self.accumulator_bits, Overflow.SAT)

    @property
    def weight_gradient(self) -> TensorFormat:
        """The format of weight gradients, at a dynamic scale."""
        return TensorFormat(self.weight_gradient_bits, rounding=self.rounding)

    def operand_rounding(self, role: Role) -> Rounding:
        """How an operand is rounded."""
        return self.error_rounding if role is Role.ERROR else self.rounding

    def initial_state(self) -> State:
        """No state."""
        return {}

    def decide(self, state: State, feedback: Feedback | None) -> tuple[State, Decisions]:
        """No decisions."""
        return state, {}

    def observe(
        self, gains: NDArray[np.int64] | None, role: Role, gradient: FixedTensor
    ) -> NDArray[np.int64] | None:
        """No statistics."""
        return None
