"""What becomes of a block of sums: stored wide, or biased, scaled, rounded, limited and counted.

fields : int64 fields, by the constants below
bias, multiplier, shift : int64, one a column: added first, multiplied then, and the binary
    places dropped at last
`fxsim.engine.epilogue` proves that nothing here leaves its lanes.
"""

import numpy as np

from fxsim.engine.jit import kernel
from fxsim.engine.kernels.requantise import narrow_flat, tie_weights
from fxsim.engine.kernels.rounding import (
    STOCHASTIC,
    draw,
    limit,
    round_shift,
    round_stochastic,
    shift_left_exactly,
)

(
    KIND,
    SUM_BITS,  # the sum's low bits that count; 64: all
    BITS,
    ROUNDING,
    OVERFLOW,
    SATURATED,
    SIGNED,
    LOW,
    HIGH,
    RELU,
    RANDOM_BITS,
    BASE,  # number of out's first element, for the draws
    FIELDS,
) = range(13)
STORE, NARROW, SCALED, GENERAL = range(4)


@kernel
def earlier(one, other):
    """The smaller of two numbers that are -1 where there is none."""
    return other if one < 0 or 0 <= other < one else one


@kernel
def epilogue_rows(sums, rows, out, first, column, width, bias, multiplier, shift, fields, key):
    """Rows of sums to out[first : first + rows, column : column + width].

    STORE: as they are. NARROW: bias, ReLU, one rounding shift and saturation in int32 lanes.
    SCALED: bias, scale, ReLU, a nearest rounding shift of at least one place and saturation in
    int64 lanes. GENERAL: everything, in int64. Sums that wrap do so before, in place.
    Returns (quantised, overflowed, sums that wrapped, first of them as row * width + j, or -1).
    """
    kind = fields[KIND]
    lost, over, altered, first_altered = np.int64(0), np.int64(0), np.int64(0), np.int64(-1)
    if rows == 0 or width == 0:
        return lost, over, altered, first_altered
    if fields[SUM_BITS] < 64:
        altered, first_altered = wrap_sums(
            sums, rows, width, np.int64(64) - fields[SUM_BITS], first * width
        )
    if kind == SCALED:
        for r in range(rows):
            counted = scaled_row(
                sums[r, :width],
                out[first + r, column : column + width],
                bias,
                multiplier,
                shift,
                fields[ROUNDING],
                fields[LOW],
                fields[HIGH],
                fields[RELU],
            )
            lost += counted[0]
            over += counted[1]
        return lost, over, altered, first_altered
    if kind == GENERAL:
        for r in range(rows):
            counted = epilogue_row(
                sums[r, :width],
                out[first + r, column : column + width],
                bias,
                multiplier,
                shift,
                fields,
                key,
                fields[BASE] + (first + r) * out.shape[1] + column,
            )
            lost += counted[0]
            over += counted[1]
        return lost, over, altered, first_altered
    if kind == NARROW:
        prepare_narrow(sums, rows, width, bias, fields[RELU])
    flat = sums.reshape(-1)
    if sums.shape[1] != width:  # close the gaps between rows, so that one loop serves them all
        for r in range(1, rows):
            for j in range(width):
                flat[r * width + j] = sums[r, j]
    if out.shape[1] == width:
        codes = flat[: rows * width]
        target = out.reshape(-1)[first * width : (first + rows) * width]
        index = fields[BASE] + first * width
        lost, over = epilogue_flat(codes, target, kind, shift[0], fields, key, index)
        return lost, over, altered, first_altered
    for r in range(rows):
        counted = epilogue_flat(
            flat[r * width : (r + 1) * width],
            out[first + r, column : column + width],
            kind,
            shift[0],
            fields,
            key,
            fields[BASE] + (first + r) * out.shape[1] + column,
        )
        lost += counted[0]
        over += counted[1]
    return lost, over, altered, first_altered


