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
        count *= len(pixels(axis, tile[outputs], tile[taps], nest))
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
                    shared = 0
                    if operand == "left" and keeps(problem, level) and not nest.flattened:
                        shared = shared_words(tile, before, extents, problem, level)
                    fetched += count - shared
                    came, largest = came + 1, max(largest, count)
                before = now
            found[level, operand] = fetched, came, largest
    return found


def keeps(problem, level):
    """Whether a level keeps the pixels that tiles which follow one another share."""
    return problem.record["keeps_halo"][problem.names.index(level)] == 1


def shared_words(tile, before, extents, problem, level):
    """Words that the tile before had, too, if this one follows it along one loop of the image."""
    if before is None:
        return 0
    last = dict(zip(relevant("left"), before, strict=True))
    differing = [d for d in relevant("left") if tile[d].start != last[d]]
    d = differing[0]
    if len(differing) > 1 or d not in ("OY", "OX", "FY", "FX"):
        return 0
    if tile[d].start != last[d] + extents[d]:
        return 0  # it began anew
    axis = 0 if d in ("OY", "FY") else 1
    index = problem.names.index(level)
    pair = [LOOPS.index(d) for d in (("OY", "FY"), ("OX", "FX"))[axis]]
    if problem.record["per_pe"][index] and any(problem.record["each"][index][pair] > 1):
        return 0  # other units have it
    nest = problem.nest
    earlier = {**tile, d: range(last[d], last[d] + extents[d])}
    both = 1
    for here, (outputs, taps) in enumerate((("OY", "FY"), ("OX", "FX"))):
        now, then = (pixels(here, each[outputs], each[taps], nest) for each in (tile, earlier))
        both *= len(now & then)
    return len(tile["B"]) * len(tile["C"]) * len(tile["G"]) * both


def pixels(axis, outputs, taps, nest):
    """Places of an image's real pixels along an axis."""
    spread = nest.upsampling[axis]
    places = {
        o * nest.stride[axis] + f * nest.dilation[axis] - nest.padding[axis]
        for o in outputs
        for f in taps
    }
    return {at for at in places if 0 <= at < nest.image[axis] * spread and at % spread == 0}


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
