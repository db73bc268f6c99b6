"""Softmax of rows of int64 codes with 16 fractional bits, and what its gradients need.

Preconditions: logits are 32-bit codes; probabilities have 30 fractional bits.
"""

import numpy as np

from fxsim.engine.jit import kernel

LOG2_E = 1549082005  # log2(e) with 30 fractional bits, rounded to nearest


@kernel
def softmax_range(start, stop, logits, seen, table, probability):
    """Rows to probabilities; row i sees its first seen[i % len(seen)] columns, the rest is 0.

    exp(x - max) is 2**-(n + r/2**16): a table of 257 powers, linear in between, shifted by n.
    """
    for i in range(start, stop):
        width = seen[i % seen.shape[0]]
        largest = logits[i, 0]
        for j in range(1, width):
            largest = max(largest, logits[i, j])
        total = np.int64(0)
        for j in range(width):
            distance = min(np.int64(largest) - np.int64(logits[i, j]), np.int64(1) << 22)
            octaves = (distance * LOG2_E) >> 30
            whole, part = octaves >> 16, octaves & 65535
            left = table[part >> 8]
            right = table[(part >> 8) + 1]
            power = left - (((left - right) * (part & 255)) >> 8)
            probability[i, j] = power >> whole if whole < 31 else np.int64(0)
            total += probability[i, j]
        for j in range(width):
            probability[i, j] = ((probability[i, j] << 30) + (total >> 1)) // total
        for j in range(width, logits.shape[1]):
            probability[i, j] = 0


@kernel
def softmax_back_range(start, stop, probability, error, shift, out):
    """out = probability * (error - sum of both's product), words of `shift` fractional bits."""
    columns = probability.shape[1]
    for i in range(start, stop):
        cross = np.int64(0)
        for j in range(columns):
            cross += np.int64(probability[i, j]) * np.int64(error[i, j])
        mean = (cross + ((np.int64(1) << shift) >> 1)) >> shift
        for j in range(columns):
            out[i, j] = np.int64(probability[i, j]) * (np.int64(error[i, j]) - mean)


@kernel
def cross_entropy_error(probability, labels, on, off, error):
    """error = (probability - target) / rows, half up; target: `on` at the label, else `off`."""
    rows, classes = probability.shape
    for i in range(rows):
        for j in range(classes):
            target = on if labels[i] == j else off
            error[i, j] = (2 * (probability[i, j] - target) + rows) // (2 * rows)


@kernel
def squared_error(values, labels, one, error):
    """error = 2 (value - target) / codes, half up; the target is `one` at the label, else 0."""
    rows, classes = values.shape
    count = rows * classes
    for i in range(rows):
        for j in range(classes):
            target = one if labels[i] == j else np.int64(0)
            distance = np.int64(values[i, j]) - target
            error[i, j] = (2 * ((2 * distance) << 12) + count) // (2 * count)
