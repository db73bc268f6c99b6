"""Casts of whole arrays, the largest magnitude, and uniform draws.

Arrays are flat int64 unless said otherwise. Preconditions: every |code| < 2**62; right shifts
at most 62; left shifts (negative `shift`) at most 62, and with WRAP modes that keep bits above
the word, `code << left` fits 64 bits.
"""

import numpy as np

from fxsim.engine.jit import kernel
from fxsim.engine.kernels.requantise import narrow_flat
from fxsim.engine.kernels.rounding import (
    JAM_ALWAYS,
    RND,
    RND_INF,
    STOCHASTIC,
    WRAP,
    draw,
    draw64,
    limit,
    round_shift,
    round_stochastic,
    wrap,
)


@kernel
def cast_range(
    start,
    stop,
    x,
    out,
    shift,
    low,
    high,
    bits,
    signed,
    rounding,
    overflow,
    n,
    key,
    random_bits,
    noise,
):
    """Round, limit and store codes; returns (how many lost a bit, how many overflowed).

    noise : draws of `random_bits` bits, one a code; empty: drawn from the stream `key`
    """
    lost, over = 0, 0
    for i in range(start, stop):
        code = np.int64(x[i])
        if shift > 0:
            if rounding == STOCHASTIC:
                drawn = noise[i] if noise.shape[0] > 0 else draw(key, i, random_bits)
                rounded = round_stochastic(code, shift, drawn, random_bits)
            else:
                rounded = round_shift(code, shift, rounding, np.int64(0))
            lost += np.int64(code & ((np.int64(1) << shift) - 1) != 0)
        else:
            rounded = code << -shift
            if rounded >> -shift != code and overflow != WRAP:
                rounded = np.int64(2**63 - 1) if code > 0 else np.int64(-(2**63))
            if rounded >> -shift != code and low <= rounded <= high:
                over += 1
            if rounding == JAM_ALWAYS:
                rounded |= np.int64(1)
        if rounded < low or rounded > high:
            over += 1
            rounded = limit(rounded, low, high, bits, signed, overflow, n)
        out[i] = rounded
    return lost, over


@kernel
def requantise_range(start, stop, x, out, shift, rounding, low, high, key, random_bits):
    """The same in int32 lanes: see `kernels.requantise` for what must hold."""
    part, target = x[start:stop], out[start:stop]
    return narrow_flat(part, target, shift, rounding, low, high, key, start, random_bits)


@kernel
def double_range(start, stop, x, out, multiplier, after):
    """gemmlowp's double rounding of int32 codes; see `rescale.rescale_double`."""
    for i in range(start, stop):
        code = x[i]
        if after < 0:
            code = wrap(code << -after, np.int64(32), True)
        product = round_shift(code * multiplier, np.int64(31), RND, np.int64(0))
        code = min(product, np.int64(2**31 - 1))
        out[i] = round_shift(code, max(after, 0), RND_INF, np.int64(0))


@kernel
def lfsr_range(start, stop, out, width, taps, state, bits):
    """The top bits of a Fibonacci shift register's states, one step a draw; `taps` is a mask.

    One range only: a register has one order.
    """
    for i in range(start, stop):
        fed = state & taps
        fed ^= fed >> 32
        fed ^= fed >> 16
        fed ^= fed >> 8
        fed ^= fed >> 4
        fed ^= fed >> 2
        fed ^= fed >> 1
        state = ((state << 1) | (fed & 1)) & ((np.int64(1) << width) - 1)
        out[i] = state >> (width - bits)
    return state


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


@kernel
def masks_range(start, stop, out, key):
    """The 16-bit draws that dropout compares."""
    for i in range(start, stop):
        out[i] = draw(key, i, np.int64(16))
