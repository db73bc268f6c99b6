"""WAGE: weights, activations, gradients and errors in low-bit integers."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from fxsim.engine import casts
from fxsim.engine.tensor import FixedTensor
from fxsim.engine.update_rules import RATE_FRAC, nearest_octave
from fxsim.identifiers import LayerId, OperandId, ParameterId, Role
from fxsim.numerics.formats import Overflow, Rounding
from fxsim.numerics.operand_formats import TensorFormat
from fxsim.policies.base import IntegerPolicy
from fxsim.policies.coarse_grid import Shares, on_grid, refuse_master, stretched
from fxsim.policies.uniform import OperandBits
from fxsim.training.decisions import WageDecisions
from fxsim.training.enum_fields import RoundingName
from fxsim.training.policy import Feedback, State, StepInfo

LIMIT_GAIN = 3  # weights are drawn from +-sqrt(3 / fan_in), or the least that bits tell from 0


class Wage(IntegerPolicy[WageDecisions]):
    """Ternary weights, 8-bit activations and errors; the update is 8-bit integers, too.

    Source: Wu et al., WAGE, arXiv 1802.04680, and the authors' code.

    - Q(x, k) = round(x 2**(k-1)) / 2**(k-1); Shift(x) = 2**round(log2 x).
    - Weights: Q of 2 bits, over a layer scale a = max(Shift(Wm / limit), 1), Wm = 1.5 / 2**(k_W-1),
      limit = sqrt(3 / fan_in); drawn from U(+-max(limit, Wm)), kept in k_G bits and clipped there.
    - Activations Q(clip(x)) at 8 bits; errors Q(clip(e / Shift(max|e|))); gradients
      g / Shift(max|g|), times the rate, rounded stochastically to k_G-bit steps; plain SGD.

    Ours: master weights hold w / a, so that operands are integers at a power of two; errors keep
    their scale, which the gradients' own Shift makes immaterial to weights; the network's input
    and signed activations take a dynamic scale; biases and batch norms, which WAGE's networks
    lack, follow the workload's optimizer, and the loss is the workload's (WAGE: squared error).
    """

    summary: ClassVar[str] = "2-bit weights, 8-bit activations, errors and updates"
    source: ClassVar[str] = "Wu et al., ICLR 2018, arXiv 1802.04680, and the authors' code"
    folds: ClassVar[bool] = False

    weight: OperandBits = 2
    activation: OperandBits = 8
    error: OperandBits = 8
    gradient: Annotated[int, Field(ge=2, le=16)] = 8
    learning_rate: Annotated[float, Field(ge=1 / 128, le=128)] = 8.0
    drops: Shares = (200 / 300, 250 / 300)  # shares of the run, each to an eighth
    word_scale: Literal["bound", "peak"] = "peak"  # static formats leave bounds far from sums
    weight_gradient_bits: Annotated[int, Field(ge=2, le=32)] = 32
    error_rounding: RoundingName = Rounding.RND_CONV

    @model_validator(mode="after")
    def _own_master(self) -> Wage:
        refuse_master(self)
        return self

    @property
    def name(self) -> str:
        return "wage"

    def layer_octave(self, fan_in: int) -> int:
        """log2 of the layer scale a."""
        least = Fraction(3, 1 << self.weight)  # Wm
        square = least**2 * fan_in / LIMIT_GAIN  # of Wm / limit
        octave = 0
        while square > Fraction(2) ** (2 * octave + 1):  # round(log2) is above this octave
            octave += 1
        return octave

    def grid(self, fan_in: int) -> int:
        """Fractional bits of a layer's master weights."""
        return self.gradient - 1 + self.layer_octave(fan_in)

    def initial_state(self, shapes: Mapping[str, tuple[int, ...]]) -> State:
        grids = {owner: self.grid(shape[1]) for owner, shape in shapes.items()}
        return {"grids": grids, "first": next(iter(shapes), "")}

    def initial_codes(
        self, parameter: str, codes: NDArray[np.int64], drawn: bool
    ) -> NDArray[np.int64]:
        if not ParameterId.parse(parameter).is_weight:
            return codes
        fan_in = codes.shape[1]
        widest = max(Fraction(LIMIT_GAIN, fan_in), Fraction(9, 1 << 2 * self.weight))
        bound = widest / 4 ** self.layer_octave(fan_in)
        spread = stretched(codes, bound) if drawn else codes
        return on_grid(spread, self.grid(fan_in), self.gradient)

    def decide(
        self, state: State, step_info: StepInfo, feedback: Feedback | None
    ) -> tuple[State, WageDecisions]:
        dropped = sum(step_info.step >= share * step_info.steps for share in self.drops)
        rate = round(Fraction(self.learning_rate) * (1 << RATE_FRAC) / 8**dropped)
        return state, WageDecisions(grid=state["grids"], stored_bits=self.gradient, rate=rate)

    def on_operand(
        self,
        state: State,
        step_info: StepInfo,
        decisions: WageDecisions,
        layer: str,
        role: Role,
        tensor: FixedTensor,
    ) -> State:
        """The scale of an error, or of a signed activation; activations are in [0, 1] else."""
        name = OperandId(role, layer)
        if role is Role.WEIGHT:
            return {}
        if role is Role.ERROR:
            octave = nearest_octave(casts.peak(tensor.codes)) - tensor.format.frac
            decisions.frac[name] = self.error - 1 - octave
            return {}
        signed = state.get(
            f"signed.{layer}", layer == state["first"] or int(tensor.codes.min()) < 0
        )
        decisions.limit[LayerId.parse(layer)] = int(not signed)
        decisions.frac[name] = self.activation - 1
        if signed:
            largest = casts.peak(tensor.codes)
            fitting = casts.dynamic_format(largest, tensor.format.frac, self.activation)
            decisions.frac[name] = fitting.frac
        return {f"signed.{layer}": signed}

    def input_limit(self, decisions: WageDecisions, layer: str) -> int | None:
        """1 for activations that were not signed when they were first seen."""
        return decisions.limit.get(LayerId.parse(layer)) or None

    def operand_format(self, decisions: WageDecisions, layer: str, role: Role) -> TensorFormat:
        if role is Role.WEIGHT:
            frac = decisions.grid[LayerId.parse(layer)] - self.gradient + self.weight
            return TensorFormat(self.weight, frac, self.rounding, Overflow.SAT_SYM)
        bits, frac = self.activation, decisions.frac[OperandId(role, layer)]
        if role is Role.ERROR:
            bits = self.error
        return TensorFormat(bits, frac, self.operand_rounding(role), Overflow.SAT_SYM)
