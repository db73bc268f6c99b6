"""Joint histograms: how many multiply-accumulates of a product meet each pair of word lengths.

Exact for every pass, block maps and convolutions included. A padded position counts as 0 bits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fxsim.arithmetic.blocks import BlockMap
from fxsim.engine.geometry import Convolution
from fxsim.engine.kernels import counting
from fxsim.engine.threads import split

Counts = NDArray[np.int64]


def levels(block_map: BlockMap) -> Counts:
    """The word lengths that occur, ascending, 0 always among them."""
    return np.union1d(np.unique(block_map.bits), [0]).astype(np.int64)


def _sizes(total: int, block: int) -> Counts:
    sizes: Counts = np.diff(np.r_[0:total:block, total]).astype(np.int64)
    return sizes


def _column_counts(m: BlockMap, known: Counts) -> Counts:
    """(columns, levels) how many rows of each column have each word length."""
    heights = _sizes(m.rows, m.block_rows)
    blocks = np.stack([heights @ (m.bits == level) for level in known], axis=1)
    return np.repeat(blocks, _sizes(m.columns, m.block_columns), axis=0)


def _row_counts(m: BlockMap, known: Counts) -> Counts:
    """(rows, levels) how many columns of each row have each word length."""
    widths = _sizes(m.columns, m.block_columns)
    blocks = np.stack([(m.bits == level) @ widths for level in known], axis=1)
    return np.repeat(blocks, _sizes(m.rows, m.block_rows), axis=0)


def _pixels(m: BlockMap, known: Counts, batch: int, height: int, width: int) -> NDArray[np.uint8]:
    """(batch, height, width, channel blocks) the index of each pixel's word length."""
    index = np.searchsorted(known, m.bits).astype(np.uint8)
    tall = np.repeat(index, m.block_rows, axis=0)[: m.rows]
    return np.ascontiguousarray(tall).reshape(batch, height, width, -1)


def _tap_counts(m: BlockMap, known: Counts, g: Convolution, back: bool) -> Counts:
    """(taps * channels, levels) of the forward gather, or of the grad_input gather."""
    source = (g.out_height, g.out_width) if back else (g.height, g.width)
    target = (g.height, g.width) if back else (g.out_height, g.out_width)
    level = _pixels(m, known, m.rows // (source[0] * source[1]), *source)
    taps = g.kernel * g.kernel
    counts = np.zeros((taps, level.shape[3], len(known)), np.int64)
    split(
        counting.tap_counts_range,
        taps,
        level.shape[0] * target[0] * target[1],
        level,
        counts,
        *target,
        g.kernel,
        g.stride,
        g.padding,
        g.dilation,
        back,
    )
    wide = np.repeat(counts, _sizes(m.columns, m.block_columns), axis=1)
    return wide.reshape(-1, len(known))


def _turned_counts(weight: BlockMap, known: Counts, g: Convolution) -> Counts:
    """(taps * filters, levels) how many channels of each tap and filter have each word length."""
    bits = weight.expand().reshape(g.filters, g.kernel * g.kernel, g.channels)
    per_tap = np.stack([(bits == level).sum(axis=2) for level in known], axis=2)
    return per_tap.transpose(1, 0, 2).reshape(-1, len(known)).astype(np.int64)


def _field_counts(m: BlockMap, known: Counts, g: Convolution) -> Counts:
    """(output pixels, levels) codes of each word length in each pixel's field."""
    batch = m.rows // (g.height * g.width)
    level = _pixels(m, known, batch, g.height, g.width)
    rows = batch * g.out_height * g.out_width
    counts = np.zeros((rows, len(known)), np.int64)
    split(
        counting.pixel_counts_range,
        rows,
        g.kernel * g.kernel * level.shape[3],
        level,
        _sizes(m.columns, m.block_columns),
        counts,
        g.out_height,
        g.out_width,
        g.kernel,
        g.stride,
        g.padding,
        g.dilation,
    )
    return counts


def joint_histogram(
    pass_: str, left: BlockMap, right: BlockMap, g: Convolution | None
) -> tuple[Counts, Counts, Counts]:
    """(left word lengths, right word lengths, MACs of each pair).

    pass_ : "forward" (activation, weight), "grad_input" (error, weight) or "grad_weight"
        (activation, error); the block maps are those of the operands as they are stored
    """
    a, b = levels(left), levels(right)
    if pass_ == "forward":
        counts_a = _column_counts(left, a) if g is None else _tap_counts(left, a, g, False)
        counts_b = _column_counts(right, b)
    elif pass_ == "grad_input":
        counts_a = _column_counts(left, a) if g is None else _tap_counts(left, a, g, True)
        counts_b = _row_counts(right, b) if g is None else _turned_counts(right, b, g)
    else:
        counts_a = _row_counts(left, a) if g is None else _field_counts(left, a, g)
        counts_b = _row_counts(right, b)
    return a, b, counts_a.T @ counts_b
