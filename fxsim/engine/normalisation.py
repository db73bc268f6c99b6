"""Normalisation in integers: batch norm, and rows (layer, group and RMS norm).

Inputs and results are 16-bit words at dynamic power-of-two scales. Batch norm is one multiplication
and one shift an element in each direction, with coefficients a channel that integers compute:

- mean: 4 more fractional bits than the input, half up; variance: of those centred codes, biased,
  rounded down; epsilon: 2**-17; reciprocal root: 17-bit mantissa, within 2**-15 of itself;
- slope: 31-bit mantissa with an exponent of its own; x is centred at the integer nearest the mean;
  the multiplier of a channel is as wide as 30-bit sums allow, rounded half up, as is the result;
- scale of the result: the finest at which no channel's largest |x - centre| could leave 16 bits;
- gradient of the input: error * a + (x - centre) * b + c, coefficients in the same way;
- running mean: 32 bits, 16 fractional; running variance: 48 bits, 20 fractional; both saturate;
- gamma: 16 bits, 13 fractional (-4 to 4); beta: 32 bits, 24 fractional.

Rows are normalised to words with 11 fractional bits, saturating, ties to even.

Source: Ioffe and Szegedy, "Batch Normalization", arXiv 1502.03167, algorithm 1 and section 3;
Ba et al., "Layer Normalization", arXiv 1607.06450; Wu and He, "Group Normalization", arXiv
1803.08494; Zhang and Sennrich, "Root Mean Square Layer Normalization", arXiv 1910.07467. The word
lengths are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fxsim.engine import casts
from fxsim.engine.kernels import normalisation
from fxsim.engine.tensor import FixedTensor
from fxsim.engine.threads import split
from fxsim.engine.vector_int16 import VECTOR_BITS, to_int16
from fxsim.errors import FormatError
from fxsim.numerics.formats import FixedPoint

Ints = NDArray[np.int64]

MAX_INPUT_FRAC = 24
MAX_ROWS = 1 << 22
TILE = 512  # codes of a tile, or one row where that is longer
NORMAL = FixedPoint(16, 11)
GAMMA = FixedPoint(16, 13)
BETA = FixedPoint(32, 24)
RUNNING_MEAN = FixedPoint(32, 16)
RUNNING_VARIANCE = FixedPoint(48, 20)
EPSILON_LOG2 = -17
RUNNING_STEP = 6554  # 0.1 with 16 fractional bits, the usual momentum of the running statistics
LOWEST = -(1 << (VECTOR_BITS - 1))


@dataclass(frozen=True, slots=True, eq=False)
class RunningStatistics:
    """Per channel: mean in `RUNNING_MEAN`, variance in `RUNNING_VARIANCE`."""

    mean: Ints
    variance: Ints


@dataclass(frozen=True, slots=True, eq=False)
class Summary:
    """Of each channel: sum, sum of squares, smallest and largest code."""

    rows: int
    total: Ints
    square: Ints
    low: Ints
    high: Ints


@dataclass(frozen=True, slots=True, eq=False)
class Lines:
    """slope * (x - centre) + offset of each channel, and what int32 lanes make of it.

    slope is a mantissa with `shift`; |x - centre| <= reach
    """

    centre: Ints
    slope: Ints
    shift: Ints
    reach: Ints
    coefficients: tuple[NDArray[np.int32], ...]  # centre, scale, start, shift: repeated over a tile


@dataclass(frozen=True, slots=True, eq=False)
class NormalisationStash:
    """What the backward pass of batch norm needs."""

    x: FixedTensor
    mean: Ints
    root: Ints
    half: Ints
    lines: Lines


def _tile(channels: int) -> int:
    return max(TILE // channels, 1) * channels


def _tiled(values: Ints, tile: int) -> NDArray[np.int32]:
    return np.tile(values.astype(np.int32), tile // values.shape[0])


def _flat(tensor: FixedTensor) -> NDArray[Any]:
    return np.ascontiguousarray(tensor.codes).reshape(-1)


def _tiles(size: int, tile: int) -> int:
    return -(-size // tile)


def summarise(x: FixedTensor) -> Summary:
    """Sums and extremes of each channel (last axis) of 16-bit words, in one pass."""
    channels = x.shape[-1]
    rows = x.codes.size // channels
    if rows > MAX_ROWS:
        raise FormatError(
            f"batch norm: at most {MAX_ROWS} values a channel keep the 64-bit variance exact,"
            f" not {rows}"
        )
    tile = _tile(channels)
    flat = _flat(x)
    parts = split(normalisation.moments_range, _tiles(flat.size, tile), 2 * tile, flat, tile)

    def fold(index: int, how: Any) -> Ints:
        gathered = np.stack([part[index].astype(np.int64) for part in parts])
        folded: Ints = how.reduce(gathered.reshape(-1, channels), axis=0)
        return folded

    return Summary(rows, fold(0, np.add), fold(1, np.add), fold(2, np.minimum), fold(3, np.maximum))


def batch_moments(summary: Summary) -> tuple[Ints, Ints]:
    """(mean with frac + 4, variance with 2 frac + 8 fractional bits) of each channel."""
    count, total = summary.rows, summary.total
    mean = (32 * total + count) // (2 * count)
    # sum of (16 x - mean)**2: modulo 2**64, and it fits
    with np.errstate(over="ignore"):
        squares = 256 * summary.square - 32 * mean * total + count * mean * mean
    return mean, squares // count


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


def reciprocal_deviation(variance: Ints, frac: int) -> tuple[Ints, Ints]:
    """(root, half) of variances with 2 frac + 8 fractional bits, epsilon added."""
    scale = 2 * frac + 8 + EPSILON_LOG2
    epsilon = 1 << scale if scale >= 0 else 0
    root, half = np.empty(variance.shape[0], np.int64), np.empty(variance.shape[0], np.int64)
    normalisation.reciprocal_roots(np.maximum(variance + epsilon, 1), root, half)
    return root, half


def batch_norm(
    x: FixedTensor,
    summary: Summary,
    mean: Ints,
    variance: Ints,
    gamma: Ints,
    beta: Ints,
    relu: bool = False,
) -> tuple[FixedTensor, NormalisationStash]:
    """Normalise words (..., C) with the given moments; negatives become 0 if asked."""
    root, half = reciprocal_deviation(variance, x.format.frac)
    centre, slope, shift, offset = (np.empty(len(mean), np.int64) for _ in range(4))
    normalisation.batch_norm_lines(mean, root, half, gamma, beta, centre, slope, shift, offset)
    lines, frac = _lines(summary, centre, slope, shift, offset, x.shape[-1])
    out = _apply(x, lines, relu)
    return FixedTensor.trusted(out, FixedPoint(VECTOR_BITS, frac)), NormalisationStash(
        x, mean, root, half, lines
    )


def _lines(
    summary: Summary, centre: Ints, slope: Ints, bit_shift: Ints, offset: Ints, channels: int
) -> tuple[Lines, int]:
    reach = np.maximum(summary.high - centre, centre - summary.low)
    scale, start, shift = (np.empty(channels, np.int64) for _ in range(3))
    frac = int(
        normalisation.affine_coefficients(slope, bit_shift, offset, reach, scale, start, shift)
    )
    tile = _tile(channels)
    tiled = tuple(_tiled(values, tile) for values in (centre, scale, start, shift))
    return Lines(centre, slope, bit_shift, reach, tiled), frac


def _apply(x: FixedTensor, lines: Lines, relu: bool) -> NDArray[np.int16]:
    flat, tile = _flat(x), _tile(x.shape[-1])
    out = np.empty(flat.size, np.int16)
    split(
        normalisation.affine_range,
        _tiles(flat.size, tile),
        tile,
        flat,
        tile,
        *lines.coefficients,
        0 if relu else LOWEST,
        out,
    )
    return out.reshape(x.shape)


def batch_norm_backward(
    error: FixedTensor, stash: NormalisationStash, relu: bool = False
) -> tuple[FixedTensor, FixedTensor, FixedTensor]:
    """Words of the error: gradients of the input (words), gamma and beta."""
    lines, frac = stash.lines, error.format.frac
    masked, total, cross, largest = _error_sums(error, stash.x, lines, relu)
    channels = stash.x.shape[-1]
    mantissas, exponents = (np.empty((4, channels), np.int64) for _ in range(2))
    rows = stash.x.codes.size // channels
    normalisation.backward_terms(
        rows,
        total,
        cross,
        stash.mean,
        stash.root,
        stash.half,
        lines.centre,
        lines.slope,
        lines.shift,
        mantissas,
        exponents,
    )
    gamma = np.empty(channels, np.int64)
    gamma_frac = int(normalisation.common_scale(mantissas[3], exponents[3], gamma))
    reach = np.stack([largest, lines.reach, np.ones(channels, np.int64)])
    back, fine = _project(masked, stash.x, lines, mantissas[:3], exponents[:3], reach)
    back_format = FixedPoint(VECTOR_BITS, fine + frac - stash.x.format.frac)
    return (
        FixedTensor.trusted(back, back_format),
        FixedTensor.trusted(gamma, FixedPoint(32, gamma_frac + frac)),
        FixedTensor.trusted(total, FixedPoint(62, frac)),
    )


def _error_sums(
    error: FixedTensor, x: FixedTensor, lines: Lines, relu: bool
) -> tuple[FixedTensor, Ints, Ints, Ints]:
    """(the errors that count, and of each channel: their sum, sum of error * x, max|error|)."""
    channels, flat = x.shape[-1], _flat(error)
    tile = _tile(channels)
    masked = np.empty(flat.size if relu else 0, np.int16)
    parts = split(
        normalisation.error_sums_range,
        _tiles(flat.size, tile),
        2 * tile,
        flat,
        _flat(x),
        tile,
        relu,
        *lines.coefficients,
        masked,
    )
    total, cross = (
        np.stack([part[i] for part in parts]).reshape(-1, channels).sum(axis=0) for i in range(2)
    )
    largest = np.stack([part[2] for part in parts]).reshape(-1, channels).max(axis=0)
    left = FixedTensor.trusted(masked.reshape(error.shape), error.format) if relu else error
    return left, total, cross, largest.astype(np.int64)


def _project(
    error: FixedTensor, x: FixedTensor, lines: Lines, mantissas: Ints, exponents: Ints, reach: Ints
) -> tuple[NDArray[np.int16], int]:
    """Codes of error * a + (x - centre) * b + c, and their scale beside the terms'."""
    channels, flat = x.shape[-1], _flat(error)
    tile = _tile(channels)
    scale_error, scale_x, start, shift = (np.empty(channels, np.int64) for _ in range(4))
    fine = int(
        normalisation.projection_coefficients(
            mantissas, exponents, reach, scale_error, scale_x, start, shift
        )
    )
    tiled = [_tiled(values, tile) for values in (lines.centre, scale_error, scale_x, start, shift)]
    out = np.empty(flat.size, np.int16)
    split(
        normalisation.project_range,
        _tiles(flat.size, tile),
        2 * tile,
        flat,
        _flat(x),
        tile,
        *tiled,
        out,
    )
    return out.reshape(x.shape), fine


