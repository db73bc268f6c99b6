"""What training asks of a precision policy; the policies themselves are in `fxsim.policies`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fxsim.engine.tensor import FixedTensor
from fxsim.identifiers import Role
from fxsim.numerics.formats import Accumulator
from fxsim.numerics.operand_formats import OperandFormat, TensorFormat
from fxsim.numerics.state_formats import UpdateFormats
from fxsim.training.decisions import D

State = dict[str, Any]  # JSON values
Memory = dict[str, NDArray[np.int64]]


class LossGradient(StrEnum):
    """How the cross-entropy's gradient is computed."""

    SOFTMAX = "softmax"
    POWERS_OF_TWO = "powers_of_two"  # see fxsim.engine.softmax.power_of_two_error


@dataclass(frozen=True, slots=True)
class StepInfo:
    """Where a step stands in its run.

    Attributes
    ----------
    step : its number, from 0; steps : of the run; per_epoch : of an epoch

    Examples
    --------
    >>> info = StepInfo(step=43, steps=88, per_epoch=44)
    >>> info.epoch, info.ends_epoch
    (0, True)
    """

    step: int = 0
    steps: int = 1
    per_epoch: int = 1

    @property
    def epoch(self) -> int:
        """The epoch, from 0."""
        return self.step // self.per_epoch

    @property
    def ends_epoch(self) -> bool:
        """Whether it is the last step of its epoch."""
        return (self.step + 1) % self.per_epoch == 0


@dataclass(frozen=True, slots=True)
class Feedback:
    """What a step tells the policy.

    loss : mean cross-entropy of the batch
    perturbation : by operand role, the sensitivity of the chosen bits relative to that of
        dropping everything, summed over the role's tensors (0 where not block-wise)
    probes : the batch's loss under each probe that the policy asked for
    """

    step: int
    loss: float
    perturbation: Mapping[str, float] = field(default_factory=dict)
    probes: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UpdateInfo:
    """What a policy may look at once the weights have been updated.

    weights : the step's weight operands; masters : the new master weights; both by parameter
    gradients : those that the update took, by parameter
    """

    step_info: StepInfo
    loss: float
    weights: Mapping[str, FixedTensor]
    masters: Mapping[str, FixedTensor]
    gradients: Mapping[str, FixedTensor]


@dataclass(frozen=True, slots=True)
class BitCostRequest:
    """What a policy wants to know of an accelerator before the first step.

    Attributes
    ----------
    accelerator : whose costs, by name; the policy's parameter `accelerator`
    candidates : word lengths [bits] whose costs it weighs
    objective : "cycles" or "energy"
    reference_bits : word length of the other operands [bits]
    block : (rows, columns) of the tiles that it decides about
    """

    accelerator: str
    candidates: tuple[int, ...]
    objective: str
    reference_bits: int
    block: tuple[int, int]


class PrecisionPolicy(Protocol[D]):
    """Decides bits; never touches the datapath.

    A policy is an immutable set of parameters. Its decisions, of a type of its own, are integers:
    they are recorded every step, and together with the data they determine every bit of the run.
    Its state is JSON values, its memory integer arrays; both are part of a checkpoint.
    """

    @classmethod
    def decisions_type(cls) -> type[D]:
        """The type of its decisions; `GridDecisions` bring an update rule of their own."""

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
    def update_formats(self) -> UpdateFormats:
        """The words of master weights, momentum and moments, and how a step is rounded."""

    @property
    def rate_factor(self) -> Fraction:
        """Times the workload's learning rate: the policy's own."""

    @property
    def loss_gradient(self) -> LossGradient:
        """How the cross-entropy's gradient is computed."""

    @property
    def l1_decay(self) -> Fraction:
        """Times the sign of a weight, added to its gradient."""

    @property
    def normalises_gradients(self) -> bool:
        """Whether each parameter's gradient is divided by its L2 norm."""

    def initial_state(self, shapes: Mapping[str, tuple[int, ...]]) -> State:
        """The controller's state before the first step.

        Parameters
        ----------
        shapes : of the weight matrices, by the layer that owns them, in execution order

        Returns
        -------
        JSON values.
        """

    def initial_codes(
        self, parameter: str, codes: NDArray[np.int64], drawn: bool
    ) -> NDArray[np.int64]:
        """A parameter's first master codes.

        Parameters
        ----------
        parameter : its name
        codes : as drawn, or of an earlier run
        drawn : whether the layer drew them

        Returns
        -------
        The codes to begin with, of the same shape.
        """

    def decide(
        self, state: State, step_info: StepInfo, feedback: Feedback | None
    ) -> tuple[State, D]:
        """The next step's decisions.

        Parameters
        ----------
        state : of the controller
        step_info : where the step stands
        feedback : of the last step; None before the first

        Returns
        -------
        The state, and the decisions; the learning rate is the training loop's.
        """

    def on_operand(
        self,
        state: State,
        step_info: StepInfo,
        decisions: D,
        layer: str,
        role: Role,
        tensor: FixedTensor,
    ) -> State:
        """What a tensor itself, about to be cast, adds.

        Parameters
        ----------
        state : of the controller
        step_info : where the step stands
        decisions : of the step; what the tensor decides is entered into them
        layer, role : the operand
        tensor : before its cast

        Returns
        -------
        What changes in the state.
        """

    def probes(self, decisions: D) -> Mapping[str, D]:
        """Decisions under which the batch's loss is wanted, too: more forward passes.

        Parameters
        ----------
        decisions : of the step

        Returns
        -------
        {probe's name: decisions}.
        """

    def operand_format(self, decisions: D, layer: str, role: Role) -> OperandFormat:
        """The format in which a layer's operand enters the multiplier array.

        Parameters
        ----------
        decisions : of the step
        layer, role : the operand

        Returns
        -------
        A format of one of the kinds that `OperandFormat` names.
        """

    def input_limit(self, decisions: D, layer: str) -> int | None:
        """The largest code of a product's input.

        Parameters
        ----------
        decisions : of the step
        layer : the product's

        Returns
        -------
        The input is limited to [0, this], and errors beyond are dropped; None: it is not.
        """

    def result_format(self, decisions: D, layer: str) -> TensorFormat | None:
        """The format of a product's bias, and of its result before anything else.

        Parameters
        ----------
        decisions : of the step
        layer : the product's

        Returns
        -------
        The format; None: that of words.
        """

    def gradient_format(self, decisions: D, parameter: str) -> TensorFormat:
        """The format of a parameter's gradient.

        Parameters
        ----------
        decisions : of the step
        parameter : its name

        Returns
        -------
        The format.
        """

    def on_gradient(
        self, gains: NDArray[np.int64] | None, role: Role, gradient: FixedTensor
    ) -> NDArray[np.int64] | None:
        """New sensitivity gains of a tensor from its gradient, in integers.

        Parameters
        ----------
        gains : the last ones; None before the first
        role : of the tensor
        gradient : its gradient

        Returns
        -------
        Gains a block, at most 16 bits; None: not needed.
        """

    def after_update(self, state: State, memory: Memory, seen: UpdateInfo) -> tuple[State, Memory]:
        """What an update adds to the state and the memory.

        Parameters
        ----------
        state : of the controller
        memory : {name: integer array}
        seen : weights, masters and gradients of the update

        Returns
        -------
        The state and the memory.
        """
