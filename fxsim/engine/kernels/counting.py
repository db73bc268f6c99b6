"""Counting word lengths of block maps, by position and by output pixel."""

import numpy as np

from fxsim.engine.kernels._jit import kernel


@kernel
def level_elements_range(start, stop, bits, rows, columns, block_rows, block_columns):
    """Elements of each word length (0 to 63) in a range of block rows; ragged tiles as they are."""
    blocks = np.zeros(64, np.int64)
    found = np.zeros(64, np.int64)
    for r in range(start, stop):
        height = min(rows - r * block_rows, block_rows)
        blocks[:] = 0
        last = bits.shape[1] - 1
        for c in range(last):
            blocks[bits[r, c]] += 1
        for level in range(64):
            found[level] += blocks[level] * height * block_columns
        found[bits[r, last]] += height * (columns - last * block_columns)
    return found


@kernel
def line_counts_range(start, stop, index, sizes, counts):
    """counts[line, l] = elements of level l in rows [start, stop) of a grid; sizes by column."""
    for r in range(start, stop):
        for c in range(index.shape[1]):
            counts[r, index[r, c]] += sizes[c]


@kernel
def position_counts_range(start, stop, level, counts):
    """counts[position, block, l] = images whose block there has level l.

    level : (images, positions, column blocks); ranges are ranges of positions
    """
    for i in range(level.shape[0]):
        for p in range(start, stop):
            for b in range(level.shape[2]):
                counts[p, b, level[i, p, b]] += 1


@kernel
def field_products_range(start, stop, pixels, errors, taps_y, taps_x, stride, dilation, padding):
    """Sum over output pixels of (levels in the field) x (levels of the error).

    pixels : (images, H, W, levels); errors : (images, OH, OW, levels); ranges are of images
    """
    height, width, levels = pixels.shape[1], pixels.shape[2], pixels.shape[3]
    total = np.zeros((levels, errors.shape[3]), np.int64)
    field = np.zeros(levels, np.int64)
    for n in range(start, stop):
        for y in range(errors.shape[1]):
            for x in range(errors.shape[2]):
                field[:] = 0
                for a in range(taps_y):
                    row = y * stride + a * dilation - padding
                    if row < 0 or row >= height:
                        continue
                    for b in range(taps_x):
                        column = x * stride + b * dilation - padding
                        if 0 <= column < width:
                            for l in range(levels):  # noqa: E741
                                field[l] += pixels[n, row, column, l]
                for i in range(levels):
                    for j in range(errors.shape[3]):
                        total[i, j] += field[i] * errors[n, y, x, j]
    return total
