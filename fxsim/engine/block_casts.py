"""Casts tile by tile: bits chosen by sensitivity, or given by a block map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fxsim.arithmetic.blocks import BlockMap
from fxsim.arithmetic.formats import BlockFormat, FixedPoint, Rounding
from fxsim.engine.casts import LARGEST_SHIFT, NARROW_BITS, OPERAND_BITS, bit_length
from fxsim.engine.kernels import blocks as block_kernels
from fxsim.engine.kernels import mapped
from fxsim.engine.losses import Losses
from fxsim.engine.tensor import FixedTensor, storage
from fxsim.engine.threads import split
from fxsim.errors import FormatError, ShapeError

GAIN_BITS = 16  # width of the sensitivity weights of block-wise quantisation
LARGEST_BLOCK_INPUT = 47  # bits of |x| that block sums hold without overflow


@dataclass(frozen=True, slots=True)
class BlockStatistics:
    """What block-wise quantisation saw: sums over tiles, in the tensor's own integer units.

    `sensitivity`: of the chosen bits; `signal`: of dropping every tile (0 bits).
    """

    sensitivity: int
    signal: int
    saturated: int


def quantise_blocks(
    tensor: FixedTensor, wanted: BlockFormat, gain: NDArray[np.int64], key: int
) -> tuple[FixedTensor, BlockStatistics]:
    """Choose each tile's bits by its first-order sensitivity, and quantise it at those bits.

    Each tile of the (rows, columns) matrix view becomes a block floating-point block: n-bit
    codes under its own power-of-two exponent, the smallest at which no code can leave the word
    (a tile that saturates its largest values would bias its sum). Its sensitivity at n bits is

        s(n) = gain * sum over the tile of |x - Q_n(x)|

    (times `skip_penalty` at n = 0), a bound on |sum g_i (x_i - Q_n(x_i))| when `gain` bounds the
    gradient |g_i|; the tile takes the first candidate with
    s(n) <= threshold/2**16 * (mean over tiles of gain * sum |x|).

    gain : (block rows or 1, block columns or 1) integers of at most 16 bits, see
        `fxsim.precision.dynasty`
    Returns the int16 operand, aligned to the finest tile's grid, and what was seen.

    Integers throughout, so that a replay chooses the same bits.
    Source: reconstruction, see `fxsim.precision.dynasty`.
    """
    x = np.ascontiguousarray(tensor.matrix().astype(np.int64, copy=False))
    rows, columns = x.shape
    if not x.size:
        raise ShapeError(f"block format: a tensor must have elements, not {tensor.shape}")
    grid = (-(-rows // wanted.rows), -(-columns // wanted.columns))
    peaks, totals = np.zeros(grid, np.int64), np.zeros(grid, np.int64)
    per_row = wanted.rows * columns
    split(
        block_kernels.block_extents_range,
        grid[0],
        per_row,
        x,
        wanted.rows,
        wanted.columns,
        peaks,
        totals,
    )
    length = bit_length(peaks.max(initial=0))
    if length > LARGEST_BLOCK_INPUT:
        raise FormatError(f"block format: |x| must be below 2**{LARGEST_BLOCK_INPUT}")
    base = max(0, length - (wanted.candidates[-1] - 1) - wanted.window)
    unit = max(0, length - 15)
    signal = int(((totals >> unit) * gain).sum())
    limit = (signal // peaks.size) * wanted.threshold >> 16
    bits, shifts = np.zeros(grid, np.uint8), np.zeros(grid, np.uint8)
    codes = np.empty((rows, columns), np.int16)
    parts = split(
        block_kernels.encode_blocks_range,
        grid[0],
        4 * per_row,
        x,
        wanted.rows,
        wanted.columns,
        peaks,
        gain,
        np.array(wanted.candidates, np.int64),
        base,
        unit,
        limit,
        wanted.skip_penalty,
        int(wanted.rounding),
        np.uint64(key),
        bits,
        shifts,
        codes,
    )
    narrowest = next(n for n in wanted.candidates if n > 0)
    exponents = wanted.window + wanted.candidates[-1] - narrowest + 2
    metadata = bit_length(len(wanted.candidates) - 1) + bit_length(exponents - 1)
    block_map = BlockMap(bits, shifts, rows, columns, wanted.rows, wanted.columns, metadata)
    target = FixedPoint(wanted.candidates[-1] + wanted.window + 1, tensor.format.frac - base)
    statistics = BlockStatistics(sum(p[0] for p in parts), signal, sum(p[1] for p in parts))
    return FixedTensor.trusted(codes.reshape(tensor.shape), target, block_map), statistics


def quantise_map(
    tensor: FixedTensor,
    blocks: BlockMap,
    target: FixedPoint,
    rounding: Rounding = Rounding.RND_CONV,
    key: int = 0,
) -> tuple[FixedTensor, Losses]:
    """Cast the (rows, columns) matrix view under a given map; saturating, 0 bits give zeros.

    target : the shared grid: a tile's n-bit codes are worth 2**shift of its steps. Its word must
        hold the widest tile, `bits + shift` bits.
    Returns the aligned operand with its map: one integer product is exact over all tiles.
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
    places = tensor.format.frac - target.frac
    out = np.empty((rows, columns), storage(target))
    x = np.ascontiguousarray(tensor.matrix())
    shifts = (
        int(blocks.shifts.min(initial=0)) + places,
        int(blocks.shifts.max(initial=0)) + places,
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
    tiles = (blocks.bits, blocks.shifts, blocks.block_rows, blocks.block_columns, places)
    work, grid = 4 * blocks.block_rows * columns, blocks.bits.shape[0]
    if narrow:
        parts = split(mapped.map_narrow_range, grid, work, x, *tiles, int(rounding), out)
    else:
        parts = split(mapped.map_range, grid, work, x, *tiles, int(rounding), np.uint64(key), out)
    losses = Losses(*(int(sum(part[i] for part in parts)) for i in range(2)))
    return FixedTensor.trusted(out.reshape(tensor.shape), target, blocks), losses
