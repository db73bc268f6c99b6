"""The weight update on integer state: SGD, Adam and AdamW, and clipping of gradients.

A gradient keeps the words that it has. Momentum and moments have the words of an
`UpdateFormats`: their dynamic scales follow from a bound on the new values, which is known before
the first of them is computed, so that a step is one pass and no word overflows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import isqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fxsim.engine import casts
from fxsim.engine.kernels import update
from fxsim.engine.tensor import FixedTensor
from fxsim.engine.threads import split
from fxsim.errors import FormatError, ShapeError
from fxsim.numerics.formats import Cast, FixedPoint, Overflow, Rounding
from fxsim.numerics.operand_formats import TensorFormat
from fxsim.numerics.scale import nearest_multiplier
from fxsim.numerics.state_formats import (
    FINEST,
    MASTER,
    MAX_MOMENT_BITS,
    StateFormat,
    UpdateFormats,
    finest_frac,
)

MOMENTUM = FixedPoint(32, 24)  # of a velocity that is zero, and of normalised gradients
DEFAULT = UpdateFormats()
RATE_FRAC = 40  # of a step's learning rate, as it is decided and recorded
RATE_BITS = 24  # of a rate's multiplier
FRICTION_BITS = 30
GUARD = int(update.GUARD)
NORM_FRAC = 6  # of a norm, beyond those of its codes
FACTOR_BITS = 15  # of the factor that clips gradients
SIGN_BITS = 12  # of the factor of an L1 decay


class Multiplier(NamedTuple):
    """A non-negative rate, `code * 2**-places`."""

    code: int
    places: int

    @property
    def value(self) -> Fraction:
        """The rate, exactly."""
        return self.code / Fraction(2) ** self.places


def multiplier(value: Fraction, bits: int = RATE_BITS) -> Multiplier:
    """The nearest multiplier of `bits` bits with its top bit set: within 2**-bits of the rate."""
    return Multiplier(*nearest_multiplier(value, bits)) if value else Multiplier(0, 0)


def rate_code(rate: Fraction) -> int:
    """A learning rate as it is decided and recorded: nearest, ties up."""
    return int((2 * rate * (1 << RATE_FRAC) + 1) // 2)


def rate_of(code: int) -> Fraction:
    """A recorded learning rate."""
    return Fraction(code, 1 << RATE_FRAC)


@dataclass(frozen=True, slots=True)
class Updated:
    """What a step leaves of a parameter.

    master, momentum, square : its new state; square: Adam's second moment
    overflowed : momenta or moments that lay outside their static scale's word
    saturated : weights that lay outside the master's word
    vanished : gradients other than zero that moved no weight because of rounding. Steps that are
        rounded stochastically do not count, for they move it now and then
    """

    master: FixedTensor
    momentum: FixedTensor
    overflowed: int
    saturated: int
    vanished: int
    square: FixedTensor | None = None


@dataclass(frozen=True, slots=True)
class SgdConstants:
    """The constants of a step; the rates become multipliers.

    friction : momentum coefficient, below 1; rate, decay : learning rate and weight decay
    """

    friction: Fraction
    rate: Fraction
    decay: Fraction = Fraction(0)
    nesterov: bool = False
    formats: UpdateFormats = DEFAULT


def sgd(
    master: FixedTensor,
    momentum: FixedTensor,
    gradient: FixedTensor,
    constants: SgdConstants,
    keys: tuple[int, int] = (0, 0),
) -> Updated:
    """The weights and the momentum after one step.

    Parameters
    ----------
    master : weights, 32 bits with 26 fractional
    momentum, gradient : at most 32 bits, at any scale
    keys : of the draws that round momentum and step

    Raises
    ------
    FormatError : for values far outside a static scale
    ShapeError : for state or a gradient of another shape than the weights'

    Source: Sutskever et al., ICML 2013, in the form of PyTorch's SGD (no dampening).
    """
    _alike(master, momentum, gradient)
    formats = constants.formats
    friction = multiplier(constants.friction, FRICTION_BITS)
    rate, decay = multiplier(constants.rate), multiplier(constants.decay)
    bound = friction.value * _largest(momentum) + _largest(gradient)
    if decay.code:
        bound += decay.value * _largest(master)
    new = _chosen("momentum", formats.momentum, bound, momentum.format, GUARD)
    fine, own = new.frac + GUARD, formats.master
    weights, velocity = _copies(master, momentum, np.int32)
    parts = split(
        update.sgd_range,
        weights.size,
        8,
        weights.reshape(-1),
        velocity.reshape(-1),
        np.ascontiguousarray(gradient.codes).reshape(-1),
        friction.code,
        momentum.format.frac + friction.places - fine,
        friction.places - GUARD,
        rate.code,
        new.frac + rate.places - own.frac,
        decay.code,
        MASTER.frac + decay.places - fine,
        gradient.format.frac - fine,
        new.bits,
        _overflow(formats.momentum),
        constants.nesterov,
        (int(formats.momentum.rounding), int(formats.rounding)),
        tuple(np.uint64(key) for key in keys),
        MASTER.frac - own.frac,
        own.bits,
    )
    counts = _counts(parts, master.shape, formats.momentum)
    return Updated(
        FixedTensor.trusted(weights, MASTER), FixedTensor.trusted(velocity, new), *counts
    )


@dataclass(frozen=True, slots=True)
class AdamConstants:
    """The constants of a step, as multipliers; rate and epsilon with the bias corrections.

    fades : 1 - beta of both moments; pull : rate * weight decay (AdamW);
    decay : added to the gradient (Adam with L2)
    """

    fades: tuple[Multiplier, Multiplier]
    rate: Multiplier
    epsilon: Multiplier
    pull: Multiplier
    decay: Multiplier

    @classmethod
    def of(
        cls,
        betas: tuple[Fraction, Fraction],
        epsilon: Fraction,
        rate: Fraction,
        decay: Fraction,
        decoupled: bool,
        step: int,
    ) -> AdamConstants:
        """Of step number `step` (from 0).

        Source: Kingma and Ba, arXiv 1412.6980, end of section 2; decoupled: Loshchilov and Hutter,
        arXiv 1711.05101. Powers of beta are taken at 64 fractional bits, roots rounded down.
        """
        one = 1 << 64
        first, second = (one - _power(round(beta * one), step + 1) for beta in betas)
        root = isqrt(second << 64)
        none = Multiplier(0, 0)
        fades = (
            multiplier(1 - betas[0], update.FADE_BITS),
            multiplier(1 - betas[1], update.FADE_BITS),
        )
        return cls(
            fades,
            multiplier(rate * Fraction(root, first)),
            multiplier(epsilon * Fraction(root, one)),
            multiplier(rate * decay) if decoupled else none,
            none if decoupled else multiplier(decay),
        )


def _power(base: int, exponent: int) -> int:
    """base**exponent at 64 fractional bits, each product rounded down."""
    result, square = 1 << 64, base
    while exponent:
        if exponent & 1:
            result = result * square >> 64
        square = square * square >> 64
        exponent >>= 1
    return result


def adam(
    master: FixedTensor,
    first: FixedTensor,
    second: FixedTensor,
    gradient: FixedTensor,
    constants: AdamConstants,
    formats: UpdateFormats = DEFAULT,
    keys: tuple[int, int, int] = (0, 0, 0),
) -> Updated:
    """The weights and both moments after one step.

    Parameters
    ----------
    master : weights, 32 bits with 26 fractional
    first, second : moments of at most 62 bits, at any scale; gradient : of at most 32
    keys : of the draws that round the moments and the step

    Raises
    ------
    FormatError : for values far outside a static scale
    ShapeError : for state or a gradient of another shape than the weights'
    """
    _alike(master, first, second, gradient)
    c, own = constants, formats.master
    bound = _largest(gradient) + (c.decay.value * _largest(master) if c.decay.code else 0)
    g = finest_frac(bound, 32) if bound else gradient.format.frac
    bounds = (max(_largest(first), bound), max(_largest(second), bound * bound))
    sums = [  # the moments are summed in wide words, those of the first may be of both signs
        finest_frac(most, bits, FINEST + GUARD) if most else own_frac
        for most, bits, own_frac in zip(
            bounds,
            (MAX_MOMENT_BITS - 1, MAX_MOMENT_BITS),
            (first.format.frac, second.format.frac),
            strict=True,
        )
    ]
    new = [
        _chosen("first moment", formats.first, bounds[0], first.format, 0),
        _chosen("second moment", formats.second, bounds[1], second.format, 0),
    ]
    weights, m = _copies(master, first, np.int64)
    v = np.array(second.codes, np.int64, order="C")
    fine = own.frac + GUARD
    parts = split(
        update.adam_range,
        weights.size,
        64,
        weights.reshape(-1),
        m.reshape(-1),
        v.reshape(-1),
        np.ascontiguousarray(gradient.codes).reshape(-1),
        (gradient.format.frac - g, g - sums[0]),
        c.decay.code,
        MASTER.frac + c.decay.places - g,
        tuple(fade.code for fade in c.fades),
        tuple(fade.places for fade in c.fades),
        (first.format.frac - sums[0], second.format.frac - sums[1]),
        (sums[0] - new[0].frac, sums[1] - new[1].frac),
        (new[0].frac, new[1].frac),
        2 * g - sums[1],
        (new[0].bits, new[1].bits),
        (_overflow(formats.first), _overflow(formats.second)),
        (int(formats.first.rounding), int(formats.second.rounding), int(formats.rounding)),
        tuple(np.uint64(key) for key in keys),
        *c.epsilon,
        c.rate.code,
        c.rate.places - fine,
        c.pull.code,
        MASTER.frac + c.pull.places - fine,
        MASTER.frac - own.frac,
        own.bits,
    )
    counts = _counts(parts, master.shape, formats.first, formats.second)
    moments = FixedTensor.trusted(m, new[0]), FixedTensor.trusted(v, new[1])
    return Updated(FixedTensor.trusted(weights, MASTER), moments[0], *counts, moments[1])


def _largest(tensor: FixedTensor) -> Fraction:
    """The largest magnitude of a tensor's values."""
    return casts.peak(tensor.codes) / Fraction(2) ** tensor.format.frac


