"""Depthwise convolution: every channel alone, channels side by side in the lanes of a vector.

`shape` is that of `gather` and reads whole pixels.
"""

import numpy as np

from fxsim.engine.jit import kernel
from fxsim.engine.kernels import simd
from fxsim.engine.kernels.epilogue import earlier, epilogue_rows
from fxsim.engine.kernels.gather import (
    COLUMN_DILATION,
    COLUMN_STRIDE,
    IN_HEIGHT,
    IN_WIDTH,
    KERNEL_WIDTH,
    LEFT,
    OUT_HEIGHT,
    OUT_WIDTH,
    PIXEL,
    ROW_DILATION,
    ROW_STRIDE,
    TOP,
    gather_rows,
)
from fxsim.engine.kernels.packed import VNNI_S8, pack_rows

BLOCK = 64  # rows summed before they are finished


@kernel
def fold_depthwise(
    start,
    stop,
    path,
    source,
    shape,
    flip,
    tap_bytes,
    weights,
    starts,
    groups,
    out,
    bias,
    multiplier,
    shift,
    fields,
    key,
):
    """Rows [start, stop) on the dot-product instructions; sums fit int32.

    weights : (groups, padded channels) 4-byte groups of taps; starts : where sums begin
    """
    channels, width = out.shape[1], starts.shape[0]
    size = 1 if path == VNNI_S8 else 2
    row_bytes = 4 // size * groups * tap_bytes + 64  # the last lanes may read beyond
    panel, sums = np.zeros((BLOCK, row_bytes), np.uint8), np.empty((BLOCK, width), np.int32)
    lost, over, altered, first_altered = np.int64(0), np.int64(0), np.int64(0), np.int64(-1)
    for first in range(start, stop, BLOCK):
        last = min(first + BLOCK, stop)
        gather_rows(first, last, source, shape, panel.ctypes.data, row_bytes, flip)
        for r in range(last - first):
            for c in range(0, width, 16):
                pixel = panel.ctypes.data + r * row_bytes + c * size
                weight, place = weights.ctypes.data + 4 * c, sums.ctypes.data + 4 * (r * width + c)
                begin = starts.ctypes.data + 4 * c
                if path == VNNI_S8:
                    simd.depthwise_s8(pixel, tap_bytes, weight, 4 * width, groups, begin, place)
                else:
                    simd.depthwise_s16(pixel, tap_bytes, weight, 4 * width, groups, begin, place)
        counted = epilogue_rows(
            sums, last - first, out, first, 0, channels, bias, multiplier, shift, fields, key
        )
        lost += counted[0]
        over += counted[1]
        altered += counted[2]
        first_altered = earlier(first_altered, counted[3])
    return lost, over, altered, first_altered


