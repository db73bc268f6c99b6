"""Scales that are no power of two: an integer multiplier and a shift, as uniform quantisers need.

Source of the normalised form and of double rounding: Jacob et al., "Quantization and Training of
Neural Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018, section 2.2, and
gemmlowp's `fixedpoint.h` (SaturatingRoundingDoublingHighMul, RoundingDivideByPOT).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from operator import index

from fxsim.errors import FormatError
from fxsim.numerics.formats import FixedPoint, check_integers

MULTIPLIER_BITS = 31
MAX_SHIFT = 62
_LEAST_BITS = 8  # of a multiplier that the shift cuts short: 0.2 %


@dataclass(frozen=True, slots=True)
class Scale:
    """`multiplier * 2**-shift`; a power of two has multiplier 1.

    Parameters
    ----------
    multiplier : an int32
    shift : -31 to 62

    Raises
    ------
    FormatError : for what is no whole number, or outside these limits

    Examples
    --------
    >>> Scale(3, 2).value
    Fraction(3, 4)
    """

    multiplier: int
    shift: int

    def __post_init__(self) -> None:
        check_integers("Scale", multiplier=self.multiplier, shift=self.shift)
        object.__setattr__(self, "multiplier", index(self.multiplier))
        object.__setattr__(self, "shift", index(self.shift))
        if not -(1 << MULTIPLIER_BITS) <= self.multiplier < 1 << MULTIPLIER_BITS:
            raise FormatError(f"Scale: multiplier must be an int32, not {self.multiplier}")
        if not -MULTIPLIER_BITS <= self.shift <= MAX_SHIFT:
            raise FormatError(
                f"Scale: shift must be -{MULTIPLIER_BITS} to {MAX_SHIFT}, not {self.shift}"
            )

    @property
    def value(self) -> Fraction:
        """The scale, exactly."""
        return self.multiplier * FixedPoint(2, self.shift).step

    @classmethod
    def nearest(cls, value: Fraction | float, bits: int = MULTIPLIER_BITS) -> Scale:
        """The closest scale with a multiplier of `bits` bits, its top bit set (TFLite's form).

        Parameters
        ----------
        value : positive
        bits : of the multiplier, 1 to 31

        Returns
        -------
        The scale; its relative error is at most 2**-bits. A value so small that the shift would
        exceed 62 has a multiplier of fewer bits, at least 8.

        Raises
        ------
        FormatError : for a value that is not positive and finite, or bits outside these limits; for
            a value of which no multiplier of at least 8 bits (or `bits`) is left

        Examples
        --------
        >>> Scale.nearest(0.1, 8)
        Scale(multiplier=205, shift=11)
        """
        if not 0 < value < float("inf"):
            raise FormatError(f"Scale: a scale must be positive, not {value}")
        if not 1 <= bits <= MULTIPLIER_BITS:
            raise FormatError(f"Scale: bits must be 1 to {MULTIPLIER_BITS}, not {bits}")
        exact = Fraction(value)
        multiplier, shift = nearest_multiplier(exact, bits)
        if shift > MAX_SHIFT:
            multiplier, shift = round(exact * (1 << MAX_SHIFT)), MAX_SHIFT
        least = min(bits, _LEAST_BITS)
        if shift < -MULTIPLIER_BITS or multiplier.bit_length() < least:
            low, high = 2.0 ** (least - 1 - MAX_SHIFT), 2.0 ** (bits + MULTIPLIER_BITS)
            raise FormatError(
                f"Scale: a scale must be between {low:.3g} and {high:.3g}, not {float(value):.3g}"
            )
        return cls(multiplier, shift)


def nearest_multiplier(value: Fraction, bits: int) -> tuple[int, int]:
    """The closest integer of `bits` bits, its top bit set, times a power of two.

    Parameters
    ----------
    value : above 0
    bits : of the integer, at least 1

    Returns
    -------
    (multiplier, shift): multiplier * 2**-shift is within 2**-bits of the value, relatively.

    Examples
    --------
    >>> nearest_multiplier(Fraction(1, 10), 8)
    (205, 11)
    """
    shift = bits - value.numerator.bit_length() + value.denominator.bit_length()
    shift -= value * Fraction(2) ** shift >= 1 << bits
    multiplier = round(value * Fraction(2) ** shift)
    return (multiplier >> 1, shift - 1) if multiplier == 1 << bits else (multiplier, shift)