@kernel
def wrap_sums(sums, rows, width, unused, number):
    """Keep the low 64 - unused bits; (how many had others, number of the first or -1)."""
    altered, first_altered = np.int64(0), np.int64(-1)
    for r in range(rows):
        row, changed = sums[r, :width], np.int64(0)
        for j in range(width):
            changed += np.int64((np.int64(row[j]) << unused) >> unused != row[j])
        if changed > 0 and first_altered < 0:
            j = 0
            while (np.int64(row[j]) << unused) >> unused == row[j]:
                j += 1
            first_altered = number + r * width + j
        altered += changed
        if changed > 0:
            for j in range(width):
                row[j] = (np.int64(row[j]) << unused) >> unused
    return altered, first_altered


@kernel
def prepare_narrow(sums, rows, width, bias, relu):
    """Add the bias and clip negatives: in place, in int32."""
    least = np.int32(0) if relu else np.int32(-(2**31))
    if not relu and not bias.any():
        return
    for r in range(rows):
        row = sums[r]
        for j in range(width):
            row[j] = max(np.int32(np.int32(row[j]) + np.int32(bias[j])), least)


@kernel
def epilogue_flat(codes, target, kind, shift, fields, key, index):
    """Flat codes, NARROW or STORE."""
    if kind == NARROW:
        return narrow_flat(
            codes,
            target,
            shift,
            fields[ROUNDING],
            fields[LOW],
            fields[HIGH],
            key,
            index,
            fields[RANDOM_BITS],
        )
    for i in range(codes.shape[0]):
        target[i] = codes[i]
    return np.int64(0), np.int64(0)


@kernel
def scaled_row(total, target, bias, multiplier, bit_shift, rounding, low, high, relu):
    """One row, SCALED: written so that LLVM keeps 64-bit lanes; see `requantise` for rounding."""
    weights = tie_weights(rounding)
    even, sign, always = np.int64(weights[0]), np.int64(weights[1]), np.int64(weights[2])
    one, lost, over = np.int64(1), np.int64(0), np.int64(0)
    least = np.int64(0) if relu else np.int64(-(2**62)) * np.int64(2)
    for j in range(total.shape[0]):
        code = max((np.int64(total[j]) + bias[j]) * multiplier[j], least)
        shift = bit_shift[j]
        tie = ((code >> shift) & even) ^ ((code >> np.int64(63)) & sign) ^ always
        rounded = (code + ((one << (shift - one)) - one) + tie) >> shift
        inside = min(max(rounded, low), high)
        lost += np.int64((code & ((one << shift) - one)) != 0)
        over += np.int64(inside != rounded)
        target[j] = inside
    return lost, over


@kernel
def epilogue_row(total, target, bias, multiplier, bit_shift, fields, key, index):
    """One row, any modes; `index`: number of the row's first draw."""
    low, high = fields[LOW], fields[HIGH]
    lost, over = 0, 0
    for j in range(total.shape[0]):
        code = (np.int64(total[j]) + bias[j]) * multiplier[j]
        if fields[RELU] and code < 0:
            code = np.int64(0)
        shift = bit_shift[j]
        if shift > 0:
            lost += np.int64(code & ((np.int64(1) << shift) - 1) != 0)
            if fields[ROUNDING] == STOCHASTIC:
                noise = draw(key, index + j, fields[RANDOM_BITS])
                code = round_stochastic(code, shift, noise, fields[RANDOM_BITS])
            else:
                code = round_shift(code, shift, fields[ROUNDING], np.int64(0))
        else:
            code = shift_left_exactly(code, -shift, fields[ROUNDING])
        if code < low or code > high:
            over += 1
            code = limit(
                code, low, high, fields[BITS], fields[SIGNED], fields[OVERFLOW], fields[SATURATED]
            )
        target[j] = code
    return lost, over


@kernel
def epilogue_range(start, stop, sums, out, column, bias, multiplier, shift, fields, key):
    """Rows [start, stop) of whole sums to the same rows of out, from `column`."""
    return epilogue_rows(
        sums[start:stop],
        stop - start,
        out,
        start,
        column,
        sums.shape[1],
        bias,
        multiplier,
        shift,
        fields,
        key,
    )
