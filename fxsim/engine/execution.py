"""One matrix product: a's rows gathered from an image, times b's rows, through one accumulator."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fxsim.engine import dispatch, geometry, instruction_set, packing, saturating_mac, sequential
from fxsim.engine.dispatch import Kernel, Plan
from fxsim.engine.epilogue import Epilogue, EpilogueArguments, epilogue_arguments
from fxsim.engine.geometry import Gather
from fxsim.engine.kernels import epilogue as epilogue_kernels
from fxsim.engine.kernels import gemm
from fxsim.engine.operand import Operand
from fxsim.engine.overflow_statistics import OverflowStatistics
from fxsim.engine.tensor import Codes
from fxsim.engine.threads import split
from fxsim.errors import FormatError
from fxsim.numerics.formats import MAX_ACCUMULATOR_BITS, Accumulator, FixedPoint, Overflow

PAD = 32  # codes to which rows of the plain kernels are zero-padded: whole vectors


def register(accumulator: Accumulator, frac: int) -> FixedPoint:
    """The format of the sums of products with `frac` fractional bits."""
    own = frac if accumulator.frac is None else accumulator.frac
    return FixedPoint(accumulator.bits, own, accumulator.signed)


def excess_frac_of(a: Operand, b: Operand, accumulator: Accumulator) -> int:
    """Fractional bits that a product has beyond the accumulator's (negative: lacks)."""
    exact = a.frac + b.frac
    return exact - register(accumulator, exact).frac


def planned(a: Operand, b: Operand, depth: int, accumulator: Accumulator) -> Plan:
    """How this machine executes sums of `depth` products of the two operands."""
    excess_frac = excess_frac_of(a, b, accumulator)
    return dispatch.plan(depth, a.peak, b.peak, accumulator, instruction_set.chosen(), excess_frac)


def bound_of(a: Operand, b: Operand, depth: int, accumulator: Accumulator, chosen: Plan) -> int:
    """A bound on the magnitude of finished sums of `depth` products."""
    if chosen.wraps or chosen.certify or chosen.kernel is Kernel.SEQUENTIAL:
        return 1 << accumulator.bits
    dropped = max(excess_frac_of(a, b, accumulator), 0)
    return depth * ((a.peak * b.peak >> dropped) + (dropped > 0))


def epilogue_args_of(
    a: Operand,
    b: Operand,
    depth: int,
    accumulator: Accumulator,
    chosen: Plan,
    epilogue: Epilogue | None,
    width: int,
    base: int = 0,
) -> EpilogueArguments:
    """The epilogue of `width` columns of sums of `depth` products; base : see
    `fxsim.engine.epilogue.epilogue_arguments`."""
    bound = bound_of(a, b, depth, accumulator, chosen)
    return epilogue_arguments(
        epilogue, register(accumulator, a.frac + b.frac), chosen.wraps, width, bound, base
    )


def multiply(
    a: Operand,
    gather: Gather,
    b: Operand,
    accumulator: Accumulator,
    epilogue: Epilogue | None,
    out: NDArray[Any],
    column: int = 0,
    base: int = 0,
    start: NDArray[np.int64] | None = None,
) -> OverflowStatistics:
    """out[:, column : column + N] = gathered a (M, K) times b (N, K) transposed.

    base : number of out's first element in the whole result, for draws and losses
    start : (N,) codes that the register holds first; such sums run addition by addition
    """
    width = b.codes.shape[0]
    chosen = planned(a, b, gather.depth, accumulator)
    if chosen.certify and a.peak * _largest_row(b.codes) <= dispatch.largest_safe(accumulator):
        chosen = replace(chosen, certify=False)  # no prefix exceeds max|a| * sum|b|
    if start is not None:
        chosen = Plan(Kernel.SEQUENTIAL)
    epilogue_args = epilogue_args_of(a, b, gather.depth, accumulator, chosen, epilogue, width, base)
    if chosen.certify and column == 0 and saturating_mac.serves(chosen, accumulator, gather.depth):
        overflows = saturating_mac.fold(a.codes, gather, b.codes, accumulator, epilogue_args, out)
    elif chosen.certify or chosen.kernel is Kernel.SEQUENTIAL:
        overflows = _one_by_one(
            a, gather, b, accumulator, chosen, epilogue_args, out, column, base, start
        )
    elif chosen.kernel.is_packed:
        excess_frac = excess_frac_of(a, b, accumulator)
        overflows = packing.fold(a, gather, b, chosen, epilogue_args, out, column, excess_frac)
    else:
        exact = _plain(geometry.written_out(a.codes, gather, PAD), _padded(b.codes), chosen)
        overflows = apply_epilogue(exact, epilogue_args, out, column)
    return overflows.placed(width, out.shape[1], base + column)


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


def _plain(a: Codes, b: Codes, chosen: Plan) -> NDArray[np.int64]:
    """(M, N) exact sums (modulo 2**64) of padded a (M, K) times b (N, K) transposed."""
    out = np.empty((a.shape[0], b.shape[0]), np.int64)
    work = a.shape[1] * b.shape[0]
    if chosen.kernel is Kernel.INT32:
        a, b = a.astype(np.int16, copy=False), b.astype(np.int16, copy=False)
        split(gemm.gemm_int32_range, a.shape[0], work, a, b, out, chosen.chunk)
    else:
        a, b = a.astype(np.int64, copy=False), b.astype(np.int64, copy=False)
        split(gemm.gemm_int64_range, a.shape[0], work, a, b, out)
    return out


def apply_epilogue(
    sums: NDArray[np.int64], epilogue_args: EpilogueArguments, out: NDArray[Any], column: int = 0
) -> OverflowStatistics:
    """Finish whole sums into out[:, column : column + N]."""
    width = sums.shape[1]
    parts = split(
        epilogue_kernels.epilogue_range,
        sums.shape[0],
        4 * width,
        sums,
        out,
        column,
        *epilogue_args.arguments,
    )
    return epilogue_args.overflows(parts)


def _one_by_one(
    a: Operand,
    gather: Gather,
    b: Operand,
    accumulator: Accumulator,
    chosen: Plan,
    epilogue_args: EpilogueArguments,
    out: NDArray[Any],
    column: int,
    base: int,
    start: NDArray[np.int64] | None,
) -> OverflowStatistics:
    """Execute the rows in doubt addition by addition, the others wide."""
    left, right = geometry.written_out(a.codes, gather), b.codes
    if chosen.certify:
        exact = np.empty((gather.rows, right.shape[0]), np.int64)
        wide = Accumulator(MAX_ACCUMULATOR_BITS, Overflow.WRAP)
        multiply(a, gather, b, wide, None, exact)
        doubtful = sequential.doubtful_rows(left, right, dispatch.largest_safe(accumulator))
    else:
        exact = np.zeros((gather.rows, right.shape[0]), np.int64)
        doubtful = np.arange(gather.rows)
    excess_frac = excess_frac_of(a, b, accumulator)
    seen = sequential.run(
        left,
        right,
        doubtful,
        accumulator,
        a.frac + b.frac,
        excess_frac,
        exact,
        epilogue_args.key,
        base + column,
        out.shape[1],
        start,
    )
    if seen.additions and accumulator.overflow is Overflow.ERROR:
        raise FormatError(
            f"dot product: a {accumulator.bits}-bit accumulator overflowed at {seen.additions}"
            f" additions of {gather.rows} x {right.shape[0]} sums over K={gather.depth}; widen it,"
            " or let it WRAP or SAT"
        )
    return seen + apply_epilogue(exact, epilogue_args, out, column)
