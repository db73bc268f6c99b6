"""The specification of what a mapping moves: the loop nest, walked turn by turn.

It shares nothing with the kernels: tiles are ranges of turns, words are sets of coordinates, and a
level fetches when its tile is another than the one before.
"""

from __future__ import annotations

from itertools import product

LOOPS = ("B", "K", "C", "OY", "OX", "FY", "FX", "G")
OPERANDS = ("left", "right", "output")


def words(operand, tile, nest):
    """Words of a tile (a range of turns of each loop): real pixels only."""
    if operand == "right":
        return len(tile["K"]) * len(tile["C"]) * len(tile["FY"]) * len(tile["FX"]) * len(tile["G"])
    if operand == "output":
        return len(tile["B"]) * len(tile["K"]) * len(tile["OY"]) * len(tile["OX"]) * len(tile["G"])
    count = len(tile["B"]) * len(tile["C"]) * len(tile["G"])
    if nest.flattened:
        return count * len(tile["OY"]) * len(tile["OX"]) * len(tile["FY"]) * len(tile["FX"])
    for axis, (outputs, taps) in enumerate((("OY", "FY"), ("OX", "FX"))):
        pixels = nest.image[axis]
        places = {
            o * nest.stride + f * nest.dilation - nest.padding[axis]
            for o in tile[outputs]
            for f in tile[taps]
        }
        count *= sum(
            0 <= at < pixels * nest.upsampling and at % nest.upsampling == 0 for at in places
        )
    return count


def relevant(operand):
    return {
        "left": ("B", "C", "OY", "OX", "FY", "FX", "G"),
        "right": ("K", "C", "FY", "FX", "G"),
        "output": ("B", "K", "OY", "OX", "G"),
    }[operand]


def walk(problem, mapping):
    """{(level, operand): (words fetched into the level, how often a tile came, largest tile)}."""
    nest = problem.nest
    sizes = dict(zip(LOOPS, nest.sizes, strict=True))
    reached = {d: min(int(s), sizes[d]) for d, s in zip(LOOPS, problem.spatial, strict=True)}
    base = dict(reached)
    turns = []  # inner first: (loop, step, extent)
    for loop, extent in mapping.loops:
        turns.append((loop, reached[loop], extent))
        reached[loop] = extent
    found = {}
    for level, homes in mapping.inside.items():
        for operand, inside in homes.items():
            extents = base | {loop: extent for loop, _, extent in turns[:inside]}
            before, fetched, came, largest = None, 0, 0, 0
            for starts in _places(turns, sizes):
                tile = {}
                for d in LOOPS:
                    # where the tile that holds this turn begins
                    at = starts[d] - starts[d] % extents[d]
                    tile[d] = range(at, min(at + extents[d], sizes[d]))
                now = tuple(tile[d].start for d in relevant(operand))
                if now != before:
                    count = words(operand, tile, nest)
                    fetched, came, largest = fetched + count, came + 1, max(largest, count)
                before = now
            found[level, operand] = fetched, came, largest
    return found


def _places(turns, sizes):
    """The first turn of every loop, for each step of the array, in the order of the loops."""
    outer_first = list(reversed(turns))
    spans = []
    for loop, step, extent in outer_first:
        spans.append([(loop, i * step) for i in range(-(-extent // step))])
    for place in product(*spans):
        starts = dict.fromkeys(LOOPS, 0)
        for loop, offset in place:
            starts[loop] += offset
        if all(starts[d] < sizes[d] for d in LOOPS):
            yield starts