def _copies(
    master: FixedTensor, state: FixedTensor, kind: type[np.signedinteger]
) -> tuple[NDArray[np.int32], NDArray[np.signedinteger]]:
    """Weights and state, to be overwritten through flat views, and so in C order."""
    return np.array(master.codes, np.int32, order="C"), np.array(state.codes, kind, order="C")


def _alike(master: FixedTensor, *others: FixedTensor) -> None:
    """Refuse state and gradients that are not of the weights' shape."""
    for other in others:
        if other.shape != master.shape:
            raise ShapeError(
                f"update: momentum, moments and gradient must have the weights' shape,"
                f" {list(master.shape)}, not {list(other.shape)}"
            )


def _overflow(form: StateFormat) -> int:
    """Of a state's words; a dynamic scale holds all values but for the lack of a spare code."""
    return int(Overflow.SAT if form.frac is None else form.overflow)


def _counts(
    parts: Sequence[tuple[int, int, int, int]], shape: tuple[int, ...], *forms: StateFormat
) -> tuple[int, int, int]:
    """What overflowed, saturated and vanished; an overflow that is to be an error is one."""
    overflowed, saturated, vanished = (sum(part[i] for part in parts) for i in range(3))
    if overflowed and any(_overflow(form) == Overflow.ERROR for form in forms):
        first = next(part[3] for part in parts if part[3] >= 0)
        raise FormatError(
            f"{overflowed} words of its momentum or moments do not fit their static format; the"
            f" first is element {casts.element(first, shape)}"
        )
    return overflowed, saturated, vanished


