"""One step's surroundings: parameters, policy, stash, and the recorder that watches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fxsim.arithmetic.draws import stream_key
from fxsim.arithmetic.formats import FixedPoint, TensorFormat
from fxsim.engine import block_casts, casts
from fxsim.engine.contractions import Contraction
from fxsim.engine.joint import elements_by_bits
from fxsim.engine.losses import Losses
from fxsim.engine.normalisation import RunningStatistics
from fxsim.engine.tensor import FixedTensor
from fxsim.training.policy import Decisions, PrecisionPolicy, Role


@dataclass(slots=True)
class Parameter:
    """A trained tensor: its master weights, momentum, and Adam's second moment, all wide."""

    master: FixedTensor
    momentum: FixedTensor
    square: FixedTensor | None = None

    def state(self) -> dict[str, NDArray[Any]]:
        """The codes by name, in order."""
        found = {"master": self.master.codes, "momentum": self.momentum.codes}
        if self.square is not None:
            found["square"] = self.square.codes
        return found


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
        """A tensor was cast to operand format, tiles choosing among `analysed` candidates."""

    def product(
        self,
        layer: str,
        pass_: str,
        contraction: Contraction,
        losses: Losses,
        operands: Sequence[tuple[str, Role]],
    ) -> None:
        """Two operands, each named by its layer and role, were multiplied."""

    def vector(self, layer: str, pass_: str, work: VectorWork) -> None:
        """An elementwise operation ran."""


@dataclass(slots=True)
class StepContext:
    """What operations see of the step they run in."""

    seed: int
    step: int
    training: bool
    policy: PrecisionPolicy
    decisions: Decisions
    parameters: dict[str, Parameter]
    running: dict[str, RunningStatistics]
    gains: dict[tuple[str, Role], NDArray[np.int64]]
    recorder: Recorder | None = None
    weights: dict[str, FixedTensor] = field(default_factory=dict)
    exact: dict[str, FixedTensor] = field(default_factory=dict)
    sensitivity: dict[Role, int] = field(default_factory=dict)
    signal: dict[Role, int] = field(default_factory=dict)
    word_bits: dict[Role, int] = field(default_factory=dict)
    words: dict[Role, int] = field(default_factory=dict)

    def key(self, layer: str, role: str) -> int:
        """The stream of draws of one tensor in this step."""
        return stream_key(self.seed, self.step, layer, role)

    def weight(self, name: str) -> FixedTensor:
        """The parameter `<layer>.weight` as an operand, cast once a step."""
        if name not in self.weights:
            layer, _, _ = name.rpartition(".")
            self.weights[name] = self.operand(layer, Role.WEIGHT, self.parameters[name].master)
        return self.weights[name]

    def operand(self, layer: str, role: Role, tensor: FixedTensor) -> FixedTensor:
        """Cast a tensor to the format in which it enters the multiplier array."""
        like = Role.ACTIVATION if role is Role.PARTNER else role
        wanted = self.policy.operand_format(self.decisions, layer, like)
        key = self.key(layer, role)
        if isinstance(wanted, TensorFormat):
            result, losses = casts.quantise_tensor(tensor, wanted, key)
            saturated, analysed = losses.overflowed, 0
        else:
            gain = self.gains.get((layer, role), np.ones((1, 1), np.int64))
            result, seen = block_casts.quantise_blocks(tensor, wanted, gain, key)
            saturated, analysed = 0, len(wanted.candidates)
            # relative to the tensor, so that layers count alike whatever their scale
            self.sensitivity[like] = self.sensitivity.get(like, 0) + (
                seen.sensitivity << 16
            ) // max(seen.signal, 1)
            self.signal[like] = self.signal.get(like, 0) + (1 << 16)
        self._count(like, result)
        if self.recorder is not None:
            self.recorder.operand(layer, role, result, saturated, analysed)
        return result

    def _count(self, role: Role, operand: FixedTensor) -> None:
        assert operand.blocks is not None
        bits = sum(b * n for b, n in elements_by_bits(operand.blocks).items())
        self.word_bits[role] = self.word_bits.get(role, 0) + bits
        self.words[role] = self.words.get(role, 0) + operand.codes.size

    def gradient(self, name: str, exact: FixedTensor) -> None:
        """Add to a parameter's gradient, in exact sums."""
        known = self.exact.get(name)
        self.exact[name] = exact if known is None else _exact_sum(known, exact)

    def gradients(self) -> Iterator[tuple[str, FixedTensor]]:
        """Each parameter's gradient in the weight-gradient format."""
        wanted = self.policy.weight_gradient
        for name, exact in self.exact.items():
            key = self.key(name, Role.WEIGHT_GRADIENT)
            yield name, casts.quantise_tensor(exact, wanted, key, operand=False)[0]

    def observe(self, layer: str, role: Role, gradient: FixedTensor) -> None:
        """Show the policy the gradient of an operand, for the sensitivities of the next step."""
        gains = self.policy.observe(self.gains.get((layer, role)), role, gradient)
        if gains is not None:
            self.gains[layer, role] = gains

    def working_copy(self, name: str, target: FixedPoint) -> NDArray[np.int64]:
        """A parameter's codes in a fixed format of the vector unit."""
        return casts.cast(self.parameters[name].master, target)[0].codes.astype(np.int64)

    def product(
        self,
        layer: str,
        pass_: str,
        contraction: Contraction,
        losses: Losses,
        *operands: tuple[str, Role],
    ) -> None:
        """Tell the recorder of a product."""
        if self.recorder is not None:
            self.recorder.product(layer, pass_, contraction, losses, operands)

    def vector(self, layer: str, pass_: str, work: VectorWork) -> None:
        """Tell the recorder of elementwise work."""
        if self.recorder is not None:
            self.recorder.vector(layer, pass_, work)


def _exact_sum(a: FixedTensor, b: FixedTensor) -> FixedTensor:
    """a + b in 62 bits at the finer scale, at most 16 bits finer than the coarser."""
    fracs = (a.format.frac, b.format.frac)
    target = FixedPoint(62, min(max(fracs), min(fracs) + 16))
    left, right = (casts.cast(x, target)[0].codes for x in (a, b))
    return FixedTensor.trusted(left + right, target)
