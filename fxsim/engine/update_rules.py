"""Weight updates that are no gradient descent in wide words: WAGE's and NITI's.

Both keep the weights themselves in few bits, on a grid of 2**-grid, with no wider copy: master
codes are multiples of that step. The specification is `fxsim.numerics.specification_vector`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fxsim.engine import casts
from fxsim.engine.casts import bit_length
from fxsim.engine.tensor import FixedTensor
from fxsim.numerics.formats import Cast, FixedPoint, Rounding
from fxsim.numerics.state_formats import MASTER

RATE_FRAC = 24


def nearest_octave(code: int) -> int:
    """round(log2(code)), exactly; 0 for 0."""
    if not code:
        return 0
    floor = code.bit_length() - 1
    return floor + (code * code >= 1 << (2 * floor + 1))


def moved(master: FixedTensor, steps: NDArray[np.int64], grid: int, bits: int) -> FixedTensor:
    """Master weights `steps` grid steps lower, limited to the `bits`-bit words but the lowest."""
    shift, most = MASTER.frac - grid, (1 << (bits - 1)) - 1
    units = np.clip((master.codes.astype(np.int64) >> shift) - steps, -most, most)
    return FixedTensor.trusted((units << shift).astype(np.int32), MASTER)


def wage(
    master: FixedTensor, gradient: FixedTensor, rate: int, grid: int, bits: int, key: int
) -> FixedTensor:
    """Weights less round(rate * g / 2**round(log2 max|g|)) grid steps, stochastically.

    rate : 24 fractional bits, at most 128
    Source: Wu et al., WAGE, arXiv 1802.04680, equations 10 to 13.
    """
    largest = casts.peak(gradient.codes)
    if not largest:
        return master
    scaled = FixedTensor.trusted(
        gradient.codes.astype(np.int64) * rate, FixedPoint(63, RATE_FRAC + nearest_octave(largest))
    )
    steps, _ = casts.cast(scaled, Cast(FixedPoint(32, 0), Rounding.STOCHASTIC), key)
    return moved(master, steps.codes, grid, bits)


def niti(
    master: FixedTensor, gradient: FixedTensor, gradient_bits: int, grid: int, bits: int
) -> FixedTensor:
    """Weights less the gradient's highest bits, as grid steps, whatever its exponent.

    gradient_bits : how many of them

    The rest rounds pseudo-stochastically, see `pseudo_stochastic`.
    Source: Wang et al., NITI, arXiv 2009.13108, section 3, as its code has it.
    """
    length = bit_length(max(casts.peak(gradient.codes) - 1, 0))  # ceil(log2 max|g|)
    codes = gradient.codes.astype(np.int64)
    return moved(master, pseudo_stochastic(codes, max(length - gradient_bits, 0)), grid, bits)


def pseudo_stochastic(codes: NDArray[np.int64], shift: int) -> NDArray[np.int64]:
    """codes * 2**-shift, away from zero where the dropped bits' upper half exceeds the lower.

    Of an odd number the upper half is one bit longer, and the lower counts twice.
    Source: PstoShift in `ti_torch.py` of NITI's code.
    """
    magnitude, half = np.abs(codes), shift // 2
    dropped = magnitude & ((1 << shift) - 1)
    upper, lower = dropped >> half, (dropped & ((1 << half) - 1)) << shift % 2
    rounded: NDArray[np.int64] = np.sign(codes) * ((magnitude >> shift) + (upper > lower))
    return rounded
