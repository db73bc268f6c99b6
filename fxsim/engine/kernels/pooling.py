"""Pooling of (N, H, W, C) int64 images; ranges are ranges of images."""

import numpy as np

from fxsim.engine.kernels._jit import kernel


@kernel
def max_pool_range(start, stop, image, size, stride, out, choice):
    """Largest code of each window; `choice` is its position in the window, the first of equals."""
    for n in range(start, stop):
        for y in range(out.shape[1]):
            for x in range(out.shape[2]):
                for c in range(out.shape[3]):
                    best = image[n, y * stride, x * stride, c]
                    place = 0
                    for tap in range(1, size * size):
                        code = image[n, y * stride + tap // size, x * stride + tap % size, c]
                        if code > best:
                            best = code
                            place = tap
                    out[n, y, x, c] = best
                    choice[n, y, x, c] = place


@kernel
def max_pool_back_range(start, stop, error, choice, size, stride, out):
    """Add each error to the input that was chosen."""
    for n in range(start, stop):
        for y in range(error.shape[1]):
            for x in range(error.shape[2]):
                for c in range(error.shape[3]):
                    tap = np.int64(choice[n, y, x, c])
                    out[n, y * stride + tap // size, x * stride + tap % size, c] += error[
                        n, y, x, c
                    ]


@kernel
def average_pool_range(start, stop, image, size, stride, out):
    """Mean of each window, rounded half up."""
    area = size * size
    for n in range(start, stop):
        for y in range(out.shape[1]):
            for x in range(out.shape[2]):
                for c in range(out.shape[3]):
                    total = np.int64(0)
                    for tap in range(area):
                        total += image[n, y * stride + tap // size, x * stride + tap % size, c]
                    out[n, y, x, c] = (2 * total + area) // (2 * area)


@kernel
def average_pool_back_range(start, stop, error, size, stride, out):
    """Add each error, with 8 more fractional bits and divided by the window, half up."""
    area = size * size
    for n in range(start, stop):
        for y in range(error.shape[1]):
            for x in range(error.shape[2]):
                for c in range(error.shape[3]):
                    share = (2 * (error[n, y, x, c] << 8) + area) // (2 * area)
                    for tap in range(area):
                        out[n, y * stride + tap // size, x * stride + tap % size, c] += share
