"""One step's surroundings: parameters, policy, stash, and the tracer that watches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fxsim.engine import block_casts, casts, quantisers, update
from fxsim.engine.bit_pair_histogram import elements_by_bits
from fxsim.engine.contractions import Contraction
from fxsim.engine.normalisation import RunningStatistics
from fxsim.engine.overflow_statistics import OverflowStatistics
from fxsim.engine.tensor import FixedTensor
from fxsim.engine.vector_int16 import VECTOR_BITS, to_int16
from fxsim.errors import FormatError, naming
from fxsim.identifiers import LayerId, ParameterId, Pass, Role
from fxsim.numerics.draws import stream_key
from fxsim.numerics.formats import FixedPoint
from fxsim.numerics.operand_formats import (
    BlockFormat,
    ClippedFormat,
    CostAwareBlockFormat,
    OperandFormat,
    TanhFormat,
    TensorFormat,
)
from fxsim.numerics.state_formats import MASTER
from fxsim.training.decisions import Decisions, GridDecisions
from fxsim.training.policy import PrecisionPolicy, State, StepInfo

CLIP = ".clip"  # the part of a layer that clips its input, under PACT
CLIPPING = FixedPoint(32, 24)  # of clipping levels


@dataclass(slots=True)
class Parameter:
    """A trained tensor: its master weights, momentum, and Adam's second moment."""

    master: FixedTensor
    momentum: FixedTensor
    square: FixedTensor | None = None

    def state(self) -> dict[str, NDArray[Any]]:
        """The codes by name, in order, each but the master's with its bits and fractional bits."""
        history = {"momentum": self.momentum, "square": self.square}
        arrays: dict[str, NDArray[Any]] = {"master": self.master.codes}
        for name, tensor in history.items():
            if tensor is not None:
                form = tensor.format
                arrays |= {name: tensor.codes, f"{name}_format": np.array([form.bits, form.frac])}
        return arrays


