"""Pooling of (N, H, W, C) int16 words; ranges are ranges of images.

vertical, horizontal : (size, stride, places before the image) of the windows
"""

import numpy as np

from fxsim.engine.jit import kernel
from fxsim.engine.kernels.rounding import DRAW_BITS, RND, STOCHASTIC, draw, round_quotient


@kernel
def max_pool_range(start, stop, image, vertical, horizontal, out, choice):
    """Largest code of each window; `choice` is its tap, the first of equals."""
    (high, down, top), (wide, across, left) = vertical, horizontal
    height, width = image.shape[1], image.shape[2]
    for n in range(start, stop):
        for y in range(out.shape[1]):
            for x in range(out.shape[2]):
                best, place = out[n, y, x], choice[n, y, x]
                inside_any = False
                for tap in range(high * wide):
                    row = y * down + tap // wide - top
                    column = x * across + tap % wide - left
                    if row < 0 or row >= height or column < 0 or column >= width:
                        continue
                    code = image[n, row, column]
                    if not inside_any:
                        for c in range(code.shape[0]):
                            best[c] = code[c]
                        for c in range(code.shape[0]):
                            place[c] = tap
                        inside_any = True
                    else:
                        for c in range(code.shape[0]):
                            place[c] = np.uint8(tap) if code[c] > best[c] else place[c]
                        for c in range(code.shape[0]):
                            best[c] = max(code[c], best[c])


@kernel
def max_pool_back_range(start, stop, error, choice, vertical, horizontal, out):
    """Add each error to the input that was chosen; `out` is int32."""
    (_, down, top), (wide, across, left) = vertical, horizontal
    for n in range(start, stop):
        for y in range(error.shape[1]):
            for x in range(error.shape[2]):
                for c in range(error.shape[3]):
                    tap = np.int64(choice[n, y, x, c])
                    row = y * down + tap // wide - top
                    column = x * across + tap % wide - left
                    out[n, row, column, c] += np.int32(error[n, y, x, c])


@kernel
def share_of(code, area, rounding, key, element):
    """code / area, rounded; an element's draw is that of its number."""
    if rounding == RND:
        return (2 * code + area) // (2 * area)
    noise = draw(key, element, DRAW_BITS) if rounding == STOCHASTIC else np.int64(0)
    return round_quotient(code, area, rounding, noise)


@kernel
def average_pool_range(start, stop, image, vertical, horizontal, rounding, key, out):
    """Mean of each window, zeros of the padding included, rounded."""
    (high, down, above), (wide, across, before) = vertical, horizontal
    area = np.int64(high * wide)
    height, width, channels = image.shape[1], image.shape[2], image.shape[3]
    total = np.zeros(channels, np.int64)
    for n in range(start, stop):
        for y in range(out.shape[1]):
            for x in range(out.shape[2]):
                total[:] = 0
                top, left = y * down - above, x * across - before
                for row in range(max(top, 0), min(top + high, height)):
                    for column in range(max(left, 0), min(left + wide, width)):
                        for c in range(channels):
                            total[c] += np.int64(image[n, row, column, c])
                element = ((n * out.shape[1] + y) * out.shape[2] + x) * channels
                for c in range(channels):
                    out[n, y, x, c] = share_of(total[c], area, rounding, key, element + c)


@kernel
def average_pool_back_range(start, stop, error, vertical, horizontal, rounding, key, out):
    """Add each error, with 8 more fractional bits and divided by the window, rounded, to int32."""
    (high, down, above), (wide, across, before) = vertical, horizontal
    area = np.int64(high * wide)
    height, width, channels = out.shape[1], out.shape[2], out.shape[3]
    share = np.zeros(channels, np.int32)
    for n in range(start, stop):
        for y in range(error.shape[1]):
            for x in range(error.shape[2]):
                element = ((n * error.shape[1] + y) * error.shape[2] + x) * channels
                for c in range(channels):
                    code = np.int64(error[n, y, x, c]) << 8
                    share[c] = np.int32(share_of(code, area, rounding, key, element + c))
                top, left = y * down - above, x * across - before
                for row in range(max(top, 0), min(top + high, height)):
                    for column in range(max(left, 0), min(left + wide, width)):
                        for c in range(channels):
                            out[n, row, column, c] = np.int32(out[n, row, column, c] + share[c])
