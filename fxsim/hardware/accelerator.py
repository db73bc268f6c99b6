"""The accelerator's YAML. Every section carries the source of its numbers."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from fxsim.config import yaml_document
from fxsim.config.names import GivenName
from fxsim.display import Displayed
from fxsim.hardware.dataflow import LETTER, Dataflow, Operand
from fxsim.hardware.memory import OPERANDS, MemoryLevel, Packing
from fxsim.hardware.pe import PE
from fxsim.hardware.section import AreaMm2, EnergyPj, Positive, Section, Text, Unit, quantity

__all__ = ["OPERANDS", "Accelerator", "MemoryLevel", "Operand", "Packing", "load"]


MOST_LEVELS = 8  # that the mapper's kernels take, registers among them
RESERVED = "registers"


_SMALLEST_BUFFER = 1024  # bits that a memory of all units holds at least, usually


class Technology(Section):
    """Process node [nm], clock [Hz], and supply [V], which scaling to another node needs."""

    node_nm: Annotated[float, quantity(Unit.NM, gt=0)]
    clock_hz: Annotated[float, quantity(Unit.HZ, gt=0)]
    supply_v: Annotated[float | None, quantity(Unit.V, gt=0, le=5)] = None


class Array(Section):
    """How many units stand in rows and columns.

    stagger_columns : where a nest has one window only, the columns take its steps in turn, one
        cycle apart (fully connected layers on Stripes and its successors)
    """

    rows: Positive
    columns: Positive
    stagger_columns: bool = False


class Sync(Section):
    """How many rows and columns of units run in lockstep, finishing with the slowest block.

    Groups run apart within a fold; the fold ends with the slowest group.
    """

    rows: Positive
    columns: Positive


class VectorUnit(Section):
    """Elementwise work: one add or multiply a lane and cycle, not overlapped with the array."""

    lanes: Positive
    add_energy_pj: EnergyPj
    multiply_energy_pj: EnergyPj
    area_mm2: AreaMm2 = 0.0


class AnalyticsUnit(Section):
    """Adders that compute a block-wise policy's sensitivities while tensors are cast."""

    adders: Positive
    add_energy_pj: EnergyPj


class Results(Section):
    """Whether products leave their results on chip, for the vector unit, or store them off-chip.

    stored_bits : of a result that is stored; None ("consumed") where the vector unit takes it
    first_read : sums (or biases) are fetched at the first visit, too
    """

    stored_bits: Annotated[int, Field(ge=1, le=64)] | None = None
    first_read: bool = False


