"""How long data-dependent units take: expected maxima over the words that march together.

Words are taken as drawn independently from what the trace counted in the operand (an assumption;
the bits of a word likewise, for Bit-Pragmatic). Padding is exact: windows that lie outside the
image hold zeros. Formulas are those that DNNsim's cycle-by-cycle simulation obeys in expectation
(`tests/cost/test_dnnsim.py`); a step never takes less than one cycle.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from fxsim.hardware.pe import PE, Serial, SerialSerial, TermSerial
from fxsim.mapping.kernels.layout import FX, FY, OX, OY, B, K
from fxsim.mapping.nest import Nest
from fxsim.numerics.word_statistics import LENGTHS, WordStatistics

Shares = NDArray[np.float64]
_WALKED = 8192


def _cumulative(counts: NDArray[np.int64]) -> Shares:
    share: Shares = np.cumsum(counts) / max(counts.sum(), 1)
    return share


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """How long a step takes: the possible cycles, and how often each comes."""

    cycles: NDArray[np.float64]
    shares: Shares

    @classmethod
    def of(cls, cumulative: Shares, least: int = 1) -> Steps:
        """From the shares of steps of at most 0, 1, 2, ... cycles; shorter ones take `least`."""
        clipped = np.minimum(cumulative, 1.0)
        clipped[:least] = 0
        return cls(np.arange(len(clipped)).astype(np.float64), np.diff(clipped, prepend=0))

    @classmethod
    def always(cls, cycles: float) -> Steps:
        """One length."""
        return cls(np.array([cycles]), np.ones(1))

    @property
    def mean(self) -> float:
        """Expected cycles."""
        return float(self.cycles @ self.shares)

    def times(self, other: Steps) -> Steps:
        """Of two that are waited for in turn, one for each cycle of the other."""
        return Steps(
            np.outer(self.cycles, other.cycles).reshape(-1),
            np.outer(self.shares, other.shares).reshape(-1),
        )


def longest(counts: NDArray[np.int64], words: int) -> Steps:
    """The largest of so many draws from 0, 1, 2, ... with these counts, at least 1."""
    return Steps.of(_cumulative(counts) ** words)


def distinct_positions(s: WordStatistics, lanes: int, windows: int, booth: bool) -> Steps:
    """The most bit positions that the lanes of a window use between them, over windows."""
    positions = s.booth_positions if booth else s.positions
    shares = np.array([1.0])
    for used in positions / max(s.words, 1):
        free = (1 - used) ** lanes
        shares = np.convolve(shares, [free, 1 - free])
    return Steps.of(np.minimum(np.cumsum(shares), 1.0) ** windows)


def term_products(
    a: WordStatistics, b: WordStatistics, windows: int, filters: int, lanes: int, booth: bool
) -> Steps:
    """The longest product of term counts, over lanes; in a lane the largest of each side."""
    one, other = (_cumulative(s.booth if booth else s.ones) for s in (a, b))
    left, right = np.diff(one**windows, prepend=0), np.diff(other**filters, prepend=0)
    products = np.maximum(np.outer(np.arange(LENGTHS), np.arange(LENGTHS)), 1)
    shares = np.bincount(products.reshape(-1), np.outer(left, right).reshape(-1))
    return Steps.of(np.minimum(np.cumsum(shares), 1.0) ** lanes)


def step(
    pe: PE,
    left: WordStatistics | None,
    right: WordStatistics | None,
    bits: tuple[int, int],
    windows: int,
    filters: int,
    lanes: int,
) -> Steps:
    """One step of `windows` by `filters` units with so many lanes.

    windows : those that lie inside the image; the others hold zeros. bits : the word lengths
    """
    empty = windows == 0 or lanes == 0
    if isinstance(pe, TermSerial):
        assert left is not None
        if empty:
            return Steps.always(1.0)
        if len(pe.operands) == 2:
            assert right is not None
            return term_products(left, right, windows, filters, lanes, pe.booth)
        passes = Steps.always(-(-bits[1] // pe.parallel_bits))
        return distinct_positions(left, lanes, windows, pe.booth).times(passes)

    def bit_cycles(s: WordStatistics | None, words: int, nothing: bool) -> Steps:
        assert s is not None
        steps = Steps.always(1.0) if nothing else longest(s.top_bits, words)
        return Steps(steps.cycles + s.signed, steps.shares)

    if isinstance(pe, Serial):
        serial_left = pe.serial_operand == "left"
        whole = -(-(bits[1] if serial_left else bits[0]) // pe.parallel_bits)
        steps = bit_cycles(
            left if serial_left else right,
            (windows if serial_left else filters) * lanes,
            empty and serial_left,
        ).times(Steps.always(whole))
    else:
        assert isinstance(pe, SerialSerial)
        steps = Steps.always(1.0)
        for s, operand, words, length in (
            (left, "left", windows * lanes, bits[0]),
            (right, "right", filters * lanes, bits[1]),
        ):
            adaptive = operand in pe.adaptive
            here = (
                bit_cycles(s, words, empty and operand == "left")
                if adaptive
                else Steps.always(max(length, 1))
            )
            steps = steps.times(here)
    return Steps(np.maximum(np.ceil(steps.cycles / pe.bits_per_cycle), 1.0), steps.shares)


def valid_windows(nest: Nest, together: int) -> dict[int, float]:
    """{windows inside the image: share of steps} where `together` windows march as one."""
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
    for outputs, taps, pixels in ((OY, FY, nest.image[0]), (OX, FX, nest.image[1])):
        at = np.arange(nest.sizes[outputs])[:, None] * nest.stride - nest.padding
        at = at + np.arange(nest.sizes[taps]) * nest.dilation
        inside = (at >= 0) & (at < pixels * nest.upsampling)
        sides.append(inside & (at % nest.upsampling == 0))
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
    left: WordStatistics | None,
    right: WordStatistics | None,
    bits: tuple[int, int],
    nest: Nest,
    channels: int,
    windows: int,
    filters: int,
    lanes: int,
) -> Steps:
    """The steps of a nest: ragged groups and padding included.

    channels : the words that lanes share out (of a flattened nest, those of its fields)

    windows, filters, lanes : how many of each (of loops B OY OX, K, and C) march together
    """
    cycles, shares = [], []
    for n, share in valid_windows(nest, windows).items():
        for k, filter_share in _groups(nest.sizes[K], filters):
            for c, lane_share in _groups(channels, lanes):
                one = step(pe, left, right, bits, n, k, c)
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
