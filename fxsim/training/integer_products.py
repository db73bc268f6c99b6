"""Products in integers, and what all operations on integer tensors share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from fractions import Fraction
from math import ceil
from typing import Any

import numpy as np

from fxsim.engine import casts, quantisers, vector_int16
from fxsim.engine.contractions import Contraction, Pairwise, Product
from fxsim.engine.epilogue import Epilogue
from fxsim.engine.rescale import rescale
from fxsim.engine.tensor import FixedTensor
from fxsim.engine.vector_int16 import VECTOR_BITS
from fxsim.identifiers import ParameterId, Pass, Role
from fxsim.numerics.formats import FixedPoint
from fxsim.numerics.operand_formats import ClippedFormat
from fxsim.numerics.scale import Scale
from fxsim.training.context import CLIP, StepContext, VectorWork
from fxsim.training.tape import Tape, Value

Int16Value = Value[FixedTensor]


def _sum(a: FixedTensor, b: FixedTensor) -> FixedTensor:
    return vector_int16.add(vector_int16.to_int16(a), vector_int16.to_int16(b))


def _worth(sums: FixedTensor, *operands: FixedTensor) -> FixedTensor:
    """Sums of products of scaled operands, times the scales' product cut to 15 bits."""
    share = quantisers.worth(*operands)
    if share == 1:
        return sums
    scale = Scale.nearest(share, quantisers.SLOPE_BITS)
    wide = casts.cast(sums, FixedPoint(62 - quantisers.SLOPE_BITS, sums.format.frac))[0]
    codes = wide.codes * np.int64(scale.multiplier)
    return FixedTensor.trusted(codes, FixedPoint(62, sums.format.frac + scale.shift))


def _bias_in(bias: FixedTensor, frac: int, share: Fraction) -> FixedTensor:
    """A bias as codes of sums that are worth `share` each."""
    target = FixedPoint(48, frac)
    if share == 1:
        return casts.cast(bias, target)[0]
    factor = Fraction(2) ** (frac - bias.format.frac) / share
    return rescale(bias, Scale.nearest(factor, quantisers.SCALE_BITS), target)[0]


