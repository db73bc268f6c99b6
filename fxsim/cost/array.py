"""Cycles of one product on the array: folds, blocks and lockstep."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fxsim.accelerator.mapper import spans
from fxsim.accelerator.schema import Accelerator
from fxsim.arithmetic.blocks import BlockMap
from fxsim.engine import geometry
from fxsim.engine.contractions import Contraction
from fxsim.engine.joint import canonical, geometry_of

Bits = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Folds:
    """How a product of (m, n, k) is cut to the array's size."""

    count: int
    steps: int
    overhead: int

    @classmethod
    def of(cls, machine: Accelerator, m: int, n: int, k: int) -> Folds:
        """Folds, steps of a fold along time (in tiles), and a fold's overhead [cycles]."""
        sizes, span, flow = {"m": m, "n": n, "k": k}, spans(machine), machine.flow
        across = (-(-sizes[d] // span[d]) for d in (flow.rows, flow.columns))
        rows, columns = machine.pe_array.rows, machine.pe_array.columns
        return cls(
            int(np.prod(list(across))),
            -(-sizes[flow.time] // machine.pe.tile),
            flow.overhead(rows, columns),
        )

    def cycles(self, compute: int, time_trips: int = 1) -> int:
        """All folds' cycles, `compute` of which are steps; the first fold starts at cycle 0.

        time_trips : into how many tiles the mapping cuts each fold along time
        """
        return max(self.count * time_trips * self.overhead + compute - 1, 0)


def beat(machine: Accelerator, bits_a: int, bits_b: int) -> int:
    """Cycles in which a unit multiplies one tile by another."""
    work = machine.pe.tile**3 * machine.pe.work(bits_a, bits_b)
    return -(-work // machine.pe.capacity)


def uniform_beat(machine: Accelerator, left: list[int], right: list[int]) -> int | None:
    """The beat, if it is the same for every pair of word lengths, else None."""
    beats = {beat(machine, a, b) for a in left for b in right}
    return beats.pop() if len(beats) == 1 else None


def element_bits(
    pass_: str, left: BlockMap, right: BlockMap, contraction: Contraction, batch: int = 1
) -> Iterator[tuple[Bits, Bits]]:
    """The bits of every element of each (m, k) left and (k, n) right operand of a pass.

    One pair a repeat: a group, or a matrix of a batch. The maps are those of the stored tensors,
    see `fxsim.engine.joint.joint_histogram`; padded positions have 0 bits.
    """
    pass_ = canonical(pass_, contraction)
    a, b = left.expand(), right.expand()
    g = geometry_of(contraction)
    if g is None:
        for one, other in zip(np.split(a, batch), _matrices(b, batch), strict=True):
            if pass_ == "forward":
                yield one, other.T
            else:
                yield (one, other) if pass_ == "grad_input" else (one.T, other)
        return
    for group in range(g.groups):
        filters = slice(group * g.filters // g.groups, (group + 1) * g.filters // g.groups)
        if pass_ == "grad_input":
            image = a.astype(np.int16).reshape(-1, g.out_height, g.out_width, g.filters)
            rows = geometry.backward_rows(g, image.shape[0], group)
            gathered = geometry.written_out(geometry.spread(image, g), rows)
            turned = geometry.turned_weight(b.astype(np.int16), g, group).T
            yield gathered.astype(np.uint8), turned.astype(np.uint8)
            continue
        image = a.astype(np.int16).reshape(-1, g.height, g.width, g.channels)
        wide = geometry.written_out(image, geometry.forward_rows(g, image.shape[0], group))
        fields = wide.astype(np.uint8)
        yield (fields, b[filters].T) if pass_ == "forward" else (fields.T, b[:, filters])


def _matrices(b: Bits, batch: int) -> list[Bits]:
    return np.split(b, batch) if batch > 1 else [b]


def lockstep_compute(machine: Accelerator, left: Bits, right: Bits) -> int:
    """Cycles of all folds' steps when units wait for each other as `sync` says.

    Within a fold, each group of sync.rows x sync.columns units takes, at every step, the longest
    beat of its units; a fold takes as long as its slowest group.
    """
    flow, tile = machine.flow, machine.pe.tile
    known = np.union1d(np.unique(left), np.unique(right))
    # index 0: no tile at all (beyond the edge); then word lengths, ascending like their work
    table = np.zeros((len(known) + 1,) * 2, np.int64)
    for i, bits_a in enumerate(known):
        for j, bits_b in enumerate(known):
            table[i + 1, j + 1] = beat(machine, int(bits_a), int(bits_b))
    a = _group_max(_group_max(np.searchsorted(known, left) + 1, tile, 0), tile, 1)
    b = _group_max(_group_max(np.searchsorted(known, right) + 1, tile, 0), tile, 1)
    rows, columns = machine.sync.rows, machine.sync.columns
    if flow.time == "k":
        beats = _output_stationary(table, a, b, rows, columns)
    elif flow.columns == "n":
        beats = _operand_stationary(table, a, b, rows, columns)
    else:
        beats = _operand_stationary(table.T, b.T, a.T, rows, columns)
    slowest = _group_max(beats, machine.pe_array.rows // rows, 0)
    return int(_group_max(slowest, machine.pe_array.columns // columns, 1).sum())


def _group_max(x: NDArray[np.int64], size: int, axis: int) -> NDArray[np.int64]:
    """Maxima of runs of `size` along an axis, the last run ragged."""
    found: NDArray[np.int64] = np.maximum.reduceat(x, np.arange(0, x.shape[axis], size), axis=axis)
    return found


def _output_stationary(
    table: NDArray[np.int64], a: NDArray[np.int64], b: NDArray[np.int64], rows: int, columns: int
) -> NDArray[np.int64]:
    """(row groups, column groups) cycles; rows lie along m, columns along n, time along k."""
    a, b = _group_max(a, rows, 0), _group_max(b, columns, 1)
    total = np.zeros((a.shape[0], b.shape[1]))
    for i in range(1, len(table)):  # float64 BLAS: exact, counts stay far below 2**53
        for j in range(1, len(table)):
            if table[i, j]:
                total += table[i, j] * ((a == i).astype(float) @ (b == j).astype(float))
    return total.astype(np.int64)


def _operand_stationary(
    table: NDArray[np.int64],
    moving: NDArray[np.int64],
    still: NDArray[np.int64],
    rows: int,
    columns: int,
) -> NDArray[np.int64]:
    """(row groups, column groups) cycles; `moving` is (time, k), `still` is (k, columns)."""
    still = _group_max(still, columns, 1)
    total = [
        _group_max(table[moving, still[:, group]], rows, 1).sum(axis=0)
        for group in range(still.shape[1])
    ]
    return np.stack(total, axis=1)
