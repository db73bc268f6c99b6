"""Casts tile by tile: bits chosen by sensitivity, or given by a block map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fxsim.engine.casts import LARGEST_SHIFT, NARROW_BITS, OPERAND_BITS, bit_length, peak
from fxsim.engine.kernels import apply_block_map, cost_aware_blocks
from fxsim.engine.kernels import block_quantisation as block_kernels
from fxsim.engine.kernels.cost_aware_blocks import WEIGHT_BITS
from fxsim.engine.overflow_statistics import OverflowStatistics
from fxsim.engine.tensor import FixedTensor, storage
from fxsim.engine.threads import split
from fxsim.engine.vector_int16 import to_int16
from fxsim.errors import FormatError, ShapeError
from fxsim.numerics.block_map import BlockMap
from fxsim.numerics.formats import FixedPoint, Rounding
from fxsim.numerics.operand_formats import BIT_COST_FRAC, BlockFormat, CostAwareBlockFormat

GAIN_BITS = 16  # width of the sensitivity weights of block-wise quantisation
MOST_BIT_COST = 1 << 47  # beyond any tile's sensitivity
MOST_WEIGHT = 64 << WEIGHT_BITS
EVEN = 1 << WEIGHT_BITS
TILE = 512  # codes of a run of whole rows
LENGTHS = np.array([n.bit_length() for n in range((1 << 15) + 1)], np.int8)


ROUNDINGS = (
    *(mode for mode in Rounding if mode <= Rounding.RND_CONV),
    Rounding.RND_CONV_ODD,
    Rounding.TRN,
    Rounding.TRN_ZERO,
    Rounding.JAM,
    Rounding.STOCHASTIC,
)


@dataclass(frozen=True, slots=True)
class BlockStatistics:
    """What block-wise quantisation saw: sums over tiles, in the words' own integer units.

    `sensitivity`: of the chosen bits; `signal`: of dropping every tile (0 bits).
    """

    sensitivity: int
    signal: int


def quantise_blocks(
    tensor: FixedTensor, form: BlockFormat, gain: NDArray[np.int64], key: int
) -> tuple[FixedTensor, BlockStatistics]:
    """Choose each tile's bits by its first-order sensitivity, and quantise it at those bits.

    The tensor first becomes words. Each tile of the (rows, columns) matrix view becomes a block
    floating-point block: n-bit codes, limited symmetrically, under its own power-of-two exponent,
    the smallest at which its largest value fits (a tile that saturates would bias its sum). Its
    sensitivity at n bits is

        s(n) = gain * elements * (2**exponent - 2**finest exponent) / 4,  s(0) = gain * sum |x|

    (times `skip_penalty` at 0): what rounding to n bits adds, on average, to |x - Q(x)|, weighted
    by the gradient's magnitude. The largest value and the sum of magnitudes of a tile is all that
    it needs. The tile takes the first candidate with
    s(n) <= threshold/2**16 * (mean over tiles of gain * sum |x|).

    Aligned codes have at most `candidates[-1] + window` bits: the finest exponent follows from the
    tensor's largest value, and a candidate whose codes could be longer is passed over.

    Parameters
    ----------
    tensor : any shape
    form : block, candidates and threshold
    gain : (block rows or 1, block columns or 1) integers of at most 16 bits, see
        `fxsim.policies.dynasty`
    key : the stream of draws of STOCHASTIC

    Returns
    -------
    The operand, aligned to the finest exponent's grid, and what was seen.

    Examples
    --------
    >>> x = FixedTensor(np.array([[9, -7, 0, 0]], np.int16), FixedPoint(16, 8))
    >>> form, gain = BlockFormat(1, 2, (0, 4, 8)), np.ones((1, 1), np.int64)
    >>> operand, seen = quantise_blocks(x, form, gain, key=0)
    >>> operand.blocks.bits.tolist(), seen.signal
    ([[4, 0]], 16)

    Notes
    -----
    Integers throughout, so that a replay chooses the same bits.
    Source: reconstruction, see `fxsim.policies.dynasty`.
    """
    if isinstance(form, CostAwareBlockFormat):
        return quantise_cost_aware(tensor, form, gain, key)
    x, base, target = _grid_of(tensor, form)
    rows, columns = x.shape
    grid = (-(-rows // form.rows), -(-columns // form.columns))
    signal = _signal(x, form, gain)
    limit = (signal // (grid[0] * grid[1])) * form.threshold >> 16
    bits, shifts = np.zeros(grid, np.uint8), np.zeros(grid, np.uint8)
    codes = np.empty((rows, columns), storage(target))
    parts = split(
        block_kernels.encode_blocks_range,
        grid[0],
        4 * form.rows * columns,
        x,
        form.rows,
        form.columns,
        gain,
        np.array(form.candidates, np.int64),
        base,
        target.max_code,
        limit,
        form.skip_penalty,
        int(form.rounding),
        np.uint64(key),
        LENGTHS,
        bits,
        shifts,
        codes,
    )
    return _operand(tensor, codes, target, bits, shifts, form), BlockStatistics(
        int(sum(parts)), signal
    )


def quantise_cost_aware(
    tensor: FixedTensor, form: CostAwareBlockFormat, gain: NDArray[np.int64], key: int
) -> tuple[FixedTensor, BlockStatistics]:
    """As `quantise_blocks`, each tile taking the candidate of least sensitivity plus price.

    Tiles whose row (column) of tiles does more work than those in lockstep with it pay more for
    their bits, the others less: after each round the weights of a group are multiplied by work over
    mean work (limited to 1/4 and 4) and brought back to a mean of 1.

    Parameters
    ----------
    tensor, gain, key : as of `quantise_blocks`
    form : block, candidates, threshold, and what each candidate costs

    Returns
    -------
    The operand, and what was seen.

    Examples
    --------
    >>> x = FixedTensor(np.array([[9, -7, 1, 0]], np.int16), FixedPoint(16, 8))
    >>> price = (0, 1 << 40, 1 << 42)
    >>> free = (0, 0, 0)
    >>> form = CostAwareBlockFormat(
    ...     1, 2, (0, 4, 8), 1 << 10, fixed=price, by_row=free, by_column=free, work=(0, 4, 8)
    ... )
    >>> operand, _ = quantise_cost_aware(x, form, np.ones((1, 1), np.int64), 0)
    >>> operand.blocks.bits.tolist()
    [[0, 0]]

    Notes
    -----
    Source: ours; a Lagrangian relaxation, the weights being multipliers of the group's maximum.
    """
    x, base, target = _grid_of(tensor, form)
    rows, columns = x.shape
    grid = (-(-rows // form.rows), -(-columns // form.columns))
    candidates, work = np.array(form.candidates, np.int64), np.array(form.work, np.int64)
    planes = (len(candidates), *grid)
    exponents, overflows = np.empty(planes, np.int8), np.empty(planes, np.int64)
    totals, index = np.empty(grid, np.int64), np.empty(grid, np.int8)
    tile, cost = (form.rows, form.columns), 4 * form.rows * columns
    split(
        cost_aware_blocks.tile_sensitivities_range,
        grid[0],
        cost,
        x,
        *tile,
        gain,
        candidates,
        base,
        target.max_code,
        form.skip_penalty,
        LENGTHS,
        exponents,
        overflows,
        totals,
    )
    signal = int(totals.sum())
    scale = signal // (grid[0] * grid[1]) * form.threshold
    fixed, by_row, by_column = (
        np.array(
            [min(scale * price >> (16 + BIT_COST_FRAC), MOST_BIT_COST) for price in part], np.int64
        )
        for part in (form.fixed, form.by_row, form.by_column)
    )
    row_weight, column_weight = np.full(grid[0], EVEN, np.int64), np.full(grid[1], EVEN, np.int64)
    for turn in range(form.rounds + 1):
        row_work, column_work = np.zeros(grid[0], np.int64), np.zeros(grid, np.int64)
        parts = split(
            cost_aware_blocks.choose_cost_aware_range,
            grid[0],
            4 * grid[1],
            overflows,
            fixed,
            by_row,
            by_column[:, None] * column_weight >> WEIGHT_BITS,
            row_weight,
            work,
            index,
            row_work,
            column_work,
        )
        if turn < form.rounds:
            row_weight = _balanced(row_weight, row_work, form.row_group)
            column_weight = _balanced(column_weight, column_work.sum(axis=0), form.column_group)
    codes = np.empty((rows, columns), storage(target))
    split(
        cost_aware_blocks.encode_given_range,
        grid[0],
        cost,
        x,
        *tile,
        exponents,
        index,
        base,
        int(form.rounding),
        np.uint64(key),
        codes,
    )
    bits = candidates.astype(np.uint8)[index]
    exponent = np.take_along_axis(exponents, index[None], axis=0)[0]
    shifts = np.where(bits > 0, exponent - base, 0).astype(np.uint8)
    return _operand(tensor, codes, target, bits, shifts, form), BlockStatistics(
        int(sum(parts)), signal
    )


def _balanced(weights: NDArray[np.int64], work: NDArray[np.int64], group: int) -> NDArray[np.int64]:
    """Weights times work over the group's mean work, brought back to a mean of 1."""
    if group == 1:
        return weights
    starts = np.arange(0, len(work), group)
    sizes = np.diff(np.r_[starts, len(work)])

    def shared(values: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.repeat(np.maximum(np.add.reduceat(values, starts), 1), sizes)

    counts = np.repeat(sizes, sizes)
    ratio = np.clip((work * counts << WEIGHT_BITS) // shared(work), EVEN // 4, 4 * EVEN)
    moved = np.maximum(weights * ratio >> WEIGHT_BITS, 1)
    balanced: NDArray[np.int64] = np.clip(
        (moved * counts << WEIGHT_BITS) // shared(moved), 1, MOST_WEIGHT
    )
    return balanced


def _grid_of(tensor: FixedTensor, form: BlockFormat) -> tuple[NDArray[np.int16], int, FixedPoint]:
    """(the tensor's words as a matrix, finest exponent, grid of its aligned codes)."""
    if not tensor.codes.size:
        raise ShapeError(f"block format: a tensor must have elements, not {tensor.shape}")
    if form.rounding not in ROUNDINGS:
        names = ", ".join(mode.name for mode in ROUNDINGS)
        raise FormatError(
            f"block format: rounding must be one of {names}, not {form.rounding.name}"
        )
    small = to_int16(tensor)
    x = np.ascontiguousarray(small.matrix(), np.int16)
    widest, largest = form.candidates[-1], peak(x)
    base = max(0, bit_length(largest) - (widest - 1) - form.window)
    base += largest > ((1 << (widest - 1)) - 1) << (base + form.window)
    return x, base, FixedPoint(widest + form.window, small.format.frac - base)


def _operand(
    tensor: FixedTensor,
    codes: NDArray[Any],
    target: FixedPoint,
    bits: NDArray[np.uint8],
    shifts: NDArray[np.uint8],
    form: BlockFormat,
) -> FixedTensor:
    """The operand with its map; a tile's metadata name its candidate and its exponent."""
    narrowest = next(n for n in form.candidates if n > 0)
    exponents = form.window + form.candidates[-1] - narrowest + 2
    metadata = bit_length(len(form.candidates) - 1) + bit_length(exponents - 1)
    rows, columns = codes.shape
    block_map = BlockMap(bits, shifts, rows, columns, form.rows, form.columns, metadata)
    return FixedTensor.trusted(codes.reshape(tensor.shape), target, block_map)


def column_magnitudes(x: NDArray[np.int16]) -> NDArray[np.int64]:
    """The sum of |code| of each column of a contiguous matrix.

    Parameters
    ----------
    x : (rows, columns)

    Returns
    -------
    (columns,) int64.

    Examples
    --------
    >>> column_magnitudes(np.array([[1, -2], [3, 4]], np.int16)).tolist()
    [4, 6]
    """
    columns = x.shape[1]
    tile = max(TILE // columns, 1) * columns
    parts = split(
        block_kernels.column_magnitudes_range, -(-x.size // tile), tile, x.reshape(-1), tile
    )
    total: NDArray[np.int64] = np.stack(parts).reshape(-1, columns).sum(axis=0)
    return total


def _signal(x: NDArray[np.int16], form: BlockFormat, gain: NDArray[np.int64]) -> int:
    """The sum over tiles of gain * sum |x|."""
    edges = np.arange(0, x.shape[1], form.columns)
    if gain.shape[0] == 1:
        by_column = np.add.reduceat(column_magnitudes(x), edges)
        return int((by_column * gain[0]).sum())
    magnitude = np.abs(x.astype(np.int64))
    down = np.add.reduceat(magnitude, np.arange(0, x.shape[0], form.rows), axis=0)
    return int((np.add.reduceat(down, edges, axis=1) * gain).sum())


def quantise_map(
    tensor: FixedTensor,
    blocks: BlockMap,
    target: FixedPoint,
    rounding: Rounding = Rounding.RND_CONV,
    key: int = 0,
) -> tuple[FixedTensor, OverflowStatistics]:
    """Cast the (rows, columns) matrix view under a given map; saturating, 0 bits give zeros.

    Parameters
    ----------
    tensor : any shape
    blocks : the map of its matrix view
    target : the shared grid: a tile's n-bit codes are worth 2**shift of its steps. Its word must
        hold the widest tile, `bits + shift` bits
    rounding : of codes
    key : the stream of draws of STOCHASTIC

    Returns
    -------
    The aligned operand with its map (one integer product is exact over all tiles), and how many
    codes dropped a bit and saturated.

    Raises
    ------
    ShapeError : for a map of another matrix
    FormatError : for a grid that does not hold the widest tile

    Examples
    --------
    >>> x = FixedTensor(np.array([[5, -3, 7, 100]]), FixedPoint(16, 0))
    >>> blocks = BlockMap(np.array([[4, 0]], np.uint8), np.zeros((1, 2), np.uint8), 1, 4, 1, 2, 0)
    >>> quantise_map(x, blocks, FixedPoint(8, 0))[0].codes.tolist()
    [[5, -3, 0, 0]]
    """
    rows, columns = tensor.matrix().shape
    if (rows, columns) != (blocks.rows, blocks.columns):
        raise ShapeError(
            f"quantise_map: the map is of ({blocks.rows}, {blocks.columns}), not {(rows, columns)}"
        )
    widest = int((blocks.bits.astype(np.int64) + blocks.shifts)[blocks.bits > 0].max(initial=0))
    if widest > target.bits or not target.signed or target.bits > OPERAND_BITS:
        raise FormatError(
            f"quantise_map: the grid must be signed, with {widest} bits for the widest tile and its"
            f" exponent and at most {OPERAND_BITS}, not {target}"
        )
    shift = tensor.format.frac - target.frac
    out = np.empty((rows, columns), storage(target))
    x = np.ascontiguousarray(tensor.matrix())
    shifts = (
        int(blocks.shifts.min(initial=0)) + shift,
        int(blocks.shifts.max(initial=0)) + shift,
    )
    if shifts[0] < -LARGEST_SHIFT + tensor.format.bits or shifts[1] > LARGEST_SHIFT:
        raise FormatError(
            f"quantise_map: from {tensor.format.frac} to {target.frac} fractional bits: the engine"
            f" moves codes by at most {LARGEST_SHIFT} places"
        )
    narrow = (
        (rounding <= Rounding.RND_CONV or rounding is Rounding.RND_CONV_ODD)
        and tensor.format.bits + (not tensor.format.signed) <= NARROW_BITS + 1
        and shifts[0] >= 0
        and shifts[1] <= NARROW_BITS
    )
    tiles = (blocks.bits, blocks.shifts, blocks.block_rows, blocks.block_columns, shift)
    work, grid = 4 * blocks.block_rows * columns, blocks.bits.shape[0]
    if narrow:
        parts = split(
            apply_block_map.apply_map_int32_range, grid, work, x, *tiles, int(rounding), out
        )
    else:
        parts = split(
            apply_block_map.apply_map_range,
            grid,
            work,
            x,
            *tiles,
            int(rounding),
            np.uint64(key),
            out,
        )
    overflows = OverflowStatistics(*(int(sum(part[i] for part in parts)) for i in range(2)))
    return FixedTensor.trusted(out.reshape(tensor.shape), target, blocks), overflows
