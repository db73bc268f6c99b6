"""Words: the 16-bit codes, at a power-of-two scale a tensor, in which the vector unit works.

Between two products a tensor is words. A sum of products becomes words at a scale at which none
can leave them, which the weights' norms prove before the first product is made (`sum_frac`);
everything else takes the finest scale that its largest code allows, and rounds to nearest even.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fxsim.engine import casts
from fxsim.engine.casts import bit_length
from fxsim.engine.kernels import elementwise
from fxsim.engine.tensor import FixedTensor
from fxsim.engine.threads import split
from fxsim.numerics.formats import FixedPoint

VECTOR_BITS = 16
LARGEST = (1 << (VECTOR_BITS - 1)) - 1
GONE = 18  # places after which nothing is left of a word


def to_int16(tensor: FixedTensor, max_frac: int | None = None) -> FixedTensor:
    """The tensor in 16 bits, at the finest scale that holds its largest code."""
    narrow = tensor.codes.dtype == np.int16 and tensor.format.bits <= VECTOR_BITS
    if narrow and (max_frac is None or tensor.format.frac <= max_frac):
        return tensor
    largest = casts.peak(tensor.codes)
    target = casts.dynamic_format(largest, tensor.format.frac, VECTOR_BITS, max_frac)
    return casts.cast(tensor, target, dtype=np.int16, largest=largest)[0]


def sum_frac(bound: int, frac: int) -> int:
    """Fractional bits of words that hold every sum of magnitude up to `bound` at `frac`."""
    return frac - max(0, bit_length(bound) - (VECTOR_BITS - 1))


def _flat(tensor: FixedTensor) -> NDArray[Any]:
    return np.ascontiguousarray(tensor.codes).reshape(-1)


def _excess(parts: list[tuple[int, int]]) -> int:
    """Bits by which the extremes that ranges found exceed a word."""
    low, high = min(part[0] for part in parts), max(part[1] for part in parts)
    return max(0, bit_length(max(-low, high)) - (VECTOR_BITS - 1))


def add(a: FixedTensor, b: FixedTensor, relu: bool = False) -> FixedTensor:
    """a + b of words, as words; negative sums become 0 if asked.

    The finer operand is first rounded to the coarser's scale; a sum of 17 bits drops one.
    """
    frac = min(a.format.frac, b.format.frac)
    shift = [min(x.format.frac - frac, GONE) for x in (a, b)]
    left, right = _flat(a), _flat(b)
    out = np.empty(left.size, np.int16)
    least = 0 if relu else -(1 << 30)
    parts = split(elementwise.add_range, left.size, 2, left, right, *shift, 0, least, False, out)
    drop = _excess(parts)
    split(elementwise.add_range, left.size, 2, left, right, *shift, drop, least, True, out)
    return FixedTensor.trusted(out.reshape(a.shape), FixedPoint(VECTOR_BITS, frac - drop))


def multiply(a: FixedTensor, b: FixedTensor) -> FixedTensor:
    """a * b of words, element by element, as words."""
    left, right = _flat(a), _flat(b)
    out = np.empty(left.size, np.int16)
    parts = split(elementwise.multiply_range, left.size, 2, left, right, 0, False, out)
    drop = _excess(parts)
    split(elementwise.multiply_range, left.size, 2, left, right, drop, True, out)
    frac = a.format.frac + b.format.frac - drop
    return FixedTensor.trusted(out.reshape(a.shape), FixedPoint(VECTOR_BITS, frac))


def clip(x: FixedTensor, most: int = LARGEST) -> FixedTensor:
    """Words limited to [0, most]: ReLU, or a clipping activation."""
    flat = _flat(x)
    out = np.empty(flat.size, np.int16)
    split(elementwise.clip_range, flat.size, 1, flat, 0, min(most, LARGEST), out)
    return FixedTensor.trusted(out.reshape(x.shape), x.format)


def clip_backward(
    error: FixedTensor, x: FixedTensor, most: int = LARGEST
) -> tuple[FixedTensor, int]:
    """The error where 0 < x <= most, else 0; and the sum of the errors where x > most."""
    flat = _flat(error)
    out = np.empty(flat.size, np.int16)
    parts = split(elementwise.gate_range, flat.size, 1, flat, _flat(x), 0, min(most, LARGEST), out)
    return FixedTensor.trusted(out.reshape(error.shape), error.format), sum(parts)


def leak(x: FixedTensor, sign: FixedTensor, slope: int) -> FixedTensor:
    """x where `sign` is positive, else slope * 2**-15 * x: leaky ReLU, forward and backward."""
    flat = _flat(x)
    out = np.empty(flat.size, np.int16)
    split(elementwise.leak_range, flat.size, 2, flat, _flat(sign), slope, out)
    return FixedTensor.trusted(out.reshape(x.shape), x.format)


def column_sums(x: FixedTensor) -> FixedTensor:
    """The exact sum over all axes but the last."""
    total = x.matrix().sum(axis=0, dtype=np.int64)
    return FixedTensor.trusted(total, FixedPoint(62, x.format.frac))


def scaled(x: FixedTensor, factor: int, shift: int) -> FixedTensor:
    """x * factor * 2**-shift (factor of 1 to 2**15 - 1), as words."""
    constant = FixedTensor.trusted(np.full(x.codes.size, factor, np.int16), FixedPoint(16, shift))
    return multiply(x, constant.reshape(*x.shape))


def concatenate(parts: Sequence[FixedTensor], axis: int) -> FixedTensor:
    """Words side by side, at the coarsest of their scales."""
    frac = min(part.format.frac for part in parts)
    target = FixedPoint(VECTOR_BITS, frac)
    same = [
        part if part.format.frac == frac else casts.cast(part, target, dtype=np.int16)[0]
        for part in parts
    ]
    return FixedTensor.trusted(np.concatenate([part.codes for part in same], axis), target)


def drop(x: FixedTensor, threshold: int, key: int) -> FixedTensor:
    """Dropout: words kept where their 16-bit draw is at least `threshold`, over the share kept.

    The factor 2**16 / (2**16 - threshold) is rounded to 14 significant bits.
    Source: Srivastava et al., JMLR 15, 2014; inverted, as is usual.
    """
    share = (1 << 16) - threshold
    octaves = bit_length(((1 << 16) - 1) // share)
    scale = ((1 << (30 - octaves)) + share // 2) // share
    flat = _flat(x)
    out = np.empty(flat.size, np.int16)
    split(elementwise.drop_range, flat.size, 4, flat, scale, threshold, np.uint64(key), out)
    return FixedTensor.trusted(
        out.reshape(x.shape), FixedPoint(VECTOR_BITS, x.format.frac - octaves)
    )


def scatter(x: FixedTensor, tokens: NDArray[np.int64], rows: int) -> FixedTensor:
    """(rows, C) sums of the rows of x (..., C) that share a token."""
    matrix = np.ascontiguousarray(x.matrix())
    out = np.zeros((rows, matrix.shape[1]), np.int64)
    elementwise.scatter_rows(matrix, np.ascontiguousarray(tokens).reshape(-1), out)
    return FixedTensor.trusted(out, FixedPoint(62, x.format.frac))
