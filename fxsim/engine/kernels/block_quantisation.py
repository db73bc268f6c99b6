"""Block-wise formats: the choice of each tile's bits, and the aligned codes.

`x` is an (rows, columns) matrix of 16-bit words, cut into block_rows x block_columns tiles (at most
4096 elements); grids have one entry a tile. Ranges are ranges of block rows.
"""

import numpy as np

from fxsim.engine.jit import kernel
from fxsim.engine.kernels.lanes import shift_left, shift_right, shift_right_unsigned
from fxsim.engine.kernels.requantise import tie_weights
from fxsim.engine.kernels.rounding import (
    JAM,
    STOCHASTIC,
    TRN,
    TRN_ZERO,
    hash32,
    high_word,
    low_word,
)

STRIP = 4096  # elements worked on at a time, or one block row
SKIPPED = np.int8(-1)  # the exponent of a tile of 0 bits


@kernel
def bit_length(value):
    """Bits of a non-negative integer, as Python's int.bit_length."""
    length = 0
    while value > 0:
        length += 1
        value >>= 1
    return length


@kernel
def column_magnitudes_range(start, stop, x, tile):
    """Per place of a tile of whole rows: the sum of |x|; `x` is flat."""
    total = np.zeros(tile, np.int64)
    for t in range(start, stop):
        part = x[t * tile : (t + 1) * tile]
        for j in range(part.shape[0]):
            total[j] += np.int64(abs(np.int32(part[j])))
    return total


