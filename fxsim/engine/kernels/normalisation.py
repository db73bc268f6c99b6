"""Normalisation of 16-bit words: sums a column, and affine maps with a multiplier a column.

Matrices are flat int16 arrays, row by row, cut into tiles of whole rows (`tile` codes, the last
perhaps shorter), so that loops are long enough for vectors; an array "a column" is repeated over
a tile. Ranges are ranges of tiles. `fxsim.engine.normalisation` proves that the int32 sums fit.
"""

import numpy as np

from fxsim.engine.jit import kernel
from fxsim.engine.kernels.block_quantisation import bit_length
from fxsim.engine.kernels.lanes import shift_right
from fxsim.engine.kernels.rounding import RND_CONV, round_shift


@kernel
def integer_root(value):
    """floor(sqrt(value)), 0 <= value < 2**62."""
    root = np.int64(0)
    bit = np.int64(1) << 60
    while bit > value:
        bit >>= 2
    while bit != 0:
        if value >= root + bit:
            value -= root + bit
            root = (root >> 1) + bit
        else:
            root >>= 1
        bit >>= 2
    return root


@kernel
def reciprocal_roots(variance, root, half):
    """1/sqrt(variance) = root * 2**-half, for variance codes of 1 to 2**61.

    root has 16 or 17 bits and is within 2**-15 of itself.
    """
    for c in range(variance.shape[0]):
        length = bit_length(variance[c])
        drop = max(length - 30, 0)
        drop += drop & 1
        value = variance[c] >> drop
        exponent = bit_length(value) + 31
        exponent += exponent & 1
        root[c] = integer_root((np.int64(1) << exponent) // value)
        half[c] = (exponent + drop) >> 1


@kernel
def moments_range(start, stop, x, tile):
    """Per place of a tile: sum, sum of squares, smallest and largest code."""
    total, square = np.zeros(tile, np.int64), np.zeros(tile, np.int64)
    low, high = np.full(tile, 32767, np.int16), np.full(tile, -32768, np.int16)
    for t in range(start, stop):
        part = x[t * tile : (t + 1) * tile]
        for j in range(part.shape[0]):
            total[j] += np.int64(part[j])
        for j in range(part.shape[0]):
            code = np.int32(part[j])
            square[j] += np.int64(np.int32(code * code))
        for j in range(part.shape[0]):
            low[j] = min(low[j], part[j])
        for j in range(part.shape[0]):
            high[j] = max(high[j], part[j])
    return total, square, low, high


@kernel
def affine_range(start, stop, x, tile, centre, scale, offset, shift, least, out):
    """out = ((x - centre) * scale + offset) >> shift, by place of the tile, at least `least`."""
    floor = np.int32(least)
    for t in range(start, stop):
        part, to = x[t * tile : (t + 1) * tile], out[t * tile : (t + 1) * tile]
        for j in range(part.shape[0]):
            near = np.int32(np.int32(part[j]) - centre[j])
            code = shift_right(np.int32(np.int32(near * scale[j]) + offset[j]), shift[j])
            to[j] = np.int16(min(max(code, floor), np.int32(32767)))


@kernel
def error_sums_range(
    start, stop, error, x, tile, masked, centre, scale, offset, shift, masked_error
):
    """Per place: sum of errors, sum of error * x, largest |error|.

    masked : count, and write to `masked_error`, only errors at which the affine result is positive
    """
    total, cross = np.zeros(tile, np.int64), np.zeros(tile, np.int64)
    largest = np.zeros(tile, np.int32)
    for t in range(start, stop):
        part, taken = x[t * tile : (t + 1) * tile], error[t * tile : (t + 1) * tile]
        if masked:
            to = masked_error[t * tile : (t + 1) * tile]
            for j in range(part.shape[0]):
                near = np.int32(np.int32(part[j]) - centre[j])
                code = shift_right(np.int32(np.int32(near * scale[j]) + offset[j]), shift[j])
                to[j] = taken[j] if code > 0 else np.int16(0)
            taken = to
        for j in range(part.shape[0]):
            total[j] += np.int64(taken[j])
        for j in range(part.shape[0]):
            cross[j] += np.int64(np.int32(np.int32(taken[j]) * np.int32(part[j])))
        for j in range(part.shape[0]):
            largest[j] = max(largest[j], abs(np.int32(taken[j])))
    return total, cross, largest


@kernel
def project_range(start, stop, error, x, tile, centre, scale_error, scale_x, offset, shift, out):
    """out = (error * scale_error + (x - centre) * scale_x + offset) >> shift; the largest |out|."""
    low, high = np.int16(0), np.int16(0)
    for t in range(start, stop):
        part, seen = x[t * tile : (t + 1) * tile], error[t * tile : (t + 1) * tile]
        to = out[t * tile : (t + 1) * tile]
        for j in range(part.shape[0]):
            near = np.int32(np.int32(part[j]) - centre[j])
            code = np.int32(np.int32(np.int32(seen[j]) * scale_error[j]) + offset[j])
            code = shift_right(np.int32(code + np.int32(near * scale_x[j])), shift[j])
            to[j] = np.int16(min(max(code, np.int32(-32768)), np.int32(32767)))
        for j in range(part.shape[0]):
            low = min(low, to[j])
        for j in range(part.shape[0]):
            high = max(high, to[j])
    return max(-np.int64(low), np.int64(high))


@kernel
def shifted(value, shift):
    """value * 2**-shift, to nearest, ties up, within 62 bits."""
    most = (np.int64(1) << 62) - 1
    if shift > 62:
        return np.int64(0)
    if shift > 0:
        return (value + (np.int64(1) << (shift - 1))) >> shift
    if value == 0:
        return np.int64(0)
    if bit_length(abs(value)) - shift > 62:
        return most if value > 0 else -most
    return value << -shift


@kernel
def excess_of(value, bits):
    """Low bits that a value has beyond `bits`."""
    return max(np.int64(bit_length(abs(value)) - bits), np.int64(0))


@kernel
def batch_norm_lines(mean, root, half, gamma, beta, centre, slope, shift, offset):
    """Slope and offset (24 fractional bits) of gamma * (x - mean) / deviation + beta."""
    one = np.int64(1)
    for c in range(mean.shape[0]):
        near = min(max(shifted(mean[c], np.int64(4)), np.int64(-32768)), np.int64(32767))
        product = gamma[c] * root[c]
        excess = excess_of(product, 31)
        centre[c], slope[c], shift[c] = near, product >> excess, half[c] + 9 - excess
        distance = min(max(16 * near - mean[c], -(one << 31)), one << 31)
        moved = shifted(distance * slope[c], shift[c] + 4 - 24)
        offset[c] = beta[c] + min(max(moved, -(one << 55)), one << 55)


@kernel
def affine_coefficients(slope, bit_shift, offset, reach, scale, start, shift):
    """int32 coefficients of slope * (x - centre) + offset, |x - centre| <= reach; returns frac."""
    largest = np.int64(1)
    for c in range(slope.shape[0]):
        peak = abs(offset[c]) + shifted(abs(slope[c]) * reach[c], bit_shift[c] - 24) + 1
        start[c] = peak
        largest = max(largest, peak)
    frac = min(np.int64(24), np.int64(15 - (bit_length(largest) - 24)))
    for c in range(slope.shape[0]):
        shift[c] = min(np.int64(29 - (bit_length(start[c]) + frac - 24)), np.int64(30))
        scale[c] = (
            shifted(slope[c], bit_shift[c] - frac - shift[c]) if reach[c] > 0 else np.int64(0)
        )
        half = np.int64(1) << (shift[c] - 1)
        start[c] = shifted(offset[c], 24 - frac - shift[c]) + half
    return frac


@kernel
def backward_terms(
    count, total, cross, mean, root, half, centre, slope, shift, mantissas, exponents
):
    """The three coefficients of each column's input gradient, and the gradient of gamma.

    mantissas, exponents : (4, columns) of the error, of x - centre, the constant; at last gamma's
    (all but the error's fractional bits)
    """
    for c in range(total.shape[0]):
        distance = 16 * centre[c] - mean[c]
        whole = 16 * (cross[c] - centre[c] * total[c]) + distance * total[c]
        excess = excess_of(whole, 44)
        mantissas[3, c], exponents[3, c] = (whole >> excess) * root[c], half[c] - excess
        excess = excess_of(whole, 31)
        square = root[c] * root[c]
        more = excess_of(square, 31)
        pull = (whole >> excess) * (square >> more) // count
        pull_places = 2 * half[c] - excess - more
        excess = excess_of(pull, 31)
        pull, pull_places = pull >> excess, pull_places - excess
        constant = -((total[c] << 16) // count) - shifted(distance * pull, pull_places - 16)
        mantissas[0, c], exponents[0, c] = slope[c], shift[c]
        excess = excess_of(slope[c] * pull, 31)
        mantissas[1, c] = (-slope[c] * pull) >> excess
        exponents[1, c] = shift[c] + pull_places - 4 - excess
        excess = excess_of(constant, 31)
        product = slope[c] * (constant >> excess)
        more = excess_of(product, 31)
        mantissas[2, c], exponents[2, c] = product >> more, shift[c] + 16 - excess - more


@kernel
def projection_coefficients(mantissas, exponents, reach, scale_error, scale_x, start, shift):
    """int32 coefficients of the three terms, whose factors are at most reach[0..2]; the scale.

    reach : (3, columns); the result has `scale` more fractional bits than the terms' product
    """
    columns = reach.shape[1]
    most, any_term = np.int64(0), False
    for t in range(3):
        for c in range(columns):
            if mantissas[t, c] != 0 and reach[t, c] > 0:
                size = bit_length(abs(mantissas[t, c]) * reach[t, c]) - exponents[t, c]
                most = size if not any_term else max(most, size)
                any_term = True
    grid = 45 - most if any_term else np.int64(0)
    largest = np.int64(1)
    for c in range(columns):
        bound = np.int64(3)
        for t in range(3):
            bound += shifted(abs(mantissas[t, c]) * reach[t, c], exponents[t, c] - grid)
        start[c] = bound
        largest = max(largest, bound)
    fine = 15 - (bit_length(largest) - grid)
    for c in range(columns):
        shift[c] = min(29 - (bit_length(start[c]) - grid + fine), np.int64(30))
        bit_shift = fine + shift[c]
        zero = np.int64(0)
        scale_error[c] = (
            shifted(mantissas[0, c], exponents[0, c] - bit_shift) if reach[0, c] else zero
        )
        scale_x[c] = shifted(mantissas[1, c], exponents[1, c] - bit_shift) if reach[1, c] else zero
        half = np.int64(1) << (shift[c] - 1)
        start[c] = shifted(mantissas[2, c], exponents[2, c] - bit_shift) + half
    return fine


@kernel
def common_scale(mantissas, exponents, out):
    """Values with exponents of their own as 31-bit codes of one scale, which is returned."""
    most, any_term = np.int64(0), False
    for c in range(mantissas.shape[0]):
        if mantissas[c] != 0:
            size = bit_length(abs(mantissas[c])) - exponents[c]
            most = size if not any_term else max(most, size)
            any_term = True
    frac = 30 - most if any_term else np.int64(0)
    for c in range(mantissas.shape[0]):
        out[c] = shifted(mantissas[c], exponents[c] - frac)
    return frac


@kernel
def row_moments_range(start, stop, x, centred, mean, variance):
    """Mean (4 more fractional bits, half up; 0 if not centred) and variance of each row."""
    columns = x.shape[1]
    for r in range(start, stop):
        total, square = np.int64(0), np.int64(0)
        for c in range(columns):
            total += np.int64(x[r, c])
            square += np.int64(x[r, c]) * np.int64(x[r, c])
        middle = (32 * total + columns) // (2 * columns) if centred else np.int64(0)
        mean[r] = middle
        whole = 256 * square - 32 * middle * total + columns * middle * middle
        variance[r] = whole // columns


@kernel
def normalise_rows_range(start, stop, x, mean, root, half, out):
    """out = (16 x - mean) / deviation, 11 fractional bits, saturating; how many saturated."""
    clipped = 0
    for r in range(start, stop):
        for c in range(x.shape[1]):
            product = (16 * np.int64(x[r, c]) - mean[r]) * root[r]
            code = round_shift(product, half[r] - 11, RND_CONV, np.int64(0))
            inside = min(max(code, np.int64(-32768)), np.int64(32767))
            clipped += np.int64(inside != code)
            out[r, c] = inside
    return clipped


@kernel
def project_rows_range(start, stop, error, normal, centred, out, largest):
    """out = error less its row's mean and its component along `normal`, 2 more fractional bits."""
    columns = error.shape[1]
    for r in range(start, stop):
        total, cross = np.int64(0), np.int64(0)
        for c in range(columns):
            total += np.int64(error[r, c])
            cross += np.int64(error[r, c]) * np.int64(normal[r, c])
        mean = (32 * total + columns) // (2 * columns) if centred else np.int64(0)
        slope = (cross + 64 * columns) // (128 * columns)
        most = np.int64(0)
        for c in range(columns):
            exact = (np.int64(error[r, c]) << 15) - (mean << 11) - np.int64(normal[r, c]) * slope
            code = round_shift(exact, np.int64(13), RND_CONV, np.int64(0))
            out[r, c] = code
            most = max(most, abs(code))
        largest[r] = most


@kernel
def row_shifts(largest, root, bit_shift, shift):
    """By how much each row's product is shifted so that the largest of all keeps 30 bits; frac."""
    most, any_term = np.int64(0), False
    for r in range(largest.shape[0]):
        if largest[r] > 0:
            size = np.int64(bit_length(largest[r]) + bit_length(root[r])) - bit_shift[r]
            most = size if not any_term else max(most, size)
            any_term = True
    frac = 30 - most if any_term else np.int64(30)
    for r in range(largest.shape[0]):
        shift[r] = min(bit_shift[r] - frac, np.int64(62)) if largest[r] > 0 else np.int64(0)
    return frac


@kernel
def scale_rows_range(start, stop, x, factor, shift, out):
    """out = x * factor * 2**-shift, by row; shifts of -30 to 62."""
    for r in range(start, stop):
        for c in range(x.shape[1]):
            product = np.int64(x[r, c]) * factor[r]
            if shift[r] < 0:
                out[r, c] = product << -shift[r]
            else:
                out[r, c] = round_shift(product, shift[r], RND_CONV, np.int64(0))
