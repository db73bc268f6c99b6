"""Formats of what an optimiser keeps from step to step: master weights, momentum, moments."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

from fxsim.errors import FormatError
from fxsim.numerics.formats import MAX_FRAC, FixedPoint, Overflow, Rounding

MASTER = FixedPoint(32, 26)  # the container of all master weights
MAX_MOMENTUM_BITS = 32
MAX_MOMENT_BITS = 62
FINEST = 250  # fractional bits of a dynamic scale; values far below float32's least are zero


@dataclass(frozen=True, slots=True)
class StateFormat:
    """The words of momentum, or of one of Adam's moments.

    Parameters
    ----------
    bits : word length, 2 to 62
    frac : fractional bits; None is dynamic scaling: each step takes the finest scale at which a
        bound on the new values fits, which is known before the first of them is computed
    rounding : of a new value. The default, towards zero, lets a value that is no longer fed fade
        to zero; rounding to nearest stops it above, TRN leaves it below zero
    overflow : of values outside a static scale's word; a dynamic scale holds all

    Raises
    ------
    FormatError : for what is outside these limits

    Examples
    --------
    >>> StateFormat(32).chosen(Fraction(3, 2), FixedPoint(32, 24)).frac
    30
    """

    bits: int
    frac: int | None = None
    rounding: Rounding = Rounding.TRN_ZERO
    overflow: Overflow = Overflow.SAT

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= MAX_MOMENT_BITS:
            raise FormatError(f"StateFormat: bits must be 2 to {MAX_MOMENT_BITS}, not {self.bits}")
        if self.frac is not None and abs(self.frac) > MAX_FRAC:
            raise FormatError(
                f"StateFormat: frac must be -{MAX_FRAC} to {MAX_FRAC}, not {self.frac}"
            )

    def chosen(self, bound: Fraction, old: FixedPoint) -> FixedPoint:
        """The format of a step's new values.

        Parameters
        ----------
        bound : no new value is larger in magnitude
        old : the format of the values so far, whose scale stays where nothing but zeros comes

        Returns
        -------
        The word length with the static scale, or with the finest that holds `bound` once it is
        rounded.
        """
        if self.frac is not None:
            return FixedPoint(self.bits, self.frac)
        return FixedPoint(self.bits, finest_frac(bound, self.bits) if bound else old.frac)


@dataclass(frozen=True, slots=True)
class UpdateFormats:
    """The words of a weight update.

    Parameters
    ----------
    master : bits and fractional bits of weight matrices, at most 26 fractional and at most 6 whole
        ones (sign included), so that the 32-bit container holds them
    rounding : of a step before it is subtracted from a master weight, which saturates
    momentum : of SGD; first, second : of Adam's moments

    Raises
    ------
    FormatError : for a master that the container does not hold, or a momentum of more than 32 bits

    Examples
    --------
    >>> UpdateFormats(FixedPoint(16, 14)).master.bits
    16
    """

    master: FixedPoint = MASTER
    rounding: Rounding = Rounding.STOCHASTIC
    momentum: StateFormat = field(default_factory=lambda: StateFormat(32))
    first: StateFormat = field(default_factory=lambda: StateFormat(40))
    second: StateFormat = field(default_factory=lambda: StateFormat(62))

    def __post_init__(self) -> None:
        bits, frac, whole = self.master.bits, self.master.frac, MASTER.bits - MASTER.frac
        if not (2 <= bits <= MASTER.bits and frac <= MASTER.frac and bits - frac <= whole):
            raise FormatError(
                f"master must have 2 to {MASTER.bits} bits, of them at most {MASTER.frac}"
                f" fractional and at most {whole} others, not {bits} with {frac} fractional"
            )
        if self.momentum.bits > MAX_MOMENTUM_BITS:
            raise FormatError(
                f"momentum must have at most {MAX_MOMENTUM_BITS} bits, not {self.momentum.bits}"
            )


def finest_frac(bound: Fraction, bits: int, finest: int = FINEST) -> int:
    """The most fractional bits at which a word holds a value and one code more.

    Parameters
    ----------
    bound : above 0
    bits : of the word
    finest : at most so many fractional bits, and no fewer than their negative

    Returns
    -------
    The largest `frac` with bound * 2**frac + 1 <= 2**(bits - 1) - 1, within these limits.

    Examples
    --------
    >>> finest_frac(Fraction(125), 8), finest_frac(Fraction(126), 8)
    (0, 0)
    """
    most = max((1 << (bits - 1)) - 2, 1)  # a word of 2 bits has no code to spare
    room = most / bound
    octave = room.numerator.bit_length() - room.denominator.bit_length()
    octave -= Fraction(2) ** octave > room
    return min(max(octave, -finest), finest)
