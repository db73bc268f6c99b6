"""Elementwise work on flat arrays of 16-bit words, in int32 lanes.

Preconditions: codes of int16; shifts of 0 to 30 (for `add`, an operand that is shifted by more
than 16 places is all zeros by then); products of two words fit 31 bits.
"""

import numpy as np

from fxsim.engine.jit import kernel
from fxsim.engine.kernels.lanes import shift_right, shift_right_unsigned
from fxsim.engine.kernels.rounding import hash32, high_word, low_word

BLOCK = 1 << 12


@kernel
def nearest_even(code, shift, up, odd):
    """code * 2**-shift to nearest, ties to even; up = half - 1, odd = 1 (both 0 if no places)."""
    tie = np.int32(shift_right(code, shift) & odd)
    return shift_right(np.int32(np.int32(code + up) + tie), shift)


@kernel
def rounding_of(shift):
    """(shift, half - 1, 1) as int32; zeros where nothing is dropped."""
    if shift == 0:
        return np.int32(0), np.int32(0), np.int32(0)
    return np.int32(shift), np.int32((1 << (shift - 1)) - 1), np.int32(1)


@kernel
def extremes_range(start, stop, x):
    """The smallest and the largest code of a range of a narrow array, 0 among them."""
    low, high = np.int64(0), np.int64(0)
    for first in range(start, stop, BLOCK):
        part = x[first : min(first + BLOCK, stop)]
        least, most = part[0], part[0]
        for i in range(part.shape[0]):
            least = min(least, part[i])
        for i in range(part.shape[0]):
            most = max(most, part[i])
        low, high = min(low, np.int64(least)), max(high, np.int64(most))
    return low, high


@kernel
def add_range(start, stop, a, b, shift_a, shift_b, drop, least, store, out):
    """(a >> shift_a) + (b >> shift_b), then >> drop, each rounded to even, limited from below.

    Stores it if asked; returns the smallest and the largest sum.
    """
    sa, ua, oa = rounding_of(shift_a)
    sb, ub, ob = rounding_of(shift_b)
    sd, ud, od = rounding_of(drop)
    floor, low, high = np.int32(least), np.int32(0), np.int32(0)
    for first in range(start, stop, BLOCK):
        last = min(first + BLOCK, stop)
        left, right = a[first:last], b[first:last]
        if store:
            to = out[first:last]
            for i in range(left.shape[0]):
                one = nearest_even(np.int32(left[i]), sa, ua, oa)
                other = nearest_even(np.int32(right[i]), sb, ub, ob)
                to[i] = np.int16(nearest_even(max(np.int32(one + other), floor), sd, ud, od))
        else:
            for i in range(left.shape[0]):
                one = nearest_even(np.int32(left[i]), sa, ua, oa)
                other = nearest_even(np.int32(right[i]), sb, ub, ob)
                total = max(np.int32(one + other), floor)
                low, high = min(low, total), max(high, total)
    return np.int64(low), np.int64(high)


@kernel
def multiply_range(start, stop, a, b, drop, store, out):
    """a * b >> drop, to nearest even, saturating where rounding carries.

    Stores it if asked; gives the smallest and the largest product if not.
    """
    sd, ud, od = rounding_of(drop)
    low, high = np.int32(0), np.int32(0)
    for first in range(start, stop, BLOCK):
        last = min(first + BLOCK, stop)
        left, right = a[first:last], b[first:last]
        if store:
            to = out[first:last]
            for i in range(left.shape[0]):
                product = np.int32(np.int32(left[i]) * np.int32(right[i]))
                to[i] = np.int16(min(nearest_even(product, sd, ud, od), np.int32(32767)))
        else:
            for i in range(left.shape[0]):
                product = np.int32(np.int32(left[i]) * np.int32(right[i]))
                low, high = min(low, product), max(high, product)
    return np.int64(low), np.int64(high)


@kernel
def clip_range(start, stop, x, least, most, out):
    """out = x limited to [least, most]."""
    part, to = x[start:stop], out[start:stop]
    low, high = np.int16(least), np.int16(most)
    for i in range(part.shape[0]):
        to[i] = min(max(part[i], low), high)


@kernel
def gate_range(start, stop, error, x, least, most, out):
    """out = error where least < x <= most, else 0; the sum of the errors where x > most."""
    part, seen, to = error[start:stop], x[start:stop], out[start:stop]
    low, high = np.int16(least), np.int16(most)
    above = np.int64(0)
    for i in range(part.shape[0]):
        to[i] = part[i] if low < seen[i] and seen[i] <= high else np.int16(0)
    for i in range(part.shape[0]):
        above += np.int64(part[i]) if seen[i] > high else np.int64(0)
    return above


@kernel
def leak_range(start, stop, x, sign, slope, out):
    """x where `sign` is positive, else x * slope * 2**-15, to nearest even."""
    part, seen, to = x[start:stop], sign[start:stop], out[start:stop]
    for i in range(part.shape[0]):
        product = np.int32(np.int32(part[i]) * np.int32(slope))
        scaled = nearest_even(product, np.int32(15), np.int32((1 << 14) - 1), np.int32(1))
        to[i] = part[i] if seen[i] > 0 else np.int16(scaled)


@kernel
def look_up_range(start, stop, x, knots, first, part_bits, drop, out):
    """Piecewise linear between knots: knots[k] at code (first + k) << part_bits.

    The result drops `drop` bits, half up; codes lie between the first and the last knot.
    """
    mask, half = (np.int64(1) << part_bits) - 1, (np.int64(1) << drop) >> 1
    for i in range(start, stop):
        code = np.int64(x[i])
        k = (code >> part_bits) - first
        left = knots[k]
        exact = (left << part_bits) + (knots[k + 1] - left) * (code & mask)
        out[i] = (exact + half) >> drop


@kernel
def drop_range(start, stop, x, scale, threshold, key, out):
    """x * scale * 2**-14 to nearest even where the element's draw is at least `threshold`, else 0.

    Draws have 16 bits; 2**13 <= scale <= 2**14.
    """
    part, to = x[start:stop], out[start:stop]
    low, high, limit = low_word(key), high_word(key), np.int32(threshold)
    first, factor = np.int32(start), np.int32(scale)
    up, odd = np.int32((1 << 13) - 1), np.int32(1)
    for i in range(part.shape[0]):
        word = hash32(np.int32(first + np.int32(i)), low, high)
        stays = shift_right_unsigned(word, np.int32(16)) >= limit
        scaled = nearest_even(np.int32(np.int32(part[i]) * factor), np.int32(14), up, odd)
        to[i] = np.int16(scaled) if stays else np.int16(0)


@kernel
def scatter_rows(x, tokens, out):
    """out[tokens[i]] += x[i], rows in order."""
    for i in range(tokens.shape[0]):
        for c in range(x.shape[1]):
            out[tokens[i], c] += np.int64(x[i, c])
