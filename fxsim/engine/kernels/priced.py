"""Block-wise formats under prices: each tile weighs its sensitivity against what its bits cost.

`x` is an (rows, columns) matrix of 16-bit words, cut into block_rows x block_columns tiles; grids
have one entry a tile. Ranges are ranges of block rows.
"""

import numpy as np

from fxsim.engine.kernels._jit import kernel
from fxsim.engine.kernels.blocks import SKIPPED, encode_strip, fold_columns, spread_columns

WEIGHT_BITS = 8  # fractional bits of the weights of block rows and columns


@kernel
def tile_statistics_range(start, stop, x, block_rows, block_columns, peak, total):
    """Of each tile: max|x| and sum|x|."""
    rows, columns = x.shape
    width = peak.shape[1]
    most, summed = np.empty(block_rows * width, np.int32), np.empty(block_rows * width, np.int32)
    flat = x.reshape(-1)
    for b in range(start, stop):
        begin, end = b * block_rows, min((b + 1) * block_rows, rows)
        lines = (end - begin) * width
        strip = flat[begin * columns : end * columns]
        fold_columns(strip, columns, block_columns, width, most[:lines], summed[:lines])
        for j in range(width):
            largest, magnitude = np.int32(0), np.int64(0)
            for c in range(j, lines, width):
                largest = max(largest, most[c])
                magnitude += np.int64(summed[c])
            peak[b, j], total[b, j] = largest, magnitude


@kernel
def choose_priced_range(
    start, stop, peak, total, gain, elements, candidates, base, largest, fixed, by_row, by_column,
    row_weight, column_weight, skip_penalty, lengths, index, exponent,
):  # fmt: skip
    """Give every tile the candidate of least sensitivity plus price; the first of equals.

    Sensitivity as in `blocks.encode_blocks_range`; a candidate's price is fixed + by_row * the
    block row's weight + by_column * the block column's, weights with 8 fractional bits. A
    candidate that could have an aligned code beyond `largest` is passed over, but for the last.
    Writes each tile's candidate and exponent (SKIPPED at 0 bits); returns the summed sensitivity.
    """
    sensitivity, count = np.int64(0), candidates.shape[0]
    for b in range(start, stop):
        for j in range(peak.shape[1]):
            weight = gain[min(b, gain.shape[0] - 1), min(j, gain.shape[1] - 1)]
            length = np.int64(lengths[peak[b, j]])
            best, lost, chosen = np.int64(-1), np.int64(0), np.int64(0)
            stored = np.int64(SKIPPED)
            for c in range(count):
                width, shift = candidates[c], np.int64(SKIPPED)
                if width == 0:
                    loss = total[b, j] * weight * skip_penalty
                else:
                    highest = (np.int64(1) << (width - 1)) - 1
                    shift = max(length - (width - 1), np.int64(base))
                    shift += np.int64(np.int64(peak[b, j]) > highest << shift)
                    if highest << (shift - base) > largest and c < count - 1:
                        continue
                    loss = (
                        weight * elements * ((np.int64(1) << shift) - (np.int64(1) << base))
                    ) >> 2
                price = fixed[c] + (by_row[c] * row_weight[b] >> WEIGHT_BITS)
                price += by_column[c] * column_weight[j] >> WEIGHT_BITS
                if best < 0 or loss + price < best:
                    best, lost, chosen, stored = loss + price, loss, np.int64(c), shift
            index[b, j], exponent[b, j] = chosen, stored
            sensitivity += lost
    return sensitivity


@kernel
def encode_given_range(
    start, stop, x, block_rows, block_columns, exponent, base, rounding, key, codes
):
    """Aligned codes of tiles whose exponents are known; see `blocks.encode_strip`."""
    rows, columns = x.shape
    width = exponent.shape[1]
    by_tile = np.empty(block_rows * width, np.int8)
    by_element = np.empty(block_rows * columns, np.int8)
    flat, flat_codes = x.reshape(-1), codes.reshape(-1)
    for b in range(start, stop):
        begin, end = b * block_rows, min((b + 1) * block_rows, rows)
        lines, first, last = end - begin, begin * columns, end * columns
        for line in range(lines):
            by_tile[line * width : (line + 1) * width] = exponent[b]
        spread = by_element[: lines * columns]
        spread_columns(by_tile, columns, block_columns, width, spread)
        encode_strip(flat[first:last], spread, base, rounding, key, first, flat_codes[first:last])