class Accelerator(BaseModel, Displayed):
    """A machine. Memory levels stand from the outside in: one off-chip, then on-chip ones."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: GivenName
    source: Text
    technology: Technology
    pe_array: Array
    pe: PE
    dataflow: Dataflow
    sync: Sync
    memory: Annotated[tuple[MemoryLevel, ...], Field(min_length=2)]
    packing: Packing
    vector_unit: VectorUnit
    analytics_unit: AnalyticsUnit | None = None
    results: Results = Results(source="default: the vector unit takes results from their buffer")

    @property
    def sha256(self) -> str:
        """A hash of everything but name and source: equal hashes give equal prices."""
        data = self.model_dump(exclude={"name", "source"})
        text = json.dumps(data, sort_keys=True, default=sorted)  # sets have no order of their own
        return hashlib.sha256(text.encode()).hexdigest()

    def doubts(self) -> list[str]:
        """Where its numbers are such as machines hardly have, a line each.

        Returns
        -------
        Lines; none of a usual machine.

        Examples
        --------
        >>> import fxsim
        >>> fxsim.machine("dynasty", {"technology.clock_hz": 1e6}).doubts()
        ['technology.clock_hz is 1e+06 Hz; 1e+07 to 1e+10 is usual']
        """
        sections: dict[str, Section] = {
            name: value for name, value in self if isinstance(value, Section)
        }
        sections |= {f"memory.{level.name}": level for level in self.memory}
        lines = [
            f"{part}.{name} is {why}"
            for part, section in sections.items()
            for name, why in section.doubts()
        ]
        for level in self.memory[1:]:
            shared = not level.per_pe and level.capacity_bits is not None
            if shared and (level.capacity_bits or 0) < _SMALLEST_BUFFER:
                lines.append(f"memory.{level.name}.capacity_bits is {level.capacity_bits} of all")
        if not self.dram.read_energy_pj_per_bit and any(
            level.read_energy_pj_per_bit for level in self.memory
        ):
            lines.append(f"memory.{self.dram.name}: reading off-chip costs no energy")
        return lines

    @property
    def units(self) -> int:
        """Processing elements in the array."""
        return self.pe_array.rows * self.pe_array.columns

    @property
    def dram(self) -> MemoryLevel:
        """The level outside the chip."""
        return self.memory[0]

    def buffer(self, operand: Operand) -> MemoryLevel:
        """The outermost on-chip level of an operand, which the vector unit works on.

        Parameters
        ----------
        operand : "left", "right" or "output"

        Returns
        -------
        The memory level.

        Examples
        --------
        >>> import fxsim
        >>> fxsim.machine("dynasty").buffer("left").name
        'left_buffer'
        """
        return next(level for level in self.memory[1:] if operand in level.holds)

    @property
    def leakage_w(self) -> float:
        """Leakage power of units and memories [W]."""
        units = self.units * self.pe.leakage_uw_per_unit * 1e-6
        memories = sum(
            level.leakage_mw * (self.units if level.per_pe else 1) for level in self.memory
        )
        return units + memories * 1e-3

    @property
    def leakage_pj_per_cycle(self) -> float:
        """Leakage energy in a clock cycle [pJ]."""
        return self.leakage_w / self.technology.clock_hz * 1e12

    @property
    def array_area_mm2(self) -> float:
        """Area of all units [mm2]."""
        return self.units * self.pe.area_um2_per_unit * 1e-6

    @property
    def area_mm2(self) -> float:
        """Area of units, memories and vector unit, as far as their areas are given [mm2]."""
        memories = sum(
            level.area_mm2 * (self.units if level.per_pe else 1) for level in self.memory[1:]
        )
        return self.array_area_mm2 + memories + self.vector_unit.area_mm2

    def peak_macs(self, bits_a: int, bits_b: int) -> float:
        """Multiply-accumulates a cycle at some word lengths, every unit at work.

        Parameters
        ----------
        bits_a, bits_b : of the operands [bits]

        Returns
        -------
        A number; infinite where such words take no time.

        Examples
        --------
        >>> import fxsim
        >>> fxsim.machine("int8_systolic").peak_macs(8, 8)
        256.0
        """
        work = self.pe.sub_operations(bits_a, bits_b)
        return self.units * self.pe.sub_operations_per_cycle / work if work else float("inf")

    def peak_power_w(self) -> float:
        """Power with all units and ports at work at once, and leakage.

        Returns
        -------
        [W].

        Examples
        --------
        >>> import fxsim
        >>> machine = fxsim.machine("dynasty")
        >>> machine.peak_power_w() > machine.leakage_w
        True
        """
        pj = self.units * self.pe.energy_pj_per_unit_cycle
        for level in self.memory:
            read = level.bandwidth_bits_per_cycle * level.read_energy_pj_per_bit
            rate = level.write_bandwidth_bits_per_cycle
            write = (rate or level.bandwidth_bits_per_cycle) * level.write_energy_pj_per_bit
            pj += max(read, write) if rate is None else read + write
        pj += self.vector_unit.lanes * self.vector_unit.multiply_energy_pj
        return pj * 1e-12 * self.technology.clock_hz + self.leakage_w


def load(source: str | Path | yaml_document.Document) -> Accelerator:
    """Read an accelerator.

    Parameters
    ----------
    source : a YAML file, or one that has been read

    Returns
    -------
    The machine.

    Raises
    ------
    ConfigError : for what is no machine, naming its line

    Examples
    --------
    >>> from fxsim.config import resources
    >>> load(resources.find("accelerators", "dynasty")).units
    16
    """
    document = yaml_document.read(source)
    machine = document.validate(Accelerator, "accelerator")
    for axis in ("rows", "columns"):
        size, together = getattr(machine.pe_array, axis), getattr(machine.sync, axis)
        if size % together:
            document.fail(
                ("sync", axis),
                f"sync.{axis} must divide pe_array.{axis} = {size}, not be {together}",
            )
        _check_axis(document, machine, axis)
    if machine.dram.capacity_bits is not None:
        document.fail(
            ("memory", 0, "capacity_bits"),
            "memory.0.capacity_bits must be 'unlimited' (the first level is off-chip),"
            f" not {machine.dram.capacity_bits}",
        )
    _check_levels(document, machine)
    _check_units(document, machine)
    return machine


def _check_units(document: yaml_document.Document, machine: Accelerator) -> None:
    flow, pe = machine.dataflow, machine.pe
    if flow.tiles == "whole" and flow.stationary is not None:
        document.fail(
            ("dataflow", "stationary"),
            "dataflow.stationary must be null where tiles are whole (sums stay for a tile),"
            f" not {flow.stationary!r}",
        )
    if machine.pe_array.stagger_columns and flow.letter(flow.columns) != "m":
        document.fail(
            ("pe_array", "stagger_columns"),
            "pe_array.stagger_columns must be false where the columns unroll no loop of the"
            " windows (B, OY, OX)",
        )
    if pe.skip_zero_words and (pe.statistic("left") or pe.statistic("right")):
        document.fail(
            ("pe", "skip_zero_words"),
            "pe.skip_zero_words must be empty for units whose time follows the data: zero words"
            " take the least time as it is",
        )
    for i, level in enumerate(machine.memory[1:], 1):
        words = {o: _unit_words(machine, o) for o in level.holds}
        need = sum(n * (16 if o == "output" else 8) for o, n in words.items())
        if level.usable_bits < need:
            document.fail(
                ("memory", i, "capacity_bits"),
                f"memory.{i}.capacity_bits: {level.name!r} has {level.usable_bits} usable bits, one"
                f" unit's step takes {need} (8 bits a word, 16 a sum)",
            )


def _unit_words(machine: Accelerator, operand: Operand) -> int:
    """Words of an operand in one unit's step."""
    absent = {"left": "n", "right": "m", "output": "k"}[operand]
    words = machine.pe.tile**2
    for loop, lanes in machine.pe.lanes.items():
        words *= lanes if LETTER[loop] != absent else 1
    return words


