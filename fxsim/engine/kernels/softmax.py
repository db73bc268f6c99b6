"""Softmax and the cross-entropy error of (N, classes) logits with 16 fractional bits."""

import numpy as np

from fxsim.engine.kernels._jit import kernel

LOG2_E = 1549082005  # log2(e) with 30 fractional bits, rounded to nearest


@kernel
def softmax_error(logits, labels, table, probability, error):
    """probability with 30 fractional bits; error = (probability - one hot) / N, half up.

    exp(x - max) is 2**-(n + r/2**16): a table of 257 powers, linear in between, shifted by n.
    Precondition: logits are 32-bit codes.
    """
    rows, classes = logits.shape
    for i in range(rows):
        largest = logits[i, 0]
        for j in range(1, classes):
            largest = max(largest, logits[i, j])
        total = np.int64(0)
        for j in range(classes):
            distance = min(largest - logits[i, j], np.int64(1) << 22)
            octaves = (distance * LOG2_E) >> 30
            whole, part = octaves >> 16, octaves & 65535
            left = table[part >> 8]
            right = table[(part >> 8) + 1]
            power = left - (((left - right) * (part & 255)) >> 8)
            probability[i, j] = power >> whole if whole < 31 else np.int64(0)
            total += probability[i, j]
        for j in range(classes):
            probability[i, j] = ((probability[i, j] << 30) + (total >> 1)) // total
            target = np.int64(1) << 30 if labels[i] == j else np.int64(0)
            error[i, j] = (2 * (probability[i, j] - target) + rows) // (2 * rows)
