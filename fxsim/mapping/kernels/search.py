"""Enumerating tiles and loop orders, best first found among equals, so always the same."""

import numpy as np

from fxsim.engine.jit import inlined, kernel
from fxsim.mapping.kernels.evaluation import evaluate
from fxsim.mapping.kernels.footprints import ceil_div, held, relevant
from fxsim.mapping.kernels.layout import CYCLES, EACH, ENERGY, MOST_LEVELS, MOST_LOOPS

MOST_BLOCKS, MOST_CANDIDATES, AXES, OBJECTIVES = 8, 48, 6, 3
MOST_ALLOCATIONS = 256  # of the loops of one mapping

PLAN = np.dtype(
    [
        ("greedy", "i8"),  # every tile takes what fits; else all ways to share levels are tried
        ("blocks", "i8"),
        ("bounds", "i8", (MOST_BLOCKS + 1, 8)),  # tiles between blocks of loops, inner first
        ("orders", "i8", (MOST_BLOCKS, 3)),  # of the classes of loops in each block, inner first
        ("classes", "i8", (3, 3)),  # loops of each class, inner first, -1 where there is none
        ("stage", "i8", 3),  # the level of each operand at the boundary that is searched
        ("axes", "i8", (AXES, 2)),  # loops whose tiles are chosen together, -1 where it is one
        ("counts", "i8", AXES),
        ("candidates", "i8", (AXES, MOST_CANDIDATES, 2)),
        ("chosen", "i8", AXES),
        # the best by each objective: its cost and what decides among equals, and the mapping
        ("best", "f8", (OBJECTIVES, 2)),
        ("best_bounds", "i8", (OBJECTIVES, MOST_BLOCKS + 1, 8)),
        ("best_orders", "i8", (OBJECTIVES, MOST_BLOCKS, 3)),
        ("best_loops", "i8", OBJECTIVES),
        ("best_first", "i8", OBJECTIVES),
        ("best_dims", "i8", (OBJECTIVES, MOST_LOOPS)),
        ("best_ends", "i8", (OBJECTIVES, MOST_LOOPS)),
        ("best_inside", "i8", (OBJECTIVES, MOST_LEVELS, 3)),
        ("picked", "i8", OBJECTIVES),  # orders of a block that are best by each objective
        ("least", "f8", (OBJECTIVES, 2)),  # of the loops that were tried last
        ("cut", "i8"),  # whether some loops have more allocations than were tried
    ]
)

BEST = tuple(name for name in PLAN.names if name.startswith("best"))


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
def score(objective, p, s):
    """(an objective, what decides among equals) of the mapping that was evaluated."""
    energy, cycles = s.result[ENERGY], s.result[CYCLES]
    if objective == 0:
        return cycles, energy
    if objective == 1:
        return energy, cycles
    return energy * cycles, energy


@kernel
def record(plan, p, s):
    """The mapping that was evaluated takes the place of each objective's best that it beats."""
    for objective in range(OBJECTIVES):
        main, other = score(objective, p, s)
        if main < plan.least[objective, 0] or (
            main == plan.least[objective, 0] and other < plan.least[objective, 1]
        ):
            plan.least[objective, 0], plan.least[objective, 1] = main, other
        if main > plan.best[objective, 0] or (
            main == plan.best[objective, 0] and other >= plan.best[objective, 1]
        ):
            continue
        plan.best[objective, 0], plan.best[objective, 1] = main, other
        plan.best_loops[objective], plan.best_first[objective] = s.loops, s.first
        for i in range(s.loops):
            plan.best_dims[objective, i] = s.dims[i]
            plan.best_ends[objective, i] = s.ends[i]
        for level in range(p.levels):
            for o in range(3):
                plan.best_inside[objective, level, o] = s.inside[level, o]
        for block in range(plan.blocks + 1):
            for d in range(8):
                plan.best_bounds[objective, block, d] = plan.bounds[block, d]
        for block in range(plan.blocks):
            for position in range(3):
                plan.best_orders[objective, block, position] = plan.orders[block, position]


@kernel
def may_win(plan, p, s):
    """Whether loops can beat some objective's best, however their tiles share the levels."""
    s.alone = 1
    fits = evaluate(p, s)
    s.alone = 0
    if not fits:
        return False
    s.result[CYCLES] -= 2  # what is loaded and stored is rounded up apart
    s.result[ENERGY] -= 2 * p.leakage_pj
    wins = False
    for objective in range(OBJECTIVES):
        main, other = score(objective, p, s)
        if main < plan.least[objective, 0]:
            plan.least[objective, 0], plan.least[objective, 1] = main, other
        wins |= main < plan.best[objective, 0]
    return wins


@inlined
def may_win_without_waiting(plan, p, s):
    """Whether what was evaluated could, if the array did not wait for refills."""
    s.result[CYCLES] -= s.waited
    s.result[ENERGY] -= s.waited * p.leakage_pj
    wins = False
    for objective in range(OBJECTIVES):
        main, _ = score(objective, p, s)
        wins |= main < plan.best[objective, 0]
    return wins