@kernel
def fold_depthwise_pixels(start, stop, path, source, shape, flip, errors, channels, taps, flush):
    """(taps, channels) int64 sums over rows [start, stop) of the pixel a tap reads, times errors.

    errors : address of (rows, channels) codes; flush : blocks whose sums fit int32
    """
    size = 1 if path == VNNI_S8 else 2
    width = -(-channels // 16) * 16
    tap_bytes, groups = channels * size, BLOCK * size // 4
    row_bytes = taps * tap_bytes + 64
    panel = np.zeros((BLOCK, row_bytes), np.uint8)
    error = np.zeros((BLOCK, width * size + 64), np.uint8)
    packed = np.empty((groups, width), np.int32)
    sums, gained = np.zeros((taps, width), np.int32), np.zeros(width, np.int32)
    ones = np.full(BLOCK * 64, 1, np.uint8)
    totals = np.zeros((taps, channels), np.int64)
    pending = 0
    for first in range(start, stop, BLOCK):
        last = min(first + BLOCK, stop)
        gather_rows(first, last, source, shape, panel.ctypes.data, row_bytes, flip)
        if last - first < BLOCK:
            error[:] = 0
        for r in range(last - first):
            simd.copy(error[r].ctypes.data, errors + (first + r) * tap_bytes, tap_bytes, 0)
        pack_rows(path, error.ctypes.data, error.shape[1], BLOCK, width, packed.ctypes.data)
        for c in range(0, width, 16):
            right = packed.ctypes.data + 4 * c
            for tap in range(taps):
                left = panel.ctypes.data + tap * tap_bytes + c * size
                place = sums.ctypes.data + 4 * (tap * width + c)
                if path == VNNI_S8:
                    simd.depthwise_s8(left, row_bytes, right, 4 * width, groups, place, place)
                else:
                    simd.depthwise_s16(left, row_bytes, right, 4 * width, groups, place, place)
            if path == VNNI_S8:
                place = gained.ctypes.data + 4 * c
                simd.depthwise_s8(ones.ctypes.data, 16, right, 4 * width, groups, place, place)
        pending += 1
        if pending == flush or last == stop:
            pending = 0
            for tap in range(taps):
                for c in range(channels):
                    biased = np.int32(np.int32(128) * gained[c]) if flip else np.int32(0)
                    totals[tap, c] += np.int64(np.int32(sums[tap, c] - biased))
            sums[:] = 0
            gained[:] = 0
    return totals


@kernel
def depthwise_range(
    start, stop, image, shape, taps, low, high, limited, out, bias, multiplier, shift, fields, key
):
    """Rows [start, stop) in plain loops: sums over the taps in order, saturating if `limited`.

    image : flat; shape : counted in codes; taps : (kernel taps, channels) int32; sums fit int32
    Returns (quantised, overflowed, altered sums, first altered or -1).
    """
    channels = taps.shape[1]
    sums, wide = np.empty((BLOCK, channels), np.int32), np.empty(channels, np.int32)
    least, most = np.int32(low), np.int32(high)
    lost, over, altered, first_altered = np.int64(0), np.int64(0), np.int64(0), np.int64(-1)
    for first in range(start, stop, BLOCK):
        rows = min(BLOCK, stop - first)
        for r in range(rows):
            n, top, left = origin_of(first + r, shape)
            total = sums[r]
            total[:] = 0
            wide[:] = 0
            for tap in range(taps.shape[0]):
                place = place_of(n, top, left, tap, shape)
                if place >= 0:
                    pixel, weight = image[place : place + channels], taps[tap]
                    for c in range(channels):
                        total[c] = np.int32(total[c] + np.int32(np.int32(pixel[c]) * weight[c]))
                    if limited:
                        for c in range(channels):
                            wide[c] = np.int32(wide[c] + np.int32(np.int32(pixel[c]) * weight[c]))
                            total[c] = min(max(total[c], least), most)
            if limited:
                for c in range(channels):
                    if wide[c] != total[c]:
                        altered += 1
                        if first_altered < 0:
                            first_altered = (first + r) * channels + c
        counted = epilogue_rows(
            sums, rows, out, first, 0, channels, bias, multiplier, shift, fields, key
        )
        lost += counted[0]
        over += counted[1]
        altered += counted[2]
        first_altered = earlier(first_altered, counted[3])
    return lost, over, altered, first_altered


@kernel
def depthwise_pixels(start, stop, image, shape, errors, taps, flush):
    """`fold_depthwise_pixels` in plain loops; flush : rows whose sums fit int32."""
    channels = errors.shape[1]
    totals, sums = np.zeros((taps, channels), np.int64), np.zeros((taps, channels), np.int32)
    for first in range(start, stop, flush):
        sums[:] = 0
        for row in range(first, min(first + flush, stop)):
            n, top, left = origin_of(row, shape)
            error = errors[row]
            for tap in range(taps):
                place = place_of(n, top, left, tap, shape)
                if place >= 0:
                    pixel, total = image[place : place + channels], sums[tap]
                    for c in range(channels):
                        product = np.int32(np.int32(pixel[c]) * np.int32(error[c]))
                        total[c] = np.int32(total[c] + product)
        for tap in range(taps):
            for c in range(channels):
                totals[tap, c] += np.int64(sums[tap, c])
    return totals


@kernel
def origin_of(row, shape):
    """(image, input row, input column) that tap 0 of an output reads."""
    out_height, out_width = shape[OUT_HEIGHT], shape[OUT_WIDTH]
    y, x = row // out_width % out_height, row % out_width
    n = row // (out_height * out_width)
    return n, y * shape[ROW_STRIDE] + shape[TOP], x * shape[COLUMN_STRIDE] + shape[LEFT]


@kernel
def place_of(n, top, left, tap, shape):
    """First code of the pixel that a tap reads; -1 outside the image."""
    y = top + tap // shape[KERNEL_WIDTH] * shape[ROW_DILATION]
    x = left + tap % shape[KERNEL_WIDTH] * shape[COLUMN_DILATION]
    if y < 0 or y >= shape[IN_HEIGHT] or x < 0 or x >= shape[IN_WIDTH]:
        return np.int64(-1)
    return ((n * shape[IN_HEIGHT] + y) * shape[IN_WIDTH] + x) * shape[PIXEL]
