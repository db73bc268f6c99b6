"""Products on the dot-product instructions: out[i, j] = epilogue(sum over k of a[i, k] * b[j, k]).

`a` is gathered from an image (`gather`), 96 rows at a time; `b` comes packed (`pack_columns`):
panels of 16 (AVX2: 8) columns, each a stream of vectors of 4-byte groups along k, padded with
zeros. Sums run in int32 over chunks of k in which they are proven to fit, and in int64 over the
chunks. Paths are numbered below; `fxsim.engine.instruction_set` says which the machine has.

Every buffer is C-contiguous; addresses are bytes.
"""

import numpy as np

from fxsim.engine.jit import kernel
from fxsim.engine.kernels import amx, simd
from fxsim.engine.kernels.epilogue import earlier, epilogue_rows
from fxsim.engine.kernels.gather import gather_rows

VNNI_S8, VNNI_S16, HALF_UP, TRUNCATED, AVX2_S16, AMX_S8 = range(6)
BLOCK = 96  # rows gathered at a time: a multiple of every tile's rows


@kernel
def run_tile(path, double, a, a_row, a_group, b, b_panel, groups, start, start_row, out, out_row):
    """One tile of the path: two panels if `double`, else one."""
    if path == VNNI_S8:
        if double:
            simd.u8_12x2(a, a_row, a_group, b, b_panel, groups, start, start_row, out, out_row)
        else:
            simd.u8_24x1(a, a_row, a_group, b, b_panel, groups, start, start_row, out, out_row)
    elif path == VNNI_S16:
        if double:
            simd.s16_12x2(a, a_row, a_group, b, b_panel, groups, start, start_row, out, out_row)
        else:
            simd.s16_24x1(a, a_row, a_group, b, b_panel, groups, start, start_row, out, out_row)
    elif path == HALF_UP:
        if double:
            simd.half_up_12x2(a, a_row, a_group, b, b_panel, groups, start, start_row, out, out_row)
        else:
            simd.half_up_24x1(a, a_row, a_group, b, b_panel, groups, start, start_row, out, out_row)
    elif path == TRUNCATED:
        if double:
            simd.truncated_12x2(
                a, a_row, a_group, b, b_panel, groups, start, start_row, out, out_row
            )
        else:
            simd.truncated_24x1(
                a, a_row, a_group, b, b_panel, groups, start, start_row, out, out_row
            )
    elif path == AVX2_S16:
        if double:
            simd.avx2_6x2(a, a_row, a_group, b, b_panel, groups, start, start_row, out, out_row)
        else:
            simd.avx2_12x1(a, a_row, a_group, b, b_panel, groups, start, start_row, out, out_row)
    elif double:
        amx.tile_32x2(a, a_row, a_group, b, b_panel, groups, start, start_row, out, out_row)
    else:
        amx.tile_32x1(a, a_row, a_group, b, b_panel, groups, start, start_row, out, out_row)


@kernel
def tile_height(path, double):
    """Rows of the path's tile."""
    if path == AMX_S8:
        return 32
    if path == AVX2_S16:
        return 6 if double else 12
    return 12 if double else 24


@kernel
def multiply_block(
    path, a, a_row, a_group, rows, b, b_panel, panels, groups, start, start_row, out, row
):
    """All tiles of a block of `rows`, rounded up to whole tiles."""
    vector = 32 if path == AVX2_S16 else 64
    p = 0
    while p < panels:
        double = p + 1 < panels
        height = tile_height(path, double)
        for i in range(0, rows, height):
            run_tile(
                path,
                double,
                a + i * a_row,
                a_row,
                a_group,
                b + p * b_panel,
                b_panel,
                groups,
                start + i * start_row + p * vector,
                start_row,
                out + i * row + p * vector,
                row,
            )
        p += 2 if double else 1


