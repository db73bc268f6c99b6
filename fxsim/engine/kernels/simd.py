"""Vector instructions, each wrapped once: micro-kernels as functions of byte addresses.

A tile is `rows` x `panels` vectors of int32 sums, held in registers. Its operands are streams of
4-byte groups along k (four int8 or two int16 codes):

- a: row r, group g at `a + r * a_row + g * a_group`;
- b: panel p, group g at `b + p * b_panel + g * vector`, one group a lane;
- start, out: int32 sums, row r, panel p at `r * row + p * vector`. `start_row` 0 gives every row
  the same start.

On a processor without the instruction a tile compiles to nothing;
`fxsim.engine.instruction_set` says which may be called. Numba keys its cache by the processor's
features.
"""

from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.core.typing import signature
from numba.extending import intrinsic

FEATURES = {name for name, has in binding.get_host_cpu_features().items() if has}
HAS_AVX2 = "avx2" in FEATURES
HAS_VNNI = {"avx512bw", "avx512vl", "avx512vnni"} <= FEATURES
HAS_AMX = HAS_VNNI and {"amx-tile", "amx-int8"} <= FEATURES

I8, I16, I32, I64 = (ir.IntType(n) for n in (8, 16, 32, 64))
NOTHING = ir.VoidType()


def vector(element, lanes):
    """The LLVM type of `lanes` elements."""
    return ir.VectorType(element, lanes)


def load(builder, address, kind):
    """An unaligned load."""
    value = builder.load(builder.inttoptr(address, ir.PointerType(kind)))
    value.align = 1
    return value


def store(builder, address, value):
    """An unaligned store."""
    builder.store(value, builder.inttoptr(address, ir.PointerType(value.type))).align = 1


def offset(builder, address, *terms):
    """address + sum of a * b over the terms (a an LLVM value, b an integer)."""
    for value, factor in terms:
        address = builder.add(address, builder.mul(value, I64(factor)))
    return address


def shuffle(builder, one, other, lanes):
    """The chosen lanes of two vectors, numbered through."""
    return builder.shuffle_vector(one, other, ir.Constant(vector(I32, len(lanes)), list(lanes)))


def splat(builder, value, lanes):
    """A vector of equal lanes."""
    nothing = ir.Constant(vector(value.type, lanes), ir.Undefined)
    return shuffle(builder, builder.insert_element(nothing, value, I32(0)), nothing, [0] * lanes)


def call(builder, name, result, *values):
    """Call an LLVM intrinsic."""
    kind = ir.FunctionType(result, [value.type for value in values])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), values)


