"""Cycles of one product's steps on the array: blocks, and units that run in lockstep."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from fxsim.cost.kernels import tiles
from fxsim.engine.bit_pair_histogram import canonical, geometry_of
from fxsim.engine.contractions import Contraction
from fxsim.engine.geometry import Convolution
from fxsim.engine.threads import split
from fxsim.errors import ConfigError
from fxsim.hardware.accelerator import Accelerator
from fxsim.identifiers import Pass
from fxsim.mapping.nest import AXES, CLASSES, DIMENSIONS, Nest
from fxsim.numerics.block_map import BlockMap

Levels = NDArray[np.uint8]
Table = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Grid:
    """How an array cuts a matrix product m x k by k x n.

    tile : (m, n, k) that a unit works on in a step
    rows, columns : the dimensions along the array's axes ("m", "n" or "k"); the third is time
    """

    tile: tuple[int, int, int]
    rows: str
    columns: str

    @classmethod
    def of(cls, machine: Accelerator) -> Grid:
        """The grid of a machine's dataflow and units."""
        pe, flow = machine.pe, machine.dataflow
        sizes = []
        for members in (CLASSES["m"], CLASSES["n"], CLASSES["k"]):
            names = [DIMENSIONS[d] for d in members]
            size = pe.tile
            for name in names:
                size *= pe.lanes.get(name, 1)  # type: ignore[call-overload]
            sizes.append(size)
        return cls(
            (sizes[0], sizes[1], sizes[2]), flow.letter(flow.rows), flow.letter(flow.columns)
        )

    def steps(self, machine: Accelerator, m: int, n: int, k: int) -> int:
        """Steps of all folds of a product."""
        array = {self.rows: machine.pe_array.rows, self.columns: machine.pe_array.columns}
        count = 1
        for name, size, tile in zip("mnk", (m, n, k), self.tile, strict=True):
            count *= -(-size // (tile * array.get(name, 1)))
        return count


def step_cycles(machine: Accelerator, bits_a: int, bits_b: int) -> float:
    """Cycles in which a unit works off a step; a fraction where it packs narrow products."""
    pe = machine.pe
    for products in pe.packed(bits_a, bits_b).values():
        work = pe.sub_operations(bits_a, bits_b)
        return -(-work // pe.sub_operations_per_cycle) / products if work else 0.0
    return float(pe.step_cycles(bits_a, bits_b))


def uniform_step_cycles(machine: Accelerator, left: list[int], right: list[int]) -> float | None:
    """The cycles of a step, if they are the same for every pair of word lengths, else None."""
    step_cycles_table = {step_cycles(machine, a, b) for a in left for b in right}
    return step_cycles_table.pop() if len(step_cycles_table) == 1 else None


@dataclass(frozen=True, slots=True, eq=False)
class Tiled:
    """Word lengths of the tiles of one matrix product, as numbers in `lengths`, from 1; 0: no tile.

    left : (m tiles, k tiles); right : (k tiles, n tiles)
    """

    lengths: NDArray[np.int64]
    left: Levels
    right: Levels


def tiled(
    pass_: Pass,
    left: BlockMap,
    right: BlockMap,
    contraction: Contraction,
    grid: Grid,
    batch: int = 1,
) -> Iterator[Tiled]:
    """The tiles of each product of a pass: one a group, or a matrix of a batch.

    The maps are those of the stored tensors, see
    `fxsim.engine.bit_pair_histogram.bit_pair_histogram`; a tile has the longest word in it,
    padding has 0 bits.
    """
    pass_ = canonical(pass_, contraction)
    lengths = np.union1d(np.union1d(left.bits, right.bits), 0).astype(np.int64)
    a, b = (_numbered(m, lengths) for m in (left, right))
    tm, tn, tk = grid.tile
    g = geometry_of(contraction)
    if g is None:
        rows = [m.rows // batch for m in (left, right)]
        for i in range(batch):
            one = i * rows[0], rows[0], 0, left.columns
            other = i * rows[1], rows[1], 0, right.columns
            if pass_ == Pass.GRAD_WEIGHT:
                yield Tiled(lengths, _cut(left, a, one, tk, tm).T, _cut(right, b, other, tk, tn))
            elif pass_ == Pass.FORWARD:
                yield Tiled(lengths, _cut(left, a, one, tm, tk), _cut(right, b, other, tn, tk).T)
            else:
                yield Tiled(lengths, _cut(left, a, one, tm, tk), _cut(right, b, other, tk, tn))
        return
    channels, filters = g.channels // g.groups, g.filters // g.groups
    image = np.repeat(a, left.block_rows, axis=0)[: left.rows]
    for group in range(g.groups):
        if pass_ == Pass.FORWARD:
            fields = _fields(image, left, g, pass_, (group * channels, channels), (tm, tk), False)
            part = group * filters, filters, 0, right.columns
            yield Tiled(lengths, fields, _cut(right, b, part, tn, tk).T)
        elif pass_ == Pass.GRAD_INPUT:
            fields = _fields(image, left, g, pass_, (group * filters, filters), (tm, tk), False)
            yield Tiled(lengths, fields, _turned(b, right, g, group, (tk, tn)))
        else:
            fields = _fields(image, left, g, pass_, (group * channels, channels), (tk, tm), True)
            part = 0, right.rows, group * filters, filters
            yield Tiled(lengths, fields, _cut(right, b, part, tk, tn))


def _numbered(m: BlockMap, lengths: NDArray[np.int64]) -> Levels:
    levels: Levels = (np.searchsorted(lengths, m.bits) + 1).astype(np.uint8)
    return levels


def _cut(
    m: BlockMap, levels: Levels, part: tuple[int, int, int, int], tall: int, wide: int
) -> Levels:
    """Tiles of part (first row, rows, first column, columns) of a block map."""
    first_row, rows, first_column, columns = part
    out = np.zeros((-(-rows // tall), -(-columns // wide)), np.uint8)
    split(
        tiles.matrix_tiles,
        out.shape[0],
        out.shape[1] * 4,
        levels,
        m.block_rows,
        m.block_columns,
        rows,
        columns,
        first_row,
        first_column,
        tall,
        wide,
        out,
    )
    return out


def _fields(
    image: Levels,
    m: BlockMap,
    g: Convolution,
    pass_: Pass,
    channels: tuple[int, int],
    tile: tuple[int, int],
    turned: bool,
) -> Levels:
    """Tiles of the matrix that im2col makes of an image; of its transpose if `turned`.

    channels : the first that is read, and how many; tile : rows and columns
    """
    (first, depth), (tall, wide) = channels, tile
    reading = Pass.GRAD_INPUT if pass_ == Pass.GRAD_INPUT else Pass.FORWARD
    nest = Nest.convolution(reading, g, images=1)
    outputs, taps = ([nest.sizes[d] for d in loops] for loops in zip(*AXES, strict=True))
    steps = nest.stride, nest.dilation, nest.padding, nest.upsampling
    axes = zip(outputs, nest.image, taps, *steps, strict=True)
    pixels = len(image) // prod(nest.image) * prod(outputs)
    down, across = -(-pixels // tall), -(-prod(taps) * depth // wide)
    out = np.zeros((across, down) if turned else (down, across), np.uint8)
    split(
        tiles.tile_levels,
        down,
        across * tall,
        image,
        m.block_columns,
        m.columns,
        *axes,
        (first, depth),
        tall,
        wide,
        turned,
        out,
    )
    return out


def _turned(
    levels: Levels, m: BlockMap, g: Convolution, group: int, tile: tuple[int, int]
) -> Levels:
    """Tiles of one group's weights as grad_input reads them: (taps * filters, channels)."""
    filters, channels = g.filters // g.groups, g.channels // g.groups
    (tall, wide) = tile
    out = np.zeros((-(-g.taps * filters // tall), -(-channels // wide)), np.uint8)
    sizes = m.block_rows, m.block_columns, filters, channels, g.taps, group
    work = g.taps * filters * wide
    split(tiles.turned_tiles, out.shape[1], work, levels, *sizes, tall, wide, out)
    return out


def _group_max(x: Levels, size: int, axis: int) -> Levels:
    """Maxima of runs of `size` along an axis, the last run ragged."""
    if size == 1:
        return x
    largest: Levels = np.maximum.reduceat(x, np.arange(0, x.shape[axis], size), axis=axis)
    return largest


def step_cycles_table(machine: Accelerator, lengths: NDArray[np.int64]) -> Table:
    """(levels + 1, levels + 1) cycles per step of word lengths; 0 where there is no tile."""
    table = np.zeros((len(lengths) + 1,) * 2)
    for i, bits_a in enumerate(lengths):
        for j, bits_b in enumerate(lengths):
            table[i + 1, j + 1] = step_cycles(machine, int(bits_a), int(bits_b))
    return table


def lockstep(machine: Accelerator, grid: Grid, product: Tiled) -> float:
    """Cycles of all folds' steps when units wait for each other as `sync` says.

    Within a fold, each group of sync.rows x sync.columns units takes, at every step, the longest
    step of its units; a fold takes as long as its slowest group.
    """
    table = step_cycles_table(machine, product.lengths)
    a, b, (down, across) = product.left, product.right, (grid.rows, grid.columns)
    array, together = machine.pe_array, machine.sync
    if len({down, across} & set("mnk")) < 2:
        raise ConfigError(
            f"{machine.name}: blocks of different lengths need rows and columns that cut different"
            f" dimensions of a product (of m: B OY OX, n: K, k: C FY FX), not {down} and {across}"
        )
    axes = {down: (array.rows, together.rows), across: (array.columns, together.columns)}
    if "k" not in axes:  # sums stay: rows and columns are m and n
        total = _sums_stay(table, _group_max(a, axes["m"][1], 0), _group_max(b, axes["n"][1], 1))
        first, second = axes["m"], axes["n"]
    elif "n" in axes:  # time is m
        total = _operand_stays(table, a, _group_max(b, axes["n"][1], 1), axes["k"][1])
        first, second = axes["k"], axes["n"]
    else:  # time is n
        total = _operand_stays(table.T, b.T, _group_max(a.T, axes["m"][1], 1), axes["k"][1])
        first, second = axes["k"], axes["m"]
    for axis, (units, group) in enumerate((first, second)):
        size = units // group
        total = np.maximum.reduceat(total, np.arange(0, total.shape[axis], size), axis=axis)
    return float(total.sum())


def _sums_stay(table: Table, a: Levels, b: Levels) -> Table:
    """(m groups, n groups) cycles, summed over k: exact in BLAS, counts stay far below 2**53.

    One product for every level of a: its tiles by the cycles per step that each tile of b has with
    it.
    """
    total = np.zeros((a.shape[0], b.shape[1]), np.float32)
    wide = table.shape[0] * max(table.max(), 1.0) * a.shape[1] >= 1 << 24
    kind = np.float64 if wide or (table % 1).any() else np.float32
    total = total.astype(kind)
    for level in range(1, len(table)):
        here = a == level
        if here.any():
            # all are finite: what BLAS flags lies in lanes beyond small matrices
            with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
                total += here.astype(kind) @ table[level].astype(kind)[b]
    return total.astype(np.float64)


def _operand_stays(table: Table, moving: Levels, still: Levels, together: int) -> Table:
    """(k groups, column groups) cycles; `moving` is (time, k), `still` is (k, columns)."""
    groups = -(-moving.shape[1] // together)
    out = np.zeros((groups, still.shape[1]))
    work = moving.shape[0] * still.shape[1] * together
    split(
        tiles.moving,
        groups,
        work,
        np.ascontiguousarray(table),
        np.ascontiguousarray(moving),
        np.ascontiguousarray(still),
        together,
        out,
    )
    return out
