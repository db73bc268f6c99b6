"""Rounding and overflow of one code, and the draw that stochastic rounding uses.

Preconditions: 0 <= shift <= 62; the numbers of the modes are those of
`fxsim.numerics.formats.Rounding` and `Overflow`.
"""

import numpy as np

from fxsim.engine.jit import kernel
from fxsim.engine.kernels.lanes import shift_right_unsigned

(
    RND,
    RND_ZERO,
    RND_MIN_INF,
    RND_INF,
    RND_CONV,
    TRN,
    TRN_ZERO,
    RND_CONV_ODD,
    JAM,
    STOCHASTIC,
    TRN_INF,
    TRN_AWAY,
    TRN_MAG,
    JAM_ALWAYS,
) = range(14)
SAT, SAT_ZERO, SAT_SYM, WRAP, WRAP_SM, ERROR, NUMERIC_STD = range(7)
DRAW_BITS = 16  # of a draw, where nothing else is said


@kernel
def draw64(key, index):
    """splitmix64's output number `index` (int64) of stream `key` (uint64)."""
    z = key + np.uint64(index + 1) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@kernel
def hash32(index, key, high):
    """The draw of an index under the key's halves, all int32; see `specification`."""
    z = np.int32(index + key)
    z = np.int32(z ^ shift_right_unsigned(z, np.int32(16)))
    z = np.int32(np.int32(z * np.int32(0x7FEB352D)) ^ high)
    z = np.int32(z ^ shift_right_unsigned(z, np.int32(15)))
    z = np.int32(z * np.int32(0x846CA68B - (1 << 32)))
    return np.int32(z ^ shift_right_unsigned(z, np.int32(16)))


@kernel
def low_word(key):
    """The low 32 bits of a uint64, as int32."""
    return np.int32(np.int64(key << np.uint64(32)) >> np.int64(32))


@kernel
def high_word(key):
    """The high 32 bits of a uint64, as int32."""
    return np.int32(np.int64(key) >> np.int64(32))


@kernel
def draw(key, index, bits):
    """The top `bits` bits (1 to 32) of element `index`'s draw."""
    beyond = np.uint64(index >> np.int64(32)) * np.uint64(0x9E3779B9)
    low = np.int32(np.int64(np.uint64(index) << np.uint64(32)) >> np.int64(32))
    word = hash32(low, low_word(key), low_word((key >> np.uint64(32)) + beyond))
    return (np.int64(word) & np.int64(0xFFFFFFFF)) >> (np.int64(32) - bits)


@kernel
def round_stochastic(code, shift, noise, bits):
    """Up if the top `bits` dropped bits plus the noise carry out."""
    if shift == 0:
        return code
    floor = code >> shift
    rest = code - (floor << shift)
    top = rest >> (shift - bits) if shift > bits else rest << (bits - shift)
    return floor + ((top + noise) >> bits)


@kernel
def tie_goes_up(floor, mode):
    """Whether a code halfway above `floor` is rounded up, in a mode to nearest."""
    if mode == RND:
        return True
    if mode == RND_ZERO:
        return floor < 0
    if mode == RND_MIN_INF:
        return False
    if mode == RND_INF:
        return floor >= 0
    if mode == RND_CONV:
        return floor & 1 == 1
    return floor & 1 == 0


@kernel
def round_shift(code, shift, mode, draw_code):
    """code * 2**-shift, rounded; `draw_code` matters to STOCHASTIC only."""
    if shift == 0 and mode != JAM_ALWAYS:
        return code
    floor = code >> shift
    rest = code - (floor << shift)
    if mode == TRN:
        return floor
    if mode == STOCHASTIC:
        return round_stochastic(code, shift, draw_code, np.int64(DRAW_BITS))
    if mode == TRN_ZERO:
        return floor + np.int64(code < 0 and rest != 0)
    if mode == JAM:
        return floor | np.int64(rest != 0)
    if mode >= TRN_INF:
        if mode == TRN_MAG:
            return floor + np.int64(code < 0)
        if mode == JAM_ALWAYS:
            return floor | np.int64(1)
        return floor + np.int64(rest != 0 and (mode == TRN_INF or code > 0))
    half = np.int64(1) << (shift - 1)
    if rest != half:
        return floor + np.int64(rest > half)
    return floor + np.int64(tie_goes_up(floor, mode))


@kernel
def round_quotient(numerator, denominator, mode, draw_code):
    """numerator / denominator (positive, below 2**46), rounded; see `round_shift`."""
    floor = numerator // denominator
    rest = numerator - floor * denominator
    if mode == TRN:
        return floor
    if mode == STOCHASTIC:
        return floor + (((rest << DRAW_BITS) // denominator + draw_code) >> DRAW_BITS)
    if mode == TRN_ZERO:
        return floor + np.int64(numerator < 0 and rest != 0)
    if mode == JAM:
        return floor | np.int64(rest != 0)
    if mode >= TRN_INF:
        if mode == TRN_MAG:
            return floor + np.int64(numerator < 0)
        if mode == JAM_ALWAYS:
            return floor | np.int64(1)
        return floor + np.int64(rest != 0 and (mode == TRN_INF or numerator > 0))
    if 2 * rest != denominator:
        return floor + np.int64(2 * rest > denominator)
    return floor + np.int64(tie_goes_up(floor, mode))


@kernel
def shift_left_exactly(code, shift, mode):
    """code * 2**shift; JAM_ALWAYS sets its last bit even so."""
    exact = code << shift
    return exact | np.int64(1) if mode == JAM_ALWAYS else exact


@kernel
def wrap(code, bits, signed):
    """The low `bits` bits (1 to 64; unsigned at most 62), sign-extended for signed formats."""
    if bits == 64:
        return code
    low = code & ((np.int64(1) << bits) - 1) if bits < 63 else code & np.int64(2**63 - 1)
    if signed and (low >> (bits - 1)) & 1:
        low -= np.int64(1) << bits if bits < 63 else np.int64(-(2**63))
    return low


@kernel
def saturate_top(low, bits, signed, n, over):
    """`low` in the low bits - n bits; the n bits above are those of the nearest limit."""
    one = np.int64(1)
    if signed:
        top = (one << (bits - 1)) - (one << (bits - n)) if over else -(one << (bits - 1))
    else:
        top = (one << bits) - (one << (bits - n)) if over else np.int64(0)
    return top + (low & ((one << (bits - n)) - 1))


@kernel
def limit(code, low, high, bits, signed, mode, n):
    """A code that lies outside [low, high], brought inside; 2 <= bits <= 62 for WRAP with n."""
    if mode == SAT_ZERO:
        return np.int64(0)
    if mode == NUMERIC_STD:
        low_bits = code & ((np.int64(1) << (bits - 1)) - 1)
        return low_bits - (np.int64(1) << (bits - 1)) if code < 0 else low_bits
    if mode < WRAP or mode == ERROR or (n >= bits and n > 0):
        return high if code > high else low
    if mode == WRAP:
        return saturate_top(code, bits, signed, n, code >= 0) if n else wrap(code, bits, signed)
    above = code >> bits if n == 0 else code >> 63
    mirrored = ((above ^ (code >> (bits - max(n, 1)))) & 1) == 1
    if n > 1:
        mirrored = not mirrored
    word = ~code if mirrored else code
    return wrap(word, bits, True) if n < 2 else saturate_top(word, bits, True, n, code >= 0)
