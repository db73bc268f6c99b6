"""Depthwise convolution in all three passes, where the plain vector kernels are proven exact."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fxsim.engine import packing
from fxsim.engine.dispatch import INT32_MAX, Kernel, Plan
from fxsim.engine.epilogue import EpilogueArguments
from fxsim.engine.geometry import Gather
from fxsim.engine.kernels import depthwise
from fxsim.engine.operand import Operand
from fxsim.engine.overflow_statistics import OverflowStatistics
from fxsim.engine.tensor import Codes
from fxsim.engine.threads import split
from fxsim.numerics.formats import Overflow

LANES = 16  # channels of one vector
PACKED = {  # the instruction that serves where a plan asks for a product on one
    Kernel.AMX_S8: Kernel.VNNI_S8,
    Kernel.VNNI_S8: Kernel.VNNI_S8,
    Kernel.VNNI_S16: Kernel.VNNI_S16,
}


def serves(plan: Plan) -> bool:
    """Whether the sums fit int32, and the register limits them as the kernel does.

    A clipped sum and the next product must fit too.
    """
    accumulator = plan.accumulator
    saturates = (
        accumulator.overflow is Overflow.SAT
        and accumulator.signed
        and accumulator.tree == 1
        and accumulator.chunk == 0
    )
    exact = plan.exact_bound <= INT32_MAX and plan.kernel.drops_nothing
    return exact and (saturates or not plan.certify)


def fold(
    a: Operand,
    gather: Gather,
    weights: Codes,
    plan: Plan,
    arguments: EpilogueArguments,
    out: NDArray[Any],
) -> OverflowStatistics:
    """out (rows, channels) from (channels, taps) weights."""
    if not plan.certify and plan.kernel in PACKED:
        return _fold_packed(a, gather, weights, PACKED[plan.kernel], arguments, out)
    taps = np.ascontiguousarray(weights.T, np.int32)
    high = min((1 << (plan.accumulator.bits - 1)) - 1, INT32_MAX)
    parts = split(
        depthwise.depthwise_range,
        gather.rows,
        taps.size,
        np.ascontiguousarray(a.codes).reshape(-1),
        gather.fields(1),
        taps,
        -high - 1,
        high,
        plan.certify,
        out,
        *arguments.arguments,
    )
    return arguments.overflows(parts)


def _fold_packed(
    a: Operand,
    gather: Gather,
    weights: Codes,
    kernel: Kernel,
    arguments: EpilogueArguments,
    out: NDArray[Any],
) -> OverflowStatistics:
    """`fold` on the dot-product instructions: taps in the 4-byte groups."""
    channels, taps = weights.shape
    together = 4 // kernel.code_bytes
    groups, width = -(-taps // together), -(-channels // LANES) * LANES
    grouped = np.zeros((width, groups * together), packing.typed(weights, kernel).dtype)
    grouped[:channels, :taps] = weights
    packed = np.ascontiguousarray(grouped.view(np.int32).T)
    starts = np.zeros(width, np.int32)
    if kernel is Kernel.VNNI_S8:
        starts[:channels] = -128 * weights.sum(axis=1, dtype=np.int32)
    source = packing.typed(a.codes, kernel)
    parts = split(
        depthwise.fold_depthwise,
        gather.rows,
        weights.size,
        kernel.value,
        source.ctypes.data,
        gather.fields(kernel.code_bytes),
        packing.BIAS if kernel is Kernel.VNNI_S8 else 0,
        channels * kernel.code_bytes,
        packed,
        starts,
        groups,
        out,
        *arguments.arguments,
    )
    return arguments.overflows(parts)


def fold_pixels(a: Operand, gather: Gather, errors: Operand, plan: Plan) -> NDArray[np.int64]:
    """(channels, taps) sums over rows of the pixel that a tap reads, times (rows, channels) errors.

    Precondition: max|a| * max|error| fits int32.
    """
    taps = gather.kernel_height * gather.kernel_width
    flat = np.ascontiguousarray(errors.codes).reshape(gather.rows, errors.codes.shape[-1])
    channels, largest = flat.shape[1], max(a.peak * errors.peak, 1)
    kernel = PACKED.get(plan.kernel)
    if kernel is not None and largest * depthwise.BLOCK <= INT32_MAX:
        source, error = packing.typed(a.codes, kernel), packing.typed(flat, kernel)
        parts = split(
            depthwise.fold_depthwise_pixels,
            gather.rows,
            taps * channels,
            kernel.value,
            source.ctypes.data,
            gather.fields(kernel.code_bytes),
            packing.BIAS if kernel is Kernel.VNNI_S8 else 0,
            error.ctypes.data,
            channels,
            taps,
            INT32_MAX // (largest * depthwise.BLOCK),
        )
    else:
        parts = split(
            depthwise.depthwise_pixels,
            gather.rows,
            taps * channels,
            np.ascontiguousarray(a.codes).reshape(-1),
            gather.fields(1),
            flat,
            taps,
            max(INT32_MAX // largest, 1),
        )
    total: NDArray[np.int64] = sum(parts[1:], start=parts[0])
    return np.ascontiguousarray(total.T)
