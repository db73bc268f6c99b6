"""How long data-dependent units take: expected maxima over the words that march together.

Words are taken as drawn independently from what the trace counted in the operand (an assumption;
the bits of a word likewise, for Bit-Pragmatic). Padding is exact: windows that lie outside the
image hold zeros. Formulas are those that DNNsim's cycle-by-cycle simulation obeys in expectation
(`tests/cost/test_dnnsim.py`); a step never takes less than one cycle.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from fxsim.accelerator.pe import PE, Serial, SerialSerial, TermSerial
from fxsim.arithmetic.essential_bits import LENGTHS, WordStatistics
from fxsim.mapping.nest import FX, FY, OX, OY, B, C, K, Nest

Shares = NDArray[np.float64]


def _cumulative(counts: NDArray[np.int64]) -> Shares:
    share: Shares = np.cumsum(counts) / max(counts.sum(), 1)
    return share


def longest(counts: NDArray[np.int64], words: int, least: int = 1) -> float:
    """Expected largest of so many draws from 0, 1, 2, ... with these counts, at least `least`."""
    cumulative = _cumulative(counts)
    cumulative[:least] = 0
    return float((1 - cumulative**words).sum())


def distinct_positions(s: WordStatistics, lanes: int, windows: int, booth: bool) -> float:
    """Expected most bit positions that any lane of a window uses, over windows; at least 1."""
    positions = s.booth_positions if booth else s.positions
    shares = np.array([1.0])
    for used in positions / max(s.words, 1):
        free = (1 - used) ** lanes
        shares = np.convolve(shares, [free, 1 - free])
    cumulative = np.minimum(np.cumsum(shares), 1.0)
    cumulative[0] = 0
    return float((1 - cumulative**windows).sum())


def term_products(
    a: WordStatistics, b: WordStatistics, windows: int, filters: int, lanes: int, booth: bool
) -> float:
    """Expected longest product of term counts, over lanes; in a lane the largest of each side."""
    one, other = (_cumulative(s.booth if booth else s.ones) for s in (a, b))
    left, right = np.diff(one**windows, prepend=0), np.diff(other**filters, prepend=0)
    products = np.maximum(np.outer(np.arange(LENGTHS), np.arange(LENGTHS)), 1)
    shares = np.bincount(products.reshape(-1), np.outer(left, right).reshape(-1))
    cumulative = np.minimum(np.cumsum(shares), 1.0)
    return float((1 - cumulative**lanes).sum())


def step_cycles(
    pe: PE, left: WordStatistics | None, right: WordStatistics | None, bits: tuple[int, int],
    windows: int, filters: int, lanes: int,
) -> float:  # fmt: skip
    """Expected cycles of one step of `windows` by `filters` units with so many lanes.

    windows : those that lie inside the image; the others hold zeros. bits : the word lengths
    """
    empty = windows == 0 or lanes == 0
    if isinstance(pe, Serial):
        s, words = (
            (left, windows * lanes) if pe.serial_operand == "left" else (right, filters * lanes)
        )
        assert s is not None
        whole = bits[1] if pe.serial_operand == "left" else bits[0]
        bit_cycles = s.signed + (1.0 if empty else longest(s.top_bits, words))
        return max(bit_cycles / pe.bits_per_cycle, 1.0) * -(-whole // pe.parallel_bits)
    if isinstance(pe, SerialSerial):
        cycles = 1.0
        for s, operand, words, length in (
            (left, "left", windows * lanes, bits[0]), (right, "right", filters * lanes, bits[1])
        ):  # fmt: skip
            if operand in pe.adaptive:
                assert s is not None
                here = 1.0 if empty and operand == "left" else longest(s.top_bits, words)
                cycles *= s.signed + here
            else:
                cycles *= max(length, 1)
        return max(cycles / pe.bits_per_cycle, 1.0)
    assert isinstance(pe, TermSerial)
    assert left is not None
    if empty:
        return 1.0
    if len(pe.operands) == 2:
        assert right is not None
        return term_products(left, right, windows, filters, lanes, pe.booth)
    passes = -(-bits[1] // pe.parallel_bits)
    return distinct_positions(left, lanes, windows, pe.booth) * passes


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
    found: dict[int, float] = {}
    for count, repeats in ((period, images // period), (images % period, 1)):
        if not count:
            continue
        rows = np.tile(both, (count, 1)).astype(np.int32)
        sums = np.add.reduceat(rows, np.arange(0, len(rows), together), axis=0)
        for n, steps in zip(*np.unique(sums, return_counts=True), strict=True):
            found[int(n)] = found.get(int(n), 0.0) + float(steps) * repeats
    return found


def mean_beat(
    pe: PE, left: WordStatistics | None, right: WordStatistics | None, bits: tuple[int, int],
    nest: Nest, windows: int, filters: int, lanes: int,
) -> float:  # fmt: skip
    """Expected cycles of a step, over all steps of a nest: ragged groups and padding included.

    windows, filters, lanes : how many of each (of loops B OY OX, K, and C) march together
    """

    @cache
    def step(n: int, k: int, c: int) -> float:
        return step_cycles(pe, left, right, bits, n, k, c)

    total = 0.0
    for n, share in valid_windows(nest, windows).items():
        for k, filter_share in _groups(nest.sizes[K], filters):
            for c, lane_share in _groups(nest.sizes[C], lanes):
                total += share * filter_share * lane_share * step(n, k, c)
    return total


def _groups(size: int, together: int) -> list[tuple[int, float]]:
    """(group, share of groups): full ones, and the ragged last."""
    full, rest = divmod(size, together)
    groups = full + bool(rest)
    found = [(together, full / groups)] if full else []
    return [*found, (rest, 1 / groups)] if rest else found
