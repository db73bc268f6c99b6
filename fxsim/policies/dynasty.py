"""DYNASTY: block-wise dynamic precision. A reconstruction, see the class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Generic, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from fxsim.engine import block_casts
from fxsim.engine.block_casts import GAIN_BITS
from fxsim.engine.casts import bit_length
from fxsim.engine.tensor import FixedTensor
from fxsim.engine.vector_int16 import to_int16
from fxsim.errors import FormatError
from fxsim.identifiers import OPERAND_ROLES, Role
from fxsim.numerics.operand_formats import BlockFormat
from fxsim.policies.base import IntegerPolicy
from fxsim.training.decisions import Decisions, table
from fxsim.training.policy import Feedback, State, StepInfo


@dataclass(slots=True, kw_only=True)
class DynastyDecisions(Decisions):
    """Each role's lambda, with 16 fractional bits."""

    threshold: dict[Role, int] = table(Role)


B = TypeVar("B", bound=DynastyDecisions)


class Blockwise(IntegerPolicy[B], Generic[B]):
    """Sensitivities of blocks, and their budgets; see `Dynasty`."""

    most_lambda: ClassVar[float] = 1.0

    block_rows: Annotated[int, Field(ge=1, le=64)] = 4
    block_columns: Annotated[int, Field(ge=1, le=64)] = 4
    candidates: tuple[int, ...] = (0, 2, 4, 8)
    skip_penalty: Annotated[int, Field(ge=1, le=16)] = 8
    exponent_window: Annotated[int, Field(ge=0, le=8)] = 0
    weight_budget: Annotated[float, Field(ge=0, le=1)] = 0.04
    activation_budget: Annotated[float, Field(ge=0, le=1)] = 0.04
    error_budget: Annotated[float, Field(ge=0, le=1)] = 0.03
    growth: Annotated[float, Field(gt=1, le=2)] = 1.05
    shrink: Annotated[float, Field(gt=0, lt=1)] = 0.9
    retreat: Annotated[float, Field(gt=0, lt=1)] = 0.5
    smoothing: Annotated[float, Field(gt=0, le=1)] = 0.1
    loss_margin: Annotated[float, Field(ge=0)] = 0.5
    warmup: Annotated[int, Field(ge=0)] = 20
    initial_lambda: Annotated[float, Field(gt=0, le=1)] = 0.02
    accumulator_bits: Annotated[int, Field(ge=16, le=64)] = 48

    @model_validator(mode="after")
    def _blocks_exist(self) -> Self:
        try:
            self.block_format(Role.ERROR, 0)
        except FormatError as problem:
            raise ValueError(str(problem)) from None
        return self

    def block_format(self, role: Role, threshold: int) -> BlockFormat:
        """A role's format at a threshold."""
        return BlockFormat(
            self.block_rows,
            self.block_columns,
            self.candidates,
            threshold,
            self.exponent_window,
            self.operand_rounding(role),
            self.skip_penalty,
        )

    def initial_state(self, shapes: Mapping[str, tuple[int, ...]]) -> State:
        return {f"lambda.{role}": self.initial_lambda for role in OPERAND_ROLES}

    def thresholds(self, state: State, feedback: Feedback | None) -> tuple[State, dict[Role, int]]:
        """Move each role's lambda, and announce it with 16 fractional bits."""
        if feedback is None:
            return state, dict.fromkeys(OPERAND_ROLES, 0)
        new = {**state, **self._smoothed_loss(state, feedback.loss)}
        if feedback.step + 1 < self.warmup:
            return new, dict.fromkeys(OPERAND_ROLES, 0)
        unstable = new["loss.fast"] > new["loss.slow"] * (1 + self.loss_margin)
        thresholds = {}
        for role in OPERAND_ROLES:
            perturbation = feedback.perturbation.get(role, 0.0)
            before = state.get(f"perturbation.{role}", perturbation)
            smooth = before + self.smoothing * (perturbation - before)
            budget = getattr(self, f"{role}_budget")
            factor = self.shrink if smooth > budget else self.growth
            factor = self.retreat if unstable else factor
            new[f"perturbation.{role}"] = smooth
            new[f"lambda.{role}"] = min(
                max(state[f"lambda.{role}"] * factor, 1e-4), self.most_lambda
            )
            thresholds[role] = round(new[f"lambda.{role}"] * (1 << 16))
        return new, thresholds

    def _smoothed_loss(self, state: State, loss: float) -> State:
        fast, slow = state.get("loss.fast", loss), state.get("loss.slow", loss)
        return {
            "loss.fast": fast + self.smoothing * (loss - fast),
            "loss.slow": slow + self.smoothing / 10 * (loss - slow),
        }

    def on_gradient(
        self, gains: NDArray[np.int64] | None, role: Role, gradient: FixedTensor
    ) -> NDArray[np.int64] | None:
        """Smooth the tiles' mean gradient magnitudes, relative to the largest, in integers."""
        small = np.ascontiguousarray(to_int16(gradient).matrix(), np.int16)
        if role is Role.ACTIVATION:
            magnitude = block_casts.column_magnitudes(small)[None]
        else:
            magnitude = np.abs(small.astype(np.int64))
        means = _tile_means(magnitude, self.block_rows, self.block_columns)
        if not means.any():
            return gains  # a step without gradient says nothing about sensitivity
        excess = bit_length(int(means.max())) - GAIN_BITS
        scaled = means >> excess if excess > 0 else means << -excess
        scaled = np.maximum(scaled, ((int(scaled.sum()) // scaled.size) >> 2) + 1)
        old = scaled if gains is None else gains
        smoothed: NDArray[np.int64] = old + ((scaled - old) >> 3)
        return smoothed


class Dynasty(Blockwise[DynastyDecisions]):
    """Bits per 4x4 tile from a first-order sensitivity, under a perturbation budget.

    Reconstruction of Liu et al., "DYNASTY: ...", ASP-DAC 2023, arXiv 2210.17047.
    Known of it: block-wise dynamic precision over 4x4 tiles; a relative, first-order sensitivity
    (its equation 3b) from fast online analytics, smoothed exponentially; a map generator whose
    algorithm 1 tunes a lambda so that convergence stays stable. Ours, because the formulas were
    not at hand: everything below.

    - s_b(n) = gain_b * elements * (2**e_b(n) - 2**e) / 4, s_b(0) = gain_b * sum |x|: e_b(n) is the
      exponent at which tile b's largest value fits n-bit codes, e the finest of the tensor. It is
      what rounding to n bits adds to |x - Q(x)| on average, from the tile's largest value and sum
      of magnitudes alone. A tile takes the first candidate with
      s_b(n) <= lambda_role * mean over tiles of s(0).
    - Skipping a tile counts `skip_penalty` times: unlike rounding, it errs to one side, and what
      many skipped tiles leave out adds up.
    - gain_b estimates the gradient's magnitude: for weights that of tile b's own gradient, for
      activations that of its four columns (channels), each from the steps before, smoothed by
      1/8 a step and never below a quarter of the tensor's mean; for errors it is 1.
    - lambda_role grows by `growth` a step while the smoothed relative perturbation of the role (the
      mean over its tensors of sum s_b(n_b) / sum gain_b |x|) is below its budget, else it shrinks
      by `shrink`; all shrink by `retreat` while the smoothed loss exceeds its slow average by
      `loss_margin`.
    - For `warmup` steps lambda is 0: only savings that cost nothing beside 8 bits are taken.
    """

    summary: ClassVar[str] = "bits per 4x4 tile by first-order sensitivity (a reconstruction)"
    source: ClassVar[str] = "Liu et al., ASP-DAC 2023, arXiv 2210.17047; reconstruction"

    @property
    def name(self) -> str:
        return "dynasty"

    def decide(
        self, state: State, step_info: StepInfo, feedback: Feedback | None
    ) -> tuple[State, DynastyDecisions]:
        state, thresholds = self.thresholds(state, feedback)
        return state, DynastyDecisions(threshold=thresholds)

    def operand_format(self, decisions: DynastyDecisions, layer: str, role: Role) -> BlockFormat:
        return self.block_format(role, decisions.threshold[role])


def _tile_means(magnitude: NDArray[np.int64], rows: int, columns: int) -> NDArray[np.int64]:
    """(block rows, block columns) mean of each tile, rounded down."""
    down = np.add.reduceat(magnitude, np.arange(0, magnitude.shape[0], rows), axis=0)
    both = np.add.reduceat(down, np.arange(0, magnitude.shape[1], columns), axis=1)
    heights = np.diff(np.r_[0 : magnitude.shape[0] : rows, magnitude.shape[0]])
    widths = np.diff(np.r_[0 : magnitude.shape[1] : columns, magnitude.shape[1]])
    means: NDArray[np.int64] = both // np.outer(heights, widths)
    return means
