"""What an operation lost, counted."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class OverflowStatistics:
    """What a product lost.

    quantised, overflowed : output codes that dropped a bit, or left the output's format
    altered : sums that differ from those of the same products in an unlimited accumulator (where
        sums are rounded: sums in which an addition overflowed)
    first : number of the first of them, in the order of the result; None if there is none
    additions : additions that overflowed, where they were executed one by one
    """

    quantised: int = 0
    overflowed: int = 0
    altered: int = 0
    first: int | None = None
    additions: int = 0

    def __add__(self, other: OverflowStatistics) -> OverflowStatistics:
        firsts = [x.first for x in (self, other) if x.first is not None]
        return OverflowStatistics(
            self.quantised + other.quantised,
            self.overflowed + other.overflowed,
            self.altered + other.altered,
            min(firsts, default=None),
            self.additions + other.additions,
        )

    def placed(self, width: int, stride: int, base: int) -> OverflowStatistics:
        """The same, of columns `width` wide in rows `stride` apart, from element `base` on."""
        if self.first is None:
            return self
        row, column = divmod(self.first, width)
        return replace(self, first=base + row * stride + column)
