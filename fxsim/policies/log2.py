"""Binary logarithms of exact values, without rounding."""

from __future__ import annotations

from fractions import Fraction


def floor_log2(value: Fraction) -> int:
    """floor(log2(value)) of a positive value."""
    guess = value.numerator.bit_length() - value.denominator.bit_length()
    return guess - (Fraction(2) ** guess > value)


def ceil_log2(value: Fraction) -> int:
    """ceil(log2(value)) of a positive value."""
    return -floor_log2(1 / value)
