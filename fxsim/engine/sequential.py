"""Sums executed addition by addition: which rows need it, and the call of the kernels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fxsim.engine.dispatch import Plan
from fxsim.engine.kernels import sequential
from fxsim.engine.overflow_statistics import OverflowStatistics
from fxsim.engine.tensor import Codes
from fxsim.engine.threads import split
from fxsim.errors import FormatError
from fxsim.numerics.formats import Accumulator, Overflow

LANES = 62  # bits of a sum and a term before it that int64 lanes hold


def doubtful_rows(a: Codes, b: Codes, limit: int) -> NDArray[np.int64]:
    """Rows of a (M, K) whose sums with some row of b (N, K) may pass `limit` on the way.

    No prefix of a sum exceeds sum|a| * max|b|, nor ||a|| * ||b|| (Cauchy-Schwarz).
    """
    wide, other = np.abs(a.astype(np.int64)), np.abs(b.astype(np.int64))
    largest = int(other.max(initial=0))
    doubtful = wide.sum(axis=1) > limit // max(largest, 1)
    if max(largest, int(wide.max(initial=0))) <= 1 << 15:  # so that squares sum in int64
        norm_b = isqrt(int((other * other).sum(axis=1).max(initial=0))) + 1
        doubtful &= (wide * wide).sum(axis=1) > (limit // norm_b) ** 2
    return np.flatnonzero(doubtful)


def _register(accumulator: Accumulator, rounds_sum: bool) -> NDArray[np.int64]:
    fields = np.zeros(sequential.REGISTER_FIELDS, np.int64)
    addition = accumulator.addition(0)
    fields[sequential.LOW], fields[sequential.HIGH] = addition.low, addition.high
    fields[sequential.BITS], fields[sequential.SIGNED] = accumulator.bits, accumulator.signed
    fields[sequential.OVERFLOW] = addition.overflow
    fields[sequential.SATURATED] = addition.saturated_bits
    rounding = accumulator.sum_rounding
    fields[sequential.SUM_ROUNDING] = -1 if rounding is None or not rounds_sum else rounding
    return fields


def _terms(accumulator: Accumulator, frac: int, excess_frac: int) -> tuple[NDArray[np.int64], int]:
    """(how products become terms, fractional bits a term has beyond the register's)."""
    fields = np.zeros(sequential.TERM_FIELDS, np.int64)
    fields[sequential.TREE], fields[sequential.CHUNK] = accumulator.tree, accumulator.chunk
    word = accumulator.product
    if word is not None:
        target = word.format
        fields[sequential.CAST] = 1
        fields[sequential.CAST_SHIFT] = frac - target.frac
        fields[sequential.CAST_LOW], fields[sequential.CAST_HIGH] = word.low, word.high
        fields[sequential.CAST_BITS], fields[sequential.CAST_SIGNED] = target.bits, target.signed
        fields[sequential.CAST_ROUNDING] = word.rounding
        fields[sequential.CAST_OVERFLOW] = word.overflow
        fields[sequential.CAST_SATURATED] = word.saturated_bits
    left = _left(accumulator, frac, excess_frac)
    if accumulator.sum_rounding is not None:
        return fields, left
    fields[sequential.SHIFT], fields[sequential.ROUNDING] = left, accumulator.product_rounding
    return fields, 0


def _left(accumulator: Accumulator, frac: int, excess_frac: int) -> int:
    """Fractional bits that a product, once cast, has beyond the register's."""
    return (
        excess_frac
        if accumulator.product is None
        else excess_frac + accumulator.product.format.frac - frac
    )


def _check(accumulator: Accumulator, peak: int, frac: int, excess_frac: int) -> None:
    """FormatError where an intermediate needs more than the int64 of the kernels."""
    registers = (accumulator, accumulator.partial or accumulator)
    high = max(1 << (r.bits - r.signed) for r in registers)
    needed, term, word = [high.bit_length()], peak, accumulator.product
    if word is not None:
        shift = frac - word.format.frac
        needed += [(term << max(-shift, 0)).bit_length(), word.format.bits + 1, shift]
        term = 1 << word.format.bits
    left = _left(accumulator, frac, excess_frac)
    term = (term << max(-left, 0)) * accumulator.tree
    guard = max(left, 0) if accumulator.sum_rounding is not None else 0
    needed += [((high << guard) + term).bit_length(), left]
    if max(needed) > LANES + 1:
        raise FormatError(
            f"dot product: {accumulator}, not wide enough for its sums, and products up to {peak}"
            f" need {max(needed)} bits addition by addition; the engine has {LANES + 1}"
        )


@dataclass(frozen=True, slots=True)
class Draws:
    """The stream of draws of a result.

    The sum of row i and column j is number base + i * stride + j, and each of its K products has a
    draw.
    """

    key: np.uint64
    base: int
    stride: int


def run(
    a: Codes,
    b: Codes,
    rows: NDArray[np.int64],
    plan: Plan,
    out: NDArray[np.int64],
    draws: Draws,
    start: NDArray[np.int64] | None = None,
) -> OverflowStatistics:
    """Execute `rows` of a (M, K) times b (N, K) transposed; `out` holds the exact sums before.

    start : (N,) what the register holds first; None: zeros
    """
    accumulator, frac, excess_frac = plan.accumulator, plan.product_frac, plan.excess_frac
    if rows.size == 0:
        return OverflowStatistics()
    turned, a = np.ascontiguousarray(b.T), np.ascontiguousarray(a)
    peak = _peak(a) * _peak(b)
    _check(accumulator, peak, frac, excess_frac)
    simple = (
        accumulator.overflow in (Overflow.SAT, Overflow.ERROR)
        and accumulator.signed
        and accumulator.product is None
        and excess_frac == 0
        and accumulator.tree == 1
        and accumulator.chunk == 0
        and start is None
    )
    work = a.shape[1] * b.shape[0]
    if simple:
        high = (1 << (accumulator.bits - 1)) - 1
        narrow = high + peak < 1 << 31
        kernel = sequential.saturate_narrow_range if narrow else sequential.saturate_range
        parts = split(kernel, rows.size, work, rows, a, turned, -high - 1, high, out)
        return _statistics(parts)
    terms, left = _terms(accumulator, frac, excess_frac)
    terms[sequential.BASE], terms[sequential.STRIDE] = draws.base, draws.stride
    rounds = left != 0
    inner = accumulator.partial or accumulator
    inner = replace(inner, sum_rounding=accumulator.sum_rounding)
    begin = np.zeros(b.shape[0], np.int64) if start is None else start.astype(np.int64)
    parts = split(
        sequential.accumulate_range,
        rows.size,
        8 * work,
        rows,
        a,
        turned,
        begin,
        terms,
        left,
        _register(accumulator, rounds),
        _register(inner, rounds),
        draws.key,
        out,
    )
    return _statistics(parts)


def _peak(codes: Codes) -> int:
    return max(abs(int(codes.max(initial=0))), abs(int(codes.min(initial=0))))


def _statistics(parts: list[tuple[Any, Any, Any]]) -> OverflowStatistics:
    firsts = [int(part[2]) for part in parts if part[2] >= 0]
    return OverflowStatistics(
        altered=sum(int(part[1]) for part in parts),
        first=min(firsts, default=None),
        additions=sum(int(part[0]) for part in parts),
    )
