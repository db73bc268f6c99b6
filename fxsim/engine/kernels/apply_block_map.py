"""Casts under a given block map: each tile at its own bits and exponent, on a shared grid.

x is (rows, columns); bits and shifts have one entry a tile. A code of a tile is worth
2**shift steps of the grid, which lies `shift` binary places above x's. Ranges are block rows.
"""

import numpy as np

from fxsim.engine.jit import kernel
from fxsim.engine.kernels.lanes import shift_left, shift_right
from fxsim.engine.kernels.requantise import tie_weights
from fxsim.engine.kernels.rounding import (
    DRAW_BITS,
    STOCHASTIC,
    draw,
    round_shift,
    shift_left_exactly,
)


@kernel
def spread_row(values, block_columns, out):
    """One value a tile to one a column."""
    whole = out.shape[0] // 4 if block_columns == 4 else 0
    for block in range(whole):  # the tiles of most maps: a loop that LLVM turns into vectors
        out[4 * block] = values[block]
        out[4 * block + 1] = values[block]
        out[4 * block + 2] = values[block]
        out[4 * block + 3] = values[block]
    for block in range(whole, values.shape[0]):
        first = block * block_columns
        for c in range(first, min(first + block_columns, out.shape[0])):
            out[c] = values[block]


@kernel
def map_row(source, target, width, shift, base, even, sign, always):
    """One row in int32 lanes; (quantised, overflowed)."""
    one, zero, last = np.int32(1), np.int32(0), np.int32(31)
    dropped, outside = np.int32(0), np.int32(0)
    for c in range(source.shape[0]):
        code, up = np.int32(source[c]), shift[c]
        s = np.int32(base + up)
        rounds = np.int32(s > zero)
        unit = shift_left(one, s)
        tie = np.int32(np.int32(shift_right(code, s) & even) ^ always)
        tie = np.int32(tie ^ np.int32(shift_right(code, last) & sign))
        half = np.int32(np.int32(shift_right(unit, one) - rounds) + np.int32(tie & rounds))
        rounded = shift_right(np.int32(code + half), s)
        limit = shift_right(shift_left(one, width[c]), one)  # 0 bits: no code but 0
        most = np.int32(limit - np.int32(limit > zero))
        inside = min(max(rounded, np.int32(-limit)), most)
        dropped = np.int32(dropped + np.int32(np.int32(code & np.int32(unit - one)) != zero))
        outside = np.int32(outside + np.int32(inside != rounded))
        target[c] = shift_left(inside, up)
    return dropped, outside


@kernel
def apply_map_int32_range(
    start, stop, x, bits, shifts, block_rows, block_columns, bit_shift, rounding, out
):
    """Nearest modes in int32 lanes; (quantised, overflowed).

    Preconditions: |x| < 2**30, 0 <= bit_shift + shift <= 30.
    """
    rows, columns = x.shape
    width, shift = np.empty(columns, np.int32), np.empty(columns, np.int32)
    even, sign, always = tie_weights(rounding)
    lost, over = np.int64(0), np.int64(0)
    for block_row in range(start, stop):
        spread_row(bits[block_row], block_columns, width)
        spread_row(shifts[block_row], block_columns, shift)
        for r in range(block_row * block_rows, min((block_row + 1) * block_rows, rows)):
            counted = map_row(x[r], out[r], width, shift, np.int32(bit_shift), even, sign, always)
            lost += np.int64(counted[0])
            over += np.int64(counted[1])
    return lost, over


@kernel
def apply_map_range(
    start, stop, x, bits, shifts, block_rows, block_columns, shift, rounding, key, out
):
    """Any mode and shift, in int64; (quantised, overflowed)."""
    rows, columns = x.shape
    lost, over = np.int64(0), np.int64(0)
    for r in range(start * block_rows, min(stop * block_rows, rows)):
        for c in range(columns):
            width = np.int64(bits[r // block_rows, c // block_columns])
            up = np.int64(shifts[r // block_rows, c // block_columns])
            code, s = np.int64(x[r, c]), shift + up
            if s > 0:
                noise = np.int64(0)
                if rounding == STOCHASTIC:
                    noise = draw(key, r * columns + c, DRAW_BITS)
                lost += np.int64(code & ((np.int64(1) << s) - 1) != 0)
                code = round_shift(code, s, rounding, noise)
            else:
                code = shift_left_exactly(code, -s, rounding)
            limit = np.int64(1) << (width - 1) if width > 0 else np.int64(0)
            inside = min(max(code, -limit), max(limit - 1, np.int64(0)))
            over += np.int64(inside != code)
            out[r, c] = inside << up
    return lost, over
