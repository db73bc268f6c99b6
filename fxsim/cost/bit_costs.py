"""What the bits of each operand cost on a machine: the prices that a cost-aware policy weighs.

The whole model is asked, once per role and candidate: a recorded step is priced with one role's
operands at one word length and the others at a reference, on the machine's own mapping, memories
and packing. Lockstep is left out of these prices; the policy balances it block by block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from fxsim.cost.model import ENERGIES, price
from fxsim.cost.tile_cycles import Grid
from fxsim.hardware.accelerator import Accelerator
from fxsim.trace.reader import Trace

OBJECTIVES = ("cycles", "energy")
ROLES = ("weight", "activation", "error", "partner")
# of each role, the passes in which its rows (columns) lie along a spatial dimension, and which
BY_ROW = {
    "weight": ("forward", "n"),
    "activation": ("forward", "m"),
    "error": ("grad_input", "m"),
    "partner": ("forward", "n"),
}
BY_COLUMN = {
    "weight": ("grad_input", "n"),
    "activation": ("grad_weight", "m"),
    "error": ("grad_weight", "n"),
    "partner": ("grad_input", "n"),
}


@dataclass(frozen=True, slots=True)
class Prices:
    """Of one operand: its share of the step's cost at each candidate, by where it arises.

    by_row, by_column : in the products in which the rows (columns) of its matrix lie across the
        array, so that blocks of a row (column) hold up others; fixed : casts and traffic
    """

    fixed: tuple[float, ...]
    by_row: tuple[float, ...]
    by_column: tuple[float, ...]


def prices(
    trace: Trace, machine: Accelerator, candidates: Sequence[int], objective: str, reference: int
) -> dict[tuple[str, str], Prices]:
    """{(role, layer): prices}; weights under the layer that owns them.

    trace : of one step with one word length a role; reference : bits of the other roles
    """
    owners = trace.layers.set_index("layer")["weight_of"]
    cast = set(zip(trace.operands["role"], trace.operands["layer"], strict=True))
    whole = _cost(price(_with_bits(trace, "", 0, reference), machine).table, objective).sum()
    found: dict[tuple[str, str], dict[str, list[float]]] = {}
    for role in ROLES:
        for bits in candidates:
            table = price(_with_bits(trace, role, bits, reference), machine).table
            shares = _cost(table, objective) / whole
            for layer, parts in _parts(table, shares, role, owners).items():
                entry = found.setdefault((role, layer), {n: [] for n in parts})
                for name, share in parts.items():
                    entry[name].append(share)
    return {
        key: Prices(**{name: _rising(shares) for name, shares in parts.items()})
        for key, parts in found.items()
        if key in cast
    }


def _rising(shares: list[float]) -> tuple[float, ...]:
    """What each candidate costs beyond the first: never less than a narrower one."""
    extra = np.maximum.accumulate(np.array(shares) - shares[0])
    return tuple(float(share) for share in extra)


def _cost(table: pd.DataFrame, objective: str) -> pd.Series:
    return table["cycles"] if objective == "cycles" else table[list(ENERGIES)].sum(axis=1)


def _parts(
    table: pd.DataFrame, shares: pd.Series, role: str, owners: pd.Series
) -> dict[str, dict[str, float]]:
    """{layer: {part: share}} of the rows that a role's bits can change."""
    product = table["operation"] == "product"
    layer = table["layer"].where(~product | (role != "weight"), table["layer"].map(owners))
    by_row = product & (table["pass"] == BY_ROW[role][0])
    by_column = product & (table["pass"] == BY_COLUMN[role][0])
    fixed = table["operation"] == "cast"
    sums = {
        name: shares[mask].groupby(layer[mask]).sum()
        for name, mask in (("fixed", fixed), ("by_row", by_row), ("by_column", by_column))
    }
    return {
        str(name): {part: float(total.get(name, 0.0)) for part, total in sums.items()}
        for name in sums["by_row"].index.union(sums["by_column"].index, sort=False)
    }


def _with_bits(trace: Trace, role: str, bits: int, reference: int) -> Trace:
    """The trace as if a role's operands had `bits`, the others `reference`; padding included."""

    def of(kind: str) -> int:
        return bits if kind == role else reference

    p, o = trace.products, trace.operands
    products = p.assign(
        left_bits=[np.array([of(kind)]) for kind in p["left"]],
        right_bits=[np.array([of(kind)]) for kind in p["right"]],
        joint_macs=[np.array([int(joint.sum())]) for joint in p["joint_macs"]],
    )
    elements = o["rows"] * o["columns"]
    operands = o.assign(
        bits=[np.array([of(kind)]) for kind in o["role"]],
        elements_by_bits=[np.array([count]) for count in elements],
        word_bits=[of(kind) * count for kind, count in zip(o["role"], elements, strict=True)],
    )
    return replace(trace, products=products, operands=operands, maps=trace.maps.iloc[:0])


def groups(machine: Accelerator, role: str, block: tuple[int, int]) -> tuple[int, int]:
    """(block rows, block columns) that march together; 1 where time separates them."""
    grid, time = Grid.of(machine), machine.dataflow.time
    array = {grid.rows: machine.pe_array.rows, grid.columns: machine.pe_array.columns}
    span = {d: array.get(d, 1) * t for d, t in zip("mnk", grid.tile, strict=True)}
    found = []
    for where, size in ((BY_ROW[role], block[0]), (BY_COLUMN[role], block[1])):
        dimension = where[1]
        found.append(1 if dimension == time else max(span[dimension] // size, 1))
    return found[0], found[1]


def work(machine: Accelerator, candidates: Sequence[int], reference: int) -> list[int]:
    """What a product at each candidate keeps a unit busy, the partner at the reference."""
    return [machine.pe.work(bits, reference) for bits in candidates]
