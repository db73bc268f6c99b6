"""Accelerators as a person would draw them: memories above the array, then what it can do."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from fxsim.hardware.accelerator import Accelerator
from fxsim.hardware.memory import OPERANDS, MemoryLevel

WIDTH = 90
_COLUMN = 28  # of each operand's, at most
_PAIRS = ((16, 16), (8, 8), (8, 4), (4, 4), (2, 2))
_SECTIONS = (
    "technology",
    "pe_array",
    "pe",
    "dataflow",
    "sync",
    "packing",
    "vector_unit",
    "analytics_unit",
)
_OPERANDS = {"left": "left operand", "right": "right operand", "output": "sums"}
_ZEROS = {"execute": "worked off", "skip": "skipped"}


def text(machine: Accelerator) -> str:
    """The drawing, the peaks at several word lengths, and the sources.

    Parameters
    ----------
    machine : an accelerator

    Returns
    -------
    Lines of at most 90 columns.

    Examples
    --------
    >>> import fxsim
    >>> "left_buffer" in text(fxsim.machine("dynasty"))
    True
    """
    return "\n\n".join("\n".join(part) for part in parts(machine))


def parts(machine: Accelerator) -> tuple[list[str], list[str], list[str], list[str]]:
    """The parts of a machine's description.

    Parameters
    ----------
    machine : an accelerator

    Returns
    -------
    Lines of the head, the drawing, what it can do, and its sources.

    Examples
    --------
    >>> import fxsim
    >>> head, picture, abilities, listed = parts(fxsim.machine("dynasty"))
    >>> listed[0]
    'sources:'
    """
    listed = ["sources:"]
    for name, source in sources(machine):
        wrapped = textwrap.wrap(f"{name}: {source}", WIDTH - 4)
        listed += [f"  {wrapped[0]}", *(" " * 4 + line for line in wrapped[1:])]
    return _head(machine), _drawing(machine), _abilities(machine), listed


def sources(machine: Accelerator) -> list[tuple[str, str]]:
    """Where a machine's numbers come from.

    Parameters
    ----------
    machine : an accelerator

    Returns
    -------
    (part, source) of each section and memory level.

    Examples
    --------
    >>> import fxsim
    >>> sources(fxsim.machine("dynasty"))[0][0]
    'technology'
    """
    named = [(name, getattr(machine, name)) for name in _SECTIONS]
    named += [(level.name, level) for level in machine.memory]
    return [(name, part.source) for name, part in named if part is not None]


def size(bits: int | None) -> str:
    """A capacity as people write it.

    Parameters
    ----------
    bits : None: no limit [bits]

    Returns
    -------
    Text.

    Examples
    --------
    >>> size(262144), size(None)
    ('32 KiB', 'unlimited')
    """
    if bits is None:
        return "unlimited"
    for unit, scale in (("MiB", 1 << 23), ("KiB", 1 << 13), ("B", 8)):
        if bits >= scale:
            return f"{bits / scale:.4g} {unit}"
    return f"{bits} bit"


def _head(machine: Accelerator) -> list[str]:
    technology = machine.technology
    facts = f"{technology.node_nm:g} nm, {technology.clock_hz / 1e6:g} MHz"
    area = f", {machine.area_mm2:.3g} mm2" if machine.area_mm2 else ""
    return [f"{machine.name}: {facts}{area}", *textwrap.wrap(machine.source, WIDTH)]


def _box(lines: Sequence[str], width: int) -> list[str]:
    inside = width - 2
    return [
        "+" + "-" * inside + "+",
        *("|" + line[:inside].center(inside) + "|" for line in lines),
        "+" + "-" * inside + "+",
    ]


def _drawing(machine: Accelerator) -> list[str]:
    total = 3 * _COLUMN + 4
    lines: list[str] = []
    shared = [level for level in machine.memory if not level.per_pe]
    own = [level for level in machine.memory if level.per_pe]
    for row in _rows(shared):
        lines += _beside([(_span(level), _facts(level)) for level in row])
        lines.append(_arrows(row))
    array, pe = machine.pe_array, machine.pe
    inside = [
        f"array of {array.rows} x {array.columns} {pe.kind} units",
        pe.describes,
        f"{machine.dataflow.kind}: {_loops(machine, 'rows')} on rows, "
        f"{_loops(machine, 'columns')} on columns",
        _lockstep(machine),
        f"zeros between pixels of spread images: {_ZEROS[machine.dataflow.zero_insertion]}",
    ]
    for level in own:
        holds = ", ".join(_OPERANDS[o] for o in level.holds)
        inside.append(f"each with {level.name}: {size(level.capacity_bits)}, {holds}")
    if machine.dataflow.stationary:
        inside.append(f"each keeps a word of the {_OPERANDS[machine.dataflow.stationary]}")
    lines += _box(inside, total)
    lines.append("|".center(total))
    vector = machine.vector_unit
    beside = f"vector unit: {vector.lanes} lanes"
    if machine.analytics_unit:
        beside += f"; analytics unit: {machine.analytics_unit.adders} adders"
    return [*lines, *_box([beside], total)]


def _loops(machine: Accelerator, axis: str) -> str:
    names = [f"{loop}{f'={n}' if n else ''}" for loop, n in getattr(machine.dataflow, axis)]
    return " ".join(names)


def _lockstep(machine: Accelerator) -> str:
    rows, columns = machine.sync.rows, machine.sync.columns
    if rows == columns == 1:
        return "every unit runs for itself"
    return f"{rows} rows x {columns} columns run in lockstep"


def _rows(levels: Sequence[MemoryLevel]) -> list[list[MemoryLevel]]:
    """Levels side by side as long as they hold different operands."""
    rows: list[list[MemoryLevel]] = []
    for level in levels:
        first, columns = _span(level)
        places = set(range(first, first + columns))
        spans = [_span(other) for other in rows[-1]] if rows else []
        taken = {place for start, width in spans for place in range(start, start + width)}
        if rows and not taken & places:
            rows[-1].append(level)
        else:
            rows.append([level])
    return rows


def _span(level: MemoryLevel) -> tuple[int, int]:
    """The first column of a level's box, and how many it takes."""
    places = [OPERANDS.index(operand) for operand in level.holds]
    return min(places), max(places) - min(places) + 1