def scale_shift(x: FixedTensor, gamma: Ints, beta: Ints) -> tuple[FixedTensor, Lines]:
    """gamma * x + beta by channel (last axis) of words, as words."""
    channels = x.shape[-1]
    zero = np.zeros(channels, np.int64)
    shift = np.full(channels, GAMMA.frac + x.format.frac, np.int64)
    lines, frac = _lines(summarise(x), zero, gamma, shift, beta, channels)
    return FixedTensor.trusted(_apply(x, lines, False), FixedPoint(VECTOR_BITS, frac)), lines


def scale_shift_backward(
    error: FixedTensor, x: FixedTensor, lines: Lines
) -> tuple[FixedTensor, FixedTensor, FixedTensor]:
    """Words of the error: gradients of the input (words), gamma and beta."""
    _, total, cross, largest = _error_sums(error, x, lines, False)
    zero = np.zeros_like(total)
    mantissas = np.stack([lines.slope, zero, zero])
    exponents = np.stack([lines.shift - x.format.frac, zero, zero])
    back, fine = _project(
        error, x, lines, mantissas, exponents, np.stack([largest, lines.reach, zero + 1])
    )
    frac = error.format.frac
    return (
        FixedTensor.trusted(back, FixedPoint(VECTOR_BITS, fine + frac)),
        FixedTensor.trusted(cross, FixedPoint(62, frac + x.format.frac)),
        FixedTensor.trusted(total, FixedPoint(62, frac)),
    )


