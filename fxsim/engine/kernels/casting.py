"""Casts of whole arrays, the largest magnitude, and uniform draws.

Arrays are flat int64 unless said otherwise. Preconditions: every |code| < 2**62; right shifts
at most 62; left shifts (negative `shift`) at most 62, and with WRAP modes that keep bits above
the word, `code << left` fits 64 bits.
"""

import numpy as np

from fxsim.engine.kernels._jit import kernel
from fxsim.engine.kernels.rounding import WRAP, draw, draw64, limit, round_shift


@kernel
def cast_range(
    start, stop, x, out, shift, low, high, bits, signed, rounding, overflow, n, key, drawn
):
    """Round, limit and store codes; returns (how many lost a bit, how many overflowed)."""
    lost, over = 0, 0
    for i in range(start, stop):
        code = np.int64(x[i])
        if shift > 0:
            noise = draw(key, i) if drawn else np.int64(0)
            rounded = round_shift(code, shift, rounding, noise)
            lost += np.int64(code & ((np.int64(1) << shift) - 1) != 0)
        else:
            rounded = code << -shift
            if rounded >> -shift != code and overflow != WRAP:
                rounded = np.int64(2**63 - 1) if code > 0 else np.int64(-(2**63))
            if rounded >> -shift != code and low <= rounded <= high:
                over += 1
        if rounded < low or rounded > high:
            over += 1
            rounded = limit(rounded, low, high, bits, signed, overflow, n)
        out[i] = rounded
    return lost, over


@kernel
def peak_range(start, stop, x):
    """The largest |code| of a range (0 if empty)."""
    peak = np.int64(0)
    for i in range(start, stop):
        peak = max(peak, abs(np.int64(x[i])))
    return peak


@kernel
def uniform_range(start, stop, out, key, bound):
    """Codes uniform on [-bound, bound], 0 <= bound < 2**30."""
    for i in range(start, stop):
        high = np.int64(draw64(key, i) >> np.uint64(32))
        out[i] = ((high * (2 * bound + 1)) >> 32) - bound


@kernel
def draws_range(start, stop, out, key):
    """Raw draws, uint64."""
    for i in range(start, stop):
        out[i] = draw64(key, i)
