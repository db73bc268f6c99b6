"""Enumerating tiles and loop orders, best first found among equals, so always the same."""

import numpy as np

from fxsim.engine.jit import inlined, kernel
from fxsim.mapping.kernels.evaluation import evaluate
from fxsim.mapping.kernels.footprints import ceil_div, held
from fxsim.mapping.kernels.layout import CYCLES, EACH, ENERGY

MOST_BLOCKS, MOST_CANDIDATES, AXES = 8, 48, 6

PLAN = np.dtype(
    [
        ("objective", "i8"),  # 0 cycles, 1 energy, 2 their product
        ("blocks", "i8"),
        ("bounds", "i8", (MOST_BLOCKS + 1, 8)),  # tiles between blocks of loops, inner first
        ("orders", "i8", (MOST_BLOCKS, 3)),  # of the classes of loops in each block, inner first
        ("classes", "i8", (3, 3)),  # loops of each class, inner first, -1 where there is none
        ("stage", "i8", 3),  # the level of each operand at the boundary that is searched
        ("axes", "i8", (AXES, 2)),  # loops whose tiles are chosen together, -1 where it is one
        ("counts", "i8", AXES),
        ("candidates", "i8", (AXES, MOST_CANDIDATES, 2)),
        ("chosen", "i8", AXES),
        ("best_bounds", "i8", (MOST_BLOCKS + 1, 8)),
        ("best_orders", "i8", (MOST_BLOCKS, 3)),
        ("best", "f8", 2),  # the objective, and what decides among equals
    ]
)


@kernel
def canonical(plan, block):
    """Whether classes without a loop in a block stand last, ascending: others are repetitions."""
    empty_seen, last_empty = False, -1
    for position in range(3):
        which, active = plan.orders[block, position], False
        for member in range(3):
            d = plan.classes[which, member]
            if d >= 0 and plan.bounds[block + 1, d] > plan.bounds[block, d]:
                active = True
        if active:
            if empty_seen:
                return False
        else:
            if which < last_empty:
                return False
            empty_seen, last_empty = True, which
    return True


@kernel
def write_loops(plan, blocks, s):
    """The loops of a choice, inner first: block by block, class by class; G is the outermost."""
    count = 0
    for block in range(blocks):
        for position in range(3):
            for member in range(3):
                d = plan.classes[plan.orders[block, position], member]
                if d >= 0 and plan.bounds[block + 1, d] > plan.bounds[block, d]:
                    s.dims[count] = d
                    s.ends[count] = plan.bounds[block + 1, d]
                    count += 1
        if plan.bounds[block + 1, 7] > plan.bounds[block, 7]:
            s.dims[count] = 7
            s.ends[count] = plan.bounds[block + 1, 7]
            count += 1
    s.loops = count
    return count


@kernel
def tile_useful(plan, at, p, s):
    """Whether a boundary's tile fits the level of its stage for some operand (whole tiles: all).

    The others then keep what fits of it; a tile too large for every operand is no boundary.
    """
    s.first = 0
    for d in range(8):
        s.extents[0, d] = plan.bounds[at, d]
        s.extents[0, EACH + d] = ceil_div(plan.bounds[at, d], p.units[d])
    fitting, homes = 0, 0
    for o in range(3):
        level = plan.stage[o]
        if level >= 0:
            homes += 1
            if p.fit_bits[o] * held(o, level, 0, p, s) <= p.capacity[level]:
                fitting += 1
    return fitting == homes if p.whole else fitting > 0


@inlined
def score(plan, p, s):
    """(the objective, what decides among equals) of the mapping that was evaluated."""
    energy, cycles = s.result[ENERGY] + p.constant_pj, s.result[CYCLES]
    if plan.objective == 0:
        return cycles, energy
    if plan.objective == 1:
        return energy, cycles
    return energy * cycles, energy


@kernel
def better(plan, p, s):
    """Whether the mapping that was evaluated beats the best so far, which it then replaces."""
    main, other = score(plan, p, s)
    if main > plan.best[0] or (main == plan.best[0] and other >= plan.best[1]):
        return False
    plan.best[0], plan.best[1] = main, other
    return True


