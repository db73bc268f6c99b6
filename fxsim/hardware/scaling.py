"""A machine in another technology: an explicit step, never done in silence.

Source: Stillmaker and Baas, "Scaling equations for the accurate prediction of CMOS device
performance from 180 nm to 7 nm", Integration 58, 2017, doi 10.1016/j.vlsi.2017.02.002: area by the
matrix of table 1, energy by the quadratic in the supply of each node, a V^2 + b V + c, of the
high-performance family throughout (as in github.com/wromaszkan/nodeScale, commit 0676b74; the 32 nm
row is that of the authors' erratum, 0.8367, -0.4341, 0.1701). Nodes between two of theirs are
interpolated, geometrically, which is ours.

On-chip energies, areas and leakage are scaled; cycles, the clock, and off-chip memory are not.
"""

from __future__ import annotations

from math import exp, log
from typing import Any

from fxsim.errors import ConfigError
from fxsim.hardware.accelerator import Accelerator
from fxsim.hardware.section import Section, unit_of

NODES = (180, 130, 90, 65, 45, 32, 20, 16, 14, 10, 7)
_ENERGY = {
    180: (0.0, 24.64, -17.98),
    130: (7.171, -6.709, 2.904),
    90: (4.762, -4.781, 2.092),
    65: (3.755, -4.398, 1.975),
    45: (1.018, -0.3107, 0.1539),
    32: (0.8367, -0.4341, 0.1701),
    20: (0.373, -0.1582, 0.04104),
    16: (0.2958, -0.1241, 0.03024),
    14: (0.2363, -0.09675, 0.02239),
    10: (0.2068, -0.09311, 0.02375),
    7: (0.1776, -0.09097, 0.02447),
}
# usual supplies [V]: 45, 14, 10 and 7 nm as in the tables that use these equations; the others
# from memory of the predictive technology models
SUPPLY = {
    180: 1.8,
    130: 1.3,
    90: 1.2,
    65: 1.1,
    45: 1.0,
    32: 0.9,
    20: 0.9,
    16: 0.85,
    14: 0.8,
    10: 0.75,
    7: 0.7,
}
# area of a circuit in each column's node, if it is 1 in the row's
_AREA = (
    (1, 0.34, 0.15, 0.08, 0.053, 0.025, 0.011, 0.01, 0.0093, 0.0055, 0.0032),
    (2.9, 1, 0.44, 0.23, 0.16, 0.072, 0.033, 0.03, 0.027, 0.016, 0.0092),
    (6.6, 2.3, 1, 0.53, 0.35, 0.16, 0.075, 0.067, 0.061, 0.036, 0.021),
    (12, 4.3, 1.9, 1, 0.66, 0.31, 0.14, 0.13, 0.12, 0.068, 0.039),
    (19, 6.4, 2.8, 1.5, 1, 0.46, 0.21, 0.19, 0.17, 0.1, 0.059),
    (40, 14, 6.1, 3.3, 2.2, 1, 0.46, 0.41, 0.38, 0.22, 0.13),
    (88, 30, 13, 7.1, 4.7, 2.2, 1, 0.89, 0.82, 0.48, 0.28),
    (99, 34, 15, 7.9, 5.3, 2.4, 1.1, 1, 0.91, 0.54, 0.31),
    (110, 37, 16, 8.7, 5.8, 2.7, 1.2, 1.1, 1, 0.59, 0.34),
    (180, 63, 28, 15, 9.8, 4.5, 2.1, 1.9, 1.7, 1, 0.58),
    (320, 110, 48, 25, 17, 7.8, 3.6, 3.2, 2.9, 1.7, 1),
)


def energy_factor(node: int, supply_v: float) -> float:
    """The energy polynomial of a node of the table.

    Parameters
    ----------
    node : of `NODES` [nm]
    supply_v : the supply [V]

    Returns
    -------
    A relative energy.

    Examples
    --------
    >>> round(energy_factor(45, 1.0), 4)
    0.8612
    """
    a, b, c = _ENERGY[node]
    return a * supply_v**2 + b * supply_v + c


