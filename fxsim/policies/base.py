"""What the integer policies share: accumulator, gradient words and rounding."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, ClassVar, Generic, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from fxsim.engine.tensor import FixedTensor
from fxsim.identifiers import Role
from fxsim.numerics.formats import Accumulator, Overflow, Rounding
from fxsim.numerics.operand_formats import OperandFormat, TensorFormat
from fxsim.numerics.state_formats import UpdateFormats
from fxsim.policies.update_words import (
    OVERFLOW_NEEDS_FRAC,
    FirstMomentWords,
    MasterWords,
    MomentumWords,
    SecondMomentWords,
    StaticFrac,
)
from fxsim.training.decisions import D
from fxsim.training.enum_fields import OverflowName, RoundingName
from fxsim.training.policy import (
    BitCostRequest,
    Feedback,
    LossGradient,
    Memory,
    State,
    StepInfo,
    UpdateInfo,
)


class Policy(BaseModel, ABC):
    """What every policy is: parameters that do not change, a kind, and where it is from."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    summary: ClassVar[str] = ""
    source: ClassVar[str] = ""
    integer: ClassVar[bool] = True

    @property
    @abstractmethod
    def name(self) -> str:
        """As in studies and reports."""

    @property
    def own_layers(self) -> tuple[str, ...]:
        """The layers of which its parameters say something of their own."""
        return ()

    def idle_words(self, optimizer: str) -> list[str]:
        """The parameters that say something of another optimiser's words than a workload's."""
        return []

    @property
    def bit_cost_request(self) -> BitCostRequest | None:
        """The bit costs that it weighs, if it does."""
        return None


class IntegerPolicy(Policy, Generic[D]):
    """Parameters of the datapath around the operands, and a policy that decides nothing.

    D : the type of its decisions, as in `class Muppet(IntegerPolicy[MuppetDecisions])`

    Errors and updates are rounded stochastically by default, as in Gupta et al., "Deep Learning
    with Limited Numerical Precision", arXiv 1502.02551; the word lengths are ours.

    weight_gradient_bits, weight_gradient_frac, weight_gradient_overflow : words of gradients of
        parameters; no `frac` is a dynamic scale
    master : words of weight matrices, without a wider copy; biases, gains and the like keep 32 bits
    momentum : of SGD; first_moment, second_moment : of Adam
    """

    loss_gradient: ClassVar[LossGradient] = LossGradient.SOFTMAX
    normalises_gradients: ClassVar[bool] = False
    folds: ClassVar[bool] = True  # whether batch norms can be folded into its weights

    weight_gradient_bits: Annotated[int, Field(ge=2, le=32)] = 16
    weight_gradient_frac: StaticFrac = None
    weight_gradient_overflow: OverflowName = Overflow.SAT
    accumulator_bits: Annotated[int, Field(ge=16, le=64)] = 32
    word_scale: Literal["bound", "peak"] = "bound"
    rounding: RoundingName = Rounding.RND_CONV
    error_rounding: RoundingName = Rounding.STOCHASTIC
    update_rounding: RoundingName = Rounding.STOCHASTIC
    master: MasterWords = MasterWords()
    momentum: MomentumWords = MomentumWords()
    first_moment: FirstMomentWords = FirstMomentWords()
    second_moment: SecondMomentWords = SecondMomentWords()

    @model_validator(mode="after")
    def _static_gradients(self) -> IntegerPolicy[D]:
        if self.weight_gradient_frac is None and self.weight_gradient_overflow is not Overflow.SAT:
            raise ValueError(f"weight_gradient: {OVERFLOW_NEEDS_FRAC}")
        return self

    @classmethod
    def decisions_type(cls) -> type[D]:
        """What the class, or one that it is made of, says in brackets."""
        models = (base for base in cls.__mro__ if issubclass(base, IntegerPolicy))
        named = (model.__pydantic_generic_metadata__["args"] for model in models)
        decisions: type[D] = next(arguments[0] for arguments in named if arguments)
        return decisions

    @property
    def accumulator(self) -> Accumulator:
        """The register of all dot products; it saturates at every addition."""
        return Accumulator(self.accumulator_bits, Overflow.SAT)

    @property
    def update_formats(self) -> UpdateFormats:
        """As `master`, `momentum`, `first_moment`, `second_moment` and `update_rounding` say."""
        own_rounding = self.master.rounding
        return UpdateFormats(
            self.master.format,
            self.update_rounding if own_rounding is None else own_rounding,
            self.momentum.format,
            self.first_moment.format,
            self.second_moment.format,
        )

    def idle_words(self, optimizer: str) -> list[str]:
        """Those of momentum under Adam, and of moments under SGD, that are not the defaults."""
        others = ["first_moment", "second_moment"] if optimizer == "sgd" else ["momentum"]
        fields = type(self).model_fields
        return [name for name in others if getattr(self, name) != fields[name].default]

    def operand_rounding(self, role: Role) -> Rounding:
        """How an operand is rounded."""
        return self.error_rounding if role is Role.ERROR else self.rounding

    @property
    def rate_factor(self) -> Fraction:
        """One."""
        return Fraction(1)

    @property
    def l1_decay(self) -> Fraction:
        """None."""
        return Fraction(0)

    def initial_state(self, shapes: Mapping[str, tuple[int, ...]]) -> State:
        """No state."""
        return {}

    def initial_codes(
        self, parameter: str, codes: NDArray[np.int64], drawn: bool
    ) -> NDArray[np.int64]:
        """As they are."""
        return codes

    def decide(
        self, state: State, step_info: StepInfo, feedback: Feedback | None
    ) -> tuple[State, D]:
        """No decisions of its own."""
        return state, self.decisions_type()()

    def on_operand(
        self,
        state: State,
        step_info: StepInfo,
        decisions: D,
        layer: str,
        role: Role,
        tensor: FixedTensor,
    ) -> State:
        """No statistics of tensors."""
        return {}

    def probes(self, decisions: D) -> Mapping[str, D]:
        """No forward passes more."""
        return {}

    @abstractmethod
    def operand_format(self, decisions: D, layer: str, role: Role) -> OperandFormat:
        """See `fxsim.training.policy.PrecisionPolicy`."""

    def input_limit(self, decisions: D, layer: str) -> int | None:
        """No limit."""
        return None

    def result_format(self, decisions: D, layer: str) -> TensorFormat | None:
        """Words, uncast."""
        return None

    def gradient_format(self, decisions: D, parameter: str) -> TensorFormat:
        """The same for all, at a dynamic scale unless `weight_gradient_frac` is given."""
        return TensorFormat(
            self.weight_gradient_bits,
            self.weight_gradient_frac,
            self.rounding,
            self.weight_gradient_overflow,
        )

    def on_gradient(
        self, gains: NDArray[np.int64] | None, role: Role, gradient: FixedTensor
    ) -> NDArray[np.int64] | None:
        """No statistics of gradients."""
        return None

    def after_update(self, state: State, memory: Memory, seen: UpdateInfo) -> tuple[State, Memory]:
        """No statistics of weights."""
        return {}, {}