def _chosen(
    what: str, form: StateFormat, bound: Fraction, old: FixedPoint, guard: int
) -> FixedPoint:
    """A step's format, whose sums, `guard` places finer, stay inside 62 bits."""
    new = form.chosen(bound, old)
    if bound * Fraction(2) ** (new.frac + guard) >= 1 << (MAX_MOMENT_BITS - 1):
        raise FormatError(
            f"{what}: values of up to {float(bound):.3g} lie far outside {new.bits} bits with"
            f" {new.frac} fractional; training has diverged, or needs a dynamic scale"
        )
    return new


def on_master_grid(codes: NDArray[np.int64], own: FixedPoint) -> NDArray[np.int64]:
    """Initial weights (26 fractional bits) at the nearest words of a master format, ties to even.

    Raises
    ------
    FormatError : for a weight that the words do not hold
    """
    if own == MASTER:
        return codes
    tensor = FixedTensor.trusted(codes, MASTER)
    words, _ = casts.cast(tensor, Cast(own, Rounding.RND_CONV, Overflow.ERROR))
    return words.codes.astype(np.int64) << (MASTER.frac - own.frac)


def clip_factor(gradients: Sequence[FixedTensor], limit: Fraction) -> tuple[int, int] | None:
    """(factor, shift) that brings the gradients' common norm down to `limit`; None if below.

    The norm is an exact sum of squares and an integer root, rounded down; the factor has 15 bits,
    rounded down.
    """
    finest = max(gradient.format.frac for gradient in gradients)
    total = 0
    for gradient in gradients:
        total += _squares(gradient) << 2 * (finest - gradient.format.frac)
    norm = isqrt(total)
    scaled = limit * (1 << finest) if finest >= 0 else limit / (1 << -finest)
    if norm <= scaled:
        return None
    shift = 0
    while scaled * (1 << shift) / norm < 1 << (FACTOR_BITS - 1):
        shift += 1
    return int(scaled * (1 << shift) / norm), shift


