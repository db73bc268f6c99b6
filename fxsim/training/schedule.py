"""Learning-rate schedules, as integers: the rate of a step is a code with 40 fractional bits."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from fxsim.engine.update import rate_code

_FINE = 64


def cosine(numerator: int, denominator: int) -> int:
    """cos(pi * numerator / denominator) with 64 fractional bits, 0 <= numerator <= denominator.

    Bhaskara would do; this is the Taylor series in integers, exact to a few units of the last.
    """
    if 2 * numerator > denominator:
        return -cosine(denominator - numerator, denominator)
    pi = 57952155664616982739  # floor(pi * 2**64)
    x = pi * numerator // denominator
    square = x * x >> _FINE
    total = term = 1 << _FINE
    n = 0
    while term:
        n += 2
        term = -(term * square >> _FINE) // (n * (n - 1))
        if term == -1:
            break
        total += term
    return total


@dataclass(frozen=True, slots=True)
class Schedule:
    """How the learning rate goes over a run.

    kind : "constant"; "linear", to zero; "step", times `factor` at each milestone (a share of the
        run); "cosine", half a wave to zero; "plateau", times `factor` after `patience` epochs
        without a better test loss
    warmup : steps of linear rise before
    """

    kind: str = "constant"
    warmup: int = 0
    milestones: tuple[Fraction, ...] = ()
    factor: Fraction = Fraction(1, 10)
    patience: int = 2

    def rate_code(self, rate: Fraction, step: int, steps: int, drops: int = 0) -> int:
        """The rate of a step; drops : how often the plateau was reached."""
        code = rate_code(rate)
        if step < self.warmup:
            return code * (step + 1) // (self.warmup + 1)
        done, span = step - self.warmup, max(steps - self.warmup, 1)
        if self.kind == "linear":
            return code * (span - done) // span
        if self.kind == "cosine":
            return code * ((1 << _FINE) + cosine(done, span)) >> (_FINE + 1)
        if self.kind == "step":
            drops = sum(step >= share * steps for share in self.milestones)
        return int(code * self.factor**drops)


@dataclass(slots=True)
class Plateau:
    """Counts epochs without a better test loss; its state is part of a checkpoint."""

    best: float = float("inf")
    waited: int = 0
    drops: int = 0

    def epoch(self, loss: float, patience: int) -> None:
        """An epoch ended with this test loss."""
        if loss < self.best:
            self.best, self.waited = loss, 0
            return
        self.waited += 1
        if self.waited > patience:
            self.waited, self.drops = 0, self.drops + 1
