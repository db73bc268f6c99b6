"""Counting word lengths of block maps, by position and by output pixel."""

import numpy as np

from fxsim.engine.jit import kernel


@kernel
def level_elements_range(start, stop, bits, rows, columns, block_rows, block_columns):
    """Elements of each word length (0 to 63) in a range of block rows; ragged tiles as they are."""
    blocks = np.zeros(64, np.int64)
    elements = np.zeros(64, np.int64)
    for r in range(start, stop):
        height = min(rows - r * block_rows, block_rows)
        blocks[:] = 0
        last = bits.shape[1] - 1
        for c in range(last):
            blocks[bits[r, c]] += 1
        for level in range(64):
            elements[level] += blocks[level] * height * block_columns
        elements[bits[r, last]] += height * (columns - last * block_columns)
    return elements


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
def weight_counts(index, block_rows, block_columns, filters, channels, back, counts):
    """counts[group, tap, channel, l] = its filters' weights of level l; back: of each filter.

    index : (block rows, block columns) levels of (groups * filters, taps * channels) weights
    """
    groups, taps = counts.shape[0], counts.shape[1]
    rows, columns = groups * filters, taps * channels
    row = 0
    while row < rows:  # piece by piece of one block in one group and tap
        group, line = row // filters, row // block_rows
        tall = min((line + 1) * block_rows, (group + 1) * filters) - row
        column = 0
        while column < columns:
            tap, block = column // channels, column // block_columns
            wide = min((block + 1) * block_columns, (tap + 1) * channels) - column
            level = index[line, block]
            if back:
                first = row - group * filters
                for f in range(first, first + tall):
                    counts[group, tap, f, level] += wide
            else:
                first = column - tap * channels
                for c in range(first, first + wide):
                    counts[group, tap, c, level] += tall
            column += wide
        row += tall


@kernel
def level_planes_range(start, stop, index, widths, block_rows, planes):
    """planes[l, row] = codes of level l in a row, for block rows [start, stop)."""
    levels, rows = planes.shape
    counts = np.zeros(levels, np.int32)
    for r in range(start, stop):
        counts[:] = 0
        for c in range(index.shape[1]):
            counts[index[r, c]] += np.int32(widths[c])
        for level in range(levels):
            for row in range(r * block_rows, min((r + 1) * block_rows, rows)):
                planes[level, row] = counts[level]


@kernel
def box_sums(plane, height, width, out_height, out_width, vertical, horizontal, out):
    """out[y, x] = the sum of a flat (height, width) plane over the field of each output.

    vertical, horizontal : (size, stride, dilation, zeros before) of the window
    """
    line = np.empty(width, np.int32)
    size, stride, dilation, padding = vertical
    for y in range(out_height):
        line[:] = 0
        for tap in range(size):
            row = y * stride + tap * dilation - padding
            if 0 <= row < height:
                part = plane[row * width : (row + 1) * width]
                for x in range(width):
                    line[x] = np.int32(line[x] + part[x])
        to = out[y * out_width : (y + 1) * out_width]
        to[:] = 0
        for tap in range(horizontal[0]):
            across, left = horizontal[1], tap * horizontal[2] - horizontal[3]
            first = min(max((across - 1 - left) // across, 0), out_width)
            last = min(max((width - 1 - left) // across + 1, first), out_width)
            if across == 1:
                part = line[first + left : last + left]
                for x in range(last - first):
                    to[first + x] = np.int32(to[first + x] + part[x])
            else:
                for x in range(first, last):
                    to[x] = np.int32(to[x] + line[x * across + left])


@kernel
def field_products_range(
    start,
    stop,
    pixels,
    errors,
    height,
    width,
    out_height,
    out_width,
    vertical,
    horizontal,
):
    """Sum over output pixels of (levels in the field) x (levels of the error).

    pixels, errors : (levels, images * positions) int32; ranges are of images. Precondition: the
    products of one output, depth times filters, fit 31 bits.
    """
    total = np.zeros((pixels.shape[0], errors.shape[0]), np.int64)
    area, outputs = height * width, out_height * out_width
    field = np.empty(outputs, np.int32)
    for n in range(start, stop):
        for i in range(pixels.shape[0]):
            plane = pixels[i, n * area : (n + 1) * area]
            box_sums(plane, height, width, out_height, out_width, vertical, horizontal, field)
            for j in range(errors.shape[0]):
                other, summed = errors[j, n * outputs : (n + 1) * outputs], np.int64(0)
                for p in range(outputs):
                    summed += np.int64(np.int32(field[p] * other[p]))
                total[i, j] += summed
    return total