class IntegerProducts(ABC):
    """The products of `fxsim.training.operations.Operations`, in one step's context."""

    def __init__(self, context: StepContext) -> None:
        self.context = context
        self.tape: Tape[FixedTensor] = Tape(_sum)

    def product(
        self, name: str, x: Int16Value, contraction: Contraction, weight: str, bias: str | None
    ) -> Int16Value:
        context, policy = self.context, self.context.policy
        owner = ParameterId.parse(weight).owner
        if isinstance(form := context.format_of(name, Role.ACTIVATION, x.tensor), ClippedFormat):
            context.clipping_level(name, form)  # a parameter from now on
            x = self.learned_clip(f"{name}{CLIP}", x)
        elif (most := policy.input_limit(context.decisions, name)) is not None:
            x = self.clip(f"{name}{CLIP}", x, most)
        a = context.operand(name, Role.ACTIVATION, x.tensor)
        w = context.weight(weight)
        start = None if bias is None else context.parameters[bias].master
        out = self._forward(name, contraction, a, w, start, (owner, Role.WEIGHT))

        def backward(errors: list[FixedTensor]) -> list[FixedTensor | None]:
            e = context.operand(name, Role.ERROR, errors[0])
            gradient = self._grad_right(name, contraction, a, e)
            context.gradient(weight, gradient)
            context.on_gradient(owner, Role.WEIGHT, gradient)
            if bias is not None:
                context.gradient(bias, vector_int16.column_sums(e))
                self._work(name, Pass.BACKWARD, e.codes.size, adds=1, writes=0)
            if not x.needs:
                return [None]
            back = self._back(name, contraction, e, w, (owner, Role.WEIGHT))
            context.on_gradient(name, Role.ACTIVATION, back)
            return [back]

        return self._record(out, [x], backward, trained=True)

    def pairwise(self, name: str, x: Int16Value, y: Int16Value) -> Int16Value:
        context, contraction = self.context, Pairwise()
        a = context.operand(name, Role.ACTIVATION, x.tensor)
        b = context.operand(name, Role.PARTNER, y.tensor)
        out = self._forward(name, contraction, a, b, None, (name, Role.PARTNER))

        def backward(errors: list[FixedTensor]) -> list[FixedTensor | None]:
            e = context.operand(name, Role.ERROR, errors[0])
            other = self._grad_right(name, contraction, a, e)
            back = self._back(name, contraction, e, b, (name, Role.PARTNER))
            return [back, vector_int16.to_int16(other)]

        return self._record(out, [x, y], backward)

    def _grad_right(
        self, name: str, contraction: Contraction, a: FixedTensor, e: FixedTensor
    ) -> FixedTensor:
        """The right operand's gradient, in exact sums."""
        sums, overflows = contraction.grad_weight(a, e, self.context.policy.accumulator, None)
        operands = ((name, Role.ACTIVATION), (name, Role.ERROR))
        self.context.product(name, Pass.GRAD_WEIGHT, contraction, overflows, *operands)
        return _worth(sums, a, e)

    def _forward(
        self,
        name: str,
        contraction: Contraction,
        a: FixedTensor,
        w: FixedTensor,
        bias: FixedTensor | None,
        right: tuple[str, Role],
    ) -> FixedTensor:
        bound = contraction.forward_bound(a, w)
        form = self.context.policy.result_format(self.context.decisions, name)
        if bias is not None and form is not None:
            key = self.context.key(name, "bias")
            bias = casts.quantise_tensor(bias, form, key, operand=False)[0]
        out, overflows = self._words_of(contraction.forward, a, w, bound, bias)
        if form is not None:
            out = casts.quantise_tensor(out, form, self.context.key(name, "result"), False)[0]
        operands = ((name, Role.ACTIVATION), right)
        self.context.product(name, Pass.FORWARD, contraction, overflows, *operands)
        if bias is not None:
            self._work(name, Pass.FORWARD, out.codes.size, adds=1)
        return out

    def _back(
        self,
        name: str,
        contraction: Contraction,
        e: FixedTensor,
        w: FixedTensor,
        right: tuple[str, Role],
    ) -> FixedTensor:
        bound = contraction.backward_bound(e, w)
        back, overflows = self._words_of(contraction.grad_input, e, w, bound, None)
        self.context.product(
            name, Pass.GRAD_INPUT, contraction, overflows, (name, Role.ERROR), right
        )
        return back

    def _words_of(
        self,
        run: Callable[..., Product],
        a: FixedTensor,
        w: FixedTensor,
        bound: int,
        bias: FixedTensor | None,
    ) -> Product:
        """A product as words: at the scale that its bound proves, or that its largest sum needs."""
        accumulator = self.context.policy.accumulator
        sums = accumulator.register(a.format.frac + w.format.frac)
        bound = min(bound, sums.max_code + 1)
        share = quantisers.worth(a, w)
        start = None
        if bias is not None:
            start = _bias_in(bias, sums.frac, share)
            bound += casts.peak(start.codes)
        if self.context.policy.word_scale == "bound":
            frac = vector_int16.sum_frac(ceil(bound * share), sums.frac)
            scale = None
            if share != 1:
                factor = share * Fraction(2) ** (frac - sums.frac)
                scale = Scale.nearest(factor, quantisers.SCALE_BITS)
            return run(
                a, w, accumulator, Epilogue(FixedPoint(VECTOR_BITS, frac), bias=start, scale=scale)
            )
        wide = FixedPoint(min(bound.bit_length() + 1, 62), sums.frac)
        exact, overflows = run(a, w, accumulator, Epilogue(wide, bias=start))
        return vector_int16.to_int16(_worth(exact, a, w)), overflows

    @abstractmethod
    def clip(self, name: str, x: Int16Value, most: int) -> Int16Value:
        """See `fxsim.training.operations.Operations`."""

    @abstractmethod
    def learned_clip(self, name: str, x: Int16Value) -> Int16Value:
        """See `fxsim.training.operations.Operations`."""

    # --- what all share ----------------------------------------------------------------------

    def _record(
        self,
        out: FixedTensor,
        inputs: Sequence[Value[Any]],
        backward: Callable[[list[FixedTensor]], Sequence[FixedTensor | None]],
        trained: bool = False,
    ) -> Int16Value:
        needs = trained or any(value.needs for value in inputs)
        made = Value(out, needs)
        if needs and self.context.training:
            self.tape.record([made], list(inputs), backward)
        return made

    def _work(  # noqa: PLR0913
        self,
        name: str,
        pass_: Pass,
        elements: int,
        adds: int = 0,
        multiplies: int = 0,
        reads: int = 1,
        writes: int = 1,
        stash: int = 0,
        fetched: int = 0,
        resident: bool = False,
        saturated: int = 0,
    ) -> None:
        """Elementwise work: words read and written an element, bits stashed and fetched.

        It takes more than seven parameters: they are counts, of which a layer has a few.
        """
        self.context.vector(
            name,
            pass_,
            VectorWork(
                elements,
                adds,
                multiplies,
                reads * VECTOR_BITS * elements,
                writes * VECTOR_BITS * elements,
                stash * elements,
                fetched * elements,
                VECTOR_BITS * elements * resident,
                saturated,
            ),
        )
