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

from fxsim.engine.jit import kernel
from fxsim.engine.kernels import simd
from fxsim.engine.kernels.epilogue import epilogue_rows
from fxsim.engine.kernels.gather import gather_rows
from fxsim.engine.kernels.lanes import shift_left, shift_right
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
def whole_norms(codes, bias, out):
    """ceil ||row|| of (rows, k) bytes less `bias`."""
    for r in range(codes.shape[0]):
        row, square = codes[r], np.int32(0)
        for k in range(row.shape[0]):
            value = np.int32(np.int32(row[k]) - np.int32(bias))
            square = np.int32(square + np.int32(value * value))
        out[r] = root_up(np.int64(square))


@kernel
def chunk_norms(codes, bias, out):
    """The largest ceil ||CHUNK products of the row||."""
    for r in range(codes.shape[0]):
        largest = np.int32(0)
        for first in range(0, codes.shape[1], CHUNK):
            part, square = codes[r, first : min(first + CHUNK, codes.shape[1])], np.int32(0)
            for k in range(part.shape[0]):
                value = np.int32(np.int32(part[k]) - np.int32(bias))
                square = np.int32(square + np.int32(value * value))
            largest = max(largest, square)
        out[r] = root_up(np.int64(largest))


@kernel
def norms_range(start, stop, codes, whole, chunk):
    """Both norms of int8 codes."""
    whole_norms(codes[start:stop], 0, whole[start:stop])
    chunk_norms(codes[start:stop], 0, chunk[start:stop])


@kernel
def largest_of(values, first, last):
    """The largest of values[first:last]."""
    largest = values[first]
    for i in range(first + 1, last):
        largest = max(largest, values[i])
    return largest


@kernel
def expand_rows(panel, first, rows, shifts, masks, out):
    """Biased bytes to 4-byte groups (a_k, 0), (0, a_k+1), in turn, times a power of two."""
    for r in range(rows):
        source, target = panel[first + r], out[r]
        for k in range(target.shape[0]):
            code = np.int32(np.int32(source[k]) - np.int32(128))
            target[k] = np.int32(shift_left(code, shifts[k]) & masks[k])


@kernel
def take_over(sums, exact, spare, first, width, first_altered):
    """Store exact >> spare into sums (both (rows, columns)); (how many differ, first of them).

    first : number of the first sum; width : sums of a whole row
    first_altered : the first that differs so far
    """
    altered = np.int64(0)
    for r in range(sums.shape[0]):
        row, other, changed = sums[r], exact[r], np.int32(0)
        for j in range(row.shape[0]):
            changed = np.int32(changed + np.int32(shift_right(other[j], spare) != row[j]))
        if changed > 0 and (first_altered < 0 or first + r * width < first_altered):
            for j in range(row.shape[0] - 1, -1, -1):
                index = first + r * width + j
                if shift_right(other[j], spare) != row[j] and (
                    first_altered < 0 or index < first_altered
                ):
                    first_altered = index
        altered += np.int64(changed)
        for j in range(row.shape[0]):
            row[j] = shift_right(other[j], spare)
    return altered, first_altered


@kernel
def direct_tile(double, expanded, paired, pairs, p, zero, exact):
    """One tile addition by addition."""
    a, b, row = expanded.ctypes.data, pairs + p * paired * 32, 4 * paired
    if double:
        simd.saturated_12x2(
            a, row, 4, b, paired * 32, paired // 2, zero.ctypes.data, 0, exact.ctypes.data, 128
        )
    else:
        simd.saturated_24x1(
            a, row, 4, b, paired * 32, paired // 2, zero.ctypes.data, 0, exact.ctypes.data, 128
        )


@kernel
def tracked_tile(double, a, row_bytes, b, groups, starts, columns, out):
    """One tile in chunks; the largest |sum| at a chunk's end."""
    if double:
        return simd.tracked_12x2(
            a, row_bytes, b, groups * 64, groups, starts, 4 * columns, out, 4 * columns
        )
    return simd.tracked_24x1(
        a, row_bytes, b, groups * 64, groups, starts, 4 * columns, out, 4 * columns
    )


