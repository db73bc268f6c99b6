"""Word lengths of the tiles that an array works on, and how long tiles in lockstep take."""

import numpy as np

from fxsim.engine.jit import kernel


@kernel
def tile_levels(
    start,
    stop,
    image,
    block_columns,
    columns,
    vertical,
    horizontal,
    channels,
    tile_rows,
    tile_columns,
    transposed,
    out,
):
    """out[i, j] = highest level in tile (i, j) of the matrix that im2col makes of an image.

    image : (pixels, column blocks) level of each pixel's blocks; levels start at 1, 0 is none
    vertical, horizontal : (outputs, pixels, taps, stride, dilation, padding, upsampling)
    channels : (first column, columns of the group)
    transposed : the matrix's transpose is cut to tiles; ranges are ranges of pixels' tiles
    """
    out_height, height, high, down, row_dilation, top, up = vertical
    out_width, width, wide, across, column_dilation, left, apart = horizontal
    first, depth = channels
    outputs = out_height * out_width
    images = image.shape[0] // (height * width)
    pixels = images * outputs
    # each piece of a block is a tile's piece as well
    whole = tile_columns == block_columns and depth % tile_columns == first % tile_columns == 0
    highest = np.zeros(-(-high * wide * depth // tile_columns), np.uint8)
    for tile in range(start, stop):
        highest[:] = 0
        for pixel in range(tile * tile_rows, min((tile + 1) * tile_rows, pixels)):
            picture, place = pixel // outputs, pixel % outputs
            y0 = place // out_width * down - top
            x0 = place % out_width * across - left
            for a in range(high):
                y = y0 + a * row_dilation
                for b in range(wide):
                    x = x0 + b * column_dilation
                    inside = 0 <= y < height * up and 0 <= x < width * apart
                    inside = inside and y % up == 0 and x % apart == 0
                    base = (a * wide + b) * depth
                    row = (picture * height + y // up) * width + x // apart
                    if whole:
                        part = highest[base // tile_columns : (base + depth) // tile_columns]
                        block = first // block_columns
                        if inside:
                            levels = image[row, block : block + len(part)]
                            for i in range(len(part)):
                                part[i] = max(part[i], levels[i])
                        else:
                            for i in range(len(part)):
                                part[i] = max(part[i], np.uint8(1))
                        continue
                    column = 0
                    while column < depth:  # piece by piece of one block in one tile
                        block = (first + column) // block_columns
                        other = (base + column) // tile_columns
                        ends = min((block + 1) * block_columns - first, depth)
                        ends = min(ends, (other + 1) * tile_columns - base)
                        level = image[row, block] if inside else np.uint8(1)
                        highest[other] = max(highest[other], level)
                        column = ends
        if transposed:
            out[:, tile] = highest
        else:
            out[tile] = highest


@kernel
def turned_tiles(
    start,
    stop,
    levels,
    block_rows,
    block_columns,
    filters,
    channels,
    taps,
    group,
    tile_filters,
    tile_channels,
    out,
):
    """out[i, j] = highest level in tile (i, j) of a group's weights, (taps * filters, channels).

    levels : of the blocks of the weights, (groups * filters, taps * channels), whose taps are
        reversed; ranges are ranges of tiles of channels
    """
    last = min(stop * tile_channels, channels)
    for tap in range(taps):
        base = (taps - 1 - tap) * channels
        c = start * tile_channels
        while c < last:  # piece by piece of one block in one tile
            column, j = (base + c) // block_columns, c // tile_channels
            f = 0
            while f < filters:
                row, i = (group * filters + f) // block_rows, (tap * filters + f) // tile_filters
                out[i, j] = max(out[i, j], levels[row, column])
                ends = min((row + 1) * block_rows - group * filters, filters)
                f = min(ends, (i + 1) * tile_filters - tap * filters)
            ends = min((column + 1) * block_columns - base, last)
            c = min(ends, (j + 1) * tile_channels)


@kernel
def matrix_tiles(
    start,
    stop,
    levels,
    block_rows,
    block_columns,
    rows,
    columns,
    first_row,
    first_column,
    tile_rows,
    tile_columns,
    out,
):
    """out[i, j] = highest level in tile (i, j) of the part of a map that begins at `first`."""
    for i in range(start, stop):
        top = first_row + i * tile_rows
        bottom = min(top + tile_rows, first_row + rows)
        for j in range(out.shape[1]):
            left = first_column + j * tile_columns
            right = min(left + tile_columns, first_column + columns)
            highest = 0
            for r in range(top // block_rows, (bottom - 1) // block_rows + 1):
                for c in range(left // block_columns, (right - 1) // block_columns + 1):
                    highest = max(highest, levels[r, c])
            out[i, j] = highest


@kernel
def moving(start, stop, table, a, still, together, out):
    """out[g, c] = sum over time of the longest step in a group of rows.

    a : (time, k) levels; still : (k, columns) levels; ranges are ranges of groups of `together` k
    """
    for g in range(start, stop):
        low, high = g * together, min((g + 1) * together, a.shape[1])
        for t in range(a.shape[0]):
            for c in range(still.shape[1]):
                longest = 0.0
                for k in range(low, high):
                    longest = max(longest, table[a[t, k], still[k, c]])
                out[g, c] += longest
