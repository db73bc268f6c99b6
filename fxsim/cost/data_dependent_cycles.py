"""How long data-dependent units take on a nest, see `fxsim.hardware.step_cycles` for a step.

Padding is exact: windows that lie outside the image hold zeros.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from fxsim.hardware.pe import PE
from fxsim.hardware.step_cycles import Steps, UnitGroup
from fxsim.mapping.kernels.layout import FX, FY, OX, OY, B, K
from fxsim.mapping.nest import Nest
from fxsim.numerics.word_statistics import WordStatistics

_WALKED = 8192


def valid_windows(nest: Nest, together: int) -> dict[int, float]:
    """{windows inside the image: share of steps} where `together` windows run as one."""
    windows = nest.sizes[B] * nest.sizes[OY] * nest.sizes[OX]
    if nest.flattened:
        full, rest = divmod(windows, together)
        counts = {together: float(full)} | ({rest: 1.0} if rest else {})
    else:
        counts = _valid(nest, together)
    total = sum(counts.values())
    return {n: count / total for n, count in counts.items()}


@cache
def _valid(nest: Nest, together: int) -> dict[int, float]:
    sides = []
    for axis, (outputs, taps) in enumerate(((OY, FY), (OX, FX))):
        pixels = nest.image[axis]
        at = np.arange(nest.sizes[outputs])[:, None] * nest.stride[axis] - nest.padding[axis]
        at = at + np.arange(nest.sizes[taps]) * nest.dilation[axis]
        inside = (at >= 0) & (at < pixels * nest.upsampling[axis])
        sides.append(inside & (at % nest.upsampling[axis] == 0))
    high, wide = sides
    outputs = high.shape[0] * wide.shape[0]
    both = (high[:, None, :, None] & wide[None, :, None, :]).reshape(outputs, -1)
    images = nest.sizes[B]
    period = min(images, together // int(np.gcd(outputs, together)))
    windows: dict[int, float] = {}
    for count, repeats in ((period, images // period), (images % period, 1)):
        if not count:
            continue
        rows = np.tile(both, (count, 1)).astype(np.int32)
        sums = np.add.reduceat(rows, np.arange(0, len(rows), together), axis=0)
        for n, steps in zip(*np.unique(sums, return_counts=True), strict=True):
            windows[int(n)] = windows.get(int(n), 0.0) + float(steps) * repeats
    return windows


def all_steps(
    pe: PE,
    words: tuple[WordStatistics | None, WordStatistics | None],
    bits: tuple[int, int],
    nest: Nest,
    channels: int,
    together: UnitGroup,
) -> Steps:
    """The steps of a nest: ragged groups and padding included.

    Parameters
    ----------
    pe : whose time follows the data
    words : what the left and right operand's words were like
    bits : the word lengths of both
    nest : the product
    channels : the words that lanes share out (of a flattened nest, those of its fields)
    together : how many windows, filters and lanes step together
    """
    cycles, shares = [], []
    for n, share in valid_windows(nest, together.windows).items():
        for k, filter_share in _groups(nest.sizes[K], together.filters):
            for c, lane_share in _groups(channels, together.lanes):
                one = pe.step_distribution(*words, bits, UnitGroup(n, k, c))
                cycles.append(one.cycles)
                shares.append(one.shares * (share * filter_share * lane_share))
    return Steps(np.concatenate(cycles), np.concatenate(shares))


def staggered(count: int, steps: Steps, columns: int) -> float:
    """Cycles of `count` steps that columns take in turn, one cycle apart, each waiting for itself.

    Step i starts a cycle after the one before, and not before step i - columns has ended. Steps of
    different length are drawn evenly from their distribution in a fixed order, the first 8192 of
    them; more go on at the same rate.
    """
    walked = min(count, _WALKED)
    order = np.random.default_rng(0).permutation(walked)
    by_length = np.argsort(steps.cycles, kind="stable")
    lengths, quantiles = steps.cycles[by_length], np.cumsum(steps.shares[by_length])
    drawn = lengths[
        np.minimum(np.searchsorted(quantiles, (order + 0.5) / walked), len(lengths) - 1)
    ]
    start, ends = -1.0, [0.0] * columns
    for i, length in enumerate(drawn.tolist()):
        start = max(start + 1, ends[i % columns])
        ends[i % columns] = start + length
    return max(ends) * (count / walked)


def _groups(size: int, together: int) -> list[tuple[int, float]]:
    """(group, share of groups): full ones, and the ragged last."""
    full, rest = divmod(size, together)
    groups = full + bool(rest)
    shares = [(together, full / groups)] if full else []
    return [*shares, (rest, 1 / groups)] if rest else shares
