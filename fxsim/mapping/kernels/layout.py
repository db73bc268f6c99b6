"""How kernels take a problem and keep their state: as records, by address.

Arrays would have their references counted at every call of a jitted function. Operands are 0 left,
1 right, 2 output; memory levels run from the innermost to the outermost, which is off-chip.
"""

import numpy as np

MOST_LEVELS, MOST_LOOPS = 8, 72
MOST_CHOICES = 2 * MOST_LEVELS
B, K, C, OY, OX, FY, FX, G = range(8)
# columns of the table of extents, a row for each number of loops inside: the tile of the array, of
# one unit, and how many such tiles there are along each loop
EACH, OUTSIDE = 8, 16
# of an evaluation; MEMORY_CYCLES with what lies before the first step and after the last
CYCLES, MEMORY_PJ, STEPS, FOLDS, RESULTS, MEMORY_CYCLES, BUSY_CYCLES, ENERGY = range(8)

PROBLEM = np.dtype(
    [
        ("sizes", "i8", 8),  # turns of each loop
        ("spatial", "i8", 8),  # of which the array and its units take so many at once
        ("units", "i8", 8),  # units along each loop
        ("unit", "i8", 8),  # turns that one unit takes
        ("stride", "i8", 2),  # of rows and of columns
        ("dilation", "i8", 2),
        ("upsampling", "i8", 2),
        ("height", "i8"),
        ("width", "i8"),  # of the image, in pixels that are there
        ("dense", "i8"),  # the image is a matrix
        ("whole", "i8"),  # tiles are moved and worked off whole
        ("first_read", "i8"),  # sums are fetched at the first visit, too
        ("stationary", "i8"),  # the operand in the units' registers, or -1
        ("bits", "f8", 3),
        ("result_bits", "f8"),  # of a word; 0: results stay on chip
        ("burst", "f8"),  # bits of an off-chip access at least; 1: as many as are asked for
        ("fit_bits", "f8", 3),  # what tiles must fit with
        ("step_cycles", "f8"),
        ("overhead", "f8"),  # cycles of a step, and of a fold beyond its steps
        ("unique", "f8"),  # share of the flattened image's words that are not copies
        # energy of the units' work; of idle units in a cycle of steps; of leakage in any cycle
        ("work_pj", "f8"),
        ("idle_pj", "f8"),
        ("leakage_pj", "f8"),
        ("levels", "i8"),
        ("capacity", "f8", MOST_LEVELS),
        ("read_pj", "f8", MOST_LEVELS),
        ("write_pj", "f8", MOST_LEVELS),
        ("read_rate", "f8", MOST_LEVELS),
        ("write_rate", "f8", MOST_LEVELS),
        ("shared_port", "i8", MOST_LEVELS),
        ("overlapped", "i8", MOST_LEVELS),
        ("refilled", "i8", MOST_LEVELS),  # it holds one tile, and takes the next in its place
        ("per_pe", "i8", MOST_LEVELS),
        ("multicast", "i8", MOST_LEVELS),
        ("keeps_halo", "i8", MOST_LEVELS),
        ("serves", "i8", MOST_LEVELS),  # whether neighbours share a unit's memory
        ("each", "i8", (MOST_LEVELS, 8)),  # such memories along each loop
        ("holds", "i8", (MOST_LEVELS, 3)),
        ("fixed", "i8", (MOST_LEVELS, 3)),  # loops inside a level's tile, -1: as many as fit
        # what no mapping changes where tiles are exact, see `prepare`
        ("steps", "i8"),
        ("once", "i8", 3),
        ("taken", "i8", (MOST_LEVELS, 3)),
        ("copies", "i8", (MOST_LEVELS, 3)),
        # (level, operand) whose tile may be less than what fits, because that costs others room or
        # time; elsewhere as much as fits is best
        ("choices", "i8"),
        ("chosen", "i8", (MOST_CHOICES, 2)),
    ]
)
STATE = np.dtype(
    [
        ("loops", "i8"),
        ("first", "i8"),  # how many; those inside the tile that is loaded first
        ("dims", "i8", MOST_LOOPS),
        ("ends", "i8", MOST_LOOPS),  # inner first: loop, its extent
        ("extents", "i8", (MOST_LOOPS + 1, 24)),
        ("most", "i8", (MOST_LEVELS, 3)),  # loops that may lie inside each level's tile
        ("alone", "i8"),  # each operand has its levels for itself: what no allocation can beat
        ("inside", "i8", (MOST_LEVELS, 3)),  # loops inside each level's tile
        ("tiles", "f8", (MOST_LEVELS, 3)),  # words of each tile
        ("moved", "f8", (MOST_LEVELS, 3, 2)),  # words read and written
        ("loaded", "f8", 3),
        ("stored", "f8", 3),  # words before the first step, after the last
        # cycles for a bit of all words of a level with one buffer, and the array's share to hide in
        ("refill", "f8", (MOST_LEVELS, 3)),
        ("window", "f8", (MOST_LEVELS, 3)),
        ("waited", "f8"),  # most cycles of any evaluation since it was set to 0
        ("halved", "i8"),  # tiles take half of such a level, so that the next has room beside them
        ("now", "i8", 3),  # loops inside the levels so far
        ("done", "i8", 8),
        ("read", "f8", MOST_LEVELS),
        ("written", "f8", MOST_LEVELS),  # bits of each level's port
        ("time", "f8", MOST_LEVELS),  # cycles of each level's port
        ("energy", "f8", MOST_LEVELS),  # of each level [pJ]
        ("result", "f8", 8),
    ]
)


def record(layout: np.dtype) -> np.record:
    """A record of zeros; its fields are attributes, compiled and interpreted alike."""
    return np.zeros(1, layout).view(np.recarray)[0]


def state() -> np.record:
    """A record of `STATE` in which levels take as much as fits."""
    fresh = record(STATE)
    fresh["most"] = MOST_LOOPS
    return fresh
