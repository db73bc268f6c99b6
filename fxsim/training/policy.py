"""What training asks of a precision policy; the policies themselves are in `fxsim.precision`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fxsim.arithmetic.formats import Accumulator, OperandFormat, Rounding, TensorFormat
from fxsim.engine.tensor import FixedTensor

Decisions = dict[str, int]
State = dict[str, float]


class Role(StrEnum):
    """What a tensor is to its layer."""

    WEIGHT = "weight"
    ACTIVATION = "activation"
    ERROR = "error"
    WEIGHT_GRADIENT = "weight_gradient"
    PARTNER = "partner"  # the right operand of a product of two activations, in their format


OPERAND_ROLES = (Role.WEIGHT, Role.ACTIVATION, Role.ERROR)


@dataclass(frozen=True, slots=True)
class Feedback:
    """What a step tells the policy.

    loss : mean cross-entropy of the batch
    perturbation : by operand role, the sensitivity of the chosen bits relative to that of
        dropping everything, summed over the role's tensors (0 where not block-wise)
    """

    step: int
    loss: float
    perturbation: Mapping[str, float] = field(default_factory=dict)


class PrecisionPolicy(Protocol):
    """Decides bits; never touches the datapath.

    A policy is an immutable set of parameters. Its decisions are integers: they are recorded
    every step, and together with the data they determine every bit of the run.
    """

    @property
    def name(self) -> str:
        """As in studies and reports."""

    @property
    def integer(self) -> bool:
        """False for float baselines, which are trained apart and cannot be priced in integers."""

    @property
    def accumulator(self) -> Accumulator:
        """The register of all dot products."""

    @property
    def word_scale(self) -> str:
        """How sums become words: at the scale their "bound" proves, or their "peak" needs."""

    @property
    def update_rounding(self) -> Rounding:
        """How rate * momentum is rounded before it is subtracted."""

    @property
    def weight_gradient(self) -> TensorFormat:
        """The format of weight gradients."""

    def initial_state(self) -> State:
        """The controller's state before the first step."""

    def decide(self, state: State, feedback: Feedback | None) -> tuple[State, Decisions]:
        """The next step's decisions, from the last step's feedback (None before the first)."""

    def operand_format(self, decisions: Decisions, layer: str, role: Role) -> OperandFormat:
        """The format in which a layer's operand enters the multiplier array."""

    def observe(
        self, gains: NDArray[np.int64] | None, role: Role, gradient: FixedTensor
    ) -> NDArray[np.int64] | None:
        """New sensitivity gains of a tensor from its gradient, in integers (None: not needed)."""
