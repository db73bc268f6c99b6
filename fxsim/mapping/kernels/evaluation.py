"""What one mapping moves, and how long that takes.

Operands are 0 left, 1 right, 2 output; loops are numbered as in `fxsim.mapping.nest.DIMENSIONS`;
memory levels run from the innermost to the outermost, which is off-chip. A problem `p` and the
state `s` of its evaluation are records, see `fxsim.mapping.kernels.layout`.
"""

import numpy as np

from fxsim.engine.jit import inlined, kernel
from fxsim.mapping.kernels.footprints import (
    ceil_div,
    fetched,
    footprint,
    held,
    relevant,
    run,
    unique,
)
from fxsim.mapping.kernels.layout import (
    BUSY_CYCLES,
    CYCLES,
    EACH,
    ENERGY,
    FOLDS,
    MEMORY_CYCLES,
    MEMORY_PJ,
    OUTSIDE,
    RESULTS,
    STEPS,
)
from fxsim.mapping.kernels.refills import refill_cycles, write_refills


@kernel
def write_extents(p, s):
    """Fill the table of extents: row i has i loops inside."""
    e = s.extents
    for d in range(8):
        e[0, d] = min(p.spatial[d], p.sizes[d])
        e[0, EACH + d] = ceil_div(e[0, d], p.units[d])
        e[0, OUTSIDE + d] = ceil_div(p.sizes[d], e[0, d])
    for i in range(s.loops):
        for column in range(24):
            e[i + 1, column] = e[i, column]
        d = s.dims[i]
        e[i + 1, d] = s.ends[i]
        e[i + 1, EACH + d] = ceil_div(s.ends[i], p.units[d])
        e[i + 1, OUTSIDE + d] = ceil_div(p.sizes[d], s.ends[i])


@inlined
def room(level, p, s):
    """What tiles may occupy of a level."""
    return p.capacity[level] / 2 if s.halved and p.refilled[level] else p.capacity[level]


@kernel
def fits_outside(level, chosen, p, s):
    """Whether the levels outside can hold what lies inside them now, with one loop more."""
    for outer in range(level + 1, p.levels - 1):
        if p.holds[outer, chosen]:
            used = 0.0
            for o in range(3):
                if p.holds[outer, o] and (o == chosen or s.alone == 0):
                    at = s.now[o] + 1 if o == chosen else s.now[o]
                    used += p.fit_bits[o] * held(o, outer, at, p, s)
            if used > room(outer, p, s):
                return False
    return True


@inlined
def most_inside(operand, level, p, s):
    """The loops that may lie inside a level's tile, which lies in those of the levels outside."""
    most = s.most[level, operand]
    for outer in range(level + 1, p.levels - 1):
        if p.holds[outer, operand]:
            most = min(most, s.most[outer, operand])
    return most


@kernel
def allocate(p, s):
    """How many loops lie inside each level's tile of each operand: as many as fit, inner first.

    At most `most` of them, unless another would cost no room. Where operands share a level, those
    with fewer loops inside grow first; an inner level grows no further than the levels outside it
    allow. False if not even the innermost tile fits.
    """
    for o in range(3):
        s.now[o] = 0
    for level in range(p.levels - 1):
        used, growing = 0.0, 0
        for o in range(3):
            if not p.holds[level, o]:
                continue
            if p.whole and p.per_pe[level] == 0:
                s.now[o] = max(s.now[o], s.first)
            s.now[o] = max(s.now[o], p.fixed[level, o])
            s.tiles[level, o] = held(o, level, s.now[o], p, s)
            used += p.fit_bits[o] * s.tiles[level, o]
            growing |= 1 << o
        if used > room(level, p, s) and s.alone == 0:
            return False
        while growing:
            chosen = -1
            for o in range(3):
                if growing >> o & 1 and (chosen < 0 or s.now[o] < s.now[chosen]):
                    chosen = o
            at = s.now[chosen]
            if at == s.loops:
                growing ^= 1 << chosen
            elif not relevant(chosen, s.dims[at]):
                s.now[chosen] = at + 1
            elif p.fixed[level, chosen] >= 0 or at >= most_inside(chosen, level, p, s):
                growing ^= 1 << chosen
            else:
                words = held(chosen, level, at + 1, p, s)
                more = p.fit_bits[chosen] * (words - s.tiles[level, chosen])
                taken = p.fit_bits[chosen] * s.tiles[level, chosen] if s.alone else used
                if taken + more <= room(level, p, s) and fits_outside(level, chosen, p, s):
                    used += more
                    s.tiles[level, chosen] = words
                    s.now[chosen] = at + 1
                else:
                    growing ^= 1 << chosen
        for o in range(3):
            if p.holds[level, o]:
                s.inside[level, o] = s.now[o]
    for o in range(3):
        s.inside[p.levels - 1, o] = s.loops
    return True


