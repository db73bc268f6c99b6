"""Words of tiles: what a mapping's tile of each operand holds and fetches, see `evaluation`."""

import numpy as np

from fxsim.engine.jit import inlined
from fxsim.mapping.kernels.layout import EACH, FX, FY, MOST_LOOPS, OUTSIDE, OX, OY, B, C, G, K


@inlined
def ceil_div(a, b):
    """a / b, rounded up."""
    return -(-a // b)


@inlined
def span(outputs, taps, stride, dilation, upsampling):
    """Pixels along one axis that so many outputs and taps need, each counted once."""
    reach = (outputs - 1) * stride + (taps - 1) * dilation + 1
    if upsampling > 1:
        return ceil_div(reach, upsampling)
    return min(outputs * taps, reach)


@inlined
def shared(outputs, taps, stride, dilation, upsampling):
    """Pixels of a tile along one axis that the next tile, so many outputs further on, has too.

    Never more than there are: 0 where taps are so far apart that tiles lie between each other.
    """
    if stride % dilation == 0:
        reach = (outputs - 1) * (stride // dilation) + taps
        moved = outputs * (stride // dilation)
        if upsampling > 1:
            if dilation > 1:
                return 0
            reach, moved = ceil_div(reach, upsampling), ceil_div(moved, upsampling)
        return max(reach - moved, 0)
    return 0


@inlined
def covered(outputs, taps, tile, tap_tile, run, tap_run, p, axis, pixels):
    """Pixels that all tiles along one axis fetch together; halos once for every tile.

    run, tap_run : outputs and taps over which one tile slides after another and keeps what both
        have; those of a tile where it does not
    """
    stride, dilation, upsampling = p.stride[axis], p.dilation[axis], p.upsampling[axis]
    needed = span(outputs, taps, stride, dilation, upsampling)
    there = min(needed, pixels)
    if tile == outputs and tap_tile == taps:
        return there
    full = outputs // tile
    rest = outputs - full * tile
    total, done = 0, 0
    slides = ceil_div(outputs, tile) - ceil_div(outputs, run)
    while done < taps:
        height = min(tap_tile, taps - done)
        total -= slides * shared(tile, height, stride, dilation, upsampling)
        total += full * span(tile, height, stride, dilation, upsampling)
        if rest:
            total += span(rest, height, stride, dilation, upsampling)
        done += height
    if tap_run > tap_tile:
        slides = ceil_div(taps, tap_tile) - ceil_div(taps, tap_run)
        total -= slides * full * shared(tap_tile, tile, dilation, stride, upsampling)
        if rest:
            total -= slides * shared(tap_tile, rest, dilation, stride, upsampling)
    padding = needed - there if upsampling == 1 else 0  # it is not fetched
    return max(total - padding, there)


@inlined
def relevant(operand, dimension):
    """Whether an operand's words differ along a loop."""
    if operand == 0:
        return dimension != K
    if operand == 1:
        return dimension in (K, C) or dimension >= FY
    return dimension != C and dimension != FY and dimension != FX


@inlined
def footprint(operand, p, s, at, first):
    """Words of an operand in a tile with `at` loops inside; `first` is 0, or EACH for a unit's."""
    e = s.extents
    if operand == 1:
        words = e[at, first + K] * e[at, first + C] * e[at, first + FY] * e[at, first + FX]
        return words * e[at, first + G]
    if operand == 2:
        words = e[at, first + B] * e[at, first + K] * e[at, first + OY] * e[at, first + OX]
        return words * e[at, first + G]
    words = e[at, first + B] * e[at, first + C] * e[at, first + G]
    outputs_y, outputs_x = e[at, first + OY], e[at, first + OX]
    taps_y, taps_x = e[at, first + FY], e[at, first + FX]
    if p.dense:
        return words * outputs_y * outputs_x * taps_y * taps_x
    tall = span(outputs_y, taps_y, p.stride[0], p.dilation[0], p.upsampling[0])
    wide = span(outputs_x, taps_x, p.stride[1], p.dilation[1], p.upsampling[1])
    if p.whole == 0:
        tall, wide = min(tall, p.height), min(wide, p.width)
    return words * tall * wide


@inlined
def whole_tile(operand, p, s):
    """Words of a tile that is moved whole, padded to the array as it is."""
    e, at = s.extents, s.first
    if operand == 1:
        depth = ceil_div(e[at, C] * e[at, FY] * e[at, FX], p.spatial[C]) * p.spatial[C]
        return depth * e[at, K] * e[at, G]
    if operand == 2:
        wide = ceil_div(e[at, K], p.spatial[K]) * p.spatial[K]
        return e[at, B] * e[at, OY] * e[at, OX] * e[at, G] * wide
    return footprint(0, p, s, at, 0)


# loops whose words lie side by side, inner first: images as N, H, W, C, filters as K, FY, FX, C
NEIGHBOURS = np.array([[C, OX, OY, B], [C, FX, FY, K], [K, OX, OY, B]])


@inlined
def run(operand, at, p, s):
    """Words side by side in off-chip memory that a tile with `at` loops inside takes together."""
    words = 1
    for d in NEIGHBOURS[operand]:
        words *= s.extents[at, d]
        if s.extents[at, d] < p.sizes[d]:
            break
    return words


@inlined
def unique(operand, level, p):
    """The share of an operand's words that a level holds: im2col copies them on their way out."""
    return p.unique if operand == 0 and p.per_pe[level] == 0 else 1.0


@inlined
def held(operand, level, at, p, s):
    """Words of an operand that a level holds with `at` loops inside it."""
    if p.per_pe[level]:
        if p.serves[level]:
            for d in range(8):
                s.extents[MOST_LOOPS, EACH + d] = ceil_div(s.extents[at, d], p.each[level, d])
            return float(footprint(operand, p, s, MOST_LOOPS, EACH))
        return float(footprint(operand, p, s, at, EACH))
    if p.whole:
        words = whole_tile(operand, p, s)
        for d in range(8):
            if relevant(operand, d):
                words *= ceil_div(s.extents[at, d], s.extents[s.first, d])
    else:
        words = footprint(operand, p, s, at, 0)
    return words * unique(operand, level, p)


@inlined
def tiles_outside(operand, s, at):
    """How often an operand's loops are run through: turns of the loops that it does not have."""
    e = s.extents
    if operand == 0:
        return e[at, OUTSIDE + K]
    if operand == 1:
        return e[at, OUTSIDE + B] * e[at, OUTSIDE + OY] * e[at, OUTSIDE + OX]
    return e[at, OUTSIDE + C] * e[at, OUTSIDE + FY] * e[at, OUTSIDE + FX]


@inlined
def slides(level, at, axis, p, s):
    """Whether tiles with `at` loops inside follow one another along an axis, and keep halos.

    Units with memories of their own do not where their neighbours have what comes next.
    """
    if at >= s.loops or p.keeps_halo[level] == 0:
        return False
    outputs, taps = OY + axis, FY + axis
    alone = p.per_pe[level] and (p.each[level, outputs] > 1 or p.each[level, taps] > 1)
    return s.dims[at] in (outputs, taps) and not alone


@inlined
def covered_along(axis, level, at, p, s):
    """Pixels along an axis that a level's tiles with `at` loops inside fetch together."""
    outputs, taps = OY + axis, FY + axis
    e, run = s.extents, at + 1 if slides(level, at, axis, p, s) else at
    pixels = p.height if axis == 0 else p.width
    return covered(
        p.sizes[outputs],
        p.sizes[taps],
        e[at, outputs],
        e[at, taps],
        e[run, outputs],
        e[run, taps],
        p,
        axis,
        pixels,
    )


@inlined
def fetched(operand, level, at, p, s):
    """Words that pass into a level whose tile has `at` loops inside, over the whole nest."""
    e = s.extents
    if p.whole:
        words = whole_tile(operand, p, s)
        for d in range(8):
            if relevant(operand, d):
                words *= ceil_div(p.sizes[d], e[s.first, d])
    elif operand != 0 or p.dense:
        words = p.once[operand]
    else:
        words = p.sizes[B] * p.sizes[C] * p.sizes[G]
        words *= covered_along(0, level, at, p, s) * covered_along(1, level, at, p, s)
    return words * tiles_outside(operand, s, at)