@kernel
def fold_columns(strip, columns, block_columns, grid_columns, most, total):
    """Of each line and block column of a flat strip: max|x| and sum|x|."""
    if block_columns == 4 and columns % 4 == 0:
        for i in range(strip.shape[0] // 4):
            a, b = abs(np.int32(strip[4 * i])), abs(np.int32(strip[4 * i + 1]))
            c, d = abs(np.int32(strip[4 * i + 2])), abs(np.int32(strip[4 * i + 3]))
            most[i] = max(max(a, b), max(c, d))
            total[i] = np.int32(np.int32(a + b) + np.int32(c + d))
        return
    for line in range(strip.shape[0] // columns):
        for t in range(grid_columns):
            largest, summed = np.int32(0), np.int32(0)
            first = line * columns + t * block_columns
            for c in range(first, min(first + block_columns, (line + 1) * columns)):
                largest = max(largest, abs(np.int32(strip[c])))
                summed = np.int32(summed + abs(np.int32(strip[c])))
            most[line * grid_columns + t] = largest
            total[line * grid_columns + t] = summed


@kernel
def spread_columns(by_tile, columns, block_columns, grid_columns, out):
    """The reverse: each line's value of a block column to its elements."""
    if block_columns == 4 and columns % 4 == 0:
        for i in range(out.shape[0] // 4):
            value = by_tile[i]
            out[4 * i] = value
            out[4 * i + 1] = value
            out[4 * i + 2] = value
            out[4 * i + 3] = value
        return
    for line in range(out.shape[0] // columns):
        for c in range(columns):
            out[line * columns + c] = by_tile[line * grid_columns + c // block_columns]


@kernel
def largest_exponents(gain, candidates, base, largest, limit, elements, most):
    """most[i, c] = the largest exponent at which gain i lets a tile take candidate c, else -1."""
    for i in range(gain.shape[0]):
        for c in range(candidates.shape[0]):
            most[i, c] = -1
            if candidates[c] == 0:
                continue
            highest = (np.int64(1) << (candidates[c] - 1)) - 1
            for shift in range(base, 16):
                added = (gain[i] * elements * ((np.int64(1) << shift) - (np.int64(1) << base))) >> 2
                fits = highest << (shift - base) <= largest
                if fits and (added <= limit or c == candidates.shape[0] - 1):
                    most[i, c] = shift


@kernel
def choose(peak, total, weight, most, candidates, base, limit, skip_penalty, lengths):
    """(number of a tile's candidate, its exponent); most : its largest exponent by candidate."""
    length = np.int64(lengths[peak])
    for index in range(candidates.shape[0]):
        width = candidates[index]
        if width == 0:
            if total * weight * skip_penalty <= limit or index == candidates.shape[0] - 1:
                return index, np.int64(base)
            continue
        shift = max(length - (width - 1), np.int64(base))
        shift += np.int64(peak > ((np.int64(1) << (width - 1)) - 1) << shift)
        if shift <= most[index]:
            return index, shift
    return candidates.shape[0] - 1, shift


@kernel
def encode_strip(strip, shift, base, rounding, key, index, codes):
    """Flat words to aligned codes, each at its own exponent (at most 15); 0 where it is SKIPPED.

    A tile's largest value fits its word at its exponent, so no mode rounds a code beyond the
    word's symmetric limits. index : number of the first draw
    """
    least, one, size = np.int32(base), np.int32(1), strip.shape[0]
    if rounding == STOCHASTIC:
        first, low, top_key = np.int32(index), low_word(key), high_word(key)
        for i in range(size):
            word, s = np.int32(strip[i]), np.int32(shift[i])
            mask = shift_right(np.int32(~s), np.int32(31))
            s = np.int32(s & np.int32(15))
            floor = shift_right(word, s)
            rest = np.int32(word - shift_left(floor, s))
            top = shift_right(shift_left(rest, np.int32(16)), s)
            noise = shift_right_unsigned(
                hash32(np.int32(first + np.int32(i)), low, top_key), np.int32(16)
            )
            code = np.int32(floor + shift_right(np.int32(top + noise), np.int32(16)))
            codes[i] = np.int32(shift_left(code, np.int32(s - least) & np.int32(15)) & mask)
        return
    if rounding in (TRN, TRN_ZERO, JAM):
        zero, jam = np.int32(rounding == TRN_ZERO), np.int32(rounding == JAM)
        for i in range(size):
            word, s = np.int32(strip[i]), np.int32(shift[i])
            mask = shift_right(np.int32(~s), np.int32(31))
            s = np.int32(s & np.int32(15))
            code = shift_right(word, s)
            lost = np.int32(shift_left(code, s) != word)
            code = np.int32(code + np.int32(np.int32(lost & zero) & np.int32(word < 0)))
            code = np.int32(code | np.int32(lost & jam))
            codes[i] = np.int32(shift_left(code, np.int32(s - least) & np.int32(15)) & mask)
        return
    even, sign, always = tie_weights(rounding)
    for i in range(size):
        word, s = np.int32(strip[i]), np.int32(shift[i])
        mask = shift_right(np.int32(~s), np.int32(31))
        s = np.int32(s & np.int32(15))
        rounds = np.int32(s > 0)
        up = np.int32(shift_right(shift_left(one, s), one) - rounds)
        last = np.int32(shift_right(word, s) & even)
        tie = np.int32(last ^ np.int32(shift_right(word, np.int32(31)) & sign))
        tie = np.int32(np.int32(tie ^ always) & rounds)
        code = shift_right(np.int32(np.int32(word + up) + tie), s)
        codes[i] = np.int32(shift_left(code, np.int32(s - least) & np.int32(15)) & mask)


@kernel
def encode_blocks_range(
    start,
    stop,
    x,
    block_rows,
    block_columns,
    gain,
    candidates,
    base,
    largest,
    limit,
    skip_penalty,
    rounding,
    key,
    lengths,
    bits,
    shifts,
    codes,
):
    """Give every tile the first candidate whose sensitivity is at most `limit`, else the last.

    Sensitivity of a tile: gain * elements * (step - finest step) / 4, at 0 bits gain * sum|x| *
    skip_penalty. `gain` is a grid, or a single row or column of one that holds for all. A
    candidate that could have an aligned code beyond `largest` is passed over. `lengths` are the
    bit lengths of 0 to 2**15. Returns the summed sensitivity.
    """
    rows, columns = x.shape
    grid_columns, elements = bits.shape[1], block_rows * block_columns
    down = max(STRIP // (block_rows * columns), 1)
    lines = down * block_rows
    peak, total = (
        np.empty(lines * grid_columns, np.int32),
        np.empty(lines * grid_columns, np.int32),
    )
    by_tile = np.empty(lines * grid_columns, np.int8)
    exponent = np.empty(lines * columns, np.int8)
    flat, flat_codes = x.reshape(-1), codes.reshape(-1)
    most_shift = np.empty((gain.shape[1], candidates.shape[0]), np.int64)
    last_row, sensitivity = np.int64(-1), np.int64(0)
    for first in range(start, stop, down):
        last = min(first + down, stop)
        begin, end = first * block_rows, min(last * block_rows, rows)
        strip = flat[begin * columns : end * columns]
        fold_columns(strip, columns, block_columns, grid_columns, peak, total)
        for b in range(first, last):
            line_of_gain = min(b, gain.shape[0] - 1)
            if line_of_gain != last_row:
                last_row = line_of_gain
                largest_exponents(
                    gain[last_row], candidates, base, largest, limit, elements, most_shift
                )
            top = (b * block_rows - begin) * grid_columns
            bottom = (min((b + 1) * block_rows, end) - begin) * grid_columns
            for column in range(grid_columns):
                most, summed = np.int32(0), np.int64(0)
                for c in range(top + column, bottom, grid_columns):
                    most = max(most, peak[c])
                    summed += total[c]
                of = min(column, gain.shape[1] - 1)
                weight = gain[line_of_gain, of]
                index, shift = choose(
                    np.int64(most),
                    summed,
                    weight,
                    most_shift[of],
                    candidates,
                    base,
                    limit,
                    skip_penalty,
                    lengths,
                )
                width = candidates[index]
                if width == 0:
                    sensitivity += summed * weight * skip_penalty
                else:
                    step = (np.int64(1) << shift) - (np.int64(1) << base)
                    sensitivity += (weight * elements * step) >> 2
                bits[b, column] = width
                shifts[b, column] = shift - base
                stored = np.int8(shift) if width > 0 else SKIPPED
                for c in range(top + column, bottom, grid_columns):
                    by_tile[c] = stored
        spread_columns(by_tile, columns, block_columns, grid_columns, exponent[: strip.shape[0]])
        encode_strip(
            strip,
            exponent,
            base,
            rounding,
            key,
            begin * columns,
            flat_codes[begin * columns : end * columns],
        )
    return sensitivity
