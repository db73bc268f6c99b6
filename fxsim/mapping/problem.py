"""A nest on a machine at given word lengths, as the kernels take it; and what a mapping moves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fxsim.errors import ConfigError, hint
from fxsim.hardware.accelerator import RESERVED as REGISTERS
from fxsim.hardware.accelerator import Accelerator
from fxsim.hardware.memory import OPERANDS, MemoryLevel
from fxsim.mapping.kernels import evaluation as kernels
from fxsim.mapping.kernels import footprints, layout
from fxsim.mapping.mapping import Mapping
from fxsim.mapping.nest import DIMENSIONS, Nest

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class WordBits:
    """Average stored bits of a word of each operand, metadata included; of the output, of a sum.

    pair : the word lengths that decide how many products a unit packs, where they are uniform
    step_cycles : of a step of the units
    """

    left: float
    right: float
    sums: float
    pair: tuple[int, int] | None = None
    step_cycles: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Movement:
    """What a mapping of a nest moves, in words: independent of word lengths.

    levels : names, innermost first; `registers` where the dataflow keeps an operand in the units
    moved : (levels, left right output, read written); of the output these are sums
    loaded, stored : words of each operand moved before the first step, and after the last
    steps : of the array; folds : how often it is filled and drained
    results : words of the result that are stored off-chip with their own length, else 0
    runs : neighbouring words of each operand that a tile fetches from off-chip together
    refill, window : (levels, operands) of levels that hold one tile alone: cycles for a bit of all
        words, and the share of the array's time in which they may come; it waits for the rest
    """

    levels: tuple[str, ...]
    moved: Floats
    loaded: Floats
    stored: Floats
    steps: int
    folds: int
    results: int
    runs: tuple[int, int, int]
    refill: Floats
    window: Floats


class Problem:
    """One nest on one machine at given word lengths.

    largest : word lengths that tiles must fit with, those of `bits` if None
    what : the product's name, for errors
    """

    def __init__(
        self,
        machine: Accelerator,
        nest: Nest,
        bits: WordBits,
        what: str = "the product",
        largest: WordBits | None = None,
    ) -> None:
        flow = machine.dataflow
        flatten = set(flow.flatten)
        if nest.sizes[2] <= flow.im2col_channels and not nest.flattened:
            flatten.add("k")
        self.machine, self.what, self.bits = machine, what, bits
        self.original, self.nest = nest, nest.flatten(frozenset(flatten))
        fit = largest or bits
        packed = machine.pe.packed(*bits.pair) if bits.pair else {}
        tile = machine.pe.tile
        unit: dict[str, int] = {loop: tile if loop in ("B", "K", "C") else 1 for loop in DIMENSIONS}
        for loop, lanes in machine.pe.lanes.items():
            unit[loop] *= lanes
        for packs, products in packed.items():
            unit[packs] *= products
        sizes = dict(zip(DIMENSIONS, self.nest.sizes, strict=True))
        in_units = {loop: -(-sizes[loop] // unit[loop]) for loop in DIMENSIONS}
        spread = flow.unrolled(in_units, machine.pe_array.rows, machine.pe_array.columns)
        self.unit = np.array([unit[loop] for loop in DIMENSIONS], np.int64)
        self.units = np.array([max(spread.get(d, 1), 1) for d in DIMENSIONS], np.int64)
        self.sizes = np.array(self.nest.sizes, np.int64)
        self.spatial = self.unit * self.units
        self.levels: list[MemoryLevel | None] = list(reversed(machine.memory))
        if flow.stationary:
            self.levels.insert(0, None)
        self.names = tuple(level.name if level else REGISTERS for level in self.levels)
        self.holds = np.array(
            [
                [o in (level.holds if level else (flow.stationary,)) for o in OPERANDS]
                for level in self.levels
            ]
        )
        self.record = self._record(fit)
        self.steps = int(self.record["steps"])

    def _record(self, fit: WordBits) -> Any:
        """The problem as the kernels take it."""
        machine, nest, bits = self.machine, self.nest, self.bits
        flow, r = machine.dataflow, layout.record(layout.PROBLEM)
        for name in ("sizes", "spatial", "units", "unit"):
            r[name] = getattr(self, name)
        r["stride"], r["dilation"], r["upsampling"] = nest.stride, nest.dilation, nest.upsampling
        r["height"], r["width"] = nest.image
        r["dense"], r["whole"] = bool(nest.flattened), flow.tiles == "whole"
        r["first_read"] = machine.results.first_read
        r["stationary"] = OPERANDS.index(flow.stationary) if flow.stationary else -1
        r["bits"], r["fit_bits"] = (
            (bits.left, bits.right, bits.sums),
            (fit.left, fit.right, fit.sums),
        )
        r["result_bits"] = machine.results.stored_bits or 0
        r["burst"] = machine.dram.burst_bits
        r["step_cycles"] = bits.step_cycles
        r["overhead"] = flow.overhead(machine.pe_array.rows, machine.pe_array.columns)
        r["unique"] = nest.unique if flow.tiles == "exact" else 1.0
        pe, work_pj = machine.pe, machine.pe.energy_pj(*(bits.pair or (8, 8))) * nest.macs
        r["work_pj"] = work_pj * (1 - pe.idle_energy)
        r["idle_pj"] = machine.units * pe.energy_pj_per_unit_cycle * pe.idle_energy
        r["leakage_pj"] = machine.leakage_pj_per_cycle
        r["levels"], r["fixed"] = len(self.levels), -1
        choices = self._choices()
        r["choices"] = len(choices)
        if choices:
            r["chosen"][: len(choices)] = choices
        r["holds"][: len(self.levels)] = self.holds
        for i, level in enumerate(self.levels):
            r["multicast"][i] = level is None or level.multicast
            r["keeps_halo"][i] = level is None or level.keeps_halo
            r["per_pe"][i] = level is None or level.per_pe
            r["each"][i] = 1
            if r["per_pe"][i]:
                shared = level.shared_along if level else ()
                r["serves"][i] = len(shared) > 0
                r["each"][i] = [
                    1 if d in shared else n for d, n in zip(DIMENSIONS, self.units, strict=True)
                ]
            r["overlapped"][i] = level is None or level.overlaps
            r["refilled"][i] = level is not None and level.overlaps and not level.double_buffered
            if level is machine.dram:  # it fills the outermost levels
                r["overlapped"][i] = all(machine.buffer(o).overlaps for o in OPERANDS)
            if level is None:  # registers: a unit's own tile, for nothing
                own = layout.state()
                own["extents"][0, :8] = np.minimum(self.unit, self.sizes)
                words = int(footprints.footprint(int(r["stationary"]), r, own, 0, 0))
                r["capacity"][i] = words * r["fit_bits"][r["stationary"]]
                r["fixed"][i, r["stationary"]] = 0  # no other tile, even where there is room
                r["read_rate"][i] = r["write_rate"][i] = np.inf
                continue
            write = level.write_bandwidth_bits_per_cycle
            r["capacity"][i] = np.inf if level.capacity_bits is None else level.usable_bits
            r["read_pj"][i], r["write_pj"][i] = (
                level.read_energy_pj_per_bit,
                level.write_energy_pj_per_bit,
            )
            r["read_rate"][i] = level.bandwidth_bits_per_cycle
            r["write_rate"][i] = write or level.bandwidth_bits_per_cycle
            r["shared_port"][i] = write is None
        kernels.prepare(r)
        return r

    def _choices(self) -> list[tuple[int, int]]:
        """(level, operand) where as much as fits may not be best.

        Tiles that are moved whole are waited for whole; of operands that share a level, what one
        takes the others lack. Of these the last takes what is left.
        """
        choices = []
        whole = self.machine.dataflow.tiles == "whole"
        for i, level in enumerate(self.levels[:-1]):
            if level is not None:
                held = [int(o) for o in np.flatnonzero(self.holds[i])]
                choices += [(i, o) for o in (held if whole and not level.per_pe else held[:-1])]
        return choices

    def check_fits(self) -> None:
        """Raise ConfigError if even the tile that the array works on does not fit a level."""
        state = layout.state()
        kernels.write_extents(self.record, state)
        for i, name in enumerate(self.names[:-1]):
            need = sum(
                float(self.record["fit_bits"][o])
                * float(footprints.held(o, i, 0, self.record, state))
                for o in range(3)
                if self.holds[i, o]
            )
            usable = float(self.record["capacity"][i])
            if need > usable:
                raise ConfigError(
                    f"{self.what} does not fit {self.machine.name}: its smallest tile needs"
                    f" {int(np.ceil(need))} bits in {name}, which has {int(usable)} usable;"
                    f" {int(np.ceil(need - usable))} bits are lacking"
                )

    def movement(self, mapping: Mapping) -> tuple[Movement, Mapping, float, float]:
        """(what a mapping moves, the mapping with every level's loops, cycles, energy [pJ]).

        The energy is that of memories and units, idle ones and leakage included; the units' work
        counts at 8 bits where its word lengths are not known.

        Raises ConfigError if the mapping does not fit the machine or cover the nest.
        """
        state = layout.state()
        if not 0 <= mapping.first_tile <= len(mapping.loops) <= layout.MOST_LOOPS:
            raise ConfigError(
                f"{self._of(mapping)}: must have at most {layout.MOST_LOOPS} loops, and"
                f" first_tile at most so many, not {len(mapping.loops)} and {mapping.first_tile}"
            )
        self._write_loops(mapping, state)
        record = self.record.copy()
        for level, operands in mapping.inside.items():
            if level in (self.names[-1], REGISTERS):
                continue
            if level not in self.names:
                raise ConfigError(
                    f"{self._of(mapping)}: {self.machine.name} has no memory level {level!r},"
                    f" but {', '.join(self.names[:-1])}{hint(level, self.names)}"
                )
            for operand, loops in operands.items():
                record["fixed"][self.names.index(level), OPERANDS.index(operand)] = loops
        if not kernels.evaluate(record, state):
            self.check_fits()
            raise ConfigError(
                f"{self._of(mapping)} does not fit {self.machine.name}: a tile is larger than"
                " the usable part of its level"
            )
        count, result = len(self.names), state["result"]
        own_length = self.machine.results.stored_bits and not self.machine.results.first_read
        inside = state["inside"]
        movement = Movement(
            self.names,
            state["moved"][:count].copy(),
            state["loaded"].copy(),
            state["stored"].copy(),
            int(result[layout.STEPS]),
            int(result[layout.FOLDS]),
            int(result[layout.RESULTS]) if own_length else 0,
            self._runs(state),
            state["refill"][:count].copy(),
            state["window"][:count].copy(),
        )
        done = Mapping(mapping.loops, mapping.first_tile, self.homes(inside))
        return movement, done, float(result[layout.CYCLES]), float(result[layout.ENERGY])

    def _of(self, mapping: Mapping) -> str:
        """What an error is about: the place of a mapping in a file, and the product."""
        return f"{mapping.where}: mapping of {self.what}".removeprefix(": ")

    def homes(self, inside: Ints) -> dict[str, dict[str, int]]:
        """{level: {operand: loops inside its tile}} of the kernels' table of them."""
        return {
            name: {str(o): int(inside[i, j]) for j, o in enumerate(OPERANDS) if self.holds[i, j]}
            for i, name in enumerate(self.names[:-1])
        }

    def _runs(self, state: Any) -> tuple[int, int, int]:
        """Words of each operand that a tile fetches from off-chip together."""
        left, right, output = (
            int(footprints.run(o, state["inside"][self._outermost(o), o], self.record, state))
            for o in range(3)
        )
        return left, right, output

    def _outermost(self, operand: int) -> int:
        """The outermost level on chip that holds an operand."""
        return max(i for i in range(len(self.names) - 1) if self.holds[i, operand])

    def _write_loops(self, mapping: Mapping, state: Any) -> None:
        covered = {
            d: int(min(s, n)) for d, s, n in zip(DIMENSIONS, self.spatial, self.sizes, strict=True)
        }
        for loop, extent in mapping.loops:
            size = int(self.sizes[DIMENSIONS.index(loop)])
            if extent > size or extent < covered[loop]:
                raise ConfigError(
                    f"{self._of(mapping)}: {loop} must reach from {covered[loop]} turns (what"
                    f" lies inside) to at most {size}, not {extent}"
                )
            if extent % covered[loop] and extent < size:
                raise ConfigError(
                    f"{self._of(mapping)}: {loop} must reach a multiple of the {covered[loop]}"
                    f" turns inside it, or all {size}, not {extent}"
                )
            covered[loop] = extent
        for loop, size in zip(DIMENSIONS, self.sizes, strict=True):
            if covered[loop] < size:
                raise ConfigError(
                    f"{self._of(mapping)}: {loop} must reach all of its {size} turns,"
                    f" not {covered[loop]}"
                )
        state["loops"], state["first"] = len(mapping.loops), mapping.first_tile
        for i, (loop, extent) in enumerate(mapping.loops):
            state["dims"][i], state["ends"][i] = DIMENSIONS.index(loop), extent
