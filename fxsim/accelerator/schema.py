"""The accelerator's YAML. Every section carries the source of its numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from fxsim import yaml_reader
from fxsim.accelerator.dataflow import DATAFLOWS, Dataflow
from fxsim.accelerator.pe import PE, Text

Operand = Literal["left", "right", "output"]
OPERANDS: tuple[Operand, ...] = ("left", "right", "output")
Positive = Annotated[int, Field(ge=1)]
NotNegative = Annotated[float, Field(ge=0)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    source: Text


class Technology(_Section):
    """Process node [nm] and clock [Hz]."""

    node_nm: Annotated[float, Field(gt=0)]
    clock_hz: Annotated[float, Field(gt=0)]


class Array(_Section):
    """How many units stand in rows and columns."""

    rows: Positive
    columns: Positive


class DataflowSection(_Section):
    """The dataflow, by name."""

    kind: Literal["weight_stationary", "output_stationary", "input_stationary"]


class Sync(_Section):
    """How many rows and columns of units march together, finishing with the slowest block.

    Groups run apart within a fold; the fold ends with the slowest group.
    """

    rows: Positive
    columns: Positive


def _unlimited(value: object) -> object:
    return None if value == "unlimited" else value


class MemoryLevel(_Section):
    """A memory that holds operands of the product.

    capacity_bits : None ("unlimited") for the level outside the chip
    double_buffered : half of it holds the tile in use, half is being filled
    """

    name: Text
    holds: Annotated[tuple[Operand, ...], Field(min_length=1)]
    capacity_bits: Annotated[Positive | None, BeforeValidator(_unlimited)]
    bandwidth_bits_per_cycle: Annotated[float, Field(gt=0)]
    read_energy_pj_per_bit: NotNegative
    write_energy_pj_per_bit: NotNegative
    double_buffered: bool = True

    @property
    def usable_bits(self) -> int:
        """What a tile may occupy."""
        if self.capacity_bits is None:
            raise ValueError(f"{self.name} is unlimited")
        return self.capacity_bits // 2 if self.double_buffered else self.capacity_bits


class Packing(_Section):
    """How words are stored: `container_bits` 0 packs them densely, else each takes whole ones."""

    container_bits: Annotated[int, Field(ge=0, le=64)]

    def stored_bits(self, bits: int) -> int:
        """What one word takes."""
        if self.container_bits == 0:
            return bits
        return max(1, -(-bits // self.container_bits)) * self.container_bits


class VectorUnit(_Section):
    """Elementwise work: one add or multiply a lane and cycle, not overlapped with the array."""

    lanes: Positive
    add_energy_pj: NotNegative
    multiply_energy_pj: NotNegative


class AnalyticsUnit(_Section):
    """Adders that compute a block-wise policy's sensitivities while tensors are cast."""

    adders: Positive
    add_energy_pj: NotNegative


class Accelerator(BaseModel):
    """A machine. Memory levels stand from the outside in: one off-chip, then on-chip buffers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: Text
    source: Text
    technology: Technology
    pe_array: Array
    pe: PE
    dataflow: DataflowSection
    sync: Sync
    memory: Annotated[tuple[MemoryLevel, ...], Field(min_length=2)]
    packing: Packing
    vector_unit: VectorUnit
    analytics_unit: AnalyticsUnit | None = None

    @property
    def units(self) -> int:
        """Processing elements in the array."""
        return self.pe_array.rows * self.pe_array.columns

    @property
    def flow(self) -> Dataflow:
        """The dataflow's dimensions."""
        return DATAFLOWS[self.dataflow.kind]

    @property
    def dram(self) -> MemoryLevel:
        """The level outside the chip."""
        return self.memory[0]

    def buffer(self, operand: Operand) -> MemoryLevel:
        """The on-chip buffer of an operand."""
        return next(level for level in self.memory[1:] if operand in level.holds)

    @property
    def array_leakage_w(self) -> float:
        """Leakage power of all units [W]."""
        return self.units * self.pe.leakage_uw_per_unit * 1e-6

    @property
    def array_area_mm2(self) -> float:
        """Area of all units [mm2]; buffers and vector unit are not counted."""
        return self.units * self.pe.area_um2_per_unit * 1e-6


def load(path: Path) -> Accelerator:
    """Read an accelerator; every error names its line."""
    document = yaml_reader.read(path)
    machine = document.validate(Accelerator, "accelerator")
    for axis in ("rows", "columns"):
        size, together = getattr(machine.pe_array, axis), getattr(machine.sync, axis)
        if size % together:
            document.fail(
                ("sync", axis),
                f"sync.{axis} must divide pe_array.{axis} = {size}, not be {together}",
            )
    if machine.dram.capacity_bits is not None:
        document.fail(
            ("memory", 0, "capacity_bits"),
            "memory.0.capacity_bits must be 'unlimited' (the first level is off-chip),"
            f" not {machine.dram.capacity_bits}",
        )
    for i, level in enumerate(machine.memory[1:], 1):
        if level.capacity_bits is None:
            document.fail(
                ("memory", i, "capacity_bits"),
                f"memory.{i}.capacity_bits must be a number for an on-chip buffer, not 'unlimited'",
            )
    _check_homes(document, machine)
    return machine


def _check_homes(document: yaml_reader.Document, machine: Accelerator) -> None:
    for operand in OPERANDS:
        if operand not in machine.dram.holds:
            document.fail(
                ("memory", 0, "holds"),
                f"memory.0.holds must name left, right and output; {operand!r} is missing",
            )
        homes = [level.name for level in machine.memory[1:] if operand in level.holds]
        if len(homes) != 1:
            document.fail(
                ("memory",),
                f"memory: exactly one on-chip buffer must hold {operand!r},"
                f" not {len(homes)}{' (' + ', '.join(homes) + ')' if homes else ''}",
            )
