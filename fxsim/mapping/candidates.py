"""Tiles and stages that the mapper tries.

Tiles are multiples of what the array covers: powers of two of it, halves, thirds and quarters of
the loop (all, where there are few), squares and strips of images.
"""

from __future__ import annotations

import numpy as np

from fxsim.hardware.accelerator import RESERVED as REGISTERS
from fxsim.mapping.kernels import search
from fxsim.mapping.problem import Problem

# loops whose tiles are chosen together, -1 where it is one
AXES = np.array([[0, -1], [1, -1], [2, -1], [3, 4], [5, 6], [7, -1]], np.int64)
_FEW_TURNS = 8  # all tiles of a loop of so many are candidates
_ORDERS_EACH = 8  # orders that a tile is tried with, about


def stages(problem: Problem) -> list[tuple[int, int, int]]:
    """On-chip memory stages, inner first.

    Parameters
    ----------
    problem : a nest on a machine

    Returns
    -------
    The level that each operand (left, right, output) has at each stage, -1 if none.

    Examples
    --------
    >>> import fxsim
    >>> from fxsim.mapping.nest import Nest
    >>> from fxsim.mapping.problem import WordBits
    >>> problem = Problem(fxsim.machine("dynasty"), Nest.matrix(64, 32, 16), WordBits(8, 8, 32))
    >>> len(stages(problem))
    1
    """
    stages_: list[list[int]] = []
    for level in range(len(problem.names) - 1):
        if problem.names[level] == REGISTERS:
            continue
        held = [o for o in range(3) if problem.holds[level, o]]
        if not stages_ or any(stages_[-1][o] >= 0 for o in held):
            stages_.append([-1, -1, -1])
        for o in held:
            stages_[-1][o] = level
    return [(left, right, output) for left, right, output in stages_]


def _tiles(size: int, base: int, every: bool) -> list[int]:
    """Candidates along one loop: multiples of `base` up to `size`, of few turns `every` one."""
    base = min(base, size)
    turns = -(-size // base)
    tiles = {base, size}
    tile = base
    while tile < size:
        tiles.add(tile)
        tile *= 2
    tiles |= {min(base * -(-turns // parts), size) for parts in (2, 3, 4)}
    if every and turns <= _FEW_TURNS:
        tiles |= {min(base * n, size) for n in range(1, turns)}
    return sorted(tiles)


def _paired(sizes: tuple[int, int], bases: tuple[int, int], every: bool) -> list[tuple[int, int]]:
    """Candidates of two loops at once: both alike, or strips whole in the second."""
    first, second = (_tiles(sizes[i], bases[i], every) for i in (0, 1))
    pairs = {(tile, sizes[1]) for tile in first} | {(bases[0], tile) for tile in second}
    for tile in first:
        pairs.add((tile, max(t for t in second if t <= max(tile, second[0]))))
    return sorted(pairs)


Axes = list[list[tuple[int, int]]]


def candidates(problem: Problem, every: bool) -> Axes:
    """Candidate tiles by axis.

    Parameters
    ----------
    problem : a nest on a machine
    every : all tiles of the loops that have few turns

    Returns
    -------
    For each of `AXES`, (tile of its first loop, tile of its second or 1).

    Examples
    --------
    >>> import fxsim
    >>> from fxsim.mapping.nest import Nest
    >>> from fxsim.mapping.problem import WordBits
    >>> problem = Problem(fxsim.machine("dynasty"), Nest.matrix(64, 32, 16), WordBits(8, 8, 32))
    >>> len(candidates(problem, every=False))
    6
    """
    sizes = [int(n) for n in problem.sizes]
    bases = [int(n) for n in np.minimum(problem.spatial, problem.sizes)]
    axes: Axes = []
    for one, other in AXES:
        if other < 0:
            axes.append([(tile, 1) for tile in _tiles(sizes[one], bases[one], every)])
        else:
            pair = (sizes[one], sizes[other]), (bases[one], bases[other])
            axes.append(
                [(min(a, sizes[one]), min(b, sizes[other])) for a, b in _paired(*pair, every)]
            )
    return axes


def thinned(axes: Axes, budget: int) -> Axes:
    """The candidates, evenly fewer until all their combinations are within a budget.

    Parameters
    ----------
    axes : see `candidates`
    budget : combinations of tiles and orders

    Returns
    -------
    Fewer, or the same.

    Examples
    --------
    >>> thinned([[(tile, 1) for tile in range(1, 9)]], budget=32)
    [[(1, 1), (5, 1), (8, 1)]]
    """
    axes = list(axes)
    for i, axis in enumerate(axes):
        while len(axis) > search.MOST_CANDIDATES:
            axis = axis[:-1:2] + axis[-1:]
        axes[i] = axis
    while np.prod([len(axis) for axis in axes]) * _ORDERS_EACH > budget:
        longest = max(range(len(axes)), key=lambda i: len(axes[i]))
        if len(axes[longest]) <= 3:
            break
        axes[longest] = axes[longest][:-1:2] + axes[longest][-1:]
    return axes