@dataclass(frozen=True, slots=True, eq=False)
class RowStash:
    """What the backward pass of row normalisation needs."""

    normal: FixedTensor
    root: Ints
    half: Ints
    frac: int
    centred: bool


def normalise_rows(x: FixedTensor, centred: bool = True) -> tuple[FixedTensor, RowStash, int]:
    """Each row (last axis) of words to mean 0 (if centred) and variance 1.

    Returns the words, what the backward pass needs, and how many words saturated.
    """
    matrix = np.ascontiguousarray(x.matrix())
    rows, columns = matrix.shape
    mean, variance = np.empty(rows, np.int64), np.empty(rows, np.int64)
    split(normalisation.row_moments_range, rows, 2 * columns, matrix, centred, mean, variance)
    root, half = reciprocal_deviation(variance, x.format.frac)
    normal = np.empty(matrix.shape, np.int16)
    parts = split(
        normalisation.normalise_rows_range, rows, 4 * columns, matrix, mean, root, half, normal
    )
    out = FixedTensor.trusted(normal.reshape(x.shape), NORMAL)
    return out, RowStash(out, root, half, x.format.frac, centred), sum(parts)


def normalise_rows_backward(error: FixedTensor, stash: RowStash) -> FixedTensor:
    """Words of the error to words of the input's gradient."""
    e, normal = np.ascontiguousarray(error.matrix()), stash.normal.matrix()
    rows, columns = e.shape
    projected, largest = np.empty(e.shape, np.int64), np.empty(rows, np.int64)
    split(
        normalisation.project_rows_range,
        rows,
        4 * columns,
        e,
        np.ascontiguousarray(normal),
        stash.centred,
        projected,
        largest,
    )
    bit_shift = error.format.frac + 2 + stash.half - 4 - stash.frac
    shift = np.empty(rows, np.int64)
    frac = int(normalisation.row_shifts(largest, stash.root, bit_shift, shift))
    out = np.empty(e.shape, np.int64)
    split(normalisation.scale_rows_range, rows, 2 * columns, projected, stash.root, shift, out)
    return to_int16(FixedTensor.trusted(out.reshape(error.shape), FixedPoint(32, frac)))
