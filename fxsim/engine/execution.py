"""Executing a matrix product under its plan, into its place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fxsim.engine import dispatch, geometry, packing, saturating_mac, sequential
from fxsim.engine.dispatch import Kernel, Plan
from fxsim.engine.epilogue import EpilogueArguments
from fxsim.engine.kernels import epilogue as epilogue_kernels
from fxsim.engine.kernels import gemm
from fxsim.engine.overflow_statistics import OverflowStatistics
from fxsim.engine.product import Place, Product
from fxsim.engine.tensor import Codes
from fxsim.engine.threads import split
from fxsim.errors import FormatError
from fxsim.numerics.formats import MAX_ACCUMULATOR_BITS, Accumulator, Overflow

PAD = 32  # codes to which rows of the plain kernels are zero-padded: whole vectors
EXACT = Accumulator(MAX_ACCUMULATOR_BITS, Overflow.WRAP)


def multiply(
    product: Product, place: Place, start: NDArray[np.int64] | None = None
) -> OverflowStatistics:
    """Execute a product into its place; what overflowed.

    start : (N,) codes that the register holds first; such sums run addition by addition
    """
    plan, b = product.plan, product.b
    if plan.certify and product.a.peak * _largest_row(b.codes) <= dispatch.largest_safe(
        plan.accumulator
    ):
        plan = plan.certified()  # no prefix exceeds max|a| * sum|b|
    if start is not None:
        plan = plan.sequential()
    product = product.planned(plan)
    arguments = product.arguments(place)
    if plan.certify and place.column == 0 and saturating_mac.serves(product):
        overflows = saturating_mac.fold(product, arguments, place)
    elif plan.certify or plan.kernel is Kernel.SEQUENTIAL:
        overflows = _one_by_one(product, arguments, place, start)
    elif plan.kernel.is_packed:
        overflows = packing.fold(product, arguments, place)
    else:
        rows = geometry.written_out(product.a.codes, product.gather, PAD)
        overflows = apply_epilogue(_plain(rows, _padded(b.codes), plan), arguments, place)
        if plan.wraps and plan.exact_bound > dispatch.INT64_MAX:
            overflows = _counted_in_two_words(product, overflows)
    return overflows.placed(product.width, place.stride, place.first)


def _counted_in_two_words(product: Product, overflows: OverflowStatistics) -> OverflowStatistics:
    """What wraps where even 64 bits, in which sums are executed, may not hold the exact ones."""
    a = geometry.written_out(product.a.codes, product.gather).astype(np.int64)
    b = product.b.codes.astype(np.int64)
    work, bits = 4 * a.shape[1] * b.shape[0], product.plan.register.bits
    parts = split(gemm.leaving_range, a.shape[0], work, a, b, np.int64(bits))
    firsts = [first for _, first in parts if first >= 0]
    return replace(
        overflows, altered=sum(count for count, _ in parts), first=min(firsts, default=None)
    )


def _largest_row(codes: Codes) -> int:
    """The largest sum of magnitudes of a row."""
    magnitudes = np.abs(codes.astype(np.int64))
    return int(magnitudes.sum(axis=1).max(initial=0))


def _padded(codes: Codes) -> Codes:
    """Rows zero-padded to whole vectors."""
    rows, depth = codes.shape
    out = np.zeros((rows, -(-depth // PAD) * PAD), codes.dtype)
    out[:, :depth] = codes
    return out


def _plain(a: Codes, b: Codes, plan: Plan) -> NDArray[np.int64]:
    """(M, N) exact sums (modulo 2**64) of padded a (M, K) times b (N, K) transposed."""
    out = np.empty((a.shape[0], b.shape[0]), np.int64)
    work = a.shape[1] * b.shape[0]
    if plan.kernel is Kernel.INT32:
        a, b = a.astype(np.int16, copy=False), b.astype(np.int16, copy=False)
        split(gemm.gemm_int32_range, a.shape[0], work, a, b, out, plan.chunk)
    else:
        a, b = a.astype(np.int64, copy=False), b.astype(np.int64, copy=False)
        split(gemm.gemm_int64_range, a.shape[0], work, a, b, out)
    return out


def apply_epilogue(
    sums: NDArray[np.int64], arguments: EpilogueArguments, place: Place
) -> OverflowStatistics:
    """Finish whole sums (M, N) into their place."""
    width = sums.shape[1]
    parts = split(
        epilogue_kernels.epilogue_range,
        sums.shape[0],
        4 * width,
        sums,
        place.out,
        place.column,
        *arguments.arguments,
    )
    return arguments.overflows(parts)


def exact_sums(product: Product) -> NDArray[np.int64]:
    """(M, N) sums modulo 2**64, whatever the product's own accumulator."""
    out = np.empty((product.gather.rows, product.width), np.int64)
    plan = dispatch.plan(product.a, product.b, product.gather.depth, EXACT)
    multiply(Product(product.a, product.gather, product.b, plan, None), Place(out))
    return out


def _one_by_one(
    product: Product,
    arguments: EpilogueArguments,
    place: Place,
    start: NDArray[np.int64] | None,
) -> OverflowStatistics:
    """Execute the rows in doubt addition by addition, the others wide."""
    plan, gather = product.plan, product.gather
    left, right = geometry.written_out(product.a.codes, gather), product.b.codes
    if plan.certify:
        exact = exact_sums(product)
        doubtful = sequential.doubtful_rows(left, right, dispatch.largest_safe(plan.accumulator))
    else:
        exact = np.zeros((gather.rows, product.width), np.int64)
        doubtful = np.arange(gather.rows)
    draws = sequential.Draws(arguments.key, place.first, place.stride)
    overflows = sequential.run(left, right, doubtful, plan, exact, draws, start)
    if overflows.additions and plan.accumulator.overflow is Overflow.ERROR:
        raise FormatError(
            f"dot product: a {plan.accumulator.bits}-bit accumulator overflowed at"
            f" {overflows.additions} additions of {gather.rows} x {product.width} sums over"
            f" K={gather.depth}; widen it, or let it WRAP or SAT"
        )
    return overflows + apply_epilogue(exact, arguments, place)