def _between(node_nm: float) -> tuple[int, int, float]:
    """(larger node, smaller node, how far towards the smaller one, on a logarithmic scale)."""
    if not NODES[-1] <= node_nm <= NODES[0]:
        raise ConfigError(
            f"technology scaling: the node must be from {NODES[-1]} to {NODES[0]} nm,"
            f" not {node_nm:g}"
        )
    larger = min(n for n in NODES if n >= node_nm)
    smaller = max(n for n in NODES if n <= node_nm)
    if larger == smaller:
        return larger, smaller, 0.0
    return larger, smaller, log(larger / node_nm) / log(larger / smaller)


def energy_at(node_nm: float, supply_v: float | None) -> float:
    """Relative energy at a node and supply.

    Parameters
    ----------
    node_nm : from 7 to 180 [nm]
    supply_v : the supply [V]; None: the node's usual one

    Returns
    -------
    A relative energy; between two nodes of the table, interpolated geometrically.

    Raises
    ------
    ConfigError : for a node or supply that the equations were not fitted to

    Examples
    --------
    >>> energy_at(7, None) < energy_at(45, None)
    True
    """
    larger, smaller, share = _between(node_nm)
    ends = [energy_factor(n, supply_v if supply_v else SUPPLY[n]) for n in (larger, smaller)]
    if min(ends) <= 0:
        raise ConfigError(
            f"technology scaling: {supply_v:g} V is outside what the equations for"
            f" {node_nm:g} nm were fitted to"
        )
    return exp(log(ends[0]) * (1 - share) + log(ends[1]) * share)


def area_ratio(from_nm: float, to_nm: float) -> float:
    """Area at one node of what has an area of 1 at another.

    Parameters
    ----------
    from_nm, to_nm : from 7 to 180 [nm]

    Returns
    -------
    The ratio.

    Raises
    ------
    ConfigError : for a node outside the table

    Examples
    --------
    >>> round(area_ratio(45, 7), 3)
    0.059
    """
    rows, columns = _between(from_nm), _between(to_nm)

    def entry(row: int, column: int) -> float:
        return log(_AREA[NODES.index(row)][NODES.index(column)])

    def along(row: int) -> float:
        return entry(row, columns[0]) * (1 - columns[2]) + entry(row, columns[1]) * columns[2]

    return exp(along(rows[0]) * (1 - rows[2]) + along(rows[1]) * rows[2])


def scaled(machine: Accelerator, to_nm: float, supply_v: float | None = None) -> Accelerator:
    """Move a machine to another node: on-chip energies, areas, and leakage with the energy.

    Parameters
    ----------
    machine : the machine at its own node
    to_nm : the new node [nm]
    supply_v : the supply there [V]; None: the node's usual one

    Returns
    -------
    The machine with every on-chip number scaled whose unit says so (`fxsim.hardware.section.Unit`).
    Cycles, the clock and off-chip memory stay as they are; each scaled section's source says it.

    Raises
    ------
    ConfigError : for a node or supply that the equations were not fitted to

    Examples
    --------
    >>> import fxsim
    >>> machine = fxsim.machine("dynasty")
    >>> small = scaled(machine, 7)
    >>> small.pe.area_um2_per_unit < machine.pe.area_um2_per_unit
    True
    """
    tech = machine.technology
    factors = {
        "energy": energy_at(to_nm, supply_v) / energy_at(tech.node_nm, tech.supply_v),
        "area": area_ratio(tech.node_nm, to_nm),
    }
    note = f"; scaled from {tech.node_nm:g} to {to_nm:g} nm, Stillmaker and Baas 2017"
    sections = {
        name: _scaled_section(section, factors, note)
        for name in type(machine).model_fields
        if isinstance(section := getattr(machine, name), Section)
    }
    on_chip = [_scaled_section(level, factors, note) for level in machine.memory[1:]]
    moved = {"node_nm": to_nm, "supply_v": supply_v, "source": tech.source + note}
    return machine.model_copy(
        update={
            **sections,
            "technology": tech.model_copy(update=moved),
            "memory": (machine.dram, *on_chip),
        }
    )


def _scaled_section(section: Section, factors: dict[str, float], note: str) -> Section:
    """A section with the numbers scaled whose units say so; its source says it if any were."""
    changes: dict[str, Any] = {}
    for name in type(section).model_fields:
        unit = unit_of(type(section), name)
        if unit is not None and unit.scales is not None:
            changes[name] = getattr(section, name) * factors[unit.scales]
    if not changes:
        return section
    return section.model_copy(update={**changes, "source": section.source + note})
