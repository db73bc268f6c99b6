"""How often each word length meets each tap of a convolution.

`level` is (N, H, W, channel blocks) uint8: the index of each pixel's word length; `width` the
channels in each block. Padding counts as level 0. Counts are int64.
"""

import numpy as np

from fxsim.engine.kernels._jit import kernel


@kernel
def tap_counts_range(
    start, stop, level, counts, height, width, kernel_size, stride, padding, dilation, back
):
    """counts[tap, block, level] over the (height, width) rows of a gather, for a range of taps.

    `back` selects the transposed gather of the grad_input pass.
    """
    for tap in range(start, stop):
        tap_y, tap_x = tap // kernel_size * dilation, tap % kernel_size * dilation
        for n in range(level.shape[0]):
            for y in range(height):
                if back:
                    scaled = y + padding - tap_y
                    source_y = scaled // stride if scaled % stride == 0 else np.int64(-1)
                else:
                    source_y = y * stride - padding + tap_y
                for x in range(width):
                    if back:
                        scaled = x + padding - tap_x
                        source_x = scaled // stride if scaled % stride == 0 else np.int64(-1)
                    else:
                        source_x = x * stride - padding + tap_x
                    inside = 0 <= source_y < level.shape[1] and 0 <= source_x < level.shape[2]
                    for block in range(level.shape[3]):
                        found = level[n, source_y, source_x, block] if inside else np.uint8(0)
                        counts[tap, block, found] += 1


@kernel
def pixel_counts_range(
    start, stop, level, widths, counts, height, width, kernel_size, stride, padding, dilation
):
    """counts[output pixel, level]: codes of each level that the pixel's field holds."""
    for row in range(start, stop):
        n = row // (height * width)
        y = row // width % height
        x = row % width
        for tap_y in range(kernel_size):
            source_y = y * stride - padding + tap_y * dilation
            for tap_x in range(kernel_size):
                source_x = x * stride - padding + tap_x * dilation
                inside = 0 <= source_y < level.shape[1] and 0 <= source_x < level.shape[2]
                for block in range(level.shape[3]):
                    found = level[n, source_y, source_x, block] if inside else np.uint8(0)
                    counts[row, found] += widths[block]
