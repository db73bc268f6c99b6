"""Dot products addition by addition, for the rows that no bound clears.

a (M, K), and b turned (K, N), so that a row's N sums run side by side. Sums of row rows[i] go to
out[rows[i]], which holds the exact ones before. Results: (additions that overflowed, sums that
differ from the exact ones, number of the first of them or -1). Where sums are rounded, those count
in which an addition overflowed.
"""

import numpy as np

from fxsim.engine.jit import kernel
from fxsim.engine.kernels.rounding import (
    DRAW_BITS,
    STOCHASTIC,
    draw,
    limit,
    round_shift,
    shift_left_exactly,
)

(
    LOW,
    HIGH,
    BITS,
    SIGNED,
    OVERFLOW,
    SATURATED,  # the register
    SUM_ROUNDING,  # -1: products are rounded instead
    REGISTER_FIELDS,
) = range(8)
(
    CAST,
    CAST_SHIFT,
    CAST_LOW,
    CAST_HIGH,
    CAST_BITS,
    CAST_SIGNED,
    CAST_ROUNDING,
    CAST_OVERFLOW,
    CAST_SATURATED,
    SHIFT,
    ROUNDING,
    TREE,
    CHUNK,
    BASE,
    STRIDE,  # a sum's number is BASE + row * STRIDE + column
    TERM_FIELDS,
) = range(16)


@kernel
def compare(total, exact, row, altered, first):
    """Store a row of sums, and count those that differ from the exact ones."""
    for j in range(total.shape[0]):
        if total[j] != exact[j]:
            altered += 1
            if first < 0:
                first = np.int64(row * total.shape[0] + j)
            exact[j] = total[j]
    return altered, first


@kernel
def saturate_range(start, stop, rows, a, turned, low, high, out):
    """Exact products, saturating to [low, high]. Precondition: |sum| + |product| < 2**63."""
    total = np.empty(turned.shape[1], np.int64)
    overflowed, altered, first = 0, 0, np.int64(-1)
    for index in range(start, stop):
        row = rows[index]
        total[:] = 0
        for k in range(a.shape[1]):
            code, right = np.int64(a[row, k]), turned[k]
            if code != 0:
                for j in range(right.shape[0]):
                    exact = total[j] + code * np.int64(right[j])
                    inside = min(max(exact, low), high)
                    overflowed += np.int64(inside != exact)
                    total[j] = inside
        altered, first = compare(total, out[row], row, altered, first)
    return overflowed, altered, first


@kernel
def saturate_narrow_range(start, stop, rows, a, turned, low, high, out):
    """The same in int32 lanes. Precondition: |sum| + |product| < 2**31."""
    total = np.empty(turned.shape[1], np.int32)
    least, most = np.int32(low), np.int32(high)
    overflowed, altered, first = 0, 0, np.int64(-1)
    for index in range(start, stop):
        row = rows[index]
        total[:] = 0
        for k in range(a.shape[1]):
            code, right = np.int32(a[row, k]), turned[k]
            if code != 0:
                over = np.int32(0)
                for j in range(right.shape[0]):
                    exact = np.int32(total[j] + np.int32(code * np.int32(right[j])))
                    inside = min(max(exact, least), most)
                    over += np.int32(inside != exact)
                    total[j] = inside
                overflowed += np.int64(over)
        altered, first = compare(total, out[row], row, altered, first)
    return overflowed, altered, first


@kernel
def add_to(register, total, term, finer):
    """(register after adding a term with `finer` more fractional bits, whether it overflowed)."""
    exact = (total << finer) + term if finer > 0 else total + (term << -finer)
    if finer > 0:
        exact = round_shift(exact, finer, register[SUM_ROUNDING], np.int64(0))
    if register[LOW] <= exact <= register[HIGH]:
        return exact, 0
    inside = limit(
        exact,
        register[LOW],
        register[HIGH],
        register[BITS],
        register[SIGNED],
        register[OVERFLOW],
        register[SATURATED],
    )
    return inside, 1


@kernel
def product_term(left, right, terms, key, index):
    """One product, cast and rounded as `terms` says."""
    term = np.int64(left) * np.int64(right)
    if terms[CAST]:
        shift = terms[CAST_SHIFT]
        term = (
            round_shift(term, shift, terms[CAST_ROUNDING], np.int64(0))
            if shift > 0
            else shift_left_exactly(term, -shift, terms[CAST_ROUNDING])
        )
        if term < terms[CAST_LOW] or term > terms[CAST_HIGH]:
            term = limit(
                term,
                terms[CAST_LOW],
                terms[CAST_HIGH],
                terms[CAST_BITS],
                terms[CAST_SIGNED],
                terms[CAST_OVERFLOW],
                terms[CAST_SATURATED],
            )
    shift = terms[SHIFT]
    if shift > 0:
        noise = np.int64(0)
        if terms[ROUNDING] == STOCHASTIC:
            noise = draw(key, index, DRAW_BITS)
        return round_shift(term, shift, terms[ROUNDING], noise)
    return term << -shift


@kernel
def accumulate_range(start, stop, rows, a, turned, begin, terms, finer, outer, inner, key, out):
    """Any product cast and rounding, register, tree and chunk; see `Accumulator`.

    begin : (N,) what the sums' register holds first
    finer : fractional bits that a term has beyond the registers' (not 0 with SUM_ROUNDING only)
    outer, inner : the register of the whole sum, and that of a chunk's
    """
    depth, tree, chunk = a.shape[1], terms[TREE], terms[CHUNK]
    overflowed, altered, first = 0, 0, np.int64(-1)
    for index in range(start, stop):
        row = rows[index]
        for j in range(turned.shape[1]):
            before = overflowed
            whole, part = begin[j], np.int64(0) if chunk > 0 else begin[j]
            place = (terms[BASE] + row * terms[STRIDE] + j) * depth
            exact = begin[j]
            k = 0
            while k < depth:
                term = np.int64(0)
                for t in range(k, min(k + tree, depth)):
                    term += product_term(a[row, t], turned[t, j], terms, key, place + t)
                k = min(k + tree, depth)
                exact += term
                part, over = add_to(inner if chunk > 0 else outer, part, term, finer)
                overflowed += over
                if chunk > 0 and (k % chunk == 0 or k == depth):
                    whole, over = add_to(outer, whole, part, np.int64(0))
                    overflowed += over
                    part = np.int64(0)
            out[row, j] = whole if chunk > 0 else part
            differs = overflowed > before if finer != 0 else out[row, j] != exact
            if differs:
                altered += 1
                if first < 0:
                    first = np.int64(row * turned.shape[1] + j)
    return overflowed, altered, first
