"""Elementwise work and casts: the vector unit, what it moves, and a policy's analytics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from fxsim.cost.trace_arrays import TraceArrays
from fxsim.hardware.accelerator import Accelerator
from fxsim.identifiers import LAYER, OPERATION, PASS, ROLE, STEP, Operation, Pass, Role
from fxsim.trace.reader import Trace

ANALYTICS_ADDS = 2


@dataclass(frozen=True, slots=True)
class _Work:
    """Operations, bits moved on chip (read, write) and off-chip (fetched, stored), by row."""

    adds: pd.Series
    multiplies: pd.Series
    analytics: pd.Series
    read_bits: pd.Series
    write_bits: pd.Series
    fetched_bits: pd.Series
    stored_bits: pd.Series


def vectors(trace: Trace, machine: Accelerator) -> pd.DataFrame:
    """Costs of the elementwise layers and of the update, a row each as in the trace."""
    v = trace.vectors
    # activations leave the chip as 16-bit words; a float machine's are its format's; an update's
    # masters and momenta have 32 bits on both
    width = np.where(v[PASS] == Pass.UPDATE, 1.0, (machine.pe.word_bits or 16) / 16)
    usable = machine.buffer("output").usable_bits
    spill = v["resident_bits"].where(v["resident_bits"] > usable, 0)
    work = _Work(
        adds=v["elements"] * v["adds"],
        multiplies=v["elements"] * v["multiplies"],
        analytics=v["elements"] * 0,
        read_bits=v["read_bits"],
        write_bits=v["write_bits"],
        fetched_bits=(v["stash_read_bits"] + spill) * width,
        stored_bits=np.maximum(v["stash_write_bits"], spill) * width,
    )
    names = v[[STEP, LAYER, PASS]].assign(operation=Operation.VECTOR.value)
    return pd.concat([names, _costs(machine, work)], axis=1)


def casts(arrays: TraceArrays, machine: Accelerator) -> pd.DataFrame:
    """Costs of casting operands, a row each as in the trace; a float machine casts nothing.

    Weights that are stored as operands (inference) are not cast.
    """
    o = arrays.trace.operands
    o = o[o["source_bits"] > 0]
    if machine.pe.word_bits is not None:
        return _stores(o, machine)
    elements = o["rows"] * o["columns"]
    stored = pd.Series(0.0, o.index)
    for (layer, role), rows in o.groupby([LAYER, ROLE], sort=False):
        operand = arrays.operands[str(layer), str(role)]
        at = operand.at(rows[STEP].to_numpy(np.int64))
        stored.loc[rows.index] = operand.stored_bits(machine.packing)[at]
    work = _Work(
        adds=elements,
        multiplies=elements * 0,
        analytics=elements * ANALYTICS_ADDS * (o["analysed"] > 0) + o["blocks"] * o["analysed"],
        read_bits=elements * o["source_bits"],
        write_bits=elements * 0,
        fetched_bits=(elements * o["source_bits"]).where(o[ROLE] == Role.WEIGHT, 0),
        stored_bits=stored,
    )
    return pd.concat([_cast_names(o), _costs(machine, work)], axis=1)


def _stores(o: pd.DataFrame, machine: Accelerator) -> pd.DataFrame:
    """What a float machine does where an integer one casts: it stores the operand."""
    elements, nothing = o["rows"] * o["columns"], o["rows"] * 0
    stored = (elements * float(machine.pe.word_bits or 0)).where(o[ROLE] != Role.WEIGHT, 0)
    work = _Work(nothing, nothing, nothing, nothing, nothing, nothing, stored)
    return pd.concat([_cast_names(o), _costs(machine, work)], axis=1)


def _cast_names(operands: pd.DataFrame) -> pd.DataFrame:
    passes = np.where(operands[ROLE] == Role.ERROR, Pass.BACKWARD, Pass.FORWARD)
    return operands[[STEP, LAYER]].assign(**{PASS: passes, OPERATION: Operation.CAST.value})


def _costs(machine: Accelerator, w: _Work) -> pd.DataFrame:
    unit, level, dram = machine.vector_unit, machine.buffer("output"), machine.dram
    vector_cycles = (w.adds + w.multiplies) / unit.lanes
    analytics_pj = w.analytics * unit.add_energy_pj
    if machine.analytics_unit is None:
        vector_cycles += w.analytics / unit.lanes
    else:
        beside = w.analytics / machine.analytics_unit.adders
        vector_cycles = np.maximum(vector_cycles, beside)
        analytics_pj = w.analytics * machine.analytics_unit.add_energy_pj
    dram_cycles = _time(
        dram.bandwidth_bits_per_cycle,
        dram.write_bandwidth_bits_per_cycle,
        w.fetched_bits,
        w.stored_bits,
    )
    buffer_cycles = _time(
        level.bandwidth_bits_per_cycle,
        level.write_bandwidth_bits_per_cycle,
        w.read_bits,
        w.write_bits,
    )
    memory_cycles = np.maximum(dram_cycles, buffer_cycles)
    cycles = np.ceil(np.maximum(vector_cycles, memory_cycles))
    slow = np.where(dram_cycles >= buffer_cycles, dram.name, level.name)
    return pd.DataFrame(
        {
            "macs": 0,
            "cycles": cycles,
            "array_cycles": 0.0,
            "elastic_cycles": 0.0,
            "ragged_cycles": 0.0,
            "lockstep_cycles": 0.0,
            "fill_cycles": 0.0,
            "stall_cycles": cycles - vector_cycles,
            "memory_cycles": memory_cycles,
            "vector_cycles": vector_cycles,
            "array_pj": 0.0,
            "buffer_pj": w.read_bits * level.read_energy_pj_per_bit
            + w.write_bits * level.write_energy_pj_per_bit,
            "dram_pj": w.fetched_bits * dram.read_energy_pj_per_bit
            + w.stored_bits * dram.write_energy_pj_per_bit,
            "vector_pj": w.adds * unit.add_energy_pj + w.multiplies * unit.multiply_energy_pj,
            "analytics_pj": analytics_pj,
            "dram_bits": w.fetched_bits + w.stored_bits,
            "buffer_bits": w.read_bits + w.write_bits,
            "maps": "",
            "bound_by": np.where(vector_cycles >= memory_cycles, "vector unit", slow),
            "fetched_bits": w.fetched_bits,
            "stored_bits": w.stored_bits,
            "read_bits": w.read_bits,
            "write_bits": w.write_bits,
        }
    )


def _time(
    read_rate: float, write_rate: float | None, read: pd.Series, written: pd.Series
) -> pd.Series:
    if write_rate is None:
        return (read + written) / read_rate
    return np.maximum(read / read_rate, written / write_rate)
