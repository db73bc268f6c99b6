"""The mapper: tile sizes and loop order of one product under the buffers' capacities.

Exhaustive over its candidates: tiles of power-of-two multiples of the array's span (cut at the
dimension), and all six orders of the three tile loops. Deterministic.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from fxsim.accelerator.schema import Accelerator, Operand
from fxsim.errors import FxsimError

Ints = NDArray[np.int64]

_DIMENSIONS = ("m", "n", "k")
_INDEXED: dict[Operand, tuple[int, int]] = {"left": (0, 2), "right": (2, 1), "output": (0, 1)}


@dataclass(frozen=True, slots=True)
class ProductShape:
    """An m x k by k x n product and the average stored bits of an element of each operand."""

    m: int
    n: int
    k: int
    left_bits: float
    right_bits: float
    output_bits: int

    def element_bits(self, operand: Operand) -> float:
        """Average stored bits of one element."""
        return {"left": self.left_bits, "right": self.right_bits, "output": self.output_bits}[
            operand
        ]


@dataclass(frozen=True, slots=True)
class Mapping:
    """Tile sizes, the order of the tile loops (outermost first), and what follows from them.

    left_loads, right_loads : how many times each operand is fetched from off-chip, in all
    output_visits : how many times each result is worked on (more than 1: partial sums spill)
    time_trips : into how many tiles the dimension along time is cut: how often a fold's array is
        filled, drained, and loaded with the operand that stays
    """

    tile_m: int
    tile_n: int
    tile_k: int
    order: str
    left_loads: int
    right_loads: int
    output_visits: int
    time_trips: int = 1

    def dram_bits(self, shape: ProductShape) -> float:
        """Off-chip traffic: operands fetched, partial sums spilled and fetched back [bits]."""
        spills = 2 * (self.output_visits - 1) * shape.m * shape.n * shape.output_bits
        left = self.left_loads * shape.m * shape.k * shape.left_bits
        return left + self.right_loads * shape.k * shape.n * shape.right_bits + spills


def spans(machine: Accelerator) -> dict[str, int]:
    """How much of each dimension the array covers at once."""
    flow, tile = machine.flow, machine.pe.tile
    return {
        flow.rows: machine.pe_array.rows * tile,
        flow.columns: machine.pe_array.columns * tile,
        flow.time: tile,
    }


def _candidates(size: int, span: int) -> list[int]:
    found, tile = [], span
    while tile < size:
        found.append(tile)
        tile *= 2
    return [*found, size]


def _reloads(order: tuple[int, ...], trips: Ints, operand: Operand) -> Ints:
    """Fetches of each tile of an operand: trips of the irrelevant loops outside a relevant one."""
    count = np.ones(trips.shape[1], np.int64)
    relevant = _INDEXED[operand]
    for depth, dimension in enumerate(order):
        if dimension in relevant:
            continue
        inside = [d for d in order[depth + 1 :] if d in relevant]
        turning = np.any([trips[d] > 1 for d in inside], axis=0) if inside else np.False_
        count = np.where(turning, count * trips[dimension], count)
    return count


def best_mapping(
    machine: Accelerator, shape: ProductShape, what: str, largest: ProductShape | None = None
) -> Mapping:
    """The mapping with the least off-chip traffic.

    Of equals, the one that fills and drains the array least often, then the one whose first tiles
    come soonest. Tiles must fit with the operands of `largest` (`shape` if None); `what` names the
    product in errors.
    """
    span, fit = spans(machine), largest or shape
    sizes = (shape.m, shape.n, shape.k)
    options = [_candidates(size, span[d]) for size, d in zip(sizes, _DIMENSIONS, strict=True)]
    tiles = np.stack([axis.reshape(-1) for axis in np.meshgrid(*options, indexing="ij")])
    fits = np.ones(tiles.shape[1], bool)
    for level in machine.memory[1:]:
        need = sum(
            tiles[_INDEXED[o][0]] * tiles[_INDEXED[o][1]] * fit.element_bits(o) for o in level.holds
        )
        inside = need <= level.usable_bits
        if not inside.any():
            raise FxsimError(
                f"{what} does not fit {machine.name}: its smallest tile needs"
                f" {int(need.min())} bits in {level.name}, which has {level.usable_bits} usable;"
                f" {int(need.min()) - level.usable_bits} bits are lacking"
            )
        fits &= inside
    if not fits.any():
        raise FxsimError(f"{what} does not fit the buffers of {machine.name} at any tile size")
    tiles = tiles[:, fits]
    trips = -(-np.array(sizes)[:, None] // tiles)
    time_trips = trips[_DIMENSIONS.index(machine.flow.time)]
    first = tiles[2] * (tiles[0] * shape.left_bits + tiles[1] * shape.right_bits)
    found: list[tuple[float, int, float, Mapping]] = []
    for order in permutations(range(3)):
        left, right, output = (_reloads(order, trips, o) for o in ("left", "right", "output"))
        traffic = (
            left * float(shape.m * shape.k * shape.left_bits)
            + right * float(shape.k * shape.n * shape.right_bits)
            + 2.0 * (output - 1) * shape.m * shape.n * shape.output_bits
        )
        i = int(np.lexsort((first, time_trips, traffic))[0])
        m, n, k = (int(size) for size in tiles[:, i])
        loops, again = "".join(_DIMENSIONS[d] for d in order), int(time_trips[i])
        mapping = Mapping(m, n, k, loops, int(left[i]), int(right[i]), int(output[i]), again)
        found.append((float(traffic[i]), again, float(first[i]), mapping))
    return min(found, key=lambda option: option[:3])[3]
