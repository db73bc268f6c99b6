"""Softmax, and the losses, in integers."""

from __future__ import annotations

from fractions import Fraction
from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fxsim.engine import casts
from fxsim.engine.kernels import softmax as kernels
from fxsim.engine.tensor import FixedTensor
from fxsim.engine.threads import split
from fxsim.engine.vector_int16 import to_int16
from fxsim.numerics.formats import FixedPoint

LOGIT = FixedPoint(32, 16)
PROBABILITY = FixedPoint(32, 30)
LOG2_E = 47274  # 15 fractional bits
OCTAVES = 10
SHARE_BITS = 11
MANTISSA_BITS = 7  # of NITI's, without the sign
LEAST_EXPONENT = -7  # at which whole powers of two are all alike
ERROR_BITS = 12  # more fractional bits in the gradient of the squared error


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


def softmax(logits: FixedTensor, causal: bool = False) -> FixedTensor:
    """Probabilities over the last axis, 30 fractional bits.

    causal : of (..., T, T) scores; row t sees columns 0 to t
    Logits are cast to 32 bits, 16 fractional, saturating. Error of a probability, against the
    exact softmax of those logits: below 2**-15 relative plus 2**-29 (base-2 exponential with a
    257-entry table, linear in between: 2**-20 relative; the exponent's own quantisation to
    2**-16: 2**-16.5 relative).
    """
    scores = casts.cast(logits, LOGIT)[0].matrix()
    rows, columns = scores.shape
    lengths = np.arange(1, columns + 1) if causal else np.array([columns])
    out = np.empty(scores.shape, np.int64)
    split(kernels.softmax_range, rows, 8 * columns, scores, lengths, POWERS, out)
    return FixedTensor.trusted(out.reshape(logits.shape), PROBABILITY)


def softmax_backward(error: FixedTensor, probability: FixedTensor) -> FixedTensor:
    """Words of the error and of the probabilities: words of the scores' gradient."""
    p, e = (np.ascontiguousarray(tensor.matrix()) for tensor in (probability, error))
    out = np.empty(p.shape, np.int64)
    frac = probability.format.frac
    split(kernels.softmax_back_range, p.shape[0], 4 * p.shape[1], p, e, frac, out)
    wide = FixedPoint(40, frac + error.format.frac)
    return to_int16(FixedTensor.trusted(out.reshape(error.shape), wide))


def cross_entropy(
    logits: FixedTensor, labels: NDArray[np.int64], smoothing: Fraction = Fraction(0)
) -> tuple[FixedTensor, FixedTensor]:
    """(..., classes) logits, (...) labels: probabilities, and the mean loss's gradient.

    Both have 30 fractional bits. smoothing : the share of the target that goes to all classes
    alike, rounded to 2**-30 a class (Szegedy et al., arXiv 1512.00567, section 7)
    """
    probability = softmax(logits)
    matrix, classes = probability.matrix(), logits.shape[-1]
    off = int(smoothing * (1 << 30) / classes + Fraction(1, 2))
    error = np.empty(matrix.shape, np.int64)
    on = (1 << 30) - (classes - 1) * off
    kernels.cross_entropy_error(matrix, np.ascontiguousarray(labels).reshape(-1), on, off, error)
    return probability, FixedTensor.trusted(error.reshape(logits.shape), PROBABILITY)


def power_of_two_error(
    logits: FixedTensor, labels: NDArray[np.int64]
) -> tuple[FixedTensor, FixedTensor]:
    """As `cross_entropy`, with the gradient of NITI's integer softmax.

    exp(x) becomes 2**o - 1 with o = floor(x * 47274 / 2**15) - (its largest - 10), at least 0;
    where the exponent of the logits' 8-bit mantissas is -7 or less, the second-order form
    1 + x + x**2 / 2. Shares have 11 bits, rounded down; the label's takes what makes the errors
    sum to 0.

    Source: Wang et al., NITI, arXiv 2009.13108, section 3.4, and `ti_loss.py` of the authors' code.
    Ours: its divisions round down (the code's are of floats since PyTorch 1.6).
    """
    exponent = max(casts.bit_length(casts.peak(logits.codes)) - MANTISSA_BITS, 0)
    small = exponent - logits.format.frac <= LEAST_EXPONENT
    powers = _second_order(logits) if small else _whole_powers(logits)
    shares = (powers << SHARE_BITS) // powers.sum(axis=1, keepdims=True)
    flat = np.ascontiguousarray(labels).reshape(-1)
    shares[np.arange(len(flat)), flat] -= shares.sum(axis=1)
    error = (shares.astype(np.int64) << (PROBABILITY.frac - SHARE_BITS)) // len(flat)
    return softmax(logits), FixedTensor.trusted(error.reshape(logits.shape), PROBABILITY)


def _whole_powers(logits: FixedTensor) -> NDArray[Any]:
    """exp of each row's logits, to whole powers of two, less 1."""
    scores = casts.cast(logits, LOGIT)[0].matrix()
    octaves = scores.astype(np.int64) * LOG2_E >> (15 + LOGIT.frac)
    octaves -= octaves.max(axis=1, keepdims=True) - OCTAVES
    powers: NDArray[Any] = (np.int64(1) << np.maximum(octaves, 0)) - 1
    return powers


def _second_order(logits: FixedTensor) -> NDArray[Any]:
    """2 exp(x) to the second order, times 2**(2 frac): exact, in Python integers."""
    codes, frac = logits.matrix().astype(object), logits.format.frac
    powers: NDArray[Any] = (1 << 2 * frac + 1) + (codes << frac + 1) + codes * codes
    return powers


def squared_error(
    values: FixedTensor, labels: NDArray[np.int64]
) -> tuple[FixedTensor, FixedTensor]:
    """Mean squared distance to one-hot labels: softmax probabilities (for metrics), the gradient.

    Values are cast as logits are; the gradient has 28 fractional bits, half up.
    """
    scores = casts.cast(values, LOGIT)[0].matrix()
    error = np.empty(scores.shape, np.int64)
    flat = np.ascontiguousarray(labels).reshape(-1)
    kernels.squared_error(np.ascontiguousarray(scores), flat, 1 << LOGIT.frac, error)
    wide = FixedPoint(48, LOGIT.frac + ERROR_BITS)
    return softmax(values), FixedTensor.trusted(error.reshape(values.shape), wide)
