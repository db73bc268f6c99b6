"""Block-wise formats: the choice of each tile's bits, and the aligned codes.

`x` is an (rows, columns) matrix of 16-bit words, cut into block_rows x block_columns tiles (at most
4096 elements); grids have one entry a tile. Ranges are ranges of block rows.
"""

import numpy as np

from fxsim.engine.kernels._jit import kernel
from fxsim.engine.kernels.lanes import shift_left, shift_right, shift_right_unsigned
from fxsim.engine.kernels.narrow import tie_weights
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
def strip_extents(strip, lines, block_rows, columns, peak, total):
    """Of each column of each block row: max|x| and sum|x|; `strip` is flat, `lines` rows long."""
    run = block_rows * columns
    for first in range(0, lines * columns, run):
        most = peak[first // block_rows : first // block_rows + columns]
        summed = total[first // block_rows : first // block_rows + columns]
        for j in range(columns):
            most[j] = np.int32(0)
        for j in range(columns):
            summed[j] = np.int32(0)
        for start in range(first, min(first + run, lines * columns), columns):
            row = strip[start : start + columns]
            for j in range(columns):
                most[j] = max(most[j], abs(np.int32(row[j])))
            for j in range(columns):
                summed[j] = np.int32(summed[j] + abs(np.int32(row[j])))


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
def encode_strip(strip, shift, high, base, rounding, key, index, codes):
    """Flat words to aligned codes, each at its own exponent (at most 15), saturated at `high`.

    index : number of the first draw
    """
    least, one, size = np.int32(base), np.int32(1), strip.shape[0]
    if rounding == STOCHASTIC:
        first, low, top_key = np.int32(index), low_word(key), high_word(key)
        for i in range(size):
            word, s = np.int32(strip[i]), np.int32(shift[i])
            floor = shift_right(word, s)
            rest = np.int32(word - shift_left(floor, s))
            top = shift_right(shift_left(rest, np.int32(16)), s)
            noise = shift_right_unsigned(
                hash32(np.int32(first + np.int32(i)), low, top_key), np.int32(16)
            )
            code = np.int32(floor + shift_right(np.int32(top + noise), np.int32(16)))
            most = np.int32(high[i])
            code = min(max(code, np.int32(-most)), most)
            codes[i] = shift_left(code, np.int32(s - least))
        return
    if rounding in (TRN, TRN_ZERO, JAM):
        zero, jam = np.int32(rounding == TRN_ZERO), np.int32(rounding == JAM)
        for i in range(size):
            word, s = np.int32(strip[i]), np.int32(shift[i])
            code = shift_right(word, s)
            lost = np.int32(shift_left(code, s) != word)
            code = np.int32(code + np.int32(np.int32(lost & zero) & np.int32(word < 0)))
            code = np.int32(code | np.int32(lost & jam))
            most = np.int32(high[i])
            code = min(max(code, np.int32(-most)), most)
            codes[i] = shift_left(code, np.int32(s - least))
        return
    even, sign, always = tie_weights(rounding)
    for i in range(size):
        word, s = np.int32(strip[i]), np.int32(shift[i])
        rounds = np.int32(s > 0)
        up = np.int32(shift_right(shift_left(one, s), one) - rounds)
        kept = np.int32(shift_right(word, s) & even)
        tie = np.int32(kept ^ np.int32(shift_right(word, np.int32(31)) & sign))
        tie = np.int32(np.int32(tie ^ always) & rounds)
        code = shift_right(np.int32(np.int32(word + up) + tie), s)
        most = np.int32(high[i])
        code = min(max(code, np.int32(-most)), most)
        codes[i] = shift_left(code, np.int32(s - least))


@kernel
def encode_blocks_range(
    start, stop, x, block_rows, block_columns, gain, candidates, base, largest, limit,
    skip_penalty, rounding, key, lengths, bits, shifts, codes,
):  # fmt: skip
    """Give every tile the first candidate whose sensitivity is at most `limit`, else the last.

    Sensitivity of a tile: gain * elements * (step - finest step) / 4, at 0 bits gain * sum|x| *
    skip_penalty. `gain` is a grid, or a single row or column of one that holds for all. A
    candidate that could have an aligned code beyond `largest` is passed over. `lengths` are the
    bit lengths of 0 to 2**15. Returns the summed sensitivity.
    """
    rows, columns = x.shape
    grid_columns, elements = bits.shape[1], block_rows * block_columns
    down = max(STRIP // (block_rows * columns), 1)
    peak, total = np.empty(down * columns, np.int32), np.empty(down * columns, np.int32)
    exponent = np.empty(down * block_rows * columns, np.int8)
    high = np.empty(down * block_rows * columns, np.int16)
    flat, flat_codes = x.reshape(-1), codes.reshape(-1)
    most_shift = np.empty((gain.shape[1], candidates.shape[0]), np.int64)
    known, sensitivity = np.int64(-1), np.int64(0)
    for first in range(start, stop, down):
        last = min(first + down, stop)
        begin, end = first * block_rows, min(last * block_rows, rows)
        strip = flat[begin * columns : end * columns]
        strip_extents(strip, end - begin, block_rows, columns, peak, total)
        for b in range(first, last):
            place = (b - first) * columns
            line = (b - first) * block_rows * columns
            line_of_gain = min(b, gain.shape[0] - 1)
            if line_of_gain != known:
                known = line_of_gain
                largest_exponents(
                    gain[known], candidates, base, largest, limit, elements, most_shift
                )
            for column in range(grid_columns):
                left = column * block_columns
                right = min(left + block_columns, columns)
                most, summed = np.int32(0), np.int64(0)
                for c in range(place + left, place + right):
                    most = max(most, peak[c])
                    summed += total[c]
                weight = gain[line_of_gain, min(column, gain.shape[1] - 1)]
                index, shift = choose(
                    np.int64(most), summed, weight, most_shift[min(column, gain.shape[1] - 1)],
                    candidates, base, limit, skip_penalty, lengths,
                )  # fmt: skip
                loss = (weight * elements * ((np.int64(1) << shift) - (np.int64(1) << base))) >> 2
                if candidates[index] == 0:
                    loss = summed * weight * skip_penalty
                width = candidates[index]
                sensitivity += loss
                bits[b, column] = width
                shifts[b, column] = shift - base
                limit_code = (1 << max(width - 1, 0)) - 1
                for c in range(line + left, line + right):
                    exponent[c] = shift
                    high[c] = limit_code
            height = min(block_rows, end - b * block_rows)
            for r in range(1, height):
                for c in range(columns):
                    exponent[line + r * columns + c] = exponent[line + c]
                for c in range(columns):
                    high[line + r * columns + c] = high[line + c]
        encode_strip(
            strip, exponent, high, base, rounding, key, begin * columns,
            flat_codes[begin * columns : end * columns],
        )  # fmt: skip
    return sensitivity
