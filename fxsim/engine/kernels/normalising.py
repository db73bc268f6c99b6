"""Batch normalisation of an (M, C) int64 matrix of 16-bit codes, forward and backward.

Word lengths (see `fxsim.engine.normalisation` for formats): M <= 2**22; centred codes 21 bits;
reciprocal roots 17 bits; normalised codes 16 bits with 11 fractional; gamma 16 bits with 13.
"""

import numpy as np

from fxsim.engine.kernels._jit import kernel
from fxsim.engine.kernels.blocks import bit_length
from fxsim.engine.kernels.rounding import RND_CONV, round_shift


@kernel
def integer_root(value):
    """floor(sqrt(value)), 0 <= value < 2**62."""
    root = np.int64(0)
    bit = np.int64(1) << 60
    while bit > value:
        bit >>= 2
    while bit != 0:
        if value >= root + bit:
            value -= root + bit
            root = (root >> 1) + bit
        else:
            root >>= 1
        bit >>= 2
    return root


@kernel
def reciprocal_roots(variance, root, half):
    """1/sqrt(variance) = root * 2**-half, for variance codes of 1 to 2**61.

    root has 16 or 17 bits and is within 2**-15 of itself.
    """
    for c in range(variance.shape[0]):
        length = bit_length(variance[c])
        drop = max(length - 30, 0)
        drop += drop & 1
        value = variance[c] >> drop
        exponent = bit_length(value) + 31
        exponent += exponent & 1
        root[c] = integer_root((np.int64(1) << exponent) // value)
        half[c] = (exponent + drop) >> 1


@kernel
def moments(x, mean, variance):
    """Mean with 4 more fractional bits, half up; variance of the centred codes (8 more), floor."""
    rows, channels = x.shape
    for c in range(channels):
        mean[c] = 0
        variance[c] = 0
    for r in range(rows):
        for c in range(channels):
            mean[c] += x[r, c]
    for c in range(channels):
        mean[c] = (32 * mean[c] + rows) // (2 * rows)
    for r in range(rows):
        for c in range(channels):
            centred = 16 * x[r, c] - mean[c]
            variance[c] += centred * centred
    for c in range(channels):
        variance[c] //= rows


@kernel
def normalise_range(start, stop, x, mean, root, half, gamma, beta, normal, out, low, high):
    """normal = (16 x - mean) / sqrt(variance); out = gamma * normal + beta, 16 fractional bits.

    Returns how many codes of `normal` and of `out` saturated.
    """
    clipped, over = 0, 0
    for r in range(start, stop):
        for c in range(x.shape[1]):
            product = (16 * x[r, c] - mean[c]) * root[c]
            unit = round_shift(product, half[c] - 11, RND_CONV, np.int64(0))
            if unit > 32767 or unit < -32768:
                clipped += 1
                unit = np.int64(32767) if unit > 0 else np.int64(-32768)
            normal[r, c] = unit
            code = round_shift(gamma[c] * unit + beta[c], np.int64(8), RND_CONV, np.int64(0))
            if code > high or code < low:
                over += 1
                code = high if code > high else low
            out[r, c] = code
    return clipped, over


@kernel
def gradient_sums(error, normal, total, cross):
    """Per channel, the sum of the error and of error * normal."""
    for c in range(error.shape[1]):
        total[c] = 0
        cross[c] = 0
    for r in range(error.shape[0]):
        for c in range(error.shape[1]):
            total[c] += error[r, c]
            cross[c] += error[r, c] * normal[r, c]


@kernel
def project(error, normal, total, cross, out, largest):
    """out = error less its mean and its component along `normal`, 2 more fractional bits.

    `largest` is max|out| of each channel.
    """
    rows, channels = error.shape
    mean = np.empty(channels, np.int64)
    slope = np.empty(channels, np.int64)
    for c in range(channels):
        mean[c] = (32 * total[c] + rows) // (2 * rows)
        slope[c] = (cross[c] + 64 * rows) // (128 * rows)
        largest[c] = 0
    for r in range(rows):
        for c in range(channels):
            exact = (error[r, c] << 15) - (mean[c] << 11) - normal[r, c] * slope[c]
            code = round_shift(exact, np.int64(13), RND_CONV, np.int64(0))
            out[r, c] = code
            largest[c] = max(largest[c], abs(code))


@kernel
def scale_channels_range(start, stop, x, factor, shift, out):
    """out = x * factor * 2**-shift, per channel; shifts of -30 to 62."""
    for r in range(start, stop):
        for c in range(x.shape[1]):
            product = x[r, c] * factor[c]
            if shift[c] < 0:
                out[r, c] = product << -shift[c]
            else:
                out[r, c] = round_shift(product, shift[c], RND_CONV, np.int64(0))
