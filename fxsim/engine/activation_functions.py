"""Smooth activation functions of words, piecewise linear between knots.

Knots lie at the multiples of 2**-6 from -16 to 16, with 20 fractional bits, exact to half of the
last; the input is cast to 11 fractional bits, saturating at +-16. GELU, SiLU and hard-swish look
up their distance from max(x, 0), which vanishes outside, and add it.

Error, before the result becomes words: |f'| * 2**-12 (the input's cast) + |f''| * 2**-15
(between knots) + 2**-20, at most 2**-11 for every function here; derivatives the same with f''
and f''', except hard-swish's, which is smeared over 2**-6 around its steps at -3 and 3.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from fxsim.engine import casts, vector_int16
from fxsim.engine.kernels import elementwise
from fxsim.engine.tensor import FixedTensor
from fxsim.engine.threads import split
from fxsim.numerics.formats import FixedPoint

INPUT = FixedPoint(16, 11)
KNOT_FRAC = 20
PART_BITS = 5  # of an input code, between knots
FIRST = -1 << (INPUT.bits - 1 - PART_BITS)  # number of the knot at -16
STEPS = 64  # knots a unit
_FINE = 128  # fractional bits while knots are computed


def _divide(numerator: int, denominator: int) -> int:
    return (2 * numerator + denominator) // (2 * denominator)


def _exp_of_fraction(numerator: int, denominator: int, fine: int = _FINE) -> int:
    """exp(numerator / denominator) with `fine` fractional bits, by its series; |argument| <= 1."""
    total = term = 1 << fine
    n = 1
    while term not in (0, -1):
        term = term * numerator // (denominator * n)
        total += term
        n += 1
    return total


@cache
def _exponentials() -> tuple[int, ...]:
    """exp(-k / 64), k = 0 to 2048."""
    ratio, powers = _exp_of_fraction(-1, STEPS), [1 << _FINE]
    for _ in range(2048):
        powers.append(powers[-1] * ratio >> _FINE)
    return tuple(powers)


def _sigmoid(k: int) -> int:
    """1 / (1 + exp(-k / 64))."""
    power, one = _exponentials()[min(abs(k), 2048)], 1 << _FINE
    return _divide((one if k >= 0 else power) << _FINE, one + power)


@cache
def _normal() -> tuple[tuple[int, int], ...]:
    """(cumulative, density) of the normal distribution at k / 64, k = 0 to 1024."""
    fine = 4 * _FINE  # the density falls to 2**-186, its factor rises as far

    def arctan_of_inverse(x: int) -> int:
        total = term = (1 << fine) // x
        n, sign = 1, -1
        while term:
            term //= x * x
            n += 2
            total += sign * (term // n)
            sign = -sign
        return total

    pi = 4 * (4 * arctan_of_inverse(5) - arctan_of_inverse(239))  # Machin's formula
    values = []
    density = isqrt((1 << (3 * fine)) // (2 * pi))
    ratio = _exp_of_fraction(-1, 2 * STEPS * STEPS, fine)
    squared = ratio * ratio >> fine
    for k in range(1025):
        # Phi(x) = 1/2 + density * (x + x**3 / 3 + x**5 / (3 * 5) + ...)
        term = total = (k << fine) // STEPS
        n = 1
        while term:
            n += 2
            term = term * k * k // (STEPS * STEPS * n)
            total += term
        cumulative = (1 << (fine - 1)) + (density * total >> fine)
        values.append((cumulative >> (fine - _FINE), density >> (fine - _FINE)))
        density = density * ratio >> fine
        ratio = ratio * squared >> fine
    return tuple(values)


def _cumulative(k: int) -> int:
    half = _normal()[min(abs(k), 1024)][0]
    return half if k >= 0 else (1 << _FINE) - half


def _tanh(k: int) -> int:
    return 2 * _sigmoid(2 * k) - (1 << _FINE)


def _sigmoid_slope(k: int) -> int:
    s = _sigmoid(k)
    return s * ((1 << _FINE) - s) >> _FINE


def _tanh_slope(k: int) -> int:
    t = _tanh(k)
    return (1 << _FINE) - (t * t >> _FINE)


def _positive(k: int) -> int:
    return (max(k, 0) << _FINE) // STEPS


def _silu_rest(k: int) -> int:
    return k * _sigmoid(k) // STEPS - _positive(k)


def _silu_slope(k: int) -> int:
    s = _sigmoid(k)
    return s + (k * (s * ((1 << _FINE) - s) >> _FINE)) // STEPS


def _gelu_rest(k: int) -> int:
    return k * _cumulative(k) // STEPS - _positive(k)


def _gelu_slope(k: int) -> int:
    return _cumulative(k) + k * _normal()[min(abs(k), 1024)][1] // STEPS


def _hard_swish_rest(k: int) -> int:
    inner = min(max(k + 3 * STEPS, 0), 6 * STEPS)
    return (k * inner << _FINE) // (6 * STEPS * STEPS) - _positive(k)


def _hard_swish_slope(k: int) -> int:
    if abs(k) >= 3 * STEPS:
        return (1 << _FINE) if k > 0 else 0
    return ((2 * k + 3 * STEPS) << _FINE) // (6 * STEPS)


# (the function, or what it adds to max(x, 0); its derivative; whether it adds to max(x, 0))
FUNCTIONS: dict[str, tuple[Callable[[int], int], Callable[[int], int], bool]] = {
    "sigmoid": (_sigmoid, _sigmoid_slope, False),
    "tanh": (_tanh, _tanh_slope, False),
    "gelu": (_gelu_rest, _gelu_slope, True),
    "silu": (_silu_rest, _silu_slope, True),
    "hard_swish": (_hard_swish_rest, _hard_swish_slope, True),
}


@cache
def knots(name: str, derivative: bool) -> NDArray[np.int64]:
    """The 2,049 knots of a function or its derivative, 20 fractional bits, nearest, ties up."""
    of = FUNCTIONS[name][1] if derivative else FUNCTIONS[name][0]
    drop = _FINE - KNOT_FRAC
    codes = np.array(
        [(of(k) + (1 << (drop - 1))) >> drop for k in range(FIRST, -FIRST + 1)], np.int64
    )
    codes.flags.writeable = False
    return codes


def _look_up(x: FixedTensor, name: str, derivative: bool) -> FixedTensor:
    near = casts.cast(x, INPUT, dtype=np.int16)[0]
    flat = np.ascontiguousarray(near.codes).reshape(-1)
    out = np.empty(flat.size, np.int32)
    split(
        elementwise.look_up_range,
        flat.size,
        4,
        flat,
        knots(name, derivative),
        FIRST,
        PART_BITS,
        PART_BITS,
        out,
    )
    return vector_int16.to_int16(
        FixedTensor.trusted(out.reshape(x.shape), FixedPoint(23, KNOT_FRAC))
    )


def apply(x: FixedTensor, name: str) -> FixedTensor:
    """A function of words, as words; see the module for its error."""
    looked_up = _look_up(x, name, False)
    return vector_int16.add(vector_int16.clip(x), looked_up) if FUNCTIONS[name][2] else looked_up


def backward(error: FixedTensor, x: FixedTensor, name: str) -> FixedTensor:
    """The error times the function's derivative at x, as words."""
    return vector_int16.multiply(error, _look_up(x, name, True))
