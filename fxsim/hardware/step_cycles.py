"""How long a step of a data-dependent unit takes, as a distribution: expected maxima over words.

Words are taken as drawn independently from what the trace counted in the operand (an assumption;
the bits of a word likewise, for Bit-Pragmatic). Formulas are those that DNNsim's cycle-by-cycle
simulation obeys in expectation (`tests/cost/test_dnnsim.py`); a step never takes less than one
cycle.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fxsim.numerics.word_statistics import LENGTHS, WordStatistics

Shares = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class UnitGroup:
    """Units that step together.

    Attributes
    ----------
    windows : of loops B, OY, OX, those that lie inside the image; the others hold zeros
    filters : of loop K
    lanes : of loop C
    """

    windows: int
    filters: int
    lanes: int

    @property
    def empty(self) -> bool:
        """Whether all of its left words are padding."""
        return self.windows == 0 or self.lanes == 0


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


def term_products(a: WordStatistics, b: WordStatistics, group: UnitGroup, booth: bool) -> Steps:
    """The longest product of term counts, over lanes; in a lane the largest of each side."""
    one, other = (_cumulative(s.booth if booth else s.ones) for s in (a, b))
    left, right = (
        np.diff(side**count, prepend=0)
        for side, count in ((one, group.windows), (other, group.filters))
    )
    products = np.maximum(np.outer(np.arange(LENGTHS), np.arange(LENGTHS)), 1)
    shares = np.bincount(products.reshape(-1), np.outer(left, right).reshape(-1))
    return Steps.of(np.minimum(np.cumsum(shares), 1.0) ** group.lanes)


def longest_word(s: WordStatistics, words: int, empty: bool) -> Steps:
    """The longest of so many words, sign bit included; of padding alone, one cycle and the sign."""
    steps = Steps.always(1.0) if empty else longest(s.top_bits, words)
    return Steps(steps.cycles + s.signed, steps.shares)


def in_bit_cycles(steps: Steps, bits_per_cycle: int) -> Steps:
    """Steps of so many bits, some in a cycle; at least one cycle."""
    return Steps(np.maximum(np.ceil(steps.cycles / bits_per_cycle), 1.0), steps.shares)
