"""Exact elementwise operations on wide tensors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fxsim.arithmetic.formats import FixedPoint
from fxsim.engine import casts
from fxsim.engine.tensor import FixedTensor


def relu(x: FixedTensor) -> tuple[FixedTensor, NDArray[np.bool_]]:
    """max(x, 0), and where x was positive."""
    positive = x.codes > 0
    return FixedTensor.trusted(np.where(positive, x.codes, 0), x.format), positive


def relu_backward(error: FixedTensor, positive: NDArray[np.bool_]) -> FixedTensor:
    """The error where the input was positive, else zero."""
    return FixedTensor.trusted(np.where(positive, error.codes, 0), error.format)


def add(a: FixedTensor, b: FixedTensor) -> FixedTensor:
    """a + b at the coarser of the two scales; the finer operand is rounded to nearest even."""
    frac = min(a.format.frac, b.format.frac)
    bits = max(a.format.bits, b.format.bits) + 1
    target = FixedPoint(min(bits, 62), frac)
    left, right = (x if x.format.frac == frac else casts.cast(x, target)[0] for x in (a, b))
    return FixedTensor.trusted(left.codes + right.codes, target)


def add_bias(x: FixedTensor, bias: FixedTensor) -> FixedTensor:
    """x plus a bias of its last axis, cast to x's scale."""
    target = FixedPoint(min(x.format.bits + 1, 62), x.format.frac)
    return FixedTensor.trusted(x.codes + casts.cast(bias, target)[0].codes, target)


def column_sums(x: FixedTensor) -> FixedTensor:
    """The exact sum over all axes but the last."""
    total = x.matrix().sum(axis=0, dtype=np.int64)
    return FixedTensor.trusted(total, FixedPoint(62, x.format.frac))