@kernel
def saturating_mac_rows(
    start,
    stop,
    source,
    shape,
    depth,
    depth_bytes,
    packed,
    panels,
    starts,
    pairs,
    paired,
    limit,
    whole_b,
    chunk_b,
    shift_a,
    spare,
    out,
    width,
    bias,
    multiplier,
    shift,
    fields,
    key,
):
    """Rows [start, stop) of a saturating product, finished into out[:, :width].

    depth : products; starts : (chunks of 64, columns) where each chunk's sums begin
    pairs : address of b's codes times a power of two, packed as int16 pairs over `paired`
        products; limit : 2**(bits - 1) - 1
    whole_b, chunk_b : norms of b's rows; spare : 32 - bits
    Returns (quantised, overflowed, altered sums, first altered or -1).
    """
    columns, groups = panels * 16, depth_bytes // 4
    panel = np.empty((BLOCK, depth_bytes), np.uint8)
    sums, exact = np.empty((BLOCK, columns), np.int32), np.empty((24, 32), np.int32)
    expanded, zero = np.empty((24, paired), np.int32), np.zeros(32, np.int32)
    shifts, masks = np.empty(paired, np.int32), np.empty(paired, np.int32)
    for k in range(paired):
        shifts[k] = np.int32(shift_a + (16 if k % 2 else 0))
        masks[k] = np.int32(-1) if k % 2 else np.int32(0xFFFF)
    whole, chunk = np.zeros(BLOCK, np.int64), np.zeros(BLOCK, np.int64)
    total_start = np.zeros(columns, np.int32)
    for c in range(starts.shape[0]):
        for j in range(columns):
            total_start[j] = np.int32(total_start[j] + starts[c, j])
    narrow_spare = np.int32(spare)
    lost, over, altered, first_altered = np.int64(0), np.int64(0), np.int64(0), np.int64(-1)
    for first in range(start, stop, BLOCK):
        rows = min(BLOCK, stop - first)
        gather_rows(first, first + rows, source, shape, panel.ctypes.data, depth_bytes, 0x80)
        whole_norms(panel[:rows, :depth], 128, whole)
        chunks_known = False
        for band in range(0, rows, 24):
            band_end, is_expanded = min(band + 24, rows), False
            for p in range(0, panels, 2):
                double = p + 1 < panels
                height, span = (12, 32) if double else (24, 16)
                norm_b = largest_of(whole_b, 16 * p, 16 * p + span)
                b = packed + p * groups * 64
                for i in range(band, band_end, height):
                    end = min(i + height, band_end)
                    a = panel.ctypes.data + i * depth_bytes
                    place = sums.ctypes.data + (i * columns + 16 * p) * 4
                    if largest_of(whole, i, end) * norm_b <= limit:
                        run_tile(
                            VNNI_S8,
                            double,
                            a,
                            depth_bytes,
                            4,
                            b,
                            groups * 64,
                            groups,
                            total_start.ctypes.data + 64 * p,
                            0,
                            place,
                            4 * columns,
                        )
                        continue
                    if not chunks_known:
                        chunk_norms(panel[:rows, :depth], 128, chunk)
                        chunks_known = True
                    peak = tracked_tile(
                        double,
                        a,
                        depth_bytes,
                        b,
                        groups,
                        starts.ctypes.data + 64 * p,
                        columns,
                        place,
                    )
                    part_b = largest_of(chunk_b, 16 * p, 16 * p + span)
                    if peak + largest_of(chunk, i, end) * part_b <= limit:
                        continue
                    if not is_expanded:
                        expand_rows(panel, band, band_end - band, shifts, masks, expanded)
                        is_expanded = True
                    direct_tile(double, expanded[i - band :], paired, pairs, p, zero, exact)
                    last = min(16 * p + span, width)
                    changed, first_altered = take_over(
                        sums[i:end, 16 * p : last],
                        exact,
                        narrow_spare,
                        (first + i) * width + 16 * p,
                        width,
                        first_altered,
                    )
                    altered += changed
        counted = epilogue_rows(
            sums, rows, out, first, 0, width, bias, multiplier, shift, fields, key
        )
        lost += counted[0]
        over += counted[1]
    return lost, over, altered, first_altered
