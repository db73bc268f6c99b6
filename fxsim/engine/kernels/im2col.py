"""Convolution as GEMM, written out: every row of the gathered matrix, without vector instructions.

`image` is flat; `shape` is that of `gather`, counted in codes. Ranges are ranges of rows.
"""

from fxsim.engine.jit import kernel
from fxsim.engine.kernels.gather import (
    CHANNEL,
    COLUMN_DILATION,
    COLUMN_STRIDE,
    IN_HEIGHT,
    IN_WIDTH,
    KERNEL_HEIGHT,
    KERNEL_WIDTH,
    LEFT,
    OUT_HEIGHT,
    OUT_WIDTH,
    PIXEL,
    ROW_DILATION,
    ROW_STRIDE,
    SEGMENT,
    TOP,
)


@kernel
def columns_range(start, stop, image, shape, out):
    """Rows of `out`, zero where they lie outside the image and behind the taps."""
    in_height, in_width, pixel = shape[IN_HEIGHT], shape[IN_WIDTH], shape[PIXEL]
    out_height, out_width, channels = shape[OUT_HEIGHT], shape[OUT_WIDTH], shape[SEGMENT]
    kernel_width = shape[KERNEL_WIDTH]
    used = shape[KERNEL_HEIGHT] * kernel_width * channels
    for row in range(start, stop):
        n = row // (out_height * out_width)
        top = row // out_width % out_height * shape[ROW_STRIDE] + shape[TOP]
        left = row % out_width * shape[COLUMN_STRIDE] + shape[LEFT]
        for tap in range(shape[KERNEL_HEIGHT] * kernel_width):
            y = top + tap // kernel_width * shape[ROW_DILATION]
            x = left + tap % kernel_width * shape[COLUMN_DILATION]
            target = out[row, tap * channels : (tap + 1) * channels]
            if 0 <= y < in_height and 0 <= x < in_width:
                place = ((n * in_height + y) * in_width + x) * pixel + shape[CHANNEL]
                source = image[place : place + channels]
                for c in range(channels):
                    target[c] = source[c]
            else:
                for c in range(channels):
                    target[c] = 0
        for k in range(used, out.shape[1]):
            out[row, k] = 0