def _check_axis(document: yaml_document.Document, machine: Accelerator, axis: str) -> None:
    product, loops = 1, [loop for loop, _ in getattr(machine.dataflow, axis)]
    if len(set(loops)) < len(loops):
        document.fail(("dataflow", axis), f"dataflow.{axis} must name each loop once")
    for _, fixed in getattr(machine.dataflow, axis):
        product *= fixed or 1
    if product > getattr(machine.pe_array, axis):
        document.fail(
            ("dataflow", axis),
            f"dataflow.{axis} unrolls {product} turns; pe_array.{axis} ="
            f" {getattr(machine.pe_array, axis)} is all there is",
        )


def _check_levels(document: yaml_document.Document, machine: Accelerator) -> None:
    names = [level.name for level in machine.memory]
    most = MOST_LEVELS - (machine.dataflow.stationary is not None)
    if len(names) > most:
        document.fail(("memory", most), f"memory must have at most {most} levels, not {len(names)}")
    seen_per_pe = False
    for i, level in enumerate(machine.memory):
        if level.name == RESERVED:
            document.fail(
                ("memory", i, "name"),
                f"memory.{i}.name must not be {RESERVED!r}, which is the"
                " stationary operand's place in the units",
            )
        if len(set(level.holds)) < len(level.holds):
            document.fail(("memory", i, "holds"), f"memory.{i}.holds must name each operand once")
        if level.name in names[:i]:
            document.fail(("memory", i, "name"), f"memory.{i}.name: {level.name!r} is given twice")
        if i and level.capacity_bits is None:
            document.fail(
                ("memory", i, "capacity_bits"),
                f"memory.{i}.capacity_bits must be a number for an on-chip buffer, not 'unlimited'",
            )
        if seen_per_pe and not level.per_pe:
            document.fail(
                ("memory", i, "name"),
                f"memory.{i}: {level.name!r} is shared by the array, so it must stand before the"
                " units' own (per_pe) levels",
            )
        seen_per_pe = level.per_pe
    if machine.dram.per_pe:
        document.fail(("memory", 0, "per_pe"), "memory.0.per_pe must be false for off-chip memory")
    for operand in OPERANDS:
        if operand not in machine.dram.holds:
            document.fail(
                ("memory", 0, "holds"),
                f"memory.0.holds must name left, right and output; {operand!r} is missing",
            )
        homes = [level for level in machine.memory[1:] if operand in level.holds]
        if not homes or (operand == "output" and homes[0].per_pe):
            shared = " that the array shares" if operand == "output" else ""
            document.fail(
                ("memory",),
                f"memory: at least one on-chip buffer{shared} must hold {operand!r};"
                " none does, so it has no home",
            )
