"""Rounding shift and saturation of flat int32 codes, written so that LLVM keeps narrow lanes.

Preconditions: |code| < 2**30, 0 <= shift <= 30, low and high of at most 30 bits.
All nearest modes are (code + half - 1 + tie) >> shift, where tie, 0 or 1, is what sends an exact
half up. Losses are counted in int32 over at most BLOCK codes, so that no lane overflows.
"""

import numpy as np

from fxsim.engine.jit import kernel
from fxsim.engine.kernels.lanes import shift_left, shift_right, shift_right_unsigned
from fxsim.engine.kernels.rounding import (
    JAM,
    RND,
    RND_CONV,
    RND_CONV_ODD,
    RND_INF,
    RND_ZERO,
    STOCHASTIC,
    TRN,
    TRN_ZERO,
    hash32,
    high_word,
    low_word,
)

BLOCK = 1 << 14


@kernel
def tie_weights(rounding):
    """(of the kept last bit, of the sign, constant): an exact half goes up if their XOR is 1."""
    even = np.int32(rounding in (RND_CONV, RND_CONV_ODD))
    sign = np.int32(rounding in (RND_ZERO, RND_INF))
    always = np.int32(rounding in (RND, RND_INF, RND_CONV_ODD))
    return even, sign, always


@kernel
def narrow_flat(codes, target, shift, rounding, low, high, key, index, bits):
    """Round, saturate and store flat codes; (quantised, overflowed).

    index : number of the first draw, below 2**32 as that of the last; bits : of a draw
    """
    lost, over = np.int64(0), np.int64(0)
    for first in range(0, codes.shape[0], BLOCK):
        part, place = codes[first : first + BLOCK], target[first : first + BLOCK]
        if rounding == STOCHASTIC:
            counted = narrow_stochastic(part, place, shift, low, high, key, index + first, bits)
        elif rounding in (TRN, JAM, TRN_ZERO):
            counted = narrow_directed(part, place, shift, rounding, low, high)
        else:
            counted = narrow_nearest(part, place, shift, rounding, low, high)
        lost += np.int64(counted[0])
        over += np.int64(counted[1])
    return lost, over


@kernel
def narrow_nearest(codes, target, shift, rounding, low, high):
    """Nearest; what an exact half does is `rounding`."""
    s, least, most = np.int32(shift), np.int32(low), np.int32(high)
    mask = np.int32((np.int32(1) << s) - np.int32(1))
    half = np.int32((np.int32(1) << s) >> np.int32(1))
    up = np.int32(half - np.int32(1)) if s > 0 else np.int32(0)
    even, sign, always = tie_weights(rounding)
    rounds = np.int32(s > 0)
    even, sign, always = np.int32(even & rounds), np.int32(sign & rounds), np.int32(always & rounds)
    lost, over = np.int32(0), np.int32(0)
    for i in range(codes.shape[0]):
        code = np.int32(codes[i])
        tie = np.int32((shift_right(code, s) & even) ^ (shift_right(code, np.int32(31)) & sign))
        rounded = shift_right(np.int32(np.int32(code + up) + np.int32(tie ^ always)), s)
        inside = min(max(rounded, least), most)
        lost = np.int32(lost + np.int32(np.int32(code & mask) != 0))
        over = np.int32(over + np.int32(inside != rounded))
        target[i] = inside
    return lost, over


@kernel
def narrow_directed(codes, target, shift, rounding, low, high):
    """Down, towards zero, or down with the last bit OR-ed with what was lost."""
    s, least, most = np.int32(shift), np.int32(low), np.int32(high)
    mask = np.int32((np.int32(1) << s) - np.int32(1))
    toward_zero, jam = np.int32(rounding == TRN_ZERO), np.int32(rounding == JAM)
    lost, over = np.int32(0), np.int32(0)
    for i in range(codes.shape[0]):
        code = np.int32(codes[i])
        dropped = np.int32(np.int32(code & mask) != 0)
        rounded = shift_right(code, s)
        rounded = np.int32(rounded + np.int32(np.int32(dropped & toward_zero) & np.int32(code < 0)))
        rounded = np.int32(rounded | np.int32(dropped & jam))
        inside = min(max(rounded, least), most)
        lost = np.int32(lost + dropped)
        over = np.int32(over + np.int32(inside != rounded))
        target[i] = inside
    return lost, over


@kernel
def narrow_stochastic(codes, target, shift, low, high, key, index, bits):
    """Up if the top `bits` (at most 30) dropped bits plus the draw carry out."""
    n, first = np.int32(bits), np.int32(index)
    finer, coarser = np.int32(max(bits - shift, 0)), np.int32(max(shift - bits, 0))
    unused, low_key, high_key = np.int32(32 - bits), low_word(key), high_word(key)
    s, least, most = np.int32(shift), np.int32(low), np.int32(high)
    mask = np.int32((np.int32(1) << s) - np.int32(1))
    lost, over = np.int32(0), np.int32(0)
    for i in range(codes.shape[0]):
        code = np.int32(codes[i])
        word = hash32(np.int32(first + np.int32(i)), low_key, high_key)
        noise = shift_right_unsigned(word, unused)
        top = shift_right(np.int32(shift_left(np.int32(code & mask), finer)), coarser)
        rounded = np.int32(shift_right(code, s) + shift_right(np.int32(top + noise), n))
        inside = min(max(rounded, least), most)
        lost = np.int32(lost + np.int32(np.int32(code & mask) != 0))
        over = np.int32(over + np.int32(inside != rounded))
        target[i] = inside
    return lost, over