def normalised(gradient: FixedTensor) -> FixedTensor:
    """A gradient over its own L2 norm, 24 fractional bits; zeros stay.

    The norm is an exact sum of squares and an integer root, rounded down to 31 bits; the quotient
    is rounded down in magnitude.
    """
    norm = isqrt(_squares(gradient) << 2 * NORM_FRAC)  # NORM_FRAC fractional bits more
    if not norm:
        return FixedTensor.trusted(np.zeros(gradient.shape, np.int32), MOMENTUM)
    codes = gradient.codes.astype(np.int64)
    share = (np.abs(codes) << (MOMENTUM.frac + NORM_FRAC)) // norm
    return FixedTensor.trusted((np.sign(codes) * share).astype(np.int32), MOMENTUM)


def plus_sign(gradient: FixedTensor, weight: FixedTensor, factor: Fraction) -> FixedTensor:
    """gradient + factor * sign(weight), at a scale that gives the factor 12 bits where 62 allow."""
    frac, wanted = gradient.format.frac, multiplier(factor, SIGN_BITS).places
    room = MAX_MOMENT_BITS - 2 - casts.bit_length(casts.peak(gradient.codes))
    finer = min(max(wanted - frac, 0), max(room, 0))
    step = round(factor * Fraction(2) ** (frac + finer))
    codes = gradient.codes.astype(np.int64) << finer
    codes += step * np.sign(weight.codes.astype(np.int64))
    return FixedTensor.trusted(codes, FixedPoint(MAX_MOMENT_BITS, frac + finer))


def _squares(tensor: FixedTensor) -> int:
    """The exact sum of squares of codes of at most 32 bits."""
    codes = np.ascontiguousarray(tensor.codes, np.int64).reshape(-1)
    high, low = codes >> 16, codes & 0xFFFF
    parts = [int((a * b).sum()) for a, b in ((high, high), (high, low), (low, low))]
    return (parts[0] << 32) + (parts[1] << 17) + parts[2]


def clipped(gradient: FixedTensor, factor: int, shift: int) -> FixedTensor:
    """gradient * factor * 2**-shift, to nearest even, in its bits at a scale that fits."""
    product = FixedTensor.trusted(
        gradient.codes.astype(np.int64) * factor, FixedPoint(48, gradient.format.frac + shift)
    )
    fitting = TensorFormat(gradient.format.bits)
    return casts.quantise_tensor(product, fitting, key=0, operand=False)[0]
