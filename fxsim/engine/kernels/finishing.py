"""What becomes of a block of sums: stored wide, or biased, scaled, rounded, limited and counted.

finish : int64 fields, by the constants below
bias, multiplier, places : int64, one a column: added first, multiplied then, and the binary
    places dropped at last
`fxsim.engine.output` proves that nothing here leaves its lanes.
"""

import numpy as np

from fxsim.engine.kernels._jit import kernel
from fxsim.engine.kernels.lanes import shift_left, shift_right
from fxsim.engine.kernels.narrow import narrow_flat
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
    FIELDS,
) = range(12)
STORE, WRAP_SUM, NARROW, GENERAL = range(4)


@kernel
def finish_rows(sums, rows, out, first, column, width, bias, multiplier, places, finish, key):
    """Rows of sums to out[first : first + rows, column : column + width]: (quantised, overflowed).

    STORE: as they are. WRAP_SUM: their low bits; counts those that had others. NARROW: bias, ReLU,
    one rounding shift and saturation in int32 lanes. GENERAL: everything, in int64. `sums` may be
    overwritten.
    """
    kind = finish[KIND]
    unused = np.int64(64) - finish[SUM_BITS]
    lost, over = np.int64(0), np.int64(0)
    if rows == 0 or width == 0:
        return lost, over
    if kind == GENERAL:
        for r in range(rows):
            counted = finish_row(
                sums[r, :width], out[first + r, column : column + width], bias, multiplier, places,
                unused, finish, key, (first + r) * out.shape[1] + column,
            )  # fmt: skip
            lost += counted[0]
            over += counted[1]
        return lost, over
    if kind == NARROW:
        prepare_narrow(sums, rows, width, bias, unused, finish[RELU])
    flat = sums.reshape(-1)
    if sums.shape[1] != width:  # close the gaps between rows, so that one loop serves them all
        for r in range(1, rows):
            for j in range(width):
                flat[r * width + j] = sums[r, j]
    if out.shape[1] == width:
        codes = flat[: rows * width]
        target = out.reshape(-1)[first * width : (first + rows) * width]
        return finish_flat(codes, target, kind, unused, places[0], finish, key, first * width)
    for r in range(rows):
        counted = finish_flat(
            flat[r * width : (r + 1) * width], out[first + r, column : column + width], kind,
            unused, places[0], finish, key, (first + r) * out.shape[1] + column,
        )  # fmt: skip
        lost += counted[0]
        over += counted[1]
    return lost, over


@kernel
def prepare_narrow(sums, rows, width, bias, unused, relu):
    """Wrap, add the bias, clip negatives: in place, in int32."""
    places = np.int32(max(unused - 32, 0))
    least = np.int32(0) if relu else np.int32(-(2**31))
    if places == 0 and not relu and not bias.any():
        return
    for r in range(rows):
        row = sums[r]
        for j in range(width):
            code = shift_right(shift_left(np.int32(row[j]), places), places)
            row[j] = max(np.int32(code + np.int32(bias[j])), least)


@kernel
def finish_flat(codes, target, kind, unused, shift, finish, key, index):
    """Flat codes, all kinds but GENERAL."""
    if kind == NARROW:
        return narrow_flat(
            codes, target, shift, finish[ROUNDING], finish[LOW], finish[HIGH], key, index,
            finish[RANDOM_BITS],
        )  # fmt: skip
    over = np.int64(0)
    if kind == STORE:
        for i in range(codes.shape[0]):
            target[i] = codes[i]
    else:
        for i in range(codes.shape[0]):
            wrapped = (np.int64(codes[i]) << unused) >> unused
            over += np.int64(wrapped != codes[i])
            target[i] = wrapped
    return np.int64(0), over


@kernel
def finish_row(total, target, bias, multiplier, places, unused, finish, key, index):
    """One row, any modes; `index`: number of the row's first draw."""
    low, high = finish[LOW], finish[HIGH]
    lost, over = 0, 0
    for j in range(total.shape[0]):
        code = (((np.int64(total[j]) << unused) >> unused) + bias[j]) * multiplier[j]
        if finish[RELU] and code < 0:
            code = np.int64(0)
        shift = places[j]
        if shift > 0:
            lost += np.int64(code & ((np.int64(1) << shift) - 1) != 0)
            if finish[ROUNDING] == STOCHASTIC:
                noise = draw(key, index + j, finish[RANDOM_BITS])
                code = round_stochastic(code, shift, noise, finish[RANDOM_BITS])
            else:
                code = round_shift(code, shift, finish[ROUNDING], np.int64(0))
        else:
            code = shift_left_exactly(code, -shift, finish[ROUNDING])
        if code < low or code > high:
            over += 1
            code = limit(
                code, low, high, finish[BITS], finish[SIGNED], finish[OVERFLOW], finish[SATURATED]
            )
        target[j] = code
    return lost, over


@kernel
def finish_range(start, stop, sums, out, column, bias, multiplier, places, finish, key):
    """Rows [start, stop) of whole sums to the same rows of out, from `column`."""
    return finish_rows(
        sums[start:stop], stop - start, out, start, column, sums.shape[1], bias, multiplier,
        places, finish, key,
    )  # fmt: skip
