"""One step's surroundings: parameters, policy, stash, and the recorder that watches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fxsim.arithmetic.draws import stream_key
from fxsim.arithmetic.formats import FixedPoint, TensorFormat
from fxsim.engine import block_casts, casts
from fxsim.engine.geometry import Convolution
from fxsim.engine.losses import Losses
from fxsim.engine.normalisation import RunningStatistics
from fxsim.engine.tensor import FixedTensor
from fxsim.training.policy import Decisions, PrecisionPolicy, Role


@dataclass(slots=True)
class Parameter:
    """A trained tensor: its master weights and momentum, both wide."""

    master: FixedTensor
    momentum: FixedTensor


@dataclass(frozen=True, slots=True)
class VectorWork:
    """What an elementwise operation of one layer and pass asks of the vector unit.

    elements : how many it works on; adds, multiplies : operations per element
    read_bits, write_bits : words moved through the on-chip buffers, in all [bits]
    stash_write_bits, stash_read_bits : kept for the backward pass, or fetched back [bits]
    resident_bits : what must be held at once, because statistics come before results [bits]
    saturated : results that were limited
    """

    elements: int
    adds: int
    multiplies: int
    read_bits: int
    write_bits: int
    stash_write_bits: int = 0
    stash_read_bits: int = 0
    resident_bits: int = 0
    saturated: int = 0


class Recorder(Protocol):
    """Watches a step; the trace implements it."""

    def operand(
        self, layer: str, role: Role, tensor: FixedTensor, saturated: int, analysed: int
    ) -> None:
        """A tensor was cast to operand format, `analysed` candidate bits being tried."""

    def product(
        self,
        layer: str,
        pass_: str,
        geometry: Convolution | None,
        losses: Losses,
        roles: Sequence[Role],
    ) -> None:
        """The operands of `layer` in these roles were multiplied; None geometry is a matrix."""

    def vector(self, layer: str, pass_: str, work: VectorWork) -> None:
        """An elementwise operation ran."""


@dataclass(slots=True)
class StepContext:
    """What layers see of the step they run in."""

    seed: int
    step: int
    training: bool
    policy: PrecisionPolicy
    decisions: Decisions
    parameters: dict[str, Parameter]
    running: dict[str, RunningStatistics]
    gains: dict[tuple[str, Role], NDArray[np.int64]]
    recorder: Recorder | None = None
    stash: dict[str, Any] = field(default_factory=dict)
    gradients: dict[str, FixedTensor] = field(default_factory=dict)
    sensitivity: dict[Role, int] = field(default_factory=dict)
    signal: dict[Role, int] = field(default_factory=dict)
    word_bits: dict[Role, int] = field(default_factory=dict)
    words: dict[Role, int] = field(default_factory=dict)

    def key(self, layer: str, role: str) -> int:
        """The stream of draws of one tensor in this step."""
        return stream_key(self.seed, self.step, layer, role)

    def operand(self, layer: str, role: Role, tensor: FixedTensor) -> FixedTensor:
        """Cast a wide tensor to the format in which it enters the multiplier array."""
        wanted = self.policy.operand_format(self.decisions, layer, role)
        key = self.key(layer, role)
        if isinstance(wanted, TensorFormat):
            result, losses = casts.quantise_tensor(tensor, wanted, key)
            saturated, analysed = losses.overflowed, 0
        else:
            gain = self.gains.get((layer, role), np.ones((1, 1), np.int64))
            result, seen = block_casts.quantise_blocks(tensor, wanted, gain, key)
            saturated, analysed = seen.saturated, len(wanted.candidates)
            # relative to the tensor, so that layers count alike whatever their scale
            self.sensitivity[role] = self.sensitivity.get(role, 0) + (
                seen.sensitivity << 16
            ) // max(seen.signal, 1)
            self.signal[role] = self.signal.get(role, 0) + (1 << 16)
        self._count(role, result)
        if self.recorder is not None:
            self.recorder.operand(layer, role, result, saturated, analysed)
        return result

    def _count(self, role: Role, operand: FixedTensor) -> None:
        assert operand.blocks is not None
        bits = sum(b * n for b, n in operand.blocks.elements_by_bits().items())
        self.word_bits[role] = self.word_bits.get(role, 0) + bits
        self.words[role] = self.words.get(role, 0) + operand.codes.size

    def gradient(self, name: str, exact: FixedTensor) -> None:
        """Cast a parameter's gradient to the weight-gradient format and keep it for the update."""
        key = self.key(name, Role.WEIGHT_GRADIENT)
        wanted = self.policy.weight_gradient
        self.gradients[name] = casts.quantise_tensor(exact, wanted, key, operand=False)[0]

    def observe(self, layer: str, role: Role, gradient: FixedTensor) -> None:
        """Show the policy the gradient of an operand, for the sensitivities of the next step."""
        gains = self.policy.observe(self.gains.get((layer, role)), role, gradient)
        if gains is not None:
            self.gains[layer, role] = gains

    def working_copy(self, name: str, target: FixedPoint) -> NDArray[np.int64]:
        """A parameter's codes in a fixed format of the vector unit."""
        codes = casts.cast(self.parameters[name].master, target)[0].codes
        return codes.astype(np.int64)

    def product(
        self,
        layer: str,
        pass_: str,
        geometry: Convolution | None,
        losses: Losses,
        *roles: Role,
    ) -> None:
        """Tell the recorder of a product."""
        if self.recorder is not None:
            self.recorder.product(layer, pass_, geometry, losses, roles)

    def vector(self, layer: str, pass_: str, work: VectorWork) -> None:
        """Tell the recorder of elementwise work."""
        if self.recorder is not None:
            self.recorder.vector(layer, pass_, work)
