"""Saturating accumulators on the processor's own saturation: `kernels.saturating_mac` prepared."""

from __future__ import annotations

import numpy as np

from fxsim.engine import packing
from fxsim.engine.dispatch import Kernel
from fxsim.engine.epilogue import EpilogueArguments
from fxsim.engine.kernels import saturating_mac
from fxsim.engine.overflow_statistics import OverflowStatistics
from fxsim.engine.product import Place, Product
from fxsim.engine.threads import split
from fxsim.numerics.formats import Overflow

REGISTERS = range(16, 33)  # bits of the registers that VPDPWSSDS imitates
OPERAND_SHIFT = 8  # an int8 code times 2**8 still is an int16


def serves(product: Product) -> bool:
    """Whether the saturating kernel executes this product."""
    plan, accumulator = product.plan, product.plan.accumulator
    return (
        plan.kernel in (Kernel.AMX_S8, Kernel.VNNI_S8)
        and product.gather.depth <= plan.chunk
        and accumulator.overflow is Overflow.SAT
        and accumulator.signed
        and accumulator.bits in REGISTERS
        and accumulator.tree == 1
        and accumulator.chunk == 0
    )


def fold(product: Product, arguments: EpilogueArguments, place: Place) -> OverflowStatistics:
    """The product, saturated at each addition, finished into its place, whose column is 0."""
    bits, gather = product.plan.accumulator.bits, product.gather
    kernel = Kernel.VNNI_S8
    source, codes = packing.typed(product.a.codes, kernel), packing.typed(product.b.codes, kernel)
    width, depth = codes.shape
    panels, count, groups = packing.pack(codes, kernel)
    begins = packing.starts(panels, count, groups, saturating_mac.CHUNK // 4, kernel)
    spare = 32 - bits
    shift_b = min(spare, OPERAND_SHIFT)
    pairs, _, paired = packing.pack(packing.typed(codes, Kernel.VNNI_S16, shift_b), Kernel.VNNI_S16)
    whole, chunk = np.zeros(16 * count, np.int64), np.zeros(16 * count, np.int64)
    saturating_mac.norms_range(0, width, codes, whole, chunk)
    parts = split(
        saturating_mac.saturating_mac_rows,
        gather.rows,
        depth * width,
        source.ctypes.data,
        gather.fields(1),
        depth,
        4 * groups,
        panels.ctypes.data,
        count,
        begins,
        pairs.ctypes.data,
        2 * paired,
        (1 << (bits - 1)) - 1,
        whole,
        chunk,
        spare - shift_b,
        spare,
        place.out,
        width,
        *arguments.arguments,
    )
    return arguments.overflows(parts)
