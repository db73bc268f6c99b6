"""Block-wise formats: block extents, the choice of bits, and the aligned codes.

`x` is an (rows, columns) int64 matrix, |x| < 2**47, cut into block_rows x block_columns tiles;
grids have one entry a tile. Ranges are ranges of block rows. A tile holds at most 4096 elements.
"""

import numpy as np

from fxsim.engine.kernels._jit import kernel
from fxsim.engine.kernels.rounding import DRAW_BITS, STOCHASTIC, draw, round_shift


@kernel
def bit_length(value):
    """Bits of a non-negative integer, as Python's int.bit_length."""
    length = 0
    while value > 0:
        length += 1
        value >>= 1
    return length


@kernel
def block_extents_range(start, stop, x, block_rows, block_columns, peak, total):
    """max|x| and sum|x| of every tile."""
    rows, columns = x.shape
    for block_row in range(start, stop):
        for block_column in range(peak.shape[1]):
            largest, summed = np.int64(0), np.int64(0)
            for r in range(block_row * block_rows, min((block_row + 1) * block_rows, rows)):
                for c in range(
                    block_column * block_columns, min((block_column + 1) * block_columns, columns)
                ):
                    magnitude = abs(x[r, c])
                    largest = max(largest, magnitude)
                    summed += magnitude
            peak[block_row, block_column] = largest
            total[block_row, block_column] = summed


@kernel
def encode_tile(x, codes, top, bottom, left, right, bits, shift, base, rounding, key, store):
    """Quantise one tile at (bits, shift); returns (sum of |error|, saturated codes).

    Stores codes aligned to the tensor's grid, `base` octaves below the tile's, if `store`.
    """
    high = (np.int64(1) << (bits - 1)) - 1 if bits > 0 else np.int64(0)
    low = -high - 1 if bits > 0 else np.int64(0)
    error, saturated = np.int64(0), 0
    for r in range(top, bottom):
        for c in range(left, right):
            noise = np.int64(0)
            if rounding == STOCHASTIC:
                noise = draw(key, r * x.shape[1] + c, DRAW_BITS)
            code = round_shift(x[r, c], shift, rounding, noise) if bits > 0 else np.int64(0)
            if code > high or code < low:
                saturated += 1
                code = high if code > high else low
            error += abs(x[r, c] - (code << shift))
            if store:
                codes[r, c] = code << (shift - base)
    return error, saturated


@kernel
def encode_blocks_range(
    start,
    stop,
    x,
    block_rows,
    block_columns,
    peak,
    gain,
    candidates,
    base,
    unit,
    limit,
    skip_penalty,
    rounding,
    key,
    bits,
    shifts,
    codes,
):
    """Give every tile the first candidate whose sensitivity is at most `limit`, else the last.

    Sensitivity of a tile: (sum of |error| >> unit) * gain, at 0 bits times skip_penalty. `gain`
    is a grid, or a single row or column of one that holds for all. Returns (summed sensitivity,
    saturated codes).
    """
    rows, columns = x.shape
    sensitivity, clipped = np.int64(0), 0
    for block_row in range(start, stop):
        top, bottom = block_row * block_rows, min((block_row + 1) * block_rows, rows)
        for block_column in range(peak.shape[1]):
            left = block_column * block_columns
            right = min(left + block_columns, columns)
            weight = gain[min(block_row, gain.shape[0] - 1), min(block_column, gain.shape[1] - 1)]
            length = bit_length(peak[block_row, block_column])
            for index in range(candidates.shape[0]):
                width = candidates[index]
                shift = base
                if width > 0:
                    shift = max(length - (width - 1), base)
                    highest = (np.int64(1) << (width - 1)) - 1
                    shift += np.int64(peak[block_row, block_column] > highest << shift)
                error, saturated = encode_tile(
                    x, codes, top, bottom, left, right, width, shift, base, rounding, key, False
                )
                loss = (error >> unit) * weight * (skip_penalty if width == 0 else 1)
                if loss <= limit or index == candidates.shape[0] - 1:
                    encode_tile(
                        x, codes, top, bottom, left, right, width, shift, base, rounding, key, True
                    )
                    sensitivity += loss
                    clipped += saturated
                    bits[block_row, block_column] = width
                    shifts[block_row, block_column] = shift - base
                    break
    return sensitivity, clipped
