"""The weight update on integer state: SGD, Adam and AdamW, and clipping of gradients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import isqrt

import numpy as np

from fxsim.engine import casts
from fxsim.engine.kernels import update
from fxsim.engine.tensor import FixedTensor
from fxsim.engine.threads import split
from fxsim.numerics.formats import FixedPoint, Rounding

MASTER = FixedPoint(32, 26)
MOMENTUM = FixedPoint(32, 24)
FIRST = FixedPoint(40, 36)
SECOND = FixedPoint(62, 56)
ADAM_GRADIENT = FixedPoint(31, 28)
RATE_FRAC = 20
FRICTION_FRAC = 15
NORM_FRAC = 6  # of a norm, beyond those of its codes
FACTOR_BITS = 15  # of the factor that clips gradients


def constant(value: Fraction, frac: int) -> int:
    """A non-negative constant as a code with `frac` fractional bits, nearest, ties up."""
    return int((2 * value * (1 << frac) + 1) // 2)


@dataclass(frozen=True, slots=True)
class SgdConstants:
    """The constants of one step, as codes.

    friction : momentum coefficient, 15 fractional bits; rate, decay : 20 fractional bits
    rounding : of rate * momentum before it is subtracted
    """

    friction: int
    rate: int
    decay: int
    rounding: Rounding
    nesterov: bool = False


def sgd(
    master: FixedTensor,
    momentum: FixedTensor,
    gradient: FixedTensor,
    constants: SgdConstants,
    key: int,
) -> tuple[FixedTensor, FixedTensor, int]:
    """New (master weights, momentum), and how many sums saturated.

    gradient : any format; cast to the momentum's, 32 bits with 24 fractional

    Source: Sutskever et al., ICML 2013, in the form of PyTorch's SGD (no dampening).
    """
    words = casts.cast(gradient, MOMENTUM, dtype=np.int32)[0].codes.reshape(-1)
    weights, velocity = master.codes.copy(), momentum.codes.copy()
    parts = split(
        update.sgd_range,
        words.size,
        8,
        weights.reshape(-1),
        velocity.reshape(-1),
        np.ascontiguousarray(words),
        constants.friction,
        constants.rate,
        constants.decay,
        constants.nesterov,
        int(constants.rounding),
        np.uint64(key),
    )
    return FixedTensor.trusted(weights, MASTER), FixedTensor.trusted(velocity, MOMENTUM), sum(parts)


@dataclass(frozen=True, slots=True)
class AdamConstants:
    """The constants of one step, as codes; see `kernels.update.adam_range`."""

    fade_first: int
    fade_second: int
    rate: int
    epsilon: int
    pull: int
    decay: int

    @classmethod
    def of(
        cls,
        betas: tuple[Fraction, Fraction],
        epsilon: Fraction,
        rate: int,
        decay: Fraction,
        decoupled: bool,
        step: int,
    ) -> AdamConstants:
        """Of step number `step` (from 0), with the bias corrections in rate and epsilon.

        Source: Kingma and Ba, arXiv 1412.6980, end of section 2; decoupled: Loshchilov and Hutter,
        arXiv 1711.05101. Powers of beta are taken at 64 fractional bits, roots rounded down.
        """
        one = 1 << 64
        first, second = (one - _power(round(beta * one), step + 1) for beta in betas)
        root = isqrt(second << 64)
        corrected = rate * root // first
        return cls(
            constant(1 - betas[0], 16),
            constant(1 - betas[1], 20),
            corrected,
            max(int(epsilon * (1 << 28) * root) >> 64, 1),
            (rate * constant(decay, 26)) >> RATE_FRAC if decoupled else 0,
            0 if decoupled else constant(decay, RATE_FRAC),
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
    rounding: Rounding,
    key: int,
) -> tuple[FixedTensor, FixedTensor, FixedTensor, int]:
    """New (master weights, first moment, second moment), and how many weights saturated.

    gradient : any format; cast to 31 bits with 28 fractional. The root and the quotient are
    integer ones, rounded down: within 2**-28 of themselves and of the quotient.
    """
    words = casts.cast(gradient, ADAM_GRADIENT, dtype=np.int32)[0].codes.reshape(-1)
    weights = master.codes.copy()
    moments = [moment.codes.astype(np.int64) for moment in (first, second)]
    c = constants
    parts = split(
        update.adam_range,
        words.size,
        64,
        weights.reshape(-1),
        *(moment.reshape(-1) for moment in moments),
        np.ascontiguousarray(words),
        c.fade_first,
        c.fade_second,
        c.rate,
        c.epsilon,
        c.pull,
        c.decay,
        int(rounding),
        np.uint64(key),
    )
    return (
        FixedTensor.trusted(weights, MASTER),
        FixedTensor.trusted(moments[0], FIRST),
        FixedTensor.trusted(moments[1], SECOND),
        sum(parts),
    )


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
    """gradient + factor * sign(weight), the factor rounded to the gradient's scale."""
    step = round(factor * Fraction(2) ** gradient.format.frac)
    codes = gradient.codes.astype(np.int64) + step * np.sign(weight.codes.astype(np.int64))
    return FixedTensor.trusted(codes, FixedPoint(62, gradient.format.frac))


def _squares(tensor: FixedTensor) -> int:
    """The exact sum of squares of codes of at most 32 bits."""
    codes = np.ascontiguousarray(tensor.codes, np.int64).reshape(-1)
    high, low = codes >> 16, codes & 0xFFFF
    parts = [int((a * b).sum()) for a, b in ((high, high), (high, low), (low, low))]
    return (parts[0] << 32) + (parts[1] << 17) + parts[2]


def clipped(gradient: FixedTensor, factor: int, shift: int) -> FixedTensor:
    """gradient * factor * 2**-shift, to nearest even, at the gradient's own scale."""
    product = FixedTensor.trusted(
        gradient.codes.astype(np.int64) * factor, FixedPoint(48, gradient.format.frac + shift)
    )
    return casts.cast(product, gradient.format)[0]
