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

from fxsim.cost.model import ENERGIES, evaluate_cost
from fxsim.cost.tile_cycles import Grid
from fxsim.hardware.accelerator import Accelerator
from fxsim.identifiers import LAYER, OPERATION, PASS, ROLE, Operation, Pass, Role
from fxsim.trace.reader import Trace

OBJECTIVES = ("cycles", "energy")
ROLES = (Role.WEIGHT, Role.ACTIVATION, Role.ERROR, Role.PARTNER)
# of each role, the passes in which its rows (columns) lie along a spatial dimension, and which
BY_ROW = {
    Role.WEIGHT: (Pass.FORWARD, "n"),
    Role.ACTIVATION: (Pass.FORWARD, "m"),
    Role.ERROR: (Pass.GRAD_INPUT, "m"),
    Role.PARTNER: (Pass.FORWARD, "n"),
}
BY_COLUMN = {
    Role.WEIGHT: (Pass.GRAD_INPUT, "n"),
    Role.ACTIVATION: (Pass.GRAD_WEIGHT, "m"),
    Role.ERROR: (Pass.GRAD_WEIGHT, "n"),
    Role.PARTNER: (Pass.GRAD_INPUT, "n"),
}


@dataclass(frozen=True, slots=True)
class BitCosts:
    """Of one operand: its share of the step's cost at each candidate, by where it arises.

    by_row, by_column : in the products in which the rows (columns) of its matrix lie across the
        array, so that blocks of a row (column) hold up others; fixed : casts and traffic
    """

    fixed: tuple[float, ...]
    by_row: tuple[float, ...]
    by_column: tuple[float, ...]


def bit_costs(
    trace: Trace, machine: Accelerator, candidates: Sequence[int], objective: str, reference: int
) -> dict[tuple[str, str], BitCosts]:
    """{(role, layer): prices}; weights under the layer that owns them.

    trace : of one step with one word length a role; reference : bits of the other roles
    """
    owners = trace.layers.set_index(LAYER)["weight_of"]
    cast = set(zip(trace.operands[ROLE], trace.operands[LAYER], strict=True))
    whole = _cost(
        evaluate_cost(_with_bits(trace, None, 0, reference), machine).table, objective
    ).sum()
    shares_by_operand: dict[tuple[str, str], dict[str, list[float]]] = {}
    for role in ROLES:
        for bits in candidates:
            table = evaluate_cost(_with_bits(trace, role, bits, reference), machine).table
            shares = _cost(table, objective) / whole
            for layer, parts in _parts(table, shares, role, owners).items():
                entry = shares_by_operand.setdefault((role, layer), {n: [] for n in parts})
                for name, share in parts.items():
                    entry[name].append(share)
    return {
        key: BitCosts(**{name: _rising(shares) for name, shares in parts.items()})
        for key, parts in shares_by_operand.items()
        if key in cast
    }


def _rising(shares: list[float]) -> tuple[float, ...]:
    """What each candidate costs beyond the first: never less than a narrower one."""
    extra = np.maximum.accumulate(np.array(shares) - shares[0])
    return tuple(float(share) for share in extra)


def _cost(table: pd.DataFrame, objective: str) -> pd.Series:
    return table["cycles"] if objective == "cycles" else table[list(ENERGIES)].sum(axis=1)


def _parts(
    table: pd.DataFrame, shares: pd.Series, role: Role, owners: pd.Series
) -> dict[str, dict[str, float]]:
    """{layer: {part: share}} of the rows that a role's bits can change."""
    product = table[OPERATION] == Operation.PRODUCT
    layer = table[LAYER].where(~product | (role != Role.WEIGHT), table[LAYER].map(owners))
    by_row = product & (table[PASS] == BY_ROW[role][0])
    by_column = product & (table[PASS] == BY_COLUMN[role][0])
    fixed = table[OPERATION] == Operation.CAST
    sums = {
        name: shares[mask].groupby(layer[mask]).sum()
        for name, mask in (("fixed", fixed), ("by_row", by_row), ("by_column", by_column))
    }
    return {
        str(name): {part: float(total.get(name, 0.0)) for part, total in sums.items()}
        for name in sums["by_row"].index.union(sums["by_column"].index, sort=False)
    }


def _with_bits(trace: Trace, role: Role | None, bits: int, reference: int) -> Trace:
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
        bits=[np.array([of(kind)]) for kind in o[ROLE]],
        elements_by_bits=[np.array([count]) for count in elements],
        word_bits=[of(kind) * count for kind, count in zip(o[ROLE], elements, strict=True)],
    )
    return replace(trace, products=products, operands=operands, maps=trace.maps.iloc[:0])


def groups(machine: Accelerator, role: Role, block: tuple[int, int]) -> tuple[int, int]:
    """(block rows, block columns) that run in lockstep; 1 where time separates them."""
    grid, time = Grid.of(machine), machine.dataflow.time
    array = {grid.rows: machine.pe_array.rows, grid.columns: machine.pe_array.columns}
    span = {d: array.get(d, 1) * t for d, t in zip("mnk", grid.tile, strict=True)}
    sizes = []
    for where, size in ((BY_ROW[role], block[0]), (BY_COLUMN[role], block[1])):
        dimension = where[1]
        sizes.append(1 if dimension == time else max(span[dimension] // size, 1))
    return sizes[0], sizes[1]


def sub_operations(machine: Accelerator, candidates: Sequence[int], reference: int) -> list[int]:
    """What a product at each candidate keeps a unit busy, the partner at the reference."""
    return [machine.pe.sub_operations(bits, reference) for bits in candidates]
