"""AMX: tiles of 32 rows on the processor's 16 x 64-byte tile registers, int8 times int8.

The contract is that of `simd.tile`. Source: Intel SDM, volume 1, chapter 18 (TDPBSSD, LDTILECFG).
"""

from llvmlite import ir
from numba.core import cgutils

from fxsim.engine.kernels.simd import HAS_AMX, I8, I64, NOTHING, call, offset, on_addresses


def generator(panels):
    """What builds a `tile` of 32 rows: ids 0 to 3 hold sums, 4 and 5 rows of a, 6 and 7 of b.

    a_group is 4, and groups a multiple of 16.
    """

    def generate(builder, a, a_row, a_group, b, b_panel, groups, start, start_row, out, out_row):
        def pointer(address):
            return builder.inttoptr(address, ir.PointerType(I8))

        def load_tile(number, address, row):
            call(builder, "llvm.x86.tileloadd64", NOTHING, I8(number), pointer(address), row)

        sums = [(m, p) for m in range(2) for p in range(panels)]
        for m, p in sums:
            place = offset(builder, start, (start_row, 16 * m), (I64(64), p))
            load_tile(2 * m + p, place, start_row)
        steps = builder.lshr(groups, I64(4))
        with cgutils.for_range(builder, steps) as loop:
            for p in range(panels):
                at_b = offset(builder, b, (loop.index, 1024), (b_panel, p))
                load_tile(6 + p, at_b, I64(64))
            for m in range(2):
                load_tile(4 + m, offset(builder, a, (loop.index, 64), (a_row, 16 * m)), a_row)
                for p in range(panels):
                    call(
                        builder,
                        "llvm.x86.tdpbssd",
                        NOTHING,
                        I8(2 * m + p),
                        I8(4 + m),
                        I8(6 + p),
                    )
        for m, p in sums:
            place = pointer(offset(builder, out, (out_row, 16 * m), (I64(64), p)))
            call(builder, "llvm.x86.tilestored64", NOTHING, I8(2 * m + p), place, out_row)

    return generate


tile_32x2, tile_32x1 = (on_addresses(HAS_AMX, generator(panels), 10) for panels in (2, 1))


def _begin(builder, configuration):
    """Eight tiles of 16 rows of 64 bytes, for the calling thread; `configuration`: 64 bytes."""
    place = builder.inttoptr(configuration, ir.PointerType(I8))
    call(builder, "llvm.x86.ldtilecfg", NOTHING, place)


def _end(builder, _):
    call(builder, "llvm.x86.tilerelease", NOTHING)


begin, end = on_addresses(HAS_AMX, _begin, 1), on_addresses(HAS_AMX, _end, 1)
