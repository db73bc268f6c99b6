"""The mapper: tile sizes and loop orders with the least cycles, energy or their product.

The loops between two memory stages form a block. Which of the three classes of loops (m, n, k)
turns innermost decides which operand stays, so a block has six orders, of which the repetitions
are left out; G stands outside of all, since every operand depends on it. Each operand is then kept
at each level as long as it fits (uneven mappings); where that may cost others room, or time to load
it whole, all ways to take less are tried as well, and where the array waits for a memory with one
buffer, tiles that leave room for the next.

One stage of buffers, and tiles few enough for the budget: all tiles with all orders, exhaustive
over its candidates, which neither capacities nor bandwidths change: more of them never costs more.
Otherwise evenly fewer tiles, then axis by axis with all of theirs, until none improves; with more
stages, one boundary after another, the others fixed. Where the result is far from its bound, pairs
of axes change together, the outermost loops are permuted for the tiles beside the best, and all
begins again with more tiles. What may be missed is bounded by `SearchResult.bound`.
All objectives are followed in one search, so none is beaten by what another finds. The same input
always gives the same mapping: there is no clock and no random number in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations, product
from typing import Literal

import numpy as np

from fxsim.mapping.bound import lower_bound
from fxsim.mapping.candidates import AXES, candidates, stages, thinned
from fxsim.mapping.kernels import layout, search
from fxsim.mapping.mapping import Mapping
from fxsim.mapping.nest import DIMENSIONS
from fxsim.mapping.problem import Movement, Problem

Objective = Literal["cycles", "energy", "edp"]
OBJECTIVES: tuple[Objective, ...] = ("cycles", "energy", "edp")
BUDGET = 24_000  # mappings of one boundary, before its axes are searched one by one
_CLASSES = np.array([[4, 3, 0], [1, -1, -1], [6, 5, 2]], np.int64)  # m, n, k: inner loop first
_ORDERS = np.array(list(permutations(range(3))), np.int64)
MOST_PERMUTED = 6
_SWEEPS = 4
_NEAR = 1.1  # times the bound: what is nearer is not worth further moves
_MORE = 4  # times the budget, where it is not


@dataclass(frozen=True, slots=True, eq=False)
class SearchResult:
    """The mapper's answer.

    cycles, energy_pj : of the product at the problem's average word lengths; energy of memories
        and units, leakage included
    bound_cycles, bound_energy_pj : below which no mapping can be
    evaluated : how many mappings were tried; complete : whether that was all of the candidates;
        with off-chip bursts it is not, as a shorter run of words may fill them better
    """

    mapping: Mapping
    movement: Movement
    cycles: float
    energy_pj: float
    bound_cycles: float
    bound_energy_pj: float
    evaluated: int
    complete: bool

    def cost(self, objective: Objective) -> float:
        """What an objective is: cycles, energy [pJ], or their product.

        Parameters
        ----------
        objective : "cycles", "energy" or "edp"

        Returns
        -------
        The number that the mapper makes least.

        Examples
        --------
        >>> import fxsim
        >>> (_, search), *_ = fxsim.estimate("lenet5", "dynasty", batch=2).searches
        >>> search.cost("edp") == search.cycles * search.energy_pj
        True
        """
        parts = {"cycles": self.cycles, "energy": self.energy_pj}
        return parts[objective] if objective != "edp" else self.cycles * self.energy_pj

    def bound(self, objective: Objective) -> float:
        """How far the mapping can be from the best there is.

        Parameters
        ----------
        objective : "cycles", "energy" or "edp"

        Returns
        -------
        At most how many times the best cost this one is; 1: it is the best there is.

        Examples
        --------
        >>> import fxsim
        >>> (_, search), *_ = fxsim.estimate("lenet5", "dynasty", batch=2).searches
        >>> search.bound("edp") == search.bound("cycles") * search.bound("energy")
        True
        """
        parts = {
            "cycles": self.cycles / self.bound_cycles,
            "energy": self.energy_pj / self.bound_energy_pj,
        }
        return parts[objective] if objective != "edp" else parts["cycles"] * parts["energy"]


class _Search:
    """One search for the best mappings by all objectives.

    Whichever of them is asked for, the same mappings are tried, and each takes its best of all.
    """

    def __init__(self, problem: Problem, budget: int) -> None:
        self.problem, self.stages, self.least = problem, stages(problem), lower_bound(problem)
        self.blocks = len(self.stages) + 1
        self.axes = candidates(problem, every=True)
        boundaries = 2 * (self.blocks - 1) if self.blocks > 2 else 1  # searched from both ends
        self.budget = budget // boundaries**2  # of one boundary
        self.thin = thinned(self.axes, self.budget)
        if self.thin != self.axes:
            self.axes = candidates(problem, every=False)
            self.thin = thinned(self.axes, self.budget)
        self.exhaustive = self.blocks == 2 and self.thin == self.axes
        # where tiles are whole, an order of one side is good with few of the other
        self.together = self.exhaustive or problem.machine.dataflow.tiles == "whole"
        self.evaluated, self.done = 0, set[object]()
        self.state = layout.state()
        plan = self.plan = layout.record(search.PLAN)
        plan["blocks"] = self.blocks
        plan["classes"], plan["axes"], plan["best"] = _CLASSES, AXES, np.inf
        self.bounds, self.orders, self.stage = plan["bounds"], plan["orders"], plan["stage"]
        self.counts, self.candidates = plan["counts"], plan["candidates"]
        self.best, self.best_bounds = plan["best"], plan["best_bounds"]
        self.best_orders = plan["best_orders"]

    def _try(self, at: int, axes: dict[int, list[tuple[int, int]]], together: bool) -> None:
        """Search one boundary, the others as they are: these tiles, the present ones elsewhere."""
        tile = self.bounds[at]
        self.candidates[:, 0, 0] = tile[AXES[:, 0]]
        self.candidates[:, 0, 1] = np.where(AXES[:, 1] < 0, 1, tile[AXES[:, 1]])
        self.counts[:] = 1
        for i, axis in axes.items():
            self.counts[i] = len(axis)
            self.candidates[i, : len(axis)] = axis
        self.stage[:] = self.stages[at - 1]
        self.evaluated += search.search_boundary(
            at, together, _ORDERS, self.plan, self.problem.record, self.state
        )

    def _best_of(self, leader: int) -> bytes:
        """Go on from the best by an objective, if there is one; its mark."""
        if self.best[leader, 0] < np.inf:
            self.bounds[:] = self.best_bounds[leader]
            self.orders[:] = self.best_orders[leader]
        return bytes(self.bounds.tobytes() + self.orders.tobytes())

    def run(self) -> None:
        """Search; anew with more tiles where the result is far from its bound."""
        self._search()
        if self.exhaustive or max(map(self._gap, range(len(OBJECTIVES)))) <= _NEAR:
            return
        plan, first = self.plan, self.plan.copy()
        plan["best"] = np.inf
        self.thin, self.done = thinned(self.axes, _MORE * self.budget), set()
        self._search()
        for number in range(len(OBJECTIVES)):
            if tuple(first["best"][number]) <= tuple(plan["best"][number]):
                for name in search.BEST:
                    plan[name][number] = first[name][number]

    def _search(self) -> None:
        """From few tiles of every boundary to the best of all objectives."""
        inner_first = list(range(1, self.blocks))
        starts = [inner_first] if self.blocks == 2 else [inner_first, inner_first[::-1]]
        plan = self.plan
        plan["greedy"] = 1
        for leader, sequence in product(range(len(OBJECTIVES)), starts):
            self.bounds[:] = np.minimum(self.problem.spatial, self.problem.sizes)
            self.bounds[self.blocks] = self.problem.sizes
            self.orders[:] = (2, 0, 1)
            start = self.bounds.tobytes()
            for at in sequence:
                if (at, start) not in self.done:
                    self.done.add((at, start))
                    self._try(at, dict(enumerate(self.thin)), self.together)
                start = self._best_of(leader)
        plan["greedy"] = 0
        if self.exhaustive and self.problem.record["choices"]:
            # what beats the best so far is little, now that this is good
            self._try(1, dict(enumerate(self.thin)), self.together)
        for leader in range(0 if self.exhaustive else len(OBJECTIVES)):
            for _ in range(_SWEEPS):
                start = self._best_of(leader)
                if start in self.done:
                    break
                self.done.add(start)
                self._sweep(leader)
                if self._best_of(leader) == start and self._gap(leader) > _NEAR:
                    self._change_pairs(leader)
        for leader in range(len(OBJECTIVES)):
            self._best_of(leader)
            if self.exhaustive or self._gap(leader) > _NEAR:
                self._permute()
            if not self.exhaustive and self._gap(leader) > _NEAR:
                for at, i in product(inner_first, range(len(self.axes))):
                    self._best_of(leader)
                    for tile in self._next(at, i):
                        self._best_of(leader)
                        if self._take(at, i, tile):
                            self._permute()

    def _sweep(self, leader: int) -> None:
        """One axis after another at every boundary, from the leader's best."""
        for at in range(1, self.blocks):
            for i, axis in enumerate(self.axes):
                if len(axis) > 1:
                    self._best_of(leader)
                    self._try(at, {i: axis}, self.together)
            self._best_of(leader)
            self._try(at, {}, True)

    def _change_pairs(self, leader: int) -> None:
        """Two axes at once, each at one boundary to the next tile up or down."""
        places = list(product(range(1, self.blocks), range(len(self.axes))))
        for at, i in places:
            self._best_of(leader)
            for tile in self._next(at, i):
                for other, j in places:
                    if j != i and (following := self._next(other, j)):
                        self._best_of(leader)
                        if self._take(at, i, tile):
                            self._try(other, {j: following}, False)

    def _take(self, at: int, axis: int, tile: tuple[int, int]) -> bool:
        """A tile of an axis, with smaller ones outside it and larger ones inside it taken along.

        False if those then do not cut each other into whole ones.
        """
        for loop, turns in zip(AXES[axis], tile, strict=True):
            if loop >= 0:
                inside, outside = self.bounds[1:at, loop], self.bounds[at : self.blocks, loop]
                np.minimum(inside, turns, out=inside)
                np.maximum(outside, turns, out=outside)
                self.bounds[at, loop] = turns
        return bool(search.all_nested(self.plan, self.problem.record))

    def _next(self, at: int, axis: int) -> list[tuple[int, int]]:
        """The candidates beside the present tile of an axis."""
        one, two = AXES[axis]
        present = int(self.bounds[at, one]), int(self.bounds[at, two]) if two >= 0 else 1
        tiles = self.axes[axis]
        if present not in tiles:
            return []
        place = tiles.index(present)
        return [tiles[n] for n in (place - 1, place + 1) if 0 <= n < len(tiles)]

    def _gap(self, leader: int) -> float:
        """How many times the least that may be an objective's best costs."""
        cycles, energy = self.least
        return float(self.best[leader, 0] / (cycles, energy, cycles * energy)[leader])

    def _permute(self) -> None:
        """Try all orders of the outermost loops of the present tiles."""
        plan, state = self.plan, self.state
        start = search.write_loops(plan, self.blocks - 1, state)
        loops = search.write_loops(plan, self.blocks, state)
        state["first"] = start if self.problem.machine.dataflow.tiles == "whole" else 0
        dims, ends = state["dims"][:loops].copy(), state["ends"][:loops].copy()
        nest = (dims.tobytes(), ends.tobytes())
        if 1 < loops - start <= MOST_PERMUTED and nest not in self.done:
            self.done.add(nest)
            orders = np.array(list(permutations(range(loops - start))), np.int64)
            self.evaluated += search.search_orders(
                dims, ends, start, orders, plan, self.problem.record, state
            )

    def mapping(self, objective: Objective) -> Mapping:
        """The best by an objective."""
        plan, number = self.plan, OBJECTIVES.index(objective)
        loops = int(plan["best_loops"][number])
        pairs = zip(
            plan["best_dims"][number, :loops], plan["best_ends"][number, :loops], strict=True
        )
        return Mapping(
            tuple((DIMENSIONS[d], int(extent)) for d, extent in pairs),
            int(plan["best_first"][number]),
            self.problem.homes(plan["best_inside"][number]),
        )


