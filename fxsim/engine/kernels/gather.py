"""Rows of a convolution's matrix, gathered into a panel of bytes (implicit im2col).

Row (n, y, x) holds the taps (kernel row, kernel column, channel) that output (n, y, x) reads;
the bytes behind them, up to the panel's row, stay as they are. `shape` says where they lie, in
bytes and steps, by the constants below; a matrix is an image with one pixel a row.
"""

from fxsim.engine.jit import kernel
from fxsim.engine.kernels import simd

(
    IN_HEIGHT,
    IN_WIDTH,
    PIXEL,  # bytes from a pixel to the next
    OUT_HEIGHT,
    OUT_WIDTH,
    KERNEL_HEIGHT,
    KERNEL_WIDTH,
    ROW_STRIDE,
    COLUMN_STRIDE,
    TOP,  # input row read by tap 0 of output row 0
    LEFT,
    ROW_DILATION,
    COLUMN_DILATION,
    CHANNEL,  # byte of a pixel where the taps' channels begin
    SEGMENT,  # bytes of one tap
    FIELDS,
) = range(16)


@kernel
def gather_rows(first, last, source, shape, panel, row_bytes, flip):
    """Rows [first, last) to `panel`, each byte XOR `flip`; what lies outside the image is 0."""
    in_height, out_height, out_width = shape[IN_HEIGHT], shape[OUT_HEIGHT], shape[OUT_WIDTH]
    line_bytes = shape[IN_WIDTH] * shape[PIXEL]
    tap_bytes = shape[KERNEL_WIDTH] * shape[SEGMENT]
    touching = shape[COLUMN_DILATION] == 1 and shape[SEGMENT] == shape[PIXEL]
    row = first
    while row < last:  # outputs of one line at a time
        n = row // (out_height * out_width)
        y = row // out_width % out_height
        x = row % out_width
        count = min(out_width - x, last - row)
        for tap in range(shape[KERNEL_HEIGHT]):
            place = panel + (row - first) * row_bytes + tap * tap_bytes
            line = y * shape[ROW_STRIDE] + shape[TOP] + tap * shape[ROW_DILATION]
            origin = source + (n * in_height + line) * line_bytes + shape[CHANNEL]
            if line < 0 or line >= in_height:
                for i in range(count):
                    simd.fill(place + i * row_bytes, tap_bytes, flip)
            elif touching:
                gather_runs(origin, shape, x, count, place, row_bytes, tap_bytes, flip)
            else:
                for i in range(count):
                    gather_taps(origin, shape, x + i, place + i * row_bytes, flip)
        row += count


@kernel
def gather_runs(origin, shape, x, count, place, row_bytes, tap_bytes, flip):
    """One line of taps that lie side by side: each output reads one run of bytes."""
    stride, left = shape[COLUMN_STRIDE], shape[LEFT]
    width = shape[IN_WIDTH] - shape[KERNEL_WIDTH]
    first = min(max((stride - 1 - left) // stride - x, 0), count)
    last = min(max((width - left) // stride + 1 - x, first), count) if width >= left else first
    for i in range(first):
        gather_taps(origin, shape, x + i, place + i * row_bytes, flip)
    read = origin + ((x + first) * stride + left) * shape[PIXEL]
    step = stride * shape[PIXEL]
    for i in range(last - first):
        simd.copy(place + (first + i) * row_bytes, read + i * step, tap_bytes, flip)
    for i in range(last, count):
        gather_taps(origin, shape, x + i, place + i * row_bytes, flip)


@kernel
def gather_taps(origin, shape, x, place, flip):
    """One output's taps of one line, one by one."""
    segment = shape[SEGMENT]
    for column in range(shape[KERNEL_WIDTH]):
        at = x * shape[COLUMN_STRIDE] + shape[LEFT] + column * shape[COLUMN_DILATION]
        if 0 <= at < shape[IN_WIDTH]:
            simd.copy(place + column * segment, origin + at * shape[PIXEL], segment, flip)
        else:
            simd.fill(place + column * segment, segment, flip)
