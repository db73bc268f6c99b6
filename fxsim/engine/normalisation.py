"""Batch normalisation in integers, training and inference.

Formats, all power-of-two scales:

- input words: 16 bits, dynamic scale, at most 24 fractional bits;
- mean: 4 more fractional bits than the input, rounded half up; variance: of those centred codes,
  biased, rounded down; epsilon: 2**-17;
- reciprocal root: 17-bit mantissa, within 2**-15 of itself;
- normalised words (kept for the backward pass): 16 bits, 11 fractional, saturating;
- running mean: 32 bits, 16 fractional; running variance: 48 bits, 20 fractional; both saturate;
- gamma: 16 bits, 13 fractional (-4 to 4); beta: 32 bits, 24 fractional; result: 32 bits, 16
  fractional, saturating. All rounding is to nearest, ties to even, unless said otherwise.

Source: Ioffe and Szegedy, "Batch Normalization", arXiv 1502.03167, algorithm 1 and section 3;
the word lengths are ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fxsim.arithmetic.formats import FixedPoint
from fxsim.engine import casts
from fxsim.engine.kernels import normalising
from fxsim.engine.tensor import FixedTensor
from fxsim.engine.threads import split
from fxsim.errors import FormatError

Ints = NDArray[np.int64]

WORD_BITS = 16
MAX_INPUT_FRAC = 24
MAX_ROWS = 1 << 22
NORMAL = FixedPoint(16, 11)
GAMMA = FixedPoint(16, 13)
BETA = FixedPoint(32, 24)
OUTPUT = FixedPoint(32, 16)
RUNNING_MEAN = FixedPoint(32, 16)
RUNNING_VARIANCE = FixedPoint(48, 20)
EPSILON_LOG2 = -17
RUNNING_STEP = 6554  # 0.1 with 16 fractional bits, the usual momentum of the running statistics


@dataclass(frozen=True, slots=True, eq=False)
class NormalisationStash:
    """What the backward pass needs: normalised words, reciprocal roots, and the input's scale."""

    normal: Ints
    root: Ints
    half: Ints
    frac: int


@dataclass(frozen=True, slots=True, eq=False)
class RunningStatistics:
    """Per channel: mean in `RUNNING_MEAN`, variance in `RUNNING_VARIANCE`."""

    mean: Ints
    variance: Ints


def words(tensor: FixedTensor, max_frac: int | None = None) -> FixedTensor:
    """The tensor as (M, C) 16-bit words at dynamic scale."""
    target = casts.dynamic_format(casts.peak(tensor.codes), tensor.format.frac, WORD_BITS, max_frac)
    flat = FixedTensor.trusted(np.ascontiguousarray(tensor.matrix()), tensor.format)
    return casts.cast(flat, target)[0]


def batch_moments(x: FixedTensor) -> tuple[Ints, Ints]:
    """(mean with frac + 4, variance with 2 frac + 8 fractional bits) of each channel."""
    if x.shape[0] > MAX_ROWS:
        raise FormatError(
            f"batch norm: at most {MAX_ROWS} values a channel keep the 64-bit variance exact,"
            f" not {x.shape[0]}"
        )
    mean, variance = np.empty(x.shape[1], np.int64), np.empty(x.shape[1], np.int64)
    normalising.moments(x.codes, mean, variance)
    return mean, variance


def advance(running: RunningStatistics, mean: Ints, variance: Ints, frac: int) -> RunningStatistics:
    """Running statistics moved a tenth of the way to the batch's, each step rounded half up."""
    batch_mean = casts.cast(FixedTensor.trusted(mean, FixedPoint(32, frac + 4)), RUNNING_MEAN)[0]
    batch_variance = casts.cast(
        FixedTensor.trusted(variance, FixedPoint(62, 2 * frac + 8)), RUNNING_VARIANCE
    )[0]
    return RunningStatistics(
        _step(running.mean, batch_mean.codes), _step(running.variance, batch_variance.codes)
    )


def _step(old: Ints, new: Ints) -> Ints:
    moved: Ints = old + (((new - old) * RUNNING_STEP + (1 << 15)) >> 16)
    return moved


def running_moments(running: RunningStatistics, frac: int) -> tuple[Ints, Ints]:
    """The running statistics in the formats that `batch_moments` has for inputs at `frac`."""
    mean = casts.cast(FixedTensor.trusted(running.mean, RUNNING_MEAN), FixedPoint(62, frac + 4))[0]
    variance = casts.cast(
        FixedTensor.trusted(running.variance, RUNNING_VARIANCE), FixedPoint(61, 2 * frac + 8)
    )[0]
    return mean.codes.astype(np.int64), variance.codes.astype(np.int64)


def forward(
    x: FixedTensor, mean: Ints, variance: Ints, gamma: Ints, beta: Ints
) -> tuple[FixedTensor, NormalisationStash, int]:
    """Normalise (M, C) words with the given moments: (M, C) result, stash, saturated codes."""
    scale = 2 * x.format.frac + 8 + EPSILON_LOG2
    epsilon = 1 << scale if scale >= 0 else 0
    channels = x.shape[1]
    root, half = np.empty(channels, np.int64), np.empty(channels, np.int64)
    normalising.reciprocal_roots(np.maximum(variance + epsilon, 1), root, half)
    normal, out = np.empty(x.shape, np.int64), np.empty(x.shape, np.int64)
    parts = split(
        normalising.normalise_range,
        x.shape[0],
        4 * channels,
        x.codes,
        mean,
        root,
        half,
        gamma,
        beta,
        normal,
        out,
        OUTPUT.min_code,
        OUTPUT.max_code,
    )
    stash = NormalisationStash(normal, root, half, x.format.frac)
    return FixedTensor.trusted(out, OUTPUT), stash, sum(p[0] + p[1] for p in parts)


def backward(
    error: FixedTensor, stash: NormalisationStash, gamma: Ints
) -> tuple[FixedTensor, FixedTensor, FixedTensor]:
    """(M, C) 16-bit error words: gradients of the input (31-bit words), gamma and beta."""
    channels = error.shape[1]
    total, cross, largest = (np.empty(channels, np.int64) for _ in range(3))
    normalising.gradient_sums(error.codes, stash.normal, total, cross)
    projected = np.empty(error.shape, np.int64)
    normalising.project(error.codes, stash.normal, total, cross, projected, largest)
    factor = gamma * stash.root
    fracs = error.format.frac + NORMAL.frac + stash.half - stash.frac
    magnitudes = [
        casts.bit_length(largest[c]) + casts.bit_length(factor[c]) - int(fracs[c])
        for c in range(channels)
        if largest[c] and factor[c]
    ]
    frac = 30 - max(magnitudes, default=30)
    shift = np.minimum(fracs - frac, casts.LARGEST_SHIFT)
    shift[(largest == 0) | (factor == 0)] = 0
    out = np.empty(error.shape, np.int64)
    split(
        normalising.scale_channels_range,
        error.shape[0],
        2 * channels,
        projected,
        factor,
        shift,
        out,
    )
    return (
        FixedTensor.trusted(out, FixedPoint(32, frac)),
        FixedTensor.trusted(cross, FixedPoint(62, error.format.frac + NORMAL.frac)),
        FixedTensor.trusted(total, FixedPoint(62, error.format.frac)),
    )
