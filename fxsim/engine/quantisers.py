"""Uniform quantisers whose step is no power of two, as scaled integers: DoReFa's and PACT's.

Codes are small integers; what they are worth is `codes * scale` with an integer multiplier and a
shift, so a product of two such operands is an integer product with one multiplication a result.
The specification is `fxsim.numerics.specification_vector`.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from fxsim.engine import casts
from fxsim.engine.rescale import rescale
from fxsim.engine.softmax import POWERS
from fxsim.engine.tensor import FixedTensor, storage
from fxsim.numerics.block_map import BlockMap
from fxsim.numerics.formats import FixedPoint
from fxsim.numerics.operand_formats import ClippedFormat, TanhFormat
from fxsim.numerics.scale import Scale

TANH_FRAC = 30
SCALE_BITS = 24  # of multipliers
SLOPE_BITS = 15
_TWO_LOG2_E = 3098164010  # round(2 * log2(e) * 2**30)
_LARGEST_OCTAVE = 40  # beyond which exp(-2|x|) is 0 at 30 fractional bits


def tanh(tensor: FixedTensor) -> NDArray[np.int64]:
    """tanh of codes of at most 32 bits, with 30 fractional bits.

    (1 - p) / (1 + p) with p = exp(-2|x|) by softmax's base-2 table, linear in between: within
    2**-19 of the exact value, for inputs with at most 30 fractional bits.
    """
    codes = tensor.codes.astype(np.int64)
    shift = tensor.format.frac + 30 - 24
    exponent = np.abs(codes) * (_TWO_LOG2_E >> 2) >> (shift - 2)  # 24 fractional bits
    octave = np.minimum(exponent >> 24, _LARGEST_OCTAVE)
    knot, rest = exponent >> 16 & 255, exponent & 0xFFFF
    power = POWERS[knot] - ((POWERS[knot] - POWERS[knot + 1]) * rest >> 16) >> octave
    one = np.int64(1 << TANH_FRAC)
    codes_of_tanh: NDArray[np.int64] = np.sign(codes) * (
        ((one - power) << TANH_FRAC) // (one + power)
    )
    return codes_of_tanh


def tanh_levels(master: FixedTensor, form: TanhFormat) -> FixedTensor:
    """DoReFa's weights: 2 * q(tanh(w) / (2 M) + 1/2) - 1 with M = max|tanh w|, q to 2**bits levels.

    Codes are 2 * level - (2**bits - 1): odd, symmetric, and exact in a bits-wide multiplier as
    c = (code - 1) / 2 with one more sum over the other operand, which all outputs share. Levels are
    rounded to nearest, ties up. They are worth code * M / (2**bits - 1), or, `unit`, code /
    (2**bits - 1) as printed. One bit is sign(w) * mean|w|, or the sign alone.
    Source: Zhou et al., DoReFa-Net, arXiv 1606.06160, equations 5, 7 and 9.
    """
    rows, columns = master.matrix().shape
    if form.bits == 1:
        codes = np.where(master.codes < 0, -1, 1)
        total, count = int(np.abs(master.codes.astype(np.int64)).sum()), master.codes.size
        worth = Fraction(total, count) / (1 << master.format.frac)
        levels = 1
    else:
        t = tanh(master)
        largest, levels = max(casts.peak(t), 1), (1 << form.bits) - 1
        codes = 2 * (((t + largest) * levels + largest) // (2 * largest)) - levels
        worth = Fraction(largest, 1 << TANH_FRAC)
    worth = Fraction(1) if form.unit else max(worth, Fraction(1, 1 << 26))
    target = FixedPoint(form.bits + 1, 0)
    return FixedTensor.trusted(
        codes.astype(storage(target)),
        target,
        BlockMap.whole(rows, columns, form.bits),
        Scale.nearest(worth / levels, SCALE_BITS),
    )


def tanh_slope(gradient: FixedTensor, master: FixedTensor, form: TanhFormat) -> FixedTensor:
    """The master's gradient from that of `tanh_levels`, the rounding passed straight through.

    gradient : 16-bit words; times 1 - tanh(w)**2, cut to 15 fractional bits, and over M where
    `unit`. M itself is taken as constant. One bit passes everything.
    """
    if form.bits == 1:
        return gradient
    t = tanh(master)
    slope = ((1 << 2 * TANH_FRAC) - t * t) >> (2 * TANH_FRAC - SLOPE_BITS)
    shift = SLOPE_BITS
    if form.unit:
        inverse = Scale.nearest(Fraction(1 << TANH_FRAC, max(casts.peak(t), 1)), SLOPE_BITS)
        slope, shift = slope * inverse.multiplier, SLOPE_BITS + inverse.shift
    exact = gradient.codes.astype(np.int64) * slope
    return FixedTensor.trusted(exact, FixedPoint(48, gradient.format.frac + shift))


def clipped_levels(x: FixedTensor, form: ClippedFormat, alpha: Fraction) -> FixedTensor:
    """PACT's activations: round(x * (2**bits - 1) / alpha), limited to 0 and 2**bits - 1.

    x : words; the multiplier has 24 bits; ties are rounded up.
    Source: Choi et al., PACT, arXiv 1805.06085, equations 1 and 2.
    """
    levels = (1 << form.bits) - 1
    step = alpha / levels
    to_code = Scale.nearest(1 / (step * Fraction(2) ** x.format.frac), SCALE_BITS)
    levels_tensor, _ = rescale(x, to_code, FixedPoint(form.bits, 0, False))
    target = FixedPoint(form.bits + 1, 0)
    rows, columns = x.matrix().shape
    return FixedTensor.trusted(
        levels_tensor.codes.astype(storage(target)),
        target,
        BlockMap.whole(rows, columns, form.bits),
        Scale.nearest(step, SCALE_BITS),
    )


def worth(*operands: FixedTensor) -> Fraction:
    """The product of the operands' scales."""
    product = Fraction(1)
    for operand in operands:
        if operand.scale is not None:
            product *= operand.scale.value
    return product
