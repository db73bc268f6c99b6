"""What an operation lost, counted."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Losses:
    """What a product lost.

    quantised, overflowed : output codes that dropped a bit, or left the output's format
    altered : sums that differ from the exact ones because the accumulator overflowed (where
        products or sums are rounded: sums in which an addition overflowed)
    first : number of the first of them, in the order of the result; None if there is none
    additions : additions that overflowed, where they were executed one by one
    """

    quantised: int = 0
    overflowed: int = 0
    altered: int = 0
    first: int | None = None
    additions: int = 0

    def __add__(self, other: Losses) -> Losses:
        firsts = [x.first for x in (self, other) if x.first is not None]
        return Losses(
            self.quantised + other.quantised,
            self.overflowed + other.overflowed,
            self.altered + other.altered,
            min(firsts, default=None),
            self.additions + other.additions,
        )

    def behind(self, elements: int) -> Losses:
        """The same, of a part that begins so many elements into the result."""
        return self if self.first is None else replace(self, first=self.first + elements)