@dataclass(frozen=True, slots=True)
class VectorWork:
    """What an elementwise operation of one layer and pass asks of the vector unit.

    elements : how many it works on; adds, multiplies : operations per element
    read_bits, write_bits : words moved through the on-chip buffers, in all [bits]
    stash_write_bits, stash_read_bits : kept for the backward pass, or fetched back [bits]
    resident_bits : what must be held at once, because statistics come before results [bits]
    saturated : results that were limited
    vanished : gradients other than zero that rounding kept from moving a weight
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
    vanished: int = 0


class Tracer(Protocol):
    """Watches a step; the trace implements it."""

    def operand(
        self,
        layer: str,
        role: Role,
        tensor: FixedTensor,
        source: FixedTensor,
        saturated: int,
        analysed: int,
        source_bits: int,
    ) -> None:
        """`source`, of `source_bits` a word, was cast, with `analysed` comparisons a tile."""

    def product(
        self,
        layer: str,
        pass_: Pass,
        contraction: Contraction,
        overflows: OverflowStatistics,
        operands: Sequence[tuple[str, Role]],
    ) -> None:
        """Two operands, each named by its layer and role, were multiplied."""

    def vector(self, layer: str, pass_: Pass, work: VectorWork) -> None:
        """An elementwise operation ran."""


@dataclass(frozen=True, slots=True)
class Probed:
    """A tracer of a probe's pass through the network, under the probe's layer names.

    Operands that this pass did not cast are those of the step itself.
    """

    tracer: Tracer
    probe: str
    recorded: set[tuple[str, Role]] = field(default_factory=set)

    def _named(self, layer: str) -> LayerId:
        return LayerId.parse(layer).probed_by(self.probe)

    def operand(
        self,
        layer: str,
        role: Role,
        tensor: FixedTensor,
        source: FixedTensor,
        saturated: int,
        analysed: int,
        source_bits: int,
    ) -> None:
        """See `Tracer`."""
        self.recorded.add((layer, role))
        self.tracer.operand(
            self._named(layer), role, tensor, source, saturated, analysed, source_bits
        )

    def product(
        self,
        layer: str,
        pass_: Pass,
        contraction: Contraction,
        overflows: OverflowStatistics,
        operands: Sequence[tuple[str, Role]],
    ) -> None:
        """See `Tracer`."""
        renamed = [
            (self._named(owner) if (owner, role) in self.recorded else owner, role)
            for owner, role in operands
        ]
        self.tracer.product(self._named(layer), pass_, contraction, overflows, renamed)

    def vector(self, layer: str, pass_: Pass, work: VectorWork) -> None:
        """See `Tracer`."""
        self.tracer.vector(self._named(layer), pass_, work)


@dataclass(slots=True)
class StepContext:
    """What operations see of the step they run in.

    state : the policy's, to which tensors that are cast may add; None where all is decided: at
        inference, and in a replay
    exact, taken : gradients by parameter, as exact sums, and as the update took them
    clipped_gradients, zeroed_gradients : by parameter, how many words a static scale's word did not
        hold, and how many it rounded to zero
    probed : the batch's loss under the policy's probes
    """

    seed: int
    step: int
    training: bool
    policy: PrecisionPolicy[Any]
    decisions: Decisions
    parameters: dict[str, Parameter]
    running: dict[str, RunningStatistics]
    gains: dict[tuple[str, Role], NDArray[np.int64]]
    tracer: Tracer | None = None
    state: State | None = None
    step_info: StepInfo = field(default_factory=StepInfo)
    settled: set[tuple[str, Role]] = field(default_factory=set)
    weights: dict[str, FixedTensor] = field(default_factory=dict)
    exact: dict[str, FixedTensor] = field(default_factory=dict)
    taken: dict[str, FixedTensor] = field(default_factory=dict)
    clipped_gradients: dict[str, int] = field(default_factory=dict)
    zeroed_gradients: dict[str, int] = field(default_factory=dict)
    probed: dict[str, float] = field(default_factory=dict)
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
            owner = ParameterId.parse(name).owner
            self.weights[name] = self.operand(owner, Role.WEIGHT, self.parameters[name].master)
        return self.weights[name]

    def format_of(self, layer: str, role: Role, tensor: FixedTensor) -> OperandFormat:
        """The format in which a tensor, which the policy may look at, becomes an operand."""
        if role is Role.PARTNER:
            layer, role = f"{layer}.{Role.PARTNER}", Role.ACTIVATION
        if self.state is not None and (layer, role) not in self.settled:
            self.settled.add((layer, role))
            changed = self.policy.on_operand(
                self.state, self.step_info, self.decisions, layer, role, tensor
            )
            self.state.update(changed)
        return self.policy.operand_format(self.decisions, layer, role)

    def operand(self, layer: str, role: Role, tensor: FixedTensor) -> FixedTensor:
        """Cast a tensor to the format in which it enters the multiplier array."""
        form = self.format_of(layer, role, tensor)
        like = Role.ACTIVATION if role is Role.PARTNER else role
        key = self.key(layer, role)
        saturated = analysed = 0
        if isinstance(form, TensorFormat):
            # a forward pass names the layer itself
            with naming(f"{role} of layer {layer!r}" if role is Role.ERROR else role):
                result, overflows = casts.quantise_tensor(tensor, form, key)
            saturated = overflows.overflowed
        elif isinstance(form, BlockFormat):
            gain = self.gains.get((layer, role), np.ones((1, 1), np.int64))
            result, seen = block_casts.quantise_blocks(tensor, form, gain, key)
            turns = form.rounds + 1 if isinstance(form, CostAwareBlockFormat) else 1
            analysed = len(form.candidates) * turns
            # relative to the tensor, so that layers count alike whatever their scale
            self.sensitivity[like] = self.sensitivity.get(like, 0) + (
                seen.sensitivity << 16
            ) // max(seen.signal, 1)
            self.signal[like] = self.signal.get(like, 0) + (1 << 16)
        elif isinstance(form, TanhFormat):
            result = quantisers.tanh_levels(tensor, form)
        else:
            result = quantisers.clipped_levels(tensor, form, self.clipping_level(layer, form))
        self._count(like, result)
        if self.tracer is not None:
            source = self.stored_bits if role is Role.WEIGHT else VECTOR_BITS
            if role is Role.WEIGHT and not self.training:  # it was cast when it was stored
                source = analysed = 0
            self.tracer.operand(layer, role, result, tensor, saturated, analysed, source)
        return result

    @property
    def stored_bits(self) -> int:
        """The word length in which weight matrices are kept."""
        decided = self.decisions
        if isinstance(decided, GridDecisions):
            return decided.stored_bits
        return self.policy.update_formats.master.bits

    def clipping_level(self, layer: str, form: ClippedFormat) -> Fraction:
        """The learned clipping level of a layer's input, a parameter since it was first asked."""
        name = f"{layer}{CLIP}.alpha"
        if name not in self.parameters:
            if not self.training:
                raise FormatError(
                    f"no clipping level {name!r}: these weights are of another policy"
                )
            first = np.array([form.alpha << MASTER.frac], np.int32)
            self.parameters[name] = Parameter(
                FixedTensor.trusted(first, MASTER),
                FixedTensor.trusted(np.zeros(1, np.int32), update.MOMENTUM),
            )
        code = int(self.working_copy(name, CLIPPING)[0])
        return Fraction(max(code, 1), 1 << CLIPPING.frac)

    def _count(self, role: Role, operand: FixedTensor) -> None:
        assert operand.blocks is not None
        bits = sum(b * n for b, n in elements_by_bits(operand.blocks).items())
        self.word_bits[role] = self.word_bits.get(role, 0) + bits
        self.words[role] = self.words.get(role, 0) + operand.codes.size

    def gradient(self, name: str, exact: FixedTensor) -> None:
        """Add to a parameter's gradient, in exact sums."""
        sum_so_far = self.exact.get(name)
        self.exact[name] = exact if sum_so_far is None else _exact_sum(sum_so_far, exact)

    def gradients(self) -> Iterator[tuple[str, FixedTensor]]:
        """Each parameter's gradient as the update takes it."""
        policy = self.policy
        for name, exact in self.exact.items():
            parameter = ParameterId.parse(name)
            if parameter.is_weight:
                master = self.parameters[name].master
                form = policy.operand_format(self.decisions, parameter.owner, Role.WEIGHT)
                if isinstance(form, TanhFormat):
                    exact = quantisers.tanh_slope(to_int16(exact), master, form)
                if policy.l1_decay:
                    exact = update.plus_sign(exact, master, policy.l1_decay)
            target = policy.gradient_format(self.decisions, name)
            key = self.key(name, Role.WEIGHT_GRADIENT)
            with naming(f"gradient of {name!r}"):
                rounded, lost = casts.quantise_tensor(exact, target, key, operand=False)
            if target.frac is not None:  # a dynamic scale loses what rounding loses, and no more
                self.clipped_gradients[name] = lost.overflowed
                before, after = (np.count_nonzero(x.codes) for x in (exact, rounded))
                self.zeroed_gradients[name] = int(before - after)
            yield name, update.normalised(rounded) if policy.normalises_gradients else rounded

    def on_gradient(self, layer: str, role: Role, gradient: FixedTensor) -> None:
        """Show the policy the gradient of an operand, for the sensitivities of the next step."""
        gains = self.policy.on_gradient(self.gains.get((layer, role)), role, gradient)
        if gains is not None:
            self.gains[layer, role] = gains

    def working_copy(self, name: str, target: FixedPoint) -> NDArray[np.int64]:
        """A parameter's codes in a fixed format of the vector unit."""
        return casts.cast(self.parameters[name].master, target)[0].codes.astype(np.int64)

    def product(
        self,
        layer: str,
        pass_: Pass,
        contraction: Contraction,
        overflows: OverflowStatistics,
        *operands: tuple[str, Role],
    ) -> None:
        """Tell the tracer of a product."""
        if self.tracer is not None:
            self.tracer.product(layer, pass_, contraction, overflows, operands)

    def vector(self, layer: str, pass_: Pass, work: VectorWork) -> None:
        """Tell the tracer of elementwise work; inference stashes nothing."""
        if self.tracer is not None:
            stash = work.stash_write_bits if self.training else 0
            self.tracer.vector(layer, pass_, replace(work, stash_write_bits=stash))


def _exact_sum(a: FixedTensor, b: FixedTensor) -> FixedTensor:
    """a + b in 62 bits at the finer scale, at most 16 bits finer than the coarser."""
    fracs = (a.format.frac, b.format.frac)
    target = FixedPoint(62, min(max(fracs), min(fracs) + 16))
    left, right = (casts.cast(x, target)[0].codes for x in (a, b))
    return FixedTensor.trusted(left + right, target)
