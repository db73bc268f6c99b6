"""Operands as the dot-product instructions take them, and the calls of the packed kernels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fxsim.engine import instruction_set
from fxsim.engine.dispatch import DIGIT, INT32_MAX, Kernel, Plan
from fxsim.engine.epilogue import EpilogueArguments
from fxsim.engine.geometry import Gather
from fxsim.engine.kernels import packed
from fxsim.engine.operand import Operand
from fxsim.engine.overflow_statistics import OverflowStatistics
from fxsim.engine.product import Place, Product
from fxsim.engine.tensor import Codes
from fxsim.engine.threads import split

LINE = 64  # bytes to which rows of packed operands are padded
BIAS = 0x80  # an int8 code XOR this is the unsigned operand of VPDPBUSD: code + 128
PIXELS = 256  # rows gathered at a time for a sum over pixels
HALF_UP_SHIFT, TRUNCATED_SHIFT = 15, 16  # what VPMULHRSW and VPMULHW shift a product by


def lanes(kernel: Kernel) -> int:
    """Columns of one panel."""
    return 8 if kernel is Kernel.AVX2_S16 else 16


def typed(codes: Codes, kernel: Kernel, shift: int = 0) -> Codes:
    """Codes, times 2**shift, in the kernel's word, C-contiguous."""
    kind = np.int8 if kernel.code_bytes == 1 else np.int16
    narrow: Codes = np.ascontiguousarray(codes, kind)
    if shift:
        narrow = np.left_shift(narrow, shift, dtype=kind)
    return narrow


def pack(codes: Codes, kernel: Kernel) -> tuple[NDArray[np.int32], int, int]:
    """(panels, how many, 4-byte groups in each) of (N, K) codes in the kernel's word."""
    rows, depth = codes.shape
    wide = -(-rows // lanes(kernel)) * lanes(kernel)
    row_bytes = max(-(-depth * kernel.code_bytes // LINE), 1) * LINE
    source = np.zeros((wide, row_bytes // kernel.code_bytes), codes.dtype)
    source[:rows, :depth] = codes
    out = np.empty((wide, row_bytes // 4), np.int32)
    packed.pack_columns(
        kernel.value, source.ctypes.data, wide, row_bytes, out.ctypes.data, row_bytes // 4
    )
    return out, wide // lanes(kernel), row_bytes // 4


def digits(codes: Codes) -> tuple[Codes, Codes]:
    """Low bytes in [-128, 127], and the high bytes in [-128, 128] that make up int16 codes."""
    low = codes.astype(np.int8).astype(np.int16)
    return low, ((codes.astype(np.int32) - low) >> 8).astype(np.int16)


def digit_rows(codes: Codes) -> Codes:
    """(2 * whole panels, K) int16: the rows' low bytes, then their high bytes."""
    low, high = digits(codes)
    wide = -(-codes.shape[0] // 16) * 16  # each half begins a panel
    out = np.zeros((2 * wide, codes.shape[1]), np.int16)
    out[: codes.shape[0]], out[wide : wide + codes.shape[0]] = low, high
    return out


def starts(
    panels: NDArray[np.int32], count: int, groups: int, chunk: int, kernel: Kernel
) -> NDArray[np.int32]:
    """(chunks of `chunk` groups, columns) what makes up for the bias of the unsigned operand."""
    chunks = max(-(-groups // chunk), 1)
    out = np.zeros((chunks, count * lanes(kernel)), np.int32)
    if kernel is Kernel.VNNI_S8:
        for c in range(chunks):
            packed.unbias(
                panels.ctypes.data,
                count,
                groups * LINE,
                c * chunk,
                min(chunk, groups - c * chunk),
                out[c],
            )
    return out


def prescaled(plan: Plan) -> tuple[int, int]:
    """Left shifts of a and b at which the rounding instruction drops a product's excess bits."""
    shift = {Kernel.HALF_UP: HALF_UP_SHIFT, Kernel.TRUNCATED: TRUNCATED_SHIFT}
    extra = shift[plan.kernel] - plan.excess_frac if plan.kernel in shift else 0
    return extra // 2, extra - extra // 2


def fold(product: Product, arguments: EpilogueArguments, place: Place) -> OverflowStatistics:
    """The product on dot-product instructions, finished into its place."""
    plan, gather, b = product.plan, product.gather, product.b
    kernel = plan.kernel
    shift_a, shift_b = prescaled(plan)
    source = typed(product.a.codes, kernel, shift_a)
    codes = digit_rows(b.codes) if plan.digits == 2 else typed(b.codes, kernel, shift_b)
    panels, count, groups = pack(codes, kernel)
    chunk = _chunk_groups(plan, groups)
    parts = split(
        packed.fold_rows,
        gather.rows,
        product.work,
        kernel.value,
        source.ctypes.data,
        gather.fields(kernel.code_bytes),
        BIAS if kernel is Kernel.VNNI_S8 else 0,
        4 * groups,
        panels.ctypes.data,
        count,
        groups,
        _used(gather.depth, groups, kernel),
        chunk,
        starts(panels, count, groups, chunk, kernel),
        plan.digits,
        instruction_set.tile_configuration(),
        place.out,
        place.column,
        product.width,
        *arguments.arguments,
    )
    return arguments.overflows(parts)


def _used(depth: int, groups: int, kernel: Kernel) -> int:
    """Groups that hold codes; AMX takes whole lines of them."""
    return groups if kernel is Kernel.AMX_S8 else -(-depth * kernel.code_bytes // 4)


def _chunk_groups(plan: Plan, groups: int) -> int:
    """4-byte groups of a chunk: whole lines, so that every kernel's step divides it."""
    codes = LINE // plan.kernel.code_bytes
    return min(max(plan.chunk // codes, 1) * (LINE // 4), groups)


def fold_pixels(
    a: Operand,
    gather: Gather,
    errors: Operand,
    columns: slice,
    plan: Plan,
    track: bool = False,
) -> tuple[NDArray[np.int64], int]:
    """(depth, columns) sums over the gathered rows of a[row, k] * errors[row, column].

    errors : (rows, channels) codes, of which some columns are taken
    track : also a bound on every prefix of every sum, in the order of rows (else 0)
    """
    largest = max(a.peak * errors.peak, 1)
    if plan.digits == 1 and a.peak * errors.peak * PIXELS > INT32_MAX:
        plan = replace(plan, digits=2)
    if plan.digits == 2:
        whole = replace(plan, digits=1)
        (low, low_reach), (high, high_reach) = (
            fold_pixels(a, gather, Operand(digit, DIGIT, errors.frac), columns, whole, track)
            for digit in digits(errors.codes)
        )
        return low + (high << 8), low_reach + (high_reach << 8)
    filters = columns.stop - columns.start
    kernel = plan.kernel
    source, error = typed(a.codes, kernel), typed(errors.codes, kernel)
    flush = max(INT32_MAX // (largest * PIXELS), 1)
    pixel = error.shape[1] * kernel.code_bytes
    parts = split(
        packed.fold_pixels,
        gather.rows,
        gather.depth * filters,
        kernel.value,
        source.ctypes.data,
        gather.fields(kernel.code_bytes),
        gather.depth,
        error.ctypes.data + columns.start * kernel.code_bytes,
        pixel,
        filters,
        BIAS if kernel is Kernel.VNNI_S8 else 0,
        PIXELS,
        flush,
        instruction_set.tile_configuration(),
        a.peak if track else 0,
    )
    total, reach = parts[0]
    for later, prefix in parts[1:]:
        reach = max(reach, int(np.abs(total).max(initial=0)) + prefix)
        total = total + later
    return total, int(reach)