def lanes_of(builder, value, element):
    """The same bits as lanes of another width."""
    bits = value.type.count * value.type.element.width
    return builder.bitcast(value, vector(element, bits // element.width))


# --- moving bytes ----------------------------------------------------------------------------


def on_addresses(available, generate, count):
    """An intrinsic of int64 arguments without a result; nothing where it is not available."""
    names = ", ".join(f"x{i}" for i in range(count))

    def emit(context, builder, signature, values):
        if available:
            generate(builder, *values)
        return context.get_dummy_value()

    typed = signature(types.none, *[types.int64] * count), emit
    return intrinsic(eval(f"lambda context, {names}: typed", {"typed": typed}))


def _pieces(builder, length, action, size):
    """action(offset, bytes) for pieces of 64 bytes, or two of a smaller power of two.

    They cover `length`; the last piece ends where the bytes end, and may overlap the one before.
    """
    if size == 1:
        with cgutils.for_range(builder, length) as loop:
            action(loop.index, 1)
        return
    with builder.if_else(builder.icmp_signed(">=", length, I64(size))) as (enough, less):
        with enough:
            last = builder.sub(length, I64(size))
            if size == 64:
                with cgutils.for_range_slice(builder, I64(0), last, I64(64)) as (at, _):
                    action(at, 64)
            else:
                action(I64(0), size)
            action(last, size)
        with less:
            _pieces(builder, length, action, size // 2)


def _copy(builder, target, source, length, flip):
    """length bytes from source to target, each XOR flip."""
    byte = builder.trunc(flip, I8)

    def piece(at, size):
        value = load(builder, builder.add(source, at), vector(I8, size))
        turned = builder.xor(value, splat(builder, byte, size))
        store(builder, builder.add(target, at), turned)

    _pieces(builder, length, piece, 64)


def _fill(builder, target, length, value):
    """length bytes of one value."""
    byte = builder.trunc(value, I8)
    _pieces(
        builder,
        length,
        lambda at, size: store(builder, builder.add(target, at), splat(builder, byte, size)),
        64,
    )


copy, fill = on_addresses(HAS_AVX2, _copy, 4), on_addresses(HAS_AVX2, _fill, 3)


def interleaved(builder, source, row, element, rows, lanes):
    """`rows` rows of `lanes` codes, `row` bytes apart, as lanes of 4-byte groups."""
    kind = vector(element, lanes)
    pieces = [load(builder, offset(builder, source, (row, r)), kind) for r in range(rows)]
    while len(pieces) > 1:
        size = pieces[0].type.count
        pieces = [
            shuffle(builder, one, other, range(2 * size))
            for one, other in zip(pieces[::2], pieces[1::2], strict=True)
        ]
    whole = pieces[0]
    order = [r * lanes + lane for lane in range(lanes) for r in range(rows)]
    return shuffle(builder, whole, whole, order)


def _interleave(element, rows, lanes):
    """(target, source, row): store what `interleaved` makes."""

    def generate(builder, target, source, row):
        store(builder, target, interleaved(builder, source, row, element, rows, lanes))

    return on_addresses(HAS_AVX2, generate, 3)


interleave_s8 = _interleave(I8, 4, 16)
interleave_s16 = _interleave(I16, 2, 16)
interleave_s16_avx2 = _interleave(I16, 2, 8)


def _transpose(lanes):
    """(target, target_row, source, source_row): a lanes x lanes matrix of 4-byte groups, turned."""

    def generate(builder, target, target_row, source, source_row):
        kind = vector(I32, lanes)
        rows = [load(builder, offset(builder, source, (source_row, r)), kind) for r in range(lanes)]
        distance = 1
        while distance < lanes:  # swap the off-diagonal squares of this size
            for r in range(lanes):
                if r & distance == 0:
                    one, other = rows[r], rows[r + distance]
                    up = [i if i & distance == 0 else i - distance + lanes for i in range(lanes)]
                    down = [i + distance if i & distance == 0 else i + lanes for i in range(lanes)]
                    rows[r] = shuffle(builder, one, other, up)
                    rows[r + distance] = shuffle(builder, one, other, down)
            distance *= 2
        for r, row in enumerate(rows):
            store(builder, offset(builder, target, (target_row, r)), row)

    return on_addresses(HAS_AVX2, generate, 4)


transpose16, transpose8 = _transpose(16), _transpose(8)

# --- one step of a tile: (sums, groups of a, groups of b) -> sums ------------------------------


def _dot(name, element):
    def step(builder, total, a, b):
        left, right = lanes_of(builder, a, element), lanes_of(builder, b, element)
        return call(builder, f"llvm.x86.{name}", total.type, total, left, right)

    return step


sum_u8_s8 = _dot("avx512.vpdpbusd.512", I8)  # four unsigned times signed
sum_s16 = _dot("avx512.vpdpwssd.512", I16)  # two products, modulo 2**32
saturate_s16 = _dot("avx512.vpdpwssds.512", I16)  # the exact sum of three terms, saturated


def sum_s16_avx2(builder, total, a, b):
    """Two products, modulo 2**32."""
    left, right = lanes_of(builder, a, I16), lanes_of(builder, b, I16)
    return builder.add(total, call(builder, "llvm.x86.avx2.pmadd.wd", total.type, left, right))


def _rounded(name):
    def step(builder, total, a, b):
        left, right = lanes_of(builder, a, I16), lanes_of(builder, b, I16)
        product = call(builder, f"llvm.x86.avx512.{name}", left.type, left, right)
        ones = ir.Constant(left.type, [1] * left.type.count)
        return call(builder, "llvm.x86.avx512.vpdpwssd.512", total.type, total, product, ones)

    return step


sum_half_up = _rounded("pmul.hr.sw.512")  # two products, each (a * b + 2**14) >> 15
sum_truncated = _rounded("pmulh.w.512")  # two products, each (a * b) >> 16


def tile(rows, panels, lanes, step, available, halves):
    """tile(a, a_row, a_group, b, b_panel, groups, start, start_row, out, out_row).

    out = start + a . b. With `halves` 2, `a` has two groups for each of b's, used in turn.
    """

    def generate(builder, a, a_row, a_group, b, b_panel, groups, start, start_row, out, out_row):
        sums = vector(I32, lanes)
        size = 4 * lanes
        totals = {}
        for r in range(rows):
            for p in range(panels):
                place = offset(builder, start, (start_row, r), (I64(size), p))
                totals[r, p] = cgutils.alloca_once_value(builder, load(builder, place, sums))
        with cgutils.for_range(builder, groups) as loop:
            at_b = offset(builder, b, (loop.index, size))
            right = [
                load(builder, offset(builder, at_b, (b_panel, p)), sums) for p in range(panels)
            ]
            at_a = builder.add(a, builder.mul(builder.mul(loop.index, I64(halves)), a_group))
            for half in range(halves):
                for r in range(rows):
                    place = offset(builder, at_a, (a_group, half), (a_row, r))
                    left = splat(builder, load(builder, place, I32), lanes)
                    for p in range(panels):
                        total = totals[r, p]
                        builder.store(step(builder, builder.load(total), left, right[p]), total)
        for (r, p), total in totals.items():
            place = offset(builder, out, (out_row, r), (I64(size), p))
            store(builder, place, builder.load(total))

    return on_addresses(available, generate, 10)


def tracked(rows, panels, step, available, groups_per_look):
    """tracked(a, a_row, b, b_panel, groups, starts, starts_row, out, out_row) -> largest |sum|.

    As `tile`, but every `groups_per_look` groups a row of `starts` is added first, and the sums'
    magnitudes are looked at after.
    """

    @intrinsic
    def run(context, a, a_row, b, b_panel, groups, starts, starts_row, out, out_row):
        def emit(context, builder, signature, values):
            if not available:
                return I64(0)
            a, a_row, b, b_panel, groups, starts, starts_row, out, out_row = values
            sums = vector(I32, 16)
            zero = ir.Constant(sums, [0] * 16)
            shift = [(r, p) for r in range(rows) for p in range(panels)]
            totals = {at: cgutils.alloca_once_value(builder, zero) for at in shift}
            peak = cgutils.alloca_once_value(builder, zero)
            looks = builder.sdiv(
                builder.add(groups, I64(groups_per_look - 1)), I64(groups_per_look)
            )
            with cgutils.for_range(builder, looks) as look:
                for p in range(panels):
                    at = builder.add(starts, builder.mul(look.index, starts_row))
                    begin = load(builder, offset(builder, at, (I64(64), p)), sums)
                    for r in range(rows):
                        total = totals[r, p]
                        builder.store(builder.add(builder.load(total), begin), total)
                first = builder.mul(look.index, I64(groups_per_look))
                last = builder.add(first, I64(groups_per_look))
                last = builder.select(builder.icmp_signed("<", last, groups), last, groups)
                with cgutils.for_range_slice(builder, first, last, I64(1)) as (group, _):
                    at_b = offset(builder, b, (group, 64))
                    right = [
                        load(builder, offset(builder, at_b, (b_panel, p)), sums)
                        for p in range(panels)
                    ]
                    for r in range(rows):
                        place = offset(builder, a, (group, 4), (a_row, r))
                        left = splat(builder, load(builder, place, I32), 16)
                        for p in range(panels):
                            total = totals[r, p]
                            builder.store(step(builder, builder.load(total), left, right[p]), total)
                for at in shift:
                    size = call(
                        builder, "llvm.abs.v16i32", sums, builder.load(totals[at]), ir.IntType(1)(0)
                    )
                    before = builder.load(peak)
                    builder.store(call(builder, "llvm.umax.v16i32", sums, before, size), peak)
            for r, p in shift:
                place = offset(builder, out, (out_row, r), (I64(64), p))
                store(builder, place, builder.load(totals[r, p]))
            largest = call(builder, "llvm.vector.reduce.umax.v16i32", I32, builder.load(peak))
            return builder.zext(largest, I64)

        return signature(types.int64, *[types.int64] * 9), emit

    return run


u8_12x2, u8_24x1 = (tile(r, p, 16, sum_u8_s8, HAS_VNNI, 1) for r, p in ((12, 2), (24, 1)))
s16_12x2, s16_24x1 = (tile(r, p, 16, sum_s16, HAS_VNNI, 1) for r, p in ((12, 2), (24, 1)))
half_up_12x2, half_up_24x1 = (
    tile(r, p, 16, sum_half_up, HAS_VNNI, 1) for r, p in ((12, 2), (24, 1))
)
truncated_12x2, truncated_24x1 = (
    tile(r, p, 16, sum_truncated, HAS_VNNI, 1) for r, p in ((12, 2), (24, 1))
)
saturated_12x2, saturated_24x1 = (
    tile(r, p, 16, saturate_s16, HAS_VNNI, 2) for r, p in ((12, 2), (24, 1))
)
tracked_12x2, tracked_24x1 = (tracked(r, p, sum_u8_s8, HAS_VNNI, 16) for r, p in ((12, 2), (24, 1)))
avx2_6x2, avx2_12x1 = (tile(r, p, 8, sum_s16_avx2, HAS_AVX2, 1) for r, p in ((6, 2), (12, 1)))
ones_u8 = tile(1, 1, 16, sum_u8_s8, HAS_VNNI, 1)


# --- depthwise: 16 channels in the lanes, taps or pixels in the groups -------------------------


def _depthwise(step, element, rows):
    """(pixel, tap, weights, weights_group, groups, start, out): one output of 16 channels.

    pixel : its taps, `tap` bytes apart; weights : 4-byte groups of taps for 16 channels
    """

    def generate(builder, pixel, tap, weights, weights_group, groups, start, out):
        sums = vector(I32, 16)
        total = cgutils.alloca_once_value(builder, load(builder, start, sums))
        with cgutils.for_range(builder, groups) as loop:
            place = builder.add(pixel, builder.mul(loop.index, builder.mul(tap, I64(rows))))
            left = lanes_of(builder, interleaved(builder, place, tap, element, rows, 16), I32)
            at = builder.add(weights, builder.mul(loop.index, weights_group))
            right = load(builder, at, sums)
            builder.store(step(builder, builder.load(total), left, right), total)
        store(builder, out, builder.load(total))

    return on_addresses(HAS_VNNI, generate, 7)


depthwise_s8, depthwise_s16 = _depthwise(sum_u8_s8, I8, 4), _depthwise(sum_s16, I16, 2)
