"""Products whose accumulator saturates at each addition: 16 to 32 bits, int8 codes, AVX-512 VNNI.

A tile is executed in the cheapest way that is proven exact, in this order:

1. wide, if ||a|| * ||b|| <= limit for its rows and columns: no prefix of the sum can leave the
   register (Cauchy-Schwarz);
2. in chunks of 64 products, if every sum at a chunk's end, plus the chunk's own
   ||a|| * ||b||, stays inside: no addition in between can have left it;
3. directly: the sum is kept times 2**(32 - bits), in int32 lanes. VPDPWSSDS on the pair
   (a_k, 0) saturates at 32 bits exactly where the register does; the low bits that a saturation
   leaves behind never reach the register's own.
"""

import numpy as np

from fxsim.engine.kernels import simd
from fxsim.engine.kernels._jit import kernel
from fxsim.engine.kernels.finishing import finish_rows
from fxsim.engine.kernels.gathering import gather_rows
from fxsim.engine.kernels.packed import BLOCK, VNNI_S8, run_tile

CHUNK = 64  # products between two looks at the sums


@kernel
def root_up(value):
    """The smallest integer whose square is at least `value` (0 <= value < 2**60)."""
    root = np.int64(0)
    for bit in range(30, -1, -1):
        larger = root + (np.int64(1) << bit)
        if larger * larger <= value:
            root = larger
    return root + np.int64(root * root < value)


@kernel
def row_norms(codes, bias, whole, chunk):
    """ceil ||row|| and the largest ceil ||64 products of it||, of (rows, k) bytes less `bias`."""
    for r in range(codes.shape[0]):
        total, largest = np.int64(0), np.int64(0)
        for first in range(0, codes.shape[1], CHUNK):
            part = codes[r, first : min(first + CHUNK, codes.shape[1])]
            square = np.int32(0)
            for k in range(part.shape[0]):
                value = np.int32(np.int32(part[k]) - np.int32(bias))
                square = np.int32(square + np.int32(value * value))
            total += np.int64(square)
            largest = max(largest, np.int64(square))
        whole[r], chunk[r] = root_up(total), root_up(largest)


@kernel
def norms_range(start, stop, codes, whole, chunk):
    """`row_norms` of int8 codes."""
    row_norms(codes[start:stop], 0, whole[start:stop], chunk[start:stop])


@kernel
def largest_of(values, first, last):
    """The largest of values[first:last]."""
    largest = values[first]
    for i in range(first + 1, last):
        largest = max(largest, values[i])
    return largest


@kernel
def expand_rows(panel, first, rows, depth, shift, out):
    """Biased bytes to 4-byte groups (a_k * 2**shift, 0), (0, a_k+1 * 2**shift), in turn."""
    for r in range(rows):
        source, target = panel[first + r], out[r]
        for k in range(depth // 2):
            even = np.int32(np.int32(source[2 * k]) - np.int32(128)) << np.int32(shift)
            odd = np.int32(np.int32(source[2 * k + 1]) - np.int32(128)) << np.int32(16 + shift)
            target[2 * k] = np.int32(even & np.int32(0xFFFF))
            target[2 * k + 1] = np.int32(odd)


@kernel
def fold_limited(
    start, stop, source, shape, depth, depth_bytes, packed, panels, starts, pairs, paired, limit,
    whole_b, chunk_b, shift_a, spare, out, width, bias, multiplier, places, finish, key,
):  # fmt: skip
    """Rows [start, stop) of a saturating product, finished into out[:, :width].

    depth : products; starts : (chunks of 64, columns) where each chunk's sums begin
    pairs : address of b's codes times a power of two, packed as int16 pairs over `paired`
        products; limit : 2**(bits - 1) - 1
    whole_b, chunk_b : norms of b's rows; spare : 32 - bits
    Returns (quantised, overflowed, altered sums, first altered or -1, tiles of each kind).
    """
    columns = panels * 16
    groups = depth_bytes // 4
    panel = np.empty((BLOCK, depth_bytes), np.uint8)
    sums = np.empty((BLOCK, columns), np.int32)
    exact = np.empty((24, 32), np.int32)
    expanded = np.empty((24, paired), np.int32)
    whole, chunk = np.zeros(BLOCK, np.int64), np.zeros(BLOCK, np.int64)
    total_start = np.zeros(columns, np.int32)
    for c in range(starts.shape[0]):
        for j in range(columns):
            total_start[j] = np.int32(total_start[j] + starts[c, j])
    lost, over, altered, first_altered = 0, 0, 0, np.int64(-1)
    kinds = np.zeros(3, np.int64)
    for first in range(start, stop, BLOCK):
        last = min(first + BLOCK, stop)
        rows = last - first
        gather_rows(first, last, source, shape, panel.ctypes.data, depth_bytes, 0x80)
        row_norms(panel[:rows, :depth], 128, whole, chunk)
        p = 0
        while p < panels:
            double = p + 1 < panels
            height, span = (12, 32) if double else (24, 16)
            norm_b = largest_of(whole_b, 16 * p, 16 * p + span)
            part_b = largest_of(chunk_b, 16 * p, 16 * p + span)
            b = packed + p * groups * 64
            for i in range(0, rows, height):
                end = min(i + height, rows)
                a = panel.ctypes.data + i * depth_bytes
                place = sums.ctypes.data + (i * columns + 16 * p) * 4
                if largest_of(whole, i, end) * norm_b <= limit:
                    run_tile(
                        VNNI_S8, double, a, depth_bytes, 4, b, groups * 64, groups,
                        total_start.ctypes.data + 64 * p, 0, place, 4 * columns,
                    )  # fmt: skip
                    kinds[0] += 1
                    continue
                begin = starts.ctypes.data + 64 * p
                if double:
                    peak = simd.tracked_12x2(
                        a, depth_bytes, b, groups * 64, groups, begin, 4 * columns, place,
                        4 * columns,
                    )  # fmt: skip
                else:
                    peak = simd.tracked_24x1(
                        a, depth_bytes, b, groups * 64, groups, begin, 4 * columns, place,
                        4 * columns,
                    )  # fmt: skip
                if peak + largest_of(chunk, i, end) * part_b <= limit:
                    kinds[1] += 1
                    continue
                kinds[2] += 1
                expand_rows(panel, i, min(height, BLOCK - i), paired, shift_a, expanded)
                zero = np.zeros(32, np.int32)
                if double:
                    simd.saturated_12x2(
                        expanded.ctypes.data, 4 * paired, 4, pairs + p * paired * 32, paired * 32,
                        paired // 2, zero.ctypes.data, 0, exact.ctypes.data, 128,
                    )  # fmt: skip
                else:
                    simd.saturated_24x1(
                        expanded.ctypes.data, 4 * paired, 4, pairs + p * paired * 32, paired * 32,
                        paired // 2, zero.ctypes.data, 0, exact.ctypes.data, 128,
                    )  # fmt: skip
                for r in range(end - i):
                    for j in range(min(span, width - 16 * p)):
                        value = np.int32(exact[r, j] >> spare)
                        if value != sums[i + r, 16 * p + j]:
                            altered += 1
                            index = (first + i + r) * width + 16 * p + j
                            if first_altered < 0 or index < first_altered:
                                first_altered = index
                            sums[i + r, 16 * p + j] = value
            p += 2 if double else 1
        counted = finish_rows(
            sums, rows, out, first, 0, width, bias, multiplier, places, finish, key
        )
        lost += counted[0]
        over += counted[1]
    return lost, over, altered, first_altered, kinds[0], kinds[1], kinds[2]
