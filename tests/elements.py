"""The word length of every element of a pass's operands, written out: a slow specification.

It reads what a contraction is (its numbers, and its class's name), and computes nothing with the
package: positions are worked out here, an element at a time.
"""

from __future__ import annotations

import numpy as np

ADJOINT = {"forward": "grad_input", "grad_input": "forward", "grad_weight": "grad_weight"}


def element_bits(pass_, left, right, contraction, batch=1):
    """The (m, k) left and (k, n) right matrices of bits, a pair for each group or matrix."""
    a, b = expanded(left), expanded(right)
    g = getattr(contraction, "geometry", None)
    if g is None:
        rights = np.split(b, batch) if batch > 1 else [b]
        for one, other in zip(np.split(a, batch), rights, strict=True):
            if pass_ == "forward":
                yield one, other.T
            else:
                yield (one, other) if pass_ == "grad_input" else (one.T, other)
        return
    # a transposed convolution's result is its convolution's gradient
    pass_ = ADJOINT[pass_] if type(contraction).__name__ == "Transposed" else pass_
    per_group = g.channels // g.groups, g.filters // g.groups
    for group in range(g.groups):
        channels = range(group * per_group[0], (group + 1) * per_group[0])
        filters = range(group * per_group[1], (group + 1) * per_group[1])
        if pass_ == "grad_input":
            yield errors_at_inputs(a, g, filters), turned_weights(b, g, filters, per_group[0])
            continue
        fields = inputs_at_outputs(a, g, channels)
        own = list(filters)
        yield (fields, b[own].T) if pass_ == "forward" else (fields.T, b[:, own])


def expanded(blocks):
    """The bits of every element of a block map."""
    whole = np.zeros((blocks.rows, blocks.columns), np.uint8)
    for i in range(blocks.rows):
        for j in range(blocks.columns):
            whole[i, j] = blocks.bits[i // blocks.block_rows, j // blocks.block_columns]
    return whole


def out_size(size, window):
    """Windows along an axis."""
    reach = window.dilation * (window.size - 1) + 1
    return (size + window.before + window.after - reach) // window.stride + 1


def inputs_at_outputs(a, g, channels):
    """Row (image, row, column): what each tap (row, column, channel) reads; 0 in the padding."""
    image = a.reshape(-1, g.height, g.width, g.channels)
    down, across = g.vertical, g.horizontal
    rows = []
    for n in range(image.shape[0]):
        for oy in range(out_size(g.height, down)):
            for ox in range(out_size(g.width, across)):
                row = []
                for fy in range(down.size):
                    for fx in range(across.size):
                        y = oy * down.stride - down.before + fy * down.dilation
                        x = ox * across.stride - across.before + fx * across.dilation
                        inside = 0 <= y < g.height and 0 <= x < g.width
                        row += [image[n, y, x, c] if inside else 0 for c in channels]
                rows.append(row)
    return np.array(rows, np.uint8)


def errors_at_inputs(a, g, filters):
    """Row (image, row, column): the errors that it met, by taps from the last to the first."""
    down, across = g.vertical, g.horizontal
    high, wide = out_size(g.height, down), out_size(g.width, across)
    error = a.reshape(-1, high, wide, g.filters)
    rows = []
    for n in range(error.shape[0]):
        for y in range(g.height):
            for x in range(g.width):
                row = []
                for fy in reversed(range(down.size)):
                    for fx in reversed(range(across.size)):
                        oy, no_row = divmod(y + down.before - fy * down.dilation, down.stride)
                        ox, no_column = divmod(
                            x + across.before - fx * across.dilation, across.stride
                        )
                        met = not no_row and not no_column and 0 <= oy < high and 0 <= ox < wide
                        row += [error[n, oy, ox, f] if met else 0 for f in filters]
                rows.append(row)
    return np.array(rows, np.uint8)


def turned_weights(b, g, filters, channels):
    """Rows (tap row, column, filter), taps from the last to the first; a column a channel."""
    rows = []
    for tap in reversed(range(g.vertical.size * g.horizontal.size)):
        rows += [b[f, tap * channels : (tap + 1) * channels] for f in filters]
    return np.array(rows, np.uint8)
