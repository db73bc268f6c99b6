"""Block-wise formats under prices: each tile weighs its sensitivity against what its bits cost.

`x` is an (rows, columns) matrix of 16-bit words, cut into block_rows x block_columns tiles; grids
have one entry a tile. Ranges are ranges of block rows.
"""

import numpy as np

from fxsim.engine.jit import kernel
from fxsim.engine.kernels.block_quantisation import (
    SKIPPED,
    STRIP,
    encode_strip,
    fold_columns,
    spread_columns,
)

IMPOSSIBLE = 2**62
WEIGHT_BITS = 8  # fractional bits of the weights of block rows and columns


@kernel
def tile_sensitivities_range(
    start,
    stop,
    x,
    block_rows,
    block_columns,
    gain,
    candidates,
    base,
    largest,
    skip_penalty,
    lengths,
    exponents,
    losses,
    totals,
):
    """Of each tile and candidate: its exponent (SKIPPED at 0 bits) and its sensitivity.

    Sensitivity as in `block_quantisation.encode_blocks_range`; a candidate that could have an
    aligned code beyond `largest` costs IMPOSSIBLE, but for the last. exponents, losses : a plane a
    candidate;
    totals : gain * sum|x| of each tile
    """
    rows, columns = x.shape
    width, count = losses.shape[2], candidates.shape[0]
    elements = np.int64(block_rows * block_columns)
    most, summed = np.empty(block_rows * width, np.int32), np.empty(block_rows * width, np.int32)
    peak, total = np.empty(width, np.int64), np.empty(width, np.int64)
    flat = x.reshape(-1)
    for b in range(start, stop):
        begin, end = b * block_rows, min((b + 1) * block_rows, rows)
        lines = (end - begin) * width
        strip = flat[begin * columns : end * columns]
        fold_columns(strip, columns, block_columns, width, most[:lines], summed[:lines])
        for j in range(width):
            peak[j], total[j] = most[j], summed[j]
        for line in range(1, end - begin):
            for j in range(width):
                peak[j] = max(peak[j], np.int64(most[line * width + j]))
                total[j] += np.int64(summed[line * width + j])
        line_of_gain = min(b, gain.shape[0] - 1)
        for j in range(width):
            weight = gain[line_of_gain, min(j, gain.shape[1] - 1)]
            length = np.int64(lengths[peak[j]])
            totals[b, j] = total[j] * weight
            for c in range(count):
                bits = candidates[c]
                if bits == 0:
                    exponents[c, b, j] = SKIPPED
                    losses[c, b, j] = total[j] * weight * skip_penalty
                    continue
                highest = (np.int64(1) << (bits - 1)) - 1
                shift = max(length - (bits - 1), np.int64(base))
                shift += np.int64(peak[j] > highest << shift)
                exponents[c, b, j] = shift
                step = (np.int64(1) << shift) - (np.int64(1) << base)
                losses[c, b, j] = (weight * elements * step) >> 2
                if highest << (shift - base) > largest and c < count - 1:
                    losses[c, b, j] = IMPOSSIBLE


@kernel
def choose_cost_aware_range(
    start, stop, losses, fixed, by_row, by_column, row_weight, work, index, row_work, column_work
):
    """Give every tile the candidate of least sensitivity plus price; the first of equals.

    A candidate's price is fixed + by_row * the block row's weight + by_column, which has an entry
    a candidate and block column. Preconditions, which `block_casts` ensures: prices of at most
    2**47, weights of at most 2**14. row_work, column_work : the chosen candidates' work, summed
    (column_work has a line a block row of each range's first). Returns the summed sensitivity.
    """
    sensitivity, count, width = np.int64(0), losses.shape[0], losses.shape[2]
    best, lost = np.empty(width, np.int64), np.empty(width, np.int64)
    for b in range(start, stop):
        chosen = index[b]
        for c in range(count):
            price = fixed[c] + (by_row[c] * row_weight[b] >> WEIGHT_BITS)
            plane, column = losses[c, b], by_column[c]
            for j in range(width):
                cost = plane[j] + price + column[j]
                better = c == 0 or cost < best[j]
                best[j] = cost if better else best[j]
                lost[j] = plane[j] if better else lost[j]
                chosen[j] = np.int8(c) if better else chosen[j]
        done = np.int64(0)
        for j in range(width):
            sensitivity += lost[j]
            done += work[chosen[j]]
            column_work[start, j] += work[chosen[j]]
        row_work[b] = done
    return sensitivity


@kernel
def encode_given_range(
    start, stop, x, block_rows, block_columns, exponents, index, base, rounding, key, codes
):
    """Aligned codes of tiles at their candidates' exponents; see `block_quantisation`."""
    rows, columns = x.shape
    width = index.shape[1]
    down = max(STRIP // (block_rows * columns), 1)
    by_tile = np.empty(down * block_rows * width, np.int8)
    by_element = np.empty(down * block_rows * columns, np.int8)
    flat, flat_codes = x.reshape(-1), codes.reshape(-1)
    for first_block in range(start, stop, down):
        last_block = min(first_block + down, stop)
        begin, end = first_block * block_rows, min(last_block * block_rows, rows)
        for b in range(first_block, last_block):
            top = b * block_rows - begin
            for j in range(width):
                by_tile[top * width + j] = exponents[index[b, j], b, j]
            for line in range(1, min(block_rows, rows - b * block_rows)):
                for j in range(width):
                    by_tile[(top + line) * width + j] = by_tile[top * width + j]
        size, first = (end - begin) * columns, begin * columns
        spread_columns(by_tile, columns, block_columns, width, by_element[:size])
        encode_strip(
            flat[first : first + size],
            by_element[:size],
            base,
            rounding,
            key,
            first,
            flat_codes[first : first + size],
        )