@inlined
def first_tile(operand, level, p, s):
    """Words that are there before the first step; whole tiles wait for all that is kept."""
    if p.whole:
        return held(operand, level, s.first, p, s) if s.alone else s.tiles[level, operand]
    if p.per_pe[level]:
        return float(footprint(operand, p, s, s.first, 0))
    return min(held(operand, level, s.first, p, s), s.tiles[level, operand])


@kernel
def prepare(p):
    """Fill in what no mapping changes where tiles are exact.

    steps : of the array. once : words of each operand's matrix. taken : words that units take from
    (or give to) a level if it is the nearest. copies : how many units get the same word
    """
    p.steps = 1
    for d in range(8):
        p.steps *= ceil_div(p.sizes[d], p.spatial[d])
    for o in range(3):
        p.once[o] = 1
        for d in range(8):
            if relevant(o, d):
                p.once[o] *= p.sizes[d]
        for level in range(p.levels):
            p.copies[level, o] = 1
            p.taken[level, o] = p.once[o]
            for d in range(8):
                if relevant(o, d):
                    continue
                own = p.each[level, d] > 1
                if own:
                    p.copies[level, o] *= min(p.each[level, d], ceil_div(p.sizes[d], p.unit[d]))
                own |= not p.multicast[level]
                p.taken[level, o] *= ceil_div(p.sizes[d], p.unit[d] if own else p.spatial[d])


@kernel
def prepare_whole(p, s):
    """`prepare` for whole tiles: edges are worked off in full.

    Units take their own words (nothing is multicast); sums enter the array once a tile, and leave
    it once.
    """
    p.steps = 1
    for d in range(8):
        tile = s.extents[s.first, d]
        tiles = ceil_div(p.sizes[d], tile)
        s.done[d] = tiles * tile
        p.steps *= tiles * ceil_div(tile, p.spatial[d])
    for level in range(p.levels):
        for o in range(2):
            p.taken[level, o] = 1
            for d in range(8):
                each = relevant(o, d)
                p.taken[level, o] *= s.done[d] if each else ceil_div(s.done[d], p.unit[d])
        p.taken[level, 2] = 1
        for d in range(8):
            tiles = s.done[d] // s.extents[s.first, d]
            p.taken[level, 2] *= s.done[d] if relevant(2, d) else tiles


@kernel
def count(p, s):
    """Fill `moved`, `loaded`, `stored`, and the steps and folds of `result`; False if it won't fit.

    Of the output, sums are counted: results that are stored off-chip with a length of their own
    are not among them.
    """
    write_extents(p, s)
    if not allocate(p, s):
        return False
    top = p.levels - 1
    for o in range(3):
        s.loaded[o], s.stored[o] = 0.0, 0.0
        for level in range(p.levels):
            s.moved[level, o, 0], s.moved[level, o, 1] = 0.0, 0.0
    if p.whole:
        prepare_whole(p, s)
    folds, results = 1, p.once[2]
    stored = p.result_bits > 0
    for o in range(3):
        innermost = True
        for level in range(top):
            if not p.holds[level, o]:
                continue
            parent = level + 1
            while not p.holds[parent, o]:
                parent += 1
            at = s.inside[level, o]
            words = fetched(o, level, at, p, s)
            if innermost:
                if o == p.stationary:
                    for d in range(8):
                        folds *= s.extents[at, OUTSIDE + d]
                s.moved[level, o, 0] += p.taken[level, o]
                if o == 2:
                    if not (p.first_read or p.whole):
                        begun = words * p.copies[level, o] if p.per_pe[level] else results
                        s.moved[level, o, 0] -= begun
                    s.moved[level, o, 1] += p.taken[level, o]
                innermost = False
            if o < 2:
                through = words * unique(o, level, p)
                s.moved[level, o, 1] += through * p.copies[level, o]
                times = 1 if p.multicast[parent] else p.copies[level, o]
                s.moved[parent, o, 0] += through * times
                if parent == top:
                    s.loaded[o] = first_tile(o, level, p, s) * times
                continue
            restored = words if p.first_read else words - results
            handed_on = words if p.first_read or parent < top else words - results
            # units that reduce together each give their sum; what comes back goes to one of them
            s.moved[level, o, 0] += (words if stored else handed_on) * p.copies[level, o]
            s.moved[level, o, 1] += restored
            s.moved[parent, o, 0] += restored
            s.moved[parent, o, 1] += handed_on
            if parent == top:
                tile = first_tile(o, level, p, s)
                s.loaded[o] = tile if p.first_read else 0.0
                s.stored[o] = tile if stored else 0.0
    write_refills(p, s)
    s.result[STEPS] = p.steps
    s.result[FOLDS] = folds
    s.result[RESULTS] = results
    return True