@kernel
def keep(plan):
    """The present tiles and orders are the best so far."""
    for block in range(plan.blocks):
        for position in range(3):
            plan.best_orders[block, position] = plan.orders[block, position]
        for d in range(8):
            plan.best_bounds[block, d] = plan.bounds[block, d]
    for d in range(8):
        plan.best_bounds[plan.blocks, d] = plan.bounds[plan.blocks, d]


@kernel
def set_order(plan, block, permutations, number):
    """A block takes one of the orders of its classes of loops."""
    for position in range(3):
        plan.orders[block, position] = permutations[number, position]


@kernel
def try_orders(at, permutations, plan, p, s):
    """The orders at either side of a boundary, each with each; how many were evaluated."""
    evaluated = 0
    for inner in range(permutations.shape[0]):
        set_order(plan, at - 1, permutations, inner)
        if not canonical(plan, at - 1):
            continue
        s.first = write_loops(plan, at, s) if p.whole else 0
        for outer in range(permutations.shape[0]):
            set_order(plan, at, permutations, outer)
            if canonical(plan, at):
                write_loops(plan, plan.blocks, s)
                evaluated += 1
                if evaluate(p, s) and better(plan, p, s):
                    keep(plan)
    return evaluated


@kernel
def try_orders_apart(at, permutations, plan, p, s):
    """The orders outside a boundary, then those inside it with the best of them."""
    evaluated = 0
    for block in (at, at - 1):
        chosen, main, other = -1, np.inf, np.inf
        for number in range(permutations.shape[0]):
            set_order(plan, block, permutations, number)
            if not canonical(plan, block):
                continue
            s.first = write_loops(plan, at, s) if p.whole else 0
            write_loops(plan, plan.blocks, s)
            evaluated += 1
            if not evaluate(p, s):
                continue
            here, beside = score(plan, p, s)
            if here < main or (here == main and beside < other):
                chosen, main, other = number, here, beside
            if better(plan, p, s):
                keep(plan)
        if chosen < 0:
            return evaluated
        set_order(plan, block, permutations, chosen)
    return evaluated


@kernel
def nested(plan, at, p):
    """Whether each tile is cut into whole smaller ones, but at the end of a loop."""
    for d in range(8):
        for outer in (at, at + 1):
            big, small = plan.bounds[outer, d], plan.bounds[outer - 1, d]
            if big < small or (big < p.sizes[d] and big % small != 0):
                return False
    return True


@kernel
def search_boundary(at, together, permutations, plan, p, s):
    """Try every tile of one boundary with every order of the loops at either side of it.

    at : the boundary, between block at - 1 and block at
    together : each order of one side with each of the other, else one side after the other
    Returns how many mappings were evaluated; the best so far is kept in the plan.
    """
    evaluated = 0
    for axis in range(AXES):
        plan.chosen[axis] = 0
    while True:
        for axis in range(AXES):
            for member in range(2):
                d = plan.axes[axis, member]
                if d >= 0:
                    plan.bounds[at, d] = plan.candidates[axis, plan.chosen[axis], member]
        if nested(plan, at, p) and tile_useful(plan, at, p, s):
            if together:
                evaluated += try_orders(at, permutations, plan, p, s)
            else:
                evaluated += try_orders_apart(at, permutations, plan, p, s)
        axis = 0
        while axis < AXES:
            plan.chosen[axis] += 1
            if plan.chosen[axis] < plan.counts[axis]:
                break
            plan.chosen[axis] = 0
            axis += 1
        if axis == AXES:
            return evaluated


@kernel
def search_orders(dims, ends, start, permutations, plan, p, s):
    """The number of the best order of the loops from `start` on; -1 if none beats the best so far.

    permutations : (count, loops - start) orders of these loops
    """
    best = -1
    for number in range(permutations.shape[0]):
        for i in range(start):
            s.dims[i], s.ends[i] = dims[i], ends[i]
        for i in range(permutations.shape[1]):
            s.dims[start + i] = dims[start + permutations[number, i]]
            s.ends[start + i] = ends[start + permutations[number, i]]
        s.loops = start + permutations.shape[1]
        if evaluate(p, s) and better(plan, p, s):
            best = number
    return best
