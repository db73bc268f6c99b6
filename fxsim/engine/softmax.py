"""Softmax cross-entropy in integers."""

from __future__ import annotations

from math import isqrt

import numpy as np
from numpy.typing import NDArray

from fxsim.arithmetic.formats import FixedPoint
from fxsim.engine import casts
from fxsim.engine.kernels import softmax
from fxsim.engine.tensor import FixedTensor

LOGIT = FixedPoint(32, 16)
PROBABILITY = FixedPoint(32, 30)


def _power_table() -> NDArray[np.int64]:
    """floor(2**30 * 2**(-i/256)) for i = 0..256: eight nested integer square roots are exact."""
    table = []
    for i in range(257):
        root = 1 << (30 * 256 - i)
        for _ in range(8):
            root = isqrt(root)
        table.append(root)
    return np.array(table, np.int64)


POWERS = _power_table()


def softmax_cross_entropy(
    logits: FixedTensor, labels: NDArray[np.int64]
) -> tuple[FixedTensor, FixedTensor]:
    """(N, classes) logits, (N,) labels: probabilities, and the mean loss's gradient.

    Both have 30 fractional bits. Logits are cast to 32 bits, 16 fractional, saturating. Error of
    a probability, against the exact softmax of those logits: below 2**-15 relative plus 2**-29
    (base-2 exponential with a 257-entry table, linear in between: 2**-20 relative; the exponent's
    own quantisation to 2**-16: 2**-16.5 relative).
    """
    words = casts.cast(logits, LOGIT)[0]
    probability, error = (np.empty(words.shape, np.int64) for _ in range(2))
    softmax.softmax_error(words.codes, labels, POWERS, probability, error)
    return FixedTensor.trusted(probability, PROBABILITY), FixedTensor.trusted(error, PROBABILITY)