@inlined
def port_time(level, read, written, p):
    """Cycles in which a level's port (or ports) moves so many bits."""
    if p.shared_port[level]:
        return (read + written) / p.read_rate[level]
    return max(read / p.read_rate[level], written / p.write_rate[level])


@inlined
def time_and_energy(load, store, array, p, s):
    """Fill cycles and memories' energy [pJ] of `result`, and each level's, from its port's bits.

    `s.read` and `s.written` are bits by level. load, store : bits off-chip before the first step,
    and after the last; array : cycles of the array. What runs beside the array takes the longest of
    all; what does not, the sum.
    """
    top = p.levels - 1
    energy, beside, after = 0.0, 0.0, 0.0
    for level in range(p.levels):
        read, written = s.read[level], s.written[level]
        s.energy[level] = read * p.read_pj[level] + written * p.write_pj[level]
        energy += s.energy[level]
        if level == top:
            read, written = max(read - load, 0.0), max(written - store, 0.0)
        s.time[level] = port_time(level, read, written, p)
        if p.overlapped[level]:
            beside = max(beside, s.time[level])
        else:
            after += s.time[level]
    ends = np.ceil(load / p.read_rate[top]) + np.ceil(store / p.write_rate[top])
    s.result[CYCLES] = np.ceil(max(array, beside) + after) + ends
    s.result[MEMORY_PJ] = energy
    s.result[MEMORY_CYCLES] = beside + after + ends
    s.result[BUSY_CYCLES] = beside + after


@inlined
def fold_cycles(folds, p):
    """Cycles of filling and draining beyond the steps; the first fold starts at cycle 0."""
    return max(folds * p.overhead - 1, 0.0) if p.overhead > 0 else 0.0


@inlined
def energy_pj(p, result):
    """Energy of a product: of memories, of units at work and idle, and leakage."""
    units = p.work_pj + result[STEPS] * p.step_cycles * p.idle_pj
    return result[MEMORY_PJ] + units + result[CYCLES] * p.leakage_pj


@inlined
def in_bursts(operand, p, s):
    """How many times its bits an operand takes off-chip, where every run takes whole bursts."""
    if p.burst <= 1 or s.alone:
        return 1.0
    level = p.levels - 2
    while not p.holds[level, operand]:
        level -= 1
    bits = run(operand, s.inside[level, operand], p, s) * p.bits[operand]
    return np.ceil(bits / p.burst) * p.burst / bits


@kernel
def evaluate(p, s):
    """`count`, and all of `result`."""
    if not count(p, s):
        return False
    own_length = p.result_bits > 0 and p.first_read == 0
    load, store = 0.0, 0.0
    for o in range(3):
        load += s.loaded[o] * p.bits[o]
        store += s.stored[o] * (p.result_bits if own_length else p.bits[o])
    for level in range(p.levels):
        s.read[level], s.written[level] = 0.0, 0.0
        for o in range(3):
            s.read[level] += s.moved[level, o, 0] * p.bits[o]
            s.written[level] += s.moved[level, o, 1] * p.bits[o]
    top = p.levels - 1
    if own_length:
        s.written[top] += s.result[RESULTS] * p.result_bits
    if p.burst > 1:
        s.read[top], s.written[top] = 0.0, 0.0
        for o in range(3):
            times = in_bursts(o, p, s)
            s.read[top] += s.moved[top, o, 0] * p.bits[o] * times
            own = s.result[RESULTS] * p.result_bits if o == 2 and own_length else 0.0
            s.written[top] += (s.moved[top, o, 1] * p.bits[o] + own) * times
    array = s.result[STEPS] * p.step_cycles + fold_cycles(s.result[FOLDS], p)
    waited = refill_cycles(p.bits, array, p, s)
    s.waited = max(s.waited, waited)
    array += waited
    time_and_energy(load, store, array, p, s)
    s.result[ENERGY] = energy_pj(p, s.result)
    return True


@kernel
def evaluate_steps(moved, bits, load, store, array, p, s, times, energies, out):
    """`time_and_energy` of many training steps; what a refill waits for is in the state.

    moved : (steps, levels, operands, read and written) bits; load, store, array : (steps,)
    bits : (steps, operands) of a word
    times, energies : (steps, levels) of ports; out : (steps, results)
    """
    for i in range(moved.shape[0]):
        for level in range(p.levels):
            s.read[level], s.written[level] = 0.0, 0.0
            for o in range(3):
                s.read[level] += moved[i, level, o, 0]
                s.written[level] += moved[i, level, o, 1]
        waited = refill_cycles(bits[i], array[i], p, s)
        time_and_energy(load[i], store[i], array[i] + waited, p, s)
        for level in range(p.levels):
            times[i, level], energies[i, level] = s.time[level], s.energy[level]
        for n in range(out.shape[1]):
            out[i, n] = s.result[n]