@kernel
def pack_columns(path, source, rows, row_bytes, packed, groups):
    """b's rows (`row_bytes` apart, whole panels of them) to panels of `groups` vectors."""
    lanes = 8 if path == AVX2_S16 else 16
    for p in range(rows // lanes):
        for g in range(0, groups, lanes):
            place = packed + (p * groups + g) * 4 * lanes
            origin = source + p * lanes * row_bytes + 4 * g
            if lanes == 8:
                simd.transpose8(place, 32, origin, row_bytes)
            else:
                simd.transpose16(place, 64, origin, row_bytes)


@kernel
def unbias(packed, panels, b_panel, first, groups, start):
    """start = -128 * the column sums of b over `groups` groups from `first`, by panel.

    The unsigned operand of VNNI_S8 is a + 128.
    """
    ones = np.full(4, 1, np.uint8)
    zeros = np.zeros(16, np.int32)
    for p in range(panels):
        at = packed + p * b_panel + 64 * first
        place = start[16 * p : 16 * p + 16]
        simd.ones_u8(
            ones.ctypes.data, 0, 0, at, 0, groups, zeros.ctypes.data, 0, place.ctypes.data, 0
        )
        for lane in range(16):
            place[lane] = np.int32(-128) * place[lane]


@kernel
def fold_rows(
    start,
    stop,
    path,
    source,
    shape,
    flip,
    depth_bytes,
    packed,
    panels,
    groups,
    used,
    chunk,
    starts,
    digits,
    configuration,
    out,
    column,
    width,
    bias,
    multiplier,
    shift,
    fields,
    key,
):
    """Rows [start, stop) of the product, finished into out[:, column : column + width].

    groups, used : 4-byte groups of a packed column, and those that hold codes
    chunk : groups whose sums fit int32; starts : (chunks, panels * lanes) int32, where sums begin
    digits : 2 if the second half of the panels holds b's high bytes, else 1
    bias, multiplier, shift, fields, key : see `epilogue`
    Returns what `epilogue_rows` counted.
    """
    lanes = 8 if path == AVX2_S16 else 16
    columns = panels * lanes
    panel = np.empty((BLOCK, depth_bytes), np.uint8)
    sums = np.empty((BLOCK, columns), np.int32)
    chunks = starts.shape[0]
    totals = np.empty((BLOCK if chunks * digits > 1 else 0, columns), np.int64)
    lost, over, altered, first_altered = np.int64(0), np.int64(0), np.int64(0), np.int64(-1)
    if path == AMX_S8:
        amx.begin(configuration.ctypes.data)
    for first in range(start, stop, BLOCK):
        last = min(first + BLOCK, stop)
        rows = last - first
        gather_rows(first, last, source, shape, panel.ctypes.data, depth_bytes, flip)
        for c in range(chunks):
            begin = c * chunk
            multiply_block(
                path,
                panel.ctypes.data + 4 * begin,
                depth_bytes,
                4,
                rows,
                packed + begin * 4 * lanes,
                groups * 4 * lanes,
                panels,
                min(chunk, used - begin),
                starts.ctypes.data + 4 * columns * c,
                0,
                sums.ctypes.data,
                4 * columns,
            )
            if totals.shape[0] > 0:
                gain_totals(totals, sums, rows, c == 0)
        if totals.shape[0] > 0:
            if digits == 2:
                join_digits(totals, rows, columns // 2)
            counted = epilogue_rows(
                totals, rows, out, first, column, width, bias, multiplier, shift, fields, key
            )
        else:
            counted = epilogue_rows(
                sums, rows, out, first, column, width, bias, multiplier, shift, fields, key
            )
        lost += counted[0]
        over += counted[1]
        altered += counted[2]
        first_altered = earlier(first_altered, counted[3])
    if path == AMX_S8:
        amx.end(0)
    return lost, over, altered, first_altered


@kernel
def pack_rows(path, panel, row_bytes, pixels, columns, packed):
    """`pixels` rows of a panel to groups along them: [group][column][4 bytes]."""
    if path == AVX2_S16:
        for group in range(pixels // 2):
            for c in range(0, columns, 8):
                simd.interleave_s16_avx2(
                    packed + (group * columns + c) * 4,
                    panel + 2 * group * row_bytes + 2 * c,
                    row_bytes,
                )
    elif path == VNNI_S16:
        for group in range(pixels // 2):
            for c in range(0, columns, 16):
                simd.interleave_s16(
                    packed + (group * columns + c) * 4,
                    panel + 2 * group * row_bytes + 2 * c,
                    row_bytes,
                )
    else:
        for group in range(pixels // 4):
            for c in range(0, columns, 16):
                simd.interleave_s8(
                    packed + (group * columns + c) * 4, panel + 4 * group * row_bytes + c, row_bytes
                )


@kernel
def fold_pixels(
    start,
    stop,
    path,
    source,
    shape,
    depth,
    errors,
    error_pixel,
    filters,
    flip,
    block,
    flush,
    configuration,
    peak,
):
    """Sums over rows [start, stop) of gathered[row, k] * errors[row, f]: (depth, filters) int64.

    error_pixel : bytes from an error's row to the next
    block : rows gathered at a time, a multiple of 64; flush : blocks whose sums fit int32
    peak : a bound on |gathered| if prefixes are to be bounded, else 0
    Also returns a bound on every prefix of every sum: |sum before a block| plus peak times the
    block's largest sum of |error| (0 without `peak`).
    """
    lanes = 8 if path == AVX2_S16 else 16
    size = 1 if path in (VNNI_S8, AMX_S8) else 2
    left = -(-depth // 96) * 96  # whole tiles, whatever their height
    right = -(-filters // lanes) * lanes
    panel = np.empty((block, left * size), np.uint8)
    error_panel = np.empty((block, right * size), np.uint8)
    groups = block * size // 4
    a, turned = np.empty(groups * left, np.int32), np.empty(groups * left, np.int32)
    b = np.empty((right // lanes, groups, lanes), np.int32)
    sums, totals = np.zeros((left, right), np.int32), np.zeros((depth, filters), np.int64)
    bias, gained = np.zeros(right, np.int32), np.zeros(right, np.int32)
    if path == AMX_S8:
        amx.begin(configuration.ctypes.data)
    pending, reach, before = 0, np.int64(0), np.int64(0)
    for first in range(start, stop, block):
        last = min(first + block, stop)
        gather_rows(first, last, source, shape, panel.ctypes.data, left * size, flip)
        for row in range(first, last):
            simd.copy(
                error_panel.ctypes.data + (row - first) * right * size,
                errors + row * error_pixel,
                filters * size,
                0,
            )
        if last - first < block:  # what lies behind the last row multiplies by zero
            simd.fill(
                error_panel.ctypes.data + (last - first) * right * size,
                (block - last + first) * right * size,
                0,
            )
        pack_rows(path, panel.ctypes.data, left * size, block, left, a.ctypes.data)
        for p in range(right // lanes):
            pack_rows(
                path,
                error_panel.ctypes.data + p * lanes * size,
                right * size,
                block,
                lanes,
                b.ctypes.data + p * groups * lanes * 4,
            )
        a_row, a_group, place = 4, 4 * left, a.ctypes.data
        if path == AMX_S8:
            for k in range(0, left, 16):
                for g in range(0, groups, 16):
                    simd.transpose16(
                        turned.ctypes.data + 4 * (k * groups + g),
                        4 * groups,
                        a.ctypes.data + 4 * (g * left + k),
                        4 * left,
                    )
            a_row, a_group, place = 4 * groups, 4, turned.ctypes.data
        multiply_block(
            path,
            place,
            a_row,
            a_group,
            depth,
            b.ctypes.data,
            groups * lanes * 4,
            right // lanes,
            groups,
            sums.ctypes.data,
            4 * right,
            sums.ctypes.data,
            4 * right,
        )
        if path == VNNI_S8:
            unbias(b.ctypes.data, right // lanes, groups * 64, 0, groups, gained)
            for f in range(right):
                bias[f] = np.int32(bias[f] + gained[f])
        pending += 1
        if peak > 0:
            rows = last - first
            if size == 1:
                added = largest_column(error_panel.view(np.int8)[:rows], filters)
            else:
                added = largest_column(error_panel.view(np.int16)[:rows], filters)
            reach = max(reach, before + peak * added)
            before = largest_prefix(totals, sums, bias, depth, filters)
        if pending == flush or last == stop:
            pending = 0
            for k in range(depth):
                total, done = totals[k], sums[k, :filters]
                for f in range(filters):
                    total[f] += np.int64(np.int32(done[f] + bias[f]))
            sums[:] = 0
            bias[:] = 0
    if path == AMX_S8:
        amx.end(0)
    return totals, max(reach, before)


@kernel
def largest_column(codes, columns):
    """The largest sum of magnitudes of the first columns."""
    total = np.zeros(columns, np.int32)
    for r in range(codes.shape[0]):
        row = codes[r, :columns]
        for f in range(columns):
            total[f] = np.int32(total[f] + abs(np.int32(row[f])))
    return np.int64(total.max())


@kernel
def largest_prefix(totals, sums, bias, depth, filters):
    """The largest |sum so far|."""
    largest = np.int64(0)
    for k in range(depth):
        total, part = totals[k], sums[k, :filters]
        for f in range(filters):
            largest = max(largest, abs(total[f] + np.int64(np.int32(part[f] + bias[f]))))
    return largest


@kernel
def gain_totals(totals, sums, rows, begin):
    """Set, or add, int32 sums to int64 totals."""
    for r in range(rows):
        total, part = totals[r], sums[r]
        if begin:
            for j in range(total.shape[0]):
                total[j] = np.int64(part[j])
        else:
            for j in range(total.shape[0]):
                total[j] += np.int64(part[j])


@kernel
def join_digits(totals, rows, columns):
    """totals[:, :columns] of low bytes plus 256 times those of high bytes behind them."""
    for r in range(rows):
        low, high = totals[r, :columns], totals[r, columns:]
        for j in range(columns):
            low[j] += high[j] << 8


@kernel
def check_amx(configuration, a, b, scratch, out):
    """One 32x32 tile over 128 codes: out = a . b."""
    pack_columns(AMX_S8, b.ctypes.data, 32, 128, scratch.ctypes.data, 32)
    start = np.zeros(32, np.int32)
    amx.begin(configuration.ctypes.data)
    multiply_block(
        AMX_S8,
        a.ctypes.data,
        128,
        4,
        32,
        scratch.ctypes.data,
        32 * 64,
        2,
        32,
        start.ctypes.data,
        0,
        out.ctypes.data,
        128,
    )
    amx.end(0)
