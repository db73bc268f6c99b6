"""Joint histograms: how many multiply-accumulates of a product meet each pair of word lengths.

Exact for every pass, block maps, groups and convolutions included. A padded position counts as 0
bits.
"""

from __future__ import annotations

from functools import cache
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from fxsim.engine.contractions import Contraction, Convolved, Pairwise, Transposed
from fxsim.engine.geometry import Convolution
from fxsim.engine.kernels import bit_counts
from fxsim.engine.threads import split
from fxsim.engine.window import Window
from fxsim.identifiers import Pass
from fxsim.numerics.block_map import BlockMap

Counts = NDArray[np.int64]
_COUNTED: WeakKeyDictionary[BlockMap, dict[int, int]] = WeakKeyDictionary()
Histogram = tuple[Counts, Counts, Counts]
_ADJOINT = {
    Pass.FORWARD: Pass.GRAD_INPUT,
    Pass.GRAD_INPUT: Pass.FORWARD,
    Pass.GRAD_WEIGHT: Pass.GRAD_WEIGHT,
}


def canonical(pass_: Pass, contraction: Contraction) -> Pass:
    """A pass of a transposed convolution as the pass of its convolution that it is."""
    return _ADJOINT[pass_] if isinstance(contraction, Transposed) else pass_


def geometry_of(contraction: Contraction) -> Convolution | None:
    """The convolution of a contraction, None for matrices."""
    return contraction.geometry if isinstance(contraction, Convolved | Transposed) else None