@kernel
def count_down(choice, p, s):
    """The next smaller tile of a choice: one loop of the operand's less; False if there is none."""
    level, o = p.chosen[choice, 0], p.chosen[choice, 1]
    at = min(s.inside[level, o], s.most[level, o])
    while at > 0:
        at -= 1
        if relevant(o, s.dims[at]):
            if p.whole and at < s.first:
                return False
            s.most[level, o] = at
            return True
    return False


@inlined
def forget(plan):
    """Nothing has been tried of the next loops."""
    for objective in range(OBJECTIVES):
        plan.least[objective, 0] = plan.least[objective, 1] = np.inf


@kernel
def try_allocations(plan, p, s):
    """Evaluate loops with every way to share the levels; how many were evaluated.

    Where the array waits for refills, also with tiles that leave room for the next.
    """
    forget(plan)
    every = p.choices > 0 and plan.greedy == 0
    if every and not may_win(plan, p, s):
        return 1
    if every:
        forget(plan)
    s.waited = 0.0
    evaluated = try_sharing(every, plan, p, s)
    if s.waited > 0 and (every or may_win_without_waiting(plan, p, s)):
        s.halved = 1
        evaluated += try_sharing(every, plan, p, s)
        s.halved = 0
    return evaluated


@kernel
def try_sharing(every, plan, p, s):
    """Evaluate loops with tiles as large as fit, or with `every` choice of smaller ones.

    The choices count down like digits: the last is the fastest.
    """
    if not every:
        if evaluate(p, s):
            record(plan, p, s)
        return 1
    evaluated, at = 1, 0
    while at >= 0 and evaluated < MOST_ALLOCATIONS:
        evaluated += 1
        if not evaluate(p, s):
            break  # not even the smallest tiles fit
        record(plan, p, s)
        at = p.choices - 1
        while at >= 0 and not count_down(at, p, s):
            s.most[p.chosen[at, 0], p.chosen[at, 1]] = MOST_LOOPS
            at -= 1
    if evaluated == MOST_ALLOCATIONS:
        plan.cut = 1
    for choice in range(p.choices):
        s.most[p.chosen[choice, 0], p.chosen[choice, 1]] = MOST_LOOPS
    return evaluated


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
                evaluated += try_allocations(plan, p, s)
    return evaluated


@kernel
def try_block(block, at, permutations, plan, p, s):
    """All orders of one block; those that are best by each objective are noted in `picked`."""
    evaluated = 0
    main, other = np.full(OBJECTIVES, np.inf), np.full(OBJECTIVES, np.inf)
    for objective in range(OBJECTIVES):
        plan.picked[objective] = -1
    for number in range(permutations.shape[0]):
        set_order(plan, block, permutations, number)
        if not canonical(plan, block):
            continue
        s.first = write_loops(plan, at, s) if p.whole else 0
        write_loops(plan, plan.blocks, s)
        evaluated += try_allocations(plan, p, s)
        for objective in range(OBJECTIVES):
            here, beside = plan.least[objective, 0], plan.least[objective, 1]
            if here < main[objective] or (here == main[objective] and beside < other[objective]):
                plan.picked[objective] = number
                main[objective], other[objective] = here, beside
    return evaluated


@kernel
def try_orders_apart(at, permutations, plan, p, s):
    """The orders outside a boundary, then those inside it with each objective's best of them."""
    evaluated = try_block(at, at, permutations, plan, p, s)
    outside = plan.picked.copy()
    if outside[0] < 0:
        return evaluated
    for objective in range(OBJECTIVES):
        tried = False
        for earlier in range(objective):
            tried |= outside[earlier] == outside[objective]
        if not tried:
            set_order(plan, at, permutations, outside[objective])
            evaluated += try_block(at - 1, at, permutations, plan, p, s)
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
def all_nested(plan, p):
    """Whether that holds at every boundary."""
    whole = True
    for at in range(1, plan.blocks):
        whole &= nested(plan, at, p)
    return whole


@kernel
def search_boundary(at, together, permutations, plan, p, s):
    """Try every tile of one boundary with every order of the loops at either side of it.

    at : the boundary, between block at - 1 and block at
    together : each order of one side with each of the other, else one side after the other
    Returns how many mappings were evaluated; the best so far is kept in the plan.
    """
    evaluated, inside = 0, plan.orders[at - 1].copy()
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
                for position in range(3):
                    plan.orders[at - 1, position] = inside[position]
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
    """Try the orders of the loops from `start` on; how many mappings were evaluated.

    permutations : (count, loops - start) orders of these loops
    """
    evaluated = 0
    for number in range(permutations.shape[0]):
        for i in range(start):
            s.dims[i], s.ends[i] = dims[i], ends[i]
        for i in range(permutations.shape[1]):
            s.dims[start + i] = dims[start + permutations[number, i]]
            s.ends[start + i] = ends[start + permutations[number, i]]
        s.loops = start + permutations.shape[1]
        evaluated += try_allocations(plan, p, s)
    return evaluated
