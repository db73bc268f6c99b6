"""Pricing: every row of a trace on a machine, as action counts, cycles and energy.

Assumptions of ours, which the report repeats:

- A product's results go from the array to the vector unit; only casts write tensors off-chip, and
  a weight's cast fetches its master: 32 bits, or what the policy keeps.
- A product takes the longest of its array time behind the fetch of its first tiles, and each
  memory's traffic over its bandwidth, where buffers are double; the sum of all where they are not.
- Elementwise work, casts and updates follow the products; they do not overlap with them. A unit
  lane does one add or multiply a cycle.
- Halos of convolution tiles are not fetched twice; a tensor is fetched once per load. A residual
  addition's waiting operand stays on chip. One mapping serves all steps of a layer and pass.
- Between sampled steps, lockstep loss is that of the nearest sampled step, applied to the step's
  own exact joint histogram.
- A block-wise policy's analytics cost two adds an element (largest and summed magnitude) and one a
  tile and candidate (compare): on the analytics unit, beside the cast, or else on the vector unit.
- Charged of policies: analytics of blocks, metadata of maps, AdaQAT's probes. Not charged: the
  statistics of apt, muppet and adapt, which AdaPT's own model counts (see the papers' counts).
- Where a tensor must be whole before its results (batch norm's statistics) and does not fit the
  output buffer, it goes off-chip and comes back; that copy then serves the backward pass.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from fxsim.accelerator.mapper import Mapping, ProductShape, best_mapping
from fxsim.accelerator.schema import Accelerator
from fxsim.arithmetic.blocks import BlockMap
from fxsim.cost.array import Folds, element_bits, lockstep_compute, uniform_beat
from fxsim.engine.contractions import Contraction, Pairwise
from fxsim.errors import DataError
from fxsim.trace import Trace

ANALYTICS_ADDS = 2
ENERGIES = ("array_pj", "buffer_pj", "dram_pj", "vector_pj", "analytics_pj", "leakage_pj")


@dataclass(frozen=True, slots=True, eq=False)
class Priced:
    """A trace's cost on one machine.

    table : a row a step, layer, pass and operation ("product", "vector", "cast"): array_cycles,
        elastic_cycles (a perfectly elastic array without folds), memory_cycles, vector_cycles,
        cycles; energies by component [pJ]; macs; dram_bits and buffer_bits moved; and `maps`,
        whether a product's lockstep is "exact" (from the step's own map, or independent of
        maps), "nearest" (from the nearest sampled step's), or "elastic" (none was sampled: a
        policy's probe that ran between samples; no lockstep is counted)
    """

    machine: Accelerator
    table: pd.DataFrame

    @property
    def cycles(self) -> float:
        """All cycles."""
        return float(self.table["cycles"].sum())

    @property
    def energy_pj(self) -> float:
        """All energy [pJ]."""
        return float(self.table[list(ENERGIES)].to_numpy().sum())


def price(trace: Trace, machine: Accelerator) -> Priced:
    """Price every recorded step of a trace on a machine."""
    tables = [_products(trace, machine), _vectors(trace, machine), _casts(trace, machine)]
    table = pd.concat(tables, ignore_index=True)
    period_s = 1 / machine.technology.clock_hz
    table["leakage_pj"] = table["cycles"] * machine.array_leakage_w * period_s * 1e12
    order = ["step", "layer", "pass", "operation"]
    return Priced(machine, table.sort_values(order, kind="stable", ignore_index=True))


def _stored(trace: Trace, machine: Accelerator) -> dict[tuple[int, str, str], int]:
    """{(step, layer, role): bits of the tensor in memory, metadata included}."""
    o = trace.operands
    found = {}
    for step, layer, role, bits, counts, metadata in zip(
        o["step"],
        o["layer"],
        o["role"],
        o["bits"],
        o["elements_by_bits"],
        o["metadata_bits"],
        strict=True,
    ):
        words = sum(
            machine.packing.stored_bits(int(b)) * int(n) for b, n in zip(bits, counts, strict=True)
        )
        found[int(step), str(layer), str(role)] = words + int(metadata)
    return found


@dataclass(slots=True)
class _Product:
    """One row of a trace's products, with what the machine makes of it."""

    step: int
    shape: ProductShape
    repeats: int
    bits: tuple[list[int], list[int]]
    work: float
    energy_pj: float
    read_bits: tuple[float, float]


def _product(
    row: Any, stored: dict[tuple[int, str, str], int], machine: Accelerator, owner: str
) -> _Product:
    pe = machine.pe
    left, right = [int(b) for b in row.left_bits], [int(b) for b in row.right_bits]
    joint = np.array(row.joint_macs, np.int64).reshape(len(left), len(right))
    work = np.array([[pe.work(a, b) for b in right] for a in left])
    used_left = [b for b, macs in zip(left, joint.sum(axis=1), strict=True) if macs]
    used_right = [b for b, macs in zip(right, joint.sum(axis=0), strict=True) if macs]
    macs = row.m * row.n * row.k * row.repeats
    if joint.sum() != macs:
        raise DataError(
            f"trace: step {row.step}, layer {row.layer}: the joint histogram must count"
            f" {macs} MACs, not {joint.sum()}"
        )
    total = float((joint * work).sum())
    stored_as = np.vectorize(machine.packing.stored_bits)
    mean_left = float((joint.sum(axis=1) * stored_as(left)).sum() / macs)
    mean_right = float((joint.sum(axis=0) * stored_as(right)).sum() / macs)
    shape = ProductShape(
        int(row.m), int(row.n), int(row.k),
        stored[row.step, row.layer, row.left] / (row.m * row.k * row.repeats),
        stored[row.step, owner, row.right] / (row.k * row.n * row.repeats),
        int(row.accumulator_bits),
    )  # fmt: skip
    return _Product(
        int(row.step), shape, int(row.repeats), (used_left, used_right), total / pe.capacity,
        total / pe.capacity * pe.energy_pj_per_unit_cycle, (mean_left, mean_right),
    )  # fmt: skip


def _products(trace: Trace, machine: Accelerator) -> pd.DataFrame:
    stored = _stored(trace, machine)
    sampled = trace.sampled()
    maps = {step: trace.block_maps(step) for step in sampled}
    rows: list[dict[str, Any]] = []
    renamed = trace.products.rename(columns={"pass": "pass_"})
    for (layer, pass_), group in renamed.groupby(["layer", "pass_"], sort=False):
        left, right = group["left"].iloc[0], group["right"].iloc[0]
        owner = trace.owner(str(layer), right)
        products = [_product(row, stored, machine, owner) for row in group.itertuples()]
        left_bits = [p.shape.left_bits for p in products]
        right_bits = [p.shape.right_bits for p in products]
        shape = products[0].shape
        mean = replace(
            shape, left_bits=float(np.mean(left_bits)), right_bits=float(np.mean(right_bits))
        )
        largest = replace(shape, left_bits=max(left_bits), right_bits=max(right_bits))
        mapping = best_mapping(machine, mean, f"{layer}, {pass_}", largest)
        pairs = {
            step: (found[layer, left], found[owner, right])
            for step, found in maps.items()
            if (layer, left) in found  # a policy's probes do not run in every step
        }
        contraction = trace.contraction(str(layer))
        array = _ArrayTime(machine, pass_, contraction, pairs, products, mapping.time_trips)
        rows += [
            {"layer": layer, "pass": pass_, **_product_cost(machine, product, mapping, array)}
            for product in products
        ]
    return pd.DataFrame(rows)


class _ArrayTime:
    """Array cycles of one layer and pass, step by step, from the block maps at hand."""

    def __init__(
        self,
        machine: Accelerator,
        pass_: str,
        contraction: Contraction,
        maps: dict[int, tuple[BlockMap, BlockMap]],
        products: list[_Product],
        time_trips: int,
    ) -> None:
        self._time_trips = time_trips
        self._machine, self._pass, self._contraction, self._maps = machine, pass_, contraction, maps
        self._work = {p.step: p.work for p in products if p.step in maps}
        self._steps = np.array(sorted(maps))
        self._known: dict[tuple[bytes, bytes], int] = {}

    def cycles(self, product: _Product) -> tuple[int, str]:
        """(cycles, "exact", "nearest" or "elastic")."""
        s = product.shape
        one = Folds.of(self._machine, s.m, s.n, s.k)
        folds = replace(one, count=one.count * product.repeats)
        constant = uniform_beat(self._machine, *product.bits)
        if constant is not None:
            return folds.cycles(folds.count * folds.steps * constant, self._time_trips), "exact"
        if not len(self._steps):
            elastic = -(-product.work // self._machine.units)
            return folds.cycles(int(elastic), self._time_trips), "elastic"
        nearest = int(self._steps[np.abs(self._steps - product.step).argmin()])
        compute = self._lockstep(nearest, product.repeats)
        if nearest == product.step:
            return folds.cycles(compute, self._time_trips), "exact"
        loss = compute / self._work[nearest] if self._work[nearest] else 0.0
        return folds.cycles(round(loss * product.work), self._time_trips), "nearest"

    def _lockstep(self, step: int, repeats: int) -> int:
        left, right = self._maps[step]
        key = (left.bits.tobytes(), right.bits.tobytes())
        if key not in self._known:
            batch = repeats if isinstance(self._contraction, Pairwise) else 1
            pairs = element_bits(self._pass, left, right, self._contraction, batch)
            self._known[key] = sum(lockstep_compute(self._machine, *bits) for bits in pairs)
        return self._known[key]


def _product_cost(
    machine: Accelerator, product: _Product, mapping: Mapping, array: _ArrayTime
) -> dict[str, Any]:
    s, times_over = product.shape, product.repeats
    array_cycles, origin = array.cycles(product)
    dram_bits = mapping.dram_bits(s) * times_over
    reads, writes = _buffer_accesses(machine, product, mapping.time_trips)
    spilled = (mapping.output_visits - 1) * s.m * s.n * s.output_bits * times_over
    fetched = {
        "left": mapping.left_loads * s.m * s.k * s.left_bits * times_over,
        "right": mapping.right_loads * s.k * s.n * s.right_bits * times_over,
        "output": spilled,
    }
    buffer_pj, buffer_bits, times = 0.0, 0.0, [dram_bits / machine.dram.bandwidth_bits_per_cycle]
    for level in machine.memory[1:]:
        read = sum(reads[o] for o in level.holds) + (spilled if "output" in level.holds else 0)
        written = sum(writes[o] + fetched[o] for o in level.holds)
        buffer_pj += read * level.read_energy_pj_per_bit + written * level.write_energy_pj_per_bit
        buffer_bits += read + written
        times.append((read + written) / level.bandwidth_bits_per_cycle)
    first = (
        mapping.tile_m * mapping.tile_k * s.left_bits
        + mapping.tile_k * mapping.tile_n * s.right_bits
    ) / machine.dram.bandwidth_bits_per_cycle
    overlapped = all(level.double_buffered for level in machine.memory[1:])
    memory_cycles = max(times) if overlapped else sum(times)
    busy = max(array_cycles + first, memory_cycles) if overlapped else array_cycles + memory_cycles
    dram = machine.dram
    return {
        "step": product.step, "operation": "product", "macs": s.m * s.n * s.k * times_over,
        "array_cycles": array_cycles, "elastic_cycles": product.work / machine.units,
        "memory_cycles": memory_cycles, "vector_cycles": 0.0,
        "cycles": float(np.ceil(busy)), "array_pj": product.energy_pj,
        "buffer_pj": buffer_pj,
        "dram_pj": (dram_bits - spilled) * dram.read_energy_pj_per_bit
        + spilled * dram.write_energy_pj_per_bit,
        "vector_pj": 0.0, "analytics_pj": 0.0,
        "dram_bits": dram_bits, "buffer_bits": buffer_bits, "maps": origin,
    }  # fmt: skip


def _buffer_accesses(
    machine: Accelerator, product: _Product, time_trips: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Bits that the array reads from and writes to the buffer of each operand.

    An operand that moves is read again for every fold across it; one that stays is read once for
    every tile along time; partial sums pass the output buffer once for every fold or tile in k.
    """
    s, flow, pe = product.shape, machine.flow, machine.pe
    spread: dict[str, int] = {
        flow.rows: machine.pe_array.rows * pe.tile,
        flow.columns: machine.pe_array.columns * pe.tile,
    }

    def folds(dimension: str) -> int:
        return -(-{"m": s.m, "n": s.n, "k": s.k}[dimension] // spread.get(dimension, 1))

    left = s.m * s.k * product.read_bits[0] * product.repeats
    right = s.k * s.n * product.read_bits[1] * product.repeats
    turns = time_trips if flow.time == "k" else folds("k")
    sums = float(s.m * s.n * s.output_bits * turns * product.repeats)
    reads = {
        "left": left * (time_trips if flow.left_stationary else folds("n")),
        "right": right * (time_trips if flow.right_stationary else folds("m")),
        "output": sums,  # partial sums read back, then the results by the vector unit
    }
    return reads, {"left": 0.0, "right": 0.0, "output": sums}


def _vectors(trace: Trace, machine: Accelerator) -> pd.DataFrame:
    v = trace.vectors
    spill = v["resident_bits"].where(v["resident_bits"] > machine.buffer("output").usable_bits, 0)
    work = _Elementwise(
        adds=v["elements"] * v["adds"],
        multiplies=v["elements"] * v["multiplies"],
        analytics=v["elements"] * 0,
        read_bits=v["read_bits"],
        write_bits=v["write_bits"],
        fetched_bits=v["stash_read_bits"] + spill,
        stored_bits=np.maximum(v["stash_write_bits"], spill),
    )
    names = v[["step", "layer", "pass"]].assign(operation="vector")
    return pd.concat([names, _elementwise(machine, work)], axis=1)


def _casts(trace: Trace, machine: Accelerator) -> pd.DataFrame:
    o = trace.operands
    elements = o["rows"] * o["columns"]
    stored = _stored(trace, machine)
    keys = zip(o["step"], o["layer"], o["role"], strict=True)
    work = _Elementwise(
        adds=elements,
        multiplies=elements * 0,
        analytics=elements * ANALYTICS_ADDS * (o["analysed"] > 0) + o["blocks"] * o["analysed"],
        read_bits=elements * o["source_bits"],
        write_bits=elements * 0,
        fetched_bits=(elements * o["source_bits"]).where(o["role"] == "weight", 0),
        stored_bits=pd.Series([stored[key] for key in keys], o.index),
    )
    passes = o["role"].map(lambda role: "backward" if role == "error" else "forward")
    names = o[["step", "layer"]].assign(**{"pass": passes, "operation": "cast"})
    return pd.concat([names, _elementwise(machine, work)], axis=1)


@dataclass(frozen=True, slots=True)
class _Elementwise:
    """Operations, bits moved on chip (read, write) and off-chip (fetched, stored), by row."""

    adds: pd.Series
    multiplies: pd.Series
    analytics: pd.Series
    read_bits: pd.Series
    write_bits: pd.Series
    fetched_bits: pd.Series
    stored_bits: pd.Series


def _elementwise(machine: Accelerator, w: _Elementwise) -> pd.DataFrame:
    unit, level, dram = machine.vector_unit, machine.buffer("output"), machine.dram
    vector_cycles = (w.adds + w.multiplies) / unit.lanes
    analytics_pj = w.analytics * unit.add_energy_pj
    if machine.analytics_unit is None:
        vector_cycles += w.analytics / unit.lanes
    else:
        beside = w.analytics / machine.analytics_unit.adders
        vector_cycles = np.maximum(vector_cycles, beside)
        analytics_pj = w.analytics * machine.analytics_unit.add_energy_pj
    dram_bits, buffer_bits = w.fetched_bits + w.stored_bits, w.read_bits + w.write_bits
    memory_cycles = np.maximum(
        dram_bits / dram.bandwidth_bits_per_cycle, buffer_bits / level.bandwidth_bits_per_cycle
    )
    return pd.DataFrame(
        {
            "macs": 0, "array_cycles": 0.0, "elastic_cycles": 0.0,
            "memory_cycles": memory_cycles, "vector_cycles": vector_cycles,
            "cycles": np.ceil(np.maximum(vector_cycles, memory_cycles)),
            "array_pj": 0.0,
            "buffer_pj": w.read_bits * level.read_energy_pj_per_bit
            + w.write_bits * level.write_energy_pj_per_bit,
            "dram_pj": w.fetched_bits * dram.read_energy_pj_per_bit
            + w.stored_bits * dram.write_energy_pj_per_bit,
            "vector_pj": w.adds * unit.add_energy_pj
            + w.multiplies * unit.multiply_energy_pj,
            "analytics_pj": analytics_pj,
            "dram_bits": dram_bits, "buffer_bits": buffer_bits, "maps": "",
        }
    )  # fmt: skip