def gemm_shape(
    pass_: Pass, left: BlockMap, right: BlockMap, contraction: Contraction, batch: int = 1
) -> tuple[int, int, int, int]:
    """(m, n, k, repeats) of a pass: `repeats` matrix products, m * n results of k products each.

    Repeats are groups, or a batch of matrices.
    """
    pass_ = canonical(pass_, contraction)
    g = geometry_of(contraction)
    if g is None:
        m, n, k = {
            Pass.FORWARD: (left.rows // batch, right.rows // batch, left.columns),
            Pass.GRAD_INPUT: (left.rows // batch, right.columns, left.columns),
            Pass.GRAD_WEIGHT: (left.columns, right.columns, left.rows // batch),
        }[pass_]
        return m, n, k, batch
    positions, outputs = g.height * g.width, g.out_height * g.out_width
    channels, filters, taps = g.channels // g.groups, g.filters // g.groups, g.taps
    if pass_ == Pass.FORWARD:
        return left.rows // positions * outputs, filters, g.depth, g.groups
    if pass_ == Pass.GRAD_INPUT:
        return left.rows // outputs * positions, channels, taps * filters, g.groups
    return g.depth, filters, right.rows, g.groups


def bit_pair_histogram(
    pass_: Pass, left: BlockMap, right: BlockMap, contraction: Contraction, batch: int = 1
) -> Histogram:
    """(left word lengths, right word lengths, MACs of each pair).

    pass_ : "forward" (activation, weight), "grad_input" (error, weight) or "grad_weight"
        (activation, error; of a transposed convolution: error, activation); the block maps are
        those of the operands as they are stored
    batch : matrices in a `Pairwise` product
    """
    pass_, g = canonical(pass_, contraction), geometry_of(contraction)
    a, b = levels(left), levels(right)
    if left.blocks == right.blocks == 1:
        counts = _whole(pass_, left, right, contraction, batch, a, b)
    elif g is not None:
        counts = _convolved(pass_, left, right, g, a, b)
    elif isinstance(contraction, Pairwise):
        counts = _batched(pass_, left, right, batch, a, b)
    else:
        counts = _matrices(pass_, left, right, a, b)
    return a, b, counts


def elements_by_bits(m: BlockMap) -> dict[int, int]:
    """{word length: elements}, ascending; a map is counted once."""
    if m in _COUNTED:
        return _COUNTED[m]
    parts = split(
        bit_counts.level_elements_range,
        m.bits.shape[0],
        2 * m.bits.shape[1],
        m.bits,
        m.rows,
        m.columns,
        m.block_rows,
        m.block_columns,
    )
    total = sum(parts[1:], start=parts[0])
    counts = {int(level): int(total[level]) for level in np.flatnonzero(total)}
    _COUNTED[m] = counts
    return counts


def levels(block_map: BlockMap) -> Counts:
    """The word lengths that occur, ascending, 0 always among them."""
    return np.array(sorted({0, *elements_by_bits(block_map)}), np.int64)


def _indexed(m: BlockMap, levels_: Counts) -> NDArray[np.uint8]:
    """The map with each word length replaced by its number in `levels_`."""
    table = np.zeros(64, np.uint8)
    table[levels_] = np.arange(len(levels_), dtype=np.uint8)
    indices: NDArray[np.uint8] = table[m.bits]
    return indices


def _sizes(total: int, block: int) -> Counts:
    sizes: Counts = np.diff(np.r_[0:total:block, total]).astype(np.int64)
    return sizes


@cache
def _touched(g: Convolution) -> tuple[list[list[int]], list[list[int]]]:
    """For rows and for columns: by tap, the outputs whose input there lies inside the image."""
    return (
        [g.vertical.inside(tap, g.height) for tap in range(g.vertical.size)],
        [g.horizontal.inside(tap, g.width) for tap in range(g.horizontal.size)],
    )


def _whole(
    pass_: Pass,
    left: BlockMap,
    right: BlockMap,
    contraction: Contraction,
    batch: int,
    a: Counts,
    b: Counts,
) -> Counts:
    """Both operands of one word length: all products but those with padding."""
    g = geometry_of(contraction)
    m, n, k, repeats = gemm_shape(
        pass_, left, right, contraction if g is None else Convolved(g), batch
    )
    total = inside = m * n * k * repeats
    if g is not None:
        rows, columns = (sum(map(len, taps)) for taps in _touched(g))
        outputs = g.out_height * g.out_width
        images = (right.rows if pass_ == Pass.GRAD_WEIGHT else left.rows) // (
            g.height * g.width if pass_ == Pass.FORWARD else outputs
        )
        inside = images * rows * columns * g.channels // g.groups * g.filters
    counts = np.zeros((len(a), len(b)), np.int64)
    at = int(np.searchsorted(b, int(right.bits[0, 0])))
    counts[int(np.searchsorted(a, int(left.bits[0, 0]))), at] += inside
    counts[0, at] += total - inside
    return counts


# --- matrices --------------------------------------------------------------------------------


def _column_counts(m: BlockMap, levels_: Counts) -> Counts:
    """(columns, levels) how many rows of each column have each word length."""
    turned = np.ascontiguousarray(_indexed(m, levels_).T)
    return _line_counts(turned, _sizes(m.rows, m.block_rows), levels_, m.columns, m.block_columns)


def _row_counts(m: BlockMap, levels_: Counts) -> Counts:
    """(rows, levels) how many columns of each row have each word length."""
    sizes = _sizes(m.columns, m.block_columns)
    return _line_counts(_indexed(m, levels_), sizes, levels_, m.rows, m.block_rows)


def _line_counts(
    index: NDArray[np.uint8], sizes: Counts, levels_: Counts, lines: int, block: int
) -> Counts:
    counts = np.zeros((index.shape[0], len(levels_)), np.int64)
    split(bit_counts.line_counts_range, index.shape[0], index.shape[1], index, sizes, counts)
    return np.repeat(counts, _sizes(lines, block), axis=0)


def _matrices(pass_: Pass, left: BlockMap, right: BlockMap, a: Counts, b: Counts) -> Counts:
    one = _row_counts if pass_ == Pass.GRAD_WEIGHT else _column_counts
    other = _column_counts if pass_ == Pass.FORWARD else _row_counts
    return one(left, a).T @ other(right, b)


def _batched(
    pass_: Pass, left: BlockMap, right: BlockMap, batch: int, a: Counts, b: Counts
) -> Counts:
    """As `_matrices`, matrix by matrix; a tile may lie in two of them."""
    axes = {Pass.FORWARD: (1, 1), Pass.GRAD_INPUT: (1, 2), Pass.GRAD_WEIGHT: (2, 2)}[pass_]

    def counted(m: BlockMap, levels_: Counts, axis: int) -> Counts:
        bits = m.expand().reshape(batch, -1, m.columns)
        return np.stack([(bits == level).sum(axis=axis) for level in levels_], axis=-1)

    pairs: Counts = np.einsum(
        "bki,bkj->ij", counted(left, a, axes[0]), counted(right, b, axes[1])
    ).astype(np.int64)
    return pairs


# --- convolutions ----------------------------------------------------------------------------


def _index(m: BlockMap, levels_: Counts, height: int, width: int) -> NDArray[np.uint8]:
    """(images, positions, column blocks) the index of each pixel's word length."""
    index = _indexed(m, levels_)
    tall = np.repeat(index, m.block_rows, axis=0)[: m.rows]
    return np.ascontiguousarray(tall).reshape(-1, height * width, index.shape[1])


def _tap_counts(m: BlockMap, levels_: Counts, g: Convolution, back: bool) -> Counts:
    """(taps, columns, levels) codes that each tap meets, of activations, or of errors (back)."""
    height, width = (g.out_height, g.out_width) if back else (g.height, g.width)
    level = _index(m, levels_, height, width)
    counts = np.zeros((height * width, level.shape[2], len(levels_)), np.int64)
    split(
        bit_counts.position_counts_range,
        height * width,
        level.shape[0] * level.shape[2],
        level,
        counts,
    )
    by_place = counts.reshape(height, width, *counts.shape[1:])
    targets = g.height * g.width if back else g.out_height * g.out_width
    rows, columns = _touched(g)

    def read(window: Window, outputs: list[int], tap: int) -> list[int]:
        return outputs if back else [o * window.stride + window.first(tap) for o in outputs]

    taps_ = []
    for a, outputs_down in enumerate(rows):
        ys = read(g.vertical, outputs_down, a)
        line = by_place[ys].sum(axis=0)
        for b, outputs_across in enumerate(columns):
            xs = read(g.horizontal, outputs_across, b)
            tap = line[xs].sum(axis=0)
            tap[:, 0] += level.shape[0] * (targets - len(ys) * len(xs))
            taps_.append(tap)
    return np.repeat(np.stack(taps_), _sizes(m.columns, m.block_columns), axis=1)


def _weight_counts(m: BlockMap, levels_: Counts, g: Convolution, back: bool) -> Counts:
    """(groups, taps, channels or filters of a group, levels) weights that meet each of them."""
    filters, channels = g.filters // g.groups, g.channels // g.groups
    counts = np.zeros((g.groups, g.taps, filters if back else channels, len(levels_)), np.int64)
    sizes = m.block_rows, m.block_columns, filters, channels
    bit_counts.weight_counts(_indexed(m, levels_), *sizes, back, counts)
    return counts


def _convolved(
    pass_: Pass, left: BlockMap, right: BlockMap, g: Convolution, a: Counts, b: Counts
) -> Counts:
    if pass_ == Pass.GRAD_WEIGHT:
        return _field_products(left, right, g, a, b)
    back = pass_ == Pass.GRAD_INPUT
    met = _tap_counts(left, a, g, back)
    met = met.reshape(met.shape[0], g.groups, -1, len(a))
    weights = _weight_counts(right, b, g, back)
    pairs: Counts = np.einsum("tgci,gtcj->ij", met, weights).astype(np.int64)
    return pairs


def _field_products(
    left: BlockMap, right: BlockMap, g: Convolution, a: Counts, b: Counts
) -> Counts:
    images = left.rows // (g.height * g.width)
    total = np.zeros((len(a), len(b)), np.int64)
    for group in range(g.groups):
        pixels = _planes(left, a, g.channels // g.groups, group)
        errors = _planes(right, b, g.filters // g.groups, group)
        parts = split(
            bit_counts.field_products_range,
            images,
            16 * errors.size // images,
            pixels,
            errors,
            g.height,
            g.width,
            g.out_height,
            g.out_width,
            *((w.size, w.stride, w.dilation, w.before) for w in (g.vertical, g.horizontal)),
        )
        counts = sum(parts[1:], start=parts[0])
        met = counts.sum(axis=0)  # what lies outside the image counts as 0 bits
        counts[0] += errors.sum(axis=1, dtype=np.int64) * g.depth - met
        total += counts
    return total


def _planes(m: BlockMap, levels_: Counts, columns: int, group: int) -> NDArray[np.int32]:
    """(levels, rows) codes of each word length in one group's columns of each row."""
    edges = np.r_[0 : m.columns : m.block_columns, m.columns]
    inside = np.clip(edges, group * columns, (group + 1) * columns)
    widths = np.diff(inside).astype(np.int64)
    index, planes = _indexed(m, levels_), np.empty((len(levels_), m.rows), np.int32)
    work = index.shape[1] + len(levels_) * m.block_rows
    split(bit_counts.level_planes_range, index.shape[0], work, index, widths, m.block_rows, planes)
    return planes
