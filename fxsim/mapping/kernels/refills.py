"""How tiles come into a memory that has room for one alone, see `evaluation`."""

from fxsim.engine.jit import inlined, kernel
from fxsim.mapping.kernels.footprints import ceil_div, fetched, relevant, unique


@kernel
def write_refills(p, s):
    """Fill `refill` and `window`: how tiles come where a level has room for one alone.

    A word may be replaced after its last use: in the last turn of the loops on top of the tile that
    the operand does not have. What takes longer, the array waits for. Where the next tile has room
    beside the one in use, nothing waits. Results leave as the next sums begin.
    Source: ZigZag's model of memories that are not double-buffered, arXiv 2007.11360.
    """
    for level in range(p.levels - 1):
        for o in range(3):
            s.refill[level, o], s.window[level, o] = 0.0, 0.0
        if p.refilled[level] == 0 or s.alone:
            continue
        used = 0.0
        for o in range(3):
            if p.holds[level, o]:
                used += p.fit_bits[o] * s.tiles[level, o]
        if 2 * used <= p.capacity[level]:
            continue
        for o in range(2):
            if p.holds[level, o]:
                write_refill(level, o, p, s)


@inlined
def write_refill(level, o, p, s):
    """Of one operand: cycles for a bit of all its words, and the share of the array's time."""
    e, at, turns = s.extents, s.inside[level, o], 1
    i = at - 1
    while i >= 0 and not relevant(o, s.dims[i]):
        turns *= ceil_div(e[i + 1, s.dims[i]], e[i, s.dims[i]])
        i -= 1
    parent = level + 1
    while not p.holds[parent, o]:
        parent += 1
    words = fetched(o, level, at, p, s) * unique(o, level, p)
    copies = p.copies[level, o]
    times = 1 if p.multicast[parent] else copies
    s.refill[level, o] = max(
        words * copies / p.write_rate[level], words * times / p.read_rate[parent]
    )
    s.window[level, o] = 1 / turns


@inlined
def refill_cycles(bits, array, p, s):
    """Cycles in which the array waits for tiles to be replaced; bits : of a word, by operand."""
    waited = 0.0
    for level in range(p.levels - 1):
        if p.refilled[level]:
            for o in range(2):
                waited += max(bits[o] * s.refill[level, o] - array * s.window[level, o], 0.0)
    return waited
