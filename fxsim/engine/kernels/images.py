"""Batches of images: chosen, shifted, mirrored and normalised by a table."""

import numpy as np

from fxsim.engine.jit import kernel
from fxsim.engine.kernels.rounding import draw


@kernel
def take_range(start, stop, images, chosen, table, pad, mirror, key, out):
    """out[i] = table[image chosen[i]], by channel; crops of the padded image, mirrored or not.

    The crop and the mirror of image n are draw n of the stream `key`; pixels outside are black
    (pixel 0) before normalisation. pad 0 and mirror False take the images as they are.
    """
    height, width, channels = images.shape[1], images.shape[2], images.shape[3]
    for i in range(start, stop):
        n = chosen[i]
        top, left, turned = np.int64(0), np.int64(0), False
        if pad > 0 or mirror:
            drawn = draw(key, n, np.int64(32))
            top = (drawn & 0xFFFF) * (2 * pad + 1) >> 16
            left = (drawn >> 16 & 0x7FFF) * (2 * pad + 1) >> 15
            top, left = top - pad, left - pad
            turned = mirror and drawn >> 31 == 1
        for y in range(height):
            row = y + top
            for x in range(width):
                column = (width - 1 - x if turned else x) + left
                inside = 0 <= row < height and 0 <= column < width
                for c in range(channels):
                    pixel = np.int64(images[n, row, column, c]) if inside else np.int64(0)
                    out[i, y, x, c] = table[pixel, c]