def best_mapping(
    problem: Problem, objective: Objective = "cycles", budget: int = BUDGET
) -> SearchResult:
    """The best mapping of a problem that the mapper finds.

    Parameters
    ----------
    problem : a nest at its word lengths, on a machine
    objective : what is minimised: "cycles", "energy" or "edp"
    budget : how many mappings of one boundary are tried, before its axes are searched one by one

    Returns
    -------
    The mapping, what it costs, and what no mapping can beat. The same input gives the same mapping.

    Raises
    ------
    ConfigError : if not even the smallest tile fits the machine

    Examples
    --------
    >>> import fxsim
    >>> from fxsim.mapping.nest import Nest
    >>> from fxsim.mapping.problem import WordBits
    >>> problem = Problem(fxsim.machine("dynasty"), Nest.matrix(64, 32, 16), WordBits(8, 8, 32))
    >>> best_mapping(problem).bound("cycles") < 1.1
    True
    """
    problem.check_fits()
    machine, searching = problem.machine, _Search(problem, budget)
    searching.run()
    movement, mapping, cycles, energy_pj = problem.movement(searching.mapping(objective))
    least_cycles, least_pj = searching.least
    return SearchResult(
        mapping,
        movement,
        cycles,
        energy_pj,
        least_cycles,
        least_pj,
        searching.evaluated,
        searching.exhaustive and not searching.plan["cut"] and machine.dram.burst_bits == 1,
    )
