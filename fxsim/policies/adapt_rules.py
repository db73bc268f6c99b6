"""AdaPT's two moves: PushDown, which looks for lost information, and PushUp, which makes room."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, exp, inf, log

import numpy as np
from numpy.typing import NDArray

from fxsim.engine import casts
from fxsim.engine.tensor import FixedTensor
from fxsim.numerics.formats import Cast, FixedPoint, Rounding

MOST_BITS = 32  # AdaPT's widest word
LEAST_FRAC = 4  # the lowest fraction that PushDown tries
STRATEGIES = ("min", "mean", "max")

Loses = Callable[[int, int], bool]


def push_down(word: int, frac: int, loses: Loses, quirks: bool = False) -> tuple[int, int]:
    """(word length, fraction length) to which a format can shrink.

    loses : whether a (word, fraction) format loses information. The fraction is bisected between 4
    and its present value, then the word between that and its present value; each ends with the
    longest that is known to lose some, since PushUp adds at least one bit to both.
    quirks : the fraction's search tests its lower end instead of the middle, as the authors' code
    """
    low, high = min(LEAST_FRAC, frac), frac
    while high - low > 1:
        middle = -(-(low + high) // 2)
        if loses(word, low if quirks else middle):
            low = middle
        else:
            high = middle
    least = low
    low, high = least, word
    while high - low > 1:
        middle = -(-(low + high) // 2)
        if loses(middle, least):
            low = middle
        else:
            high = middle
    return low, least


def push_up(
    diversity: float, word: int, frac: int, strategy: int, buffer_bits: int
) -> tuple[int, int]:
    """(word length, fraction length) with the bits that the gradients' diversity asks for.

    diversity : sum of norms over norm of the sum; x = ln(diversity) - 1, where positive, suggests
    s1 = ceil(1 / x**2) and s2 = min(ceil(32 x**2), 32) - frac bits more; `strategy` (0, 1, 2)
    takes their minimum, mean or maximum.
    """
    more = 1
    x = log(diversity) - 1 if 0 < diversity < inf else 0.0
    if x > 0:
        square = x * x
        first = max(ceil(1 / square), 1) if square > 1e-9 else MOST_BITS
        second = max(min(ceil(MOST_BITS * square), MOST_BITS) - frac, 0)
        more = (min(first, second), -(-(first + second) // 2), max(first, second))[strategy]
    frac = min(frac + more, MOST_BITS)
    word = min(max(word, frac) + 1, MOST_BITS)
    frac = min(frac, MOST_BITS - buffer_bits)
    return max(min(frac + buffer_bits, MOST_BITS), word), frac


def next_strategy(strategy: int, losses: list[float], loss: float) -> int:
    """One level bolder where the mean of past losses is not above this one; else the first."""
    if abs(sum(losses) / len(losses)) > abs(loss):
        return 0
    return min(strategy + 1, len(STRATEGIES) - 1)


def next_lookback(lookback: int, diversity: float, least: int, most: int, momentum: float) -> int:
    """ceil(momentum * ceil(clip(most / diversity, least, most)) + (1 - momentum) * lookback)."""
    target = ceil(min(max(most / diversity, least), most)) if diversity > 0 else most
    return ceil(momentum * target + (1 - momentum) * lookback)


def next_resolution(resolution: int, lookback: int, bounds: tuple[int, int, int, int]) -> int:
    """One bin more at the longest lookback, one less at the shortest, within the bounds.

    bounds : least and most lookback, least and most resolution
    """
    least, most, low, high = bounds
    step = (lookback == most) - (lookback == least)
    return min(max(resolution + step, low), high)


def divergence(
    master: FixedTensor, word: int, frac: int, bins: int, key: int, quirks: bool = False
) -> float:
    """How far the histogram of rounded weights is from that of the weights: KL(rounded || exact).

    Both in `bins` equal bins over the weights' own range; what rounds outside counts in the outer
    bins, and an empty bin of the weights as half a weight.
    quirks : as the authors' code has it, mean(exp(q) (q - p)), which is no divergence and may be
    negative, of the first output's weights alone
    """
    codes = master.codes.astype(np.int64)
    codes = codes[0] if quirks else codes.reshape(-1)
    narrow = FixedTensor.trusted(codes, master.format)
    rounded, _ = casts.cast(narrow, Cast(FixedPoint(word, frac), Rounding.STOCHASTIC), key)
    again = casts.cast(rounded, FixedPoint(62, master.format.frac))[0].codes
    low, high = int(codes.min()), int(codes.max())
    exact, after = (_histogram(c, low, high, bins) for c in (codes, again))
    if quirks:
        p, q = exact / exact.sum(), after / after.sum()
        return float(sum(exp(b) * (b - a) for a, b in zip(p, q, strict=True)) / bins)
    total, entropy = int(after.sum()), 0.0
    for a, b in zip(exact.tolist(), after.tolist(), strict=True):
        entropy += b / total * log(b / max(a, 0.5)) if b else 0.0
    return entropy


def _histogram(codes: NDArray[np.int64], low: int, high: int, bins: int) -> NDArray[np.int64]:
    """(bins,) counts over [low, high], what lies outside in the outer bins."""
    place = (np.clip(codes, low, high) - low) * bins // (high - low + 1)
    return np.bincount(place, minlength=bins).astype(np.int64)