def _facts(level: MemoryLevel) -> list[str]:
    energies = {level.read_energy_pj_per_bit, level.write_energy_pj_per_bit}
    energy = "/".join(f"{e:.3g}" for e in sorted(energies))
    rate = f"{level.bandwidth_bits_per_cycle:g}"
    if level.write_bandwidth_bits_per_cycle:
        rate += f" + {level.write_bandwidth_bits_per_cycle:g}"
    double = ", double-buffered" if level.double_buffered and level.capacity_bits else ""
    apart = len(level.holds) < _span(level)[1]  # its box covers an operand that it does not hold
    holds = f" for {' and '.join(_OPERANDS[o] for o in level.holds)}" if apart else ""
    return [
        f"{level.name}{holds}",
        f"{size(level.capacity_bits)}{double}",
        f"{rate} bit/cycle",
        f"{energy} pJ/bit",
    ]


def _beside(boxes: Sequence[tuple[tuple[int, int], list[str]]]) -> list[str]:
    lines = [""] * 6
    for (first, columns), facts in sorted(boxes):
        start = first * (_COLUMN + 2)
        drawn = _box(facts, columns * _COLUMN + (columns - 1) * 2)
        lines = [line.ljust(start) + part for line, part in zip(lines, drawn, strict=True)]
    return lines


def _arrows(row: Sequence[MemoryLevel]) -> str:
    held = {operand for level in row for operand in level.holds}
    cells = [
        (
            f"{'^' if operand == 'output' else 'v'} {_OPERANDS[operand]}" if operand in held else ""
        ).center(_COLUMN)
        for operand in OPERANDS
    ]
    return "  ".join(cells).rstrip()


def _abilities(machine: Accelerator) -> list[str]:
    clock, pe = machine.technology.clock_hz, machine.pe
    rate = machine.dram.bandwidth_bits_per_cycle
    head = ("bits", "MACs a cycle", "TOPS", "pJ a MAC", "MACs a bit to balance")
    widths = (8, 14, 8, 10, 23)
    lines = [" ".join(word.rjust(width) for word, width in zip(head, widths, strict=True))]
    for a, b in _PAIRS:
        if max(a, b) > pe.max_bits:
            continue
        peak = machine.peak_macs(a, b)
        if peak and peak != float("inf"):
            lines.append(
                f"{f'{a} x {b}':>8} {peak:>14,.6g} {2 * peak * clock / 1e12:>8.3g}"
                f" {pe.energy_pj(a, b):>10.3g} {peak / rate:>23.3g}"
            )
    lines += [
        f"off-chip {rate * clock / 8e9:.3g} GB/s, leakage {machine.leakage_w * 1e3:.3g} mW,"
        f" at most {machine.peak_power_w():.3g} W",
    ]
    return lines
