"""How long the array computes on each product, step by step, from the block maps at hand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fxsim.cost.data_dependent_cycles import all_steps, staggered
from fxsim.cost.tile_cycles import Grid, lockstep, tiled, uniform_step_cycles
from fxsim.cost.trace_arrays import Product, TraceArrays
from fxsim.engine.bit_pair_histogram import bit_pair_histogram, canonical, geometry_of
from fxsim.engine.contractions import Contraction, Pairwise
from fxsim.errors import DataError
from fxsim.hardware.accelerator import Accelerator
from fxsim.hardware.step_cycles import Steps, UnitGroup
from fxsim.identifiers import Pass
from fxsim.mapping.problem import Problem
from fxsim.numerics.block_map import BlockMap

Floats = NDArray[np.float64]
LOOKUPS = 1e8  # tiles looked at for all sampled maps of a trace on a machine
LEAST_LOOKUPS = 5e5  # for one product and sample


@dataclass(frozen=True, slots=True, eq=False)
class ComputeCycles:
    """By step: cycles in which the array computes, and where they come from.

    active : unit-cycles at work, where they are not the products' work
    origin : "exact" (from the step's own maps, or independent of maps), "nearest" (from the
        nearest sampled step's), "sampled" (the same, from some of a batch's images), "spread" (of a
        part that leaves zeros out: from the matrix with them), "elastic" (no maps at all: no
        lockstep is counted)
    """

    cycles: Floats
    origin: NDArray[np.object_]
    active: Floats | None = None


class Lockstep:
    """The lockstep of one trace on one machine."""

    def __init__(self, arrays: TraceArrays, machine: Accelerator) -> None:
        self.arrays, self.machine, self.grid = arrays, machine, Grid.of(machine)
        self._ratios: dict[tuple[object, ...], float] = {}
        samples = max(len(arrays.sampled), 1) * max(len(arrays.products), 1)
        self._lookups = max(LEAST_LOOKUPS, LOOKUPS / samples)

    def computing(
        self, product: Product, problem: Problem, work: Floats, skipped: Floats
    ) -> ComputeCycles:
        """The compute cycles of a product's steps, or of a part's: by the steps of its nest.

        work : its pieces of work by step; skipped : the share of work that zero words take off
        """
        steps = problem.steps
        exact = np.full(len(work), "exact", object)
        pe = self.machine.pe
        if pe.statistic("left") or pe.statistic("right"):
            return self._data_dependent(product, problem, steps)
        if problem.bits.pair and pe.packed(*problem.bits.pair):
            constant: float | None = float(
                -(-pe.sub_operations(*problem.bits.pair) // pe.sub_operations_per_cycle)
            )
        else:
            left = self._used(product.left, product.left_levels, product.joint.sum(axis=(0, 2)))
            right = self._used(product.right, product.right_levels, product.joint.sum(axis=(0, 1)))
            constant = uniform_step_cycles(self.machine, left, right)
        if constant is not None:
            if self.machine.pe_array.stagger_columns and problem.nest.gemm()[0] == 1:
                columns = self.machine.pe_array.columns
                taken = staggered(steps, Steps.always(constant), columns)
                return ComputeCycles(taken * (1 - skipped), exact)
            return ComputeCycles(steps * constant * (1 - skipped), exact)
        elastic = np.ceil(work * product.share / pe.sub_operations_per_cycle / self.machine.units)
        mapped_steps = [
            s
            for s in self.arrays.sampled
            if {product.left, product.right} <= set(self.arrays.block_maps(int(s)))
        ]
        if not mapped_steps:
            return ComputeCycles(elastic, np.full(len(work), "elastic", object))
        sampled = np.array(mapped_steps)
        nearest = np.abs(product.steps[:, None] - sampled).argmin(axis=1)
        cycles, origin = np.zeros(len(work)), exact
        for i in np.unique(nearest):
            ratio, whole = self._ratio(product, int(sampled[i]), steps)
            here = nearest == i
            cycles[here] = ratio * work[here]
            if product.part:  # its zeros hide how long a part waits: at least its own work
                cycles[here] = np.maximum(cycles[here], elastic[here])
                origin[here] = "spread"
                continue
            origin[here] = "nearest" if whole else "sampled"
            if whole:
                origin[here & (product.steps == sampled[i])] = "exact"
        return ComputeCycles(np.round(cycles, 6), origin)

    def _used(
        self, side: tuple[str, str], levels: NDArray[np.int64], macs: NDArray[np.int64]
    ) -> list[int]:
        """The word lengths of an operand that meet; padding only where units can skip it."""
        operand = self.arrays.operands[side]
        blocks = self.machine.pe.skip_zero_blocks or operand.words[:, operand.levels == 0].any()
        return [int(b) for b, count in zip(levels, macs, strict=True) if count and (b or blocks)]

    def _ratio(self, product: Product, step: int, steps: int) -> tuple[float, bool]:
        """(cycles of lockstep a piece of work, whether all images were looked at)."""
        maps = self.arrays.block_maps(step)
        left, right = maps[product.left], maps[product.right]
        contraction, pass_ = product.contraction, product.pass_
        m, n, k, repeats = product.gemm
        batch = repeats if isinstance(contraction, Pairwise) else 1
        lookups = m * k * repeats / min(self.grid.tile[2], left.block_columns)
        share = 1.0 if batch > 1 else min(1.0, self._lookups / lookups)
        cut_left, cut_right = _some_rows(pass_, contraction, left, right, share)
        shapes = tuple(
            (b.rows, b.columns, b.block_rows, b.block_columns) for b in (cut_left, cut_right)
        )
        words = cut_left.bits.tobytes(), cut_right.bits.tobytes()
        key = (*words, shapes, pass_, contraction, product.gemm, steps)
        if key not in self._ratios:
            parts = tiled(pass_, cut_left, cut_right, contraction, self.grid, batch)
            total = sum(lockstep(self.machine, self.grid, part) for part in parts)
            pe = self.machine.pe
            row = np.flatnonzero(product.steps == step)
            if cut_left is left and row.size and not product.part:
                a, b, joint = product.left_levels, product.right_levels, product.joint[row[0]]
            else:
                a, b, joint = bit_pair_histogram(pass_, cut_left, cut_right, contraction, batch)
            work = float(
                (
                    joint * np.array([[pe.sub_operations(int(p), int(q)) for q in b] for p in a])
                ).sum()
            )
            # the nest's own steps, where it is not cut like the matrix
            matrix = self.grid.steps(self.machine, m, n, k) * repeats
            self._ratios[key] = total * (steps / matrix) / work if work else 0.0
        return self._ratios[key], cut_left is left and cut_right is right

    def _data_dependent(self, product: Product, problem: Problem, steps: int) -> ComputeCycles:
        pe, unit, units = self.machine.pe, problem.unit, problem.units
        sampled = self.arrays.sampled
        operands = {product.left, product.right}
        counted_steps = [int(s) for s in sampled if operands <= set(self.arrays.statistics(int(s)))]
        if not counted_steps:
            raise DataError(
                f"{product.id}: {self.machine.name}'s units follow the data itself, of which this"
                " trace holds no counts at any sampled step; record the run again"
            )
        across = [int(unit[d] * units[d]) for d in range(8)]
        windows, columns = across[0] * across[3] * across[4], self.machine.pe_array.columns
        nearest = np.abs(product.steps[:, None] - np.array(counted_steps)).argmin(axis=1)
        longest = zip(
            _longest(product.left_levels, product.joint.sum(axis=2)),
            _longest(product.right_levels, product.joint.sum(axis=1)),
            strict=True,
        )
        stagger = self.machine.pe_array.stagger_columns and problem.nest.gemm()[0] == 1
        times: dict[tuple[int, int, int], tuple[float, float]] = {}
        cycles, busy = np.zeros(len(nearest)), np.zeros(len(nearest))
        for i, (at, bits) in enumerate(zip(nearest.tolist(), longest, strict=True)):
            if (at, *bits) not in times:
                words = self.arrays.statistics(counted_steps[at])
                taken = all_steps(
                    pe,
                    (words[product.left], words[product.right]),
                    bits,
                    problem.original,
                    problem.nest.sizes[2],
                    UnitGroup(windows, across[1], across[2]),
                )
                time = staggered(steps, taken, columns) if stagger else steps * taken.mean
                times[at, *bits] = time, steps * taken.mean
            cycles[i], busy[i] = times[at, *bits]
        used = problem.nest.macs / (steps * float(np.prod(problem.spatial)))
        exact = product.steps == np.array(counted_steps)[nearest]
        origin = np.where(exact, "exact", "nearest").astype(object)
        return ComputeCycles(cycles, origin, busy * used * self.machine.units)


def _longest(levels: NDArray[np.int64], macs: NDArray[np.int64]) -> list[int]:
    """The longest word that each step has; macs : (steps, levels)."""
    longest: list[int] = (np.where(macs > 0, levels, 0).max(axis=1)).tolist()
    return longest


def _some_rows(
    pass_: Pass, contraction: Contraction, left: BlockMap, right: BlockMap, share: float
) -> tuple[BlockMap, BlockMap]:
    """The maps of the first images (rows of a matrix) of a batch, about this share of them."""
    g, pass_ = geometry_of(contraction), canonical(pass_, contraction)
    outputs = g.out_height * g.out_width if g else 1
    per_left = outputs if pass_ == Pass.GRAD_INPUT else (g.height * g.width if g else 1)
    images = left.rows // per_left
    taken = int(np.ceil(images * share))
    cut_right = pass_ == Pass.GRAD_WEIGHT
    while taken < images and (
        taken * per_left % left.block_rows or (cut_right and taken * outputs % right.block_rows)
    ):
        taken += 1
    if taken >= images:
        return left, right
    return _rows(left, taken * per_left), (_rows(right, taken * outputs) if cut_right else right)


def _rows(m: BlockMap, rows: int) -> BlockMap:
    blocks = -(-rows // m.block_rows)
    return BlockMap(
        np.ascontiguousarray(m.bits[:blocks]),
        np.ascontiguousarray(m.shifts[:blocks]),
        rows,
        m.columns,
        min(m.block_rows, rows),
        m.block_columns,
        m.metadata_bits,
    )
