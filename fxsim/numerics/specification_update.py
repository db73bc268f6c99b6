"""The specification of the weight update, in Python integers: SGD, Adam, and updates in few bits.

Like `specification`, it imports nothing of the engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import isqrt

from fxsim.numerics.specification import limit_code, rnd_conv, round_code


def multiplier(value: Fraction, bits: int) -> tuple[int, int]:
    """(code, places): the nearest code * 2**-places of `bits` bits to a rate, ties to even."""
    places = 0
    if not value:
        return 0, 0
    while value * Fraction(2) ** places >= 1 << bits:
        places -= 1
    while value * Fraction(2) ** places < 1 << (bits - 1):
        places += 1
    code = round(value * Fraction(2) ** places)
    return (code // 2, places - 1) if code == 1 << bits else (code, places)


def fitting_frac(bound: Fraction, bits: int) -> int:
    """The most fractional bits, at most 250, at which a word holds `bound` and one code more."""
    frac = 250
    while bound * Fraction(2) ** frac + 1 > (1 << (bits - 1)) - 1:
        frac -= 1
    return frac


def shift_down(code: int, shift: int, mode: str = "TRN_ZERO", draw_code: int = 0) -> int:
    """code * 2**-shift, rounded; nothing is left of it beyond 62 places."""
    return 0 if code == 0 or shift > 62 else round_code(code, shift, mode, draw_code)


def moved(master: int, step: int, grid: int, bits: int) -> int:
    """A master weight less `step` multiples of 2**grid codes, in `bits` bits of that grid."""
    return limit_code((master >> grid) - step, bits, True, "SAT")[0] << grid


def sgd(
    master: int,
    momentum: int,
    gradient: int,
    *,
    momentum_frac: int,
    gradient_frac: int,
    frac: int,
    bits: int,
    friction: tuple[int, int],
    rate: tuple[int, int],
    decay: tuple[int, int],
    modes: tuple[str, str],
    overflow: str,
    draws: tuple[int, int],
    nesterov: bool = False,
    master_frac: int = 26,
    master_bits: int = 32,
) -> tuple[int, int]:
    """(new master weight, 26 fractional bits; new momentum, `frac` fractional bits in `bits`).

    Rates are (multiplier, places). Each term is cut towards zero 16 places beyond the new
    momentum's; their sum is rounded once, as modes[0] says; the step as modes[1] says.
    """
    fine = frac + 16
    pull = shift_down(gradient, gradient_frac - fine)
    pull += shift_down(master * decay[0], 26 + decay[1] - fine)
    damped = shift_down(momentum * friction[0], momentum_frac + friction[1] - fine)
    exact = round_code(damped + pull, 16, modes[0], draws[0])
    velocity = limit_code(exact, bits, True, overflow)[0]
    ahead = velocity
    if nesterov:
        further = rnd_conv(shift_down(velocity * friction[0], friction[1] - 16) + pull, 16)
        ahead = limit_code(further, 34, True, "SAT")[0]
    step = shift_down(ahead * rate[0], frac + rate[1] - master_frac, modes[1], draws[1])
    return moved(master, step, 26 - master_frac, master_bits), velocity


def moment(
    old: int,
    new: int,
    fade: tuple[int, int],
    fracs: tuple[int, int, int],
    bits: int,
    mode: str,
    overflow: str,
    draw_code: int,
) -> int:
    """old + fade * (new - old) in `bits` bits; fracs: of old; of new and the sum; of the result.

    The product is rounded down, the sum then as `mode` says.
    """
    own, fine, frac = fracs
    at = shift_down(old, own - fine)
    exact = at + ((new - at) * fade[0] >> fade[1])
    return limit_code(shift_down(exact, fine - frac, mode, draw_code), bits, True, overflow)[0]


def adam_ratio(
    first: int, second: int, fracs: tuple[int, int], epsilon: tuple[int, int]
) -> tuple[int, int]:
    """first / (root of second + epsilon) towards zero, as (code, fractional bits).

    The root has 31 bits, whatever the size of `second`; the quotient at least 29.
    """
    multiplier, places = epsilon
    if first == 0:
        return 0, 0
    if second == 0:
        denominator, frac = multiplier << 8, places + 8
    else:
        up = 0
        while second << (up + 1) < 1 << 62:
            up += 1
        up -= (fracs[1] + up) % 2
        root, frac = isqrt(second << up), (fracs[1] + up) // 2
        down = max(frac - places - 7, 0)  # so that epsilon has at most 31 bits
        frac -= down
        denominator = (root >> down) + shift_down(multiplier, places - frac)
    up = 62 - abs(first).bit_length()
    quotient = (abs(first) << up) // denominator
    return quotient if first > 0 else -quotient, fracs[0] + up - frac


def adam_master(
    master: int,
    ratio: tuple[int, int],
    rate: tuple[int, int],
    pull: tuple[int, int],
    mode: str,
    draw_code: int,
    master_frac: int = 26,
    master_bits: int = 32,
) -> int:
    """master - rate * ratio - pull * master, each cut 16 places beyond the master's own."""
    fine = master_frac + 16
    exact = shift_down(ratio[0] * rate[0], ratio[1] + rate[1] - fine)
    exact += shift_down(master * pull[0], 26 + pull[1] - fine)
    step = round_code(exact, 16, mode, draw_code)
    return moved(master, step, 26 - master_frac, master_bits)


# --- updates in few bits ---------------------------------------------------------------------


def nearest_octave(code: int) -> int:
    """round(log2(code)) of a positive code: 2**(n + 1/2) is the border between n and n + 1."""
    n = 0
    while code * code >= 1 << (2 * n + 1):
        n += 1
    return n


def wage_steps(gradient: Sequence[int], rate: int, draws: Sequence[int]) -> list[int]:
    """rate (24 fractional bits) * g / 2**round(log2 max|g|), rounded by 16-bit draws."""
    shift = 24 + nearest_octave(max(map(abs, gradient)))
    return [
        round_code(g * rate, shift, "STOCHASTIC", drawn)
        for g, drawn in zip(gradient, draws, strict=True)
    ]


def pseudo_stochastic(code: int, shift: int) -> int:
    """NITI's rounding: the dropped bits' upper half against their lower half."""
    magnitude, half = abs(code), shift // 2
    dropped = magnitude % (1 << shift)
    upper, lower = dropped >> half, dropped % (1 << half) * (1 + shift % 2)
    rounded = (magnitude >> shift) + (upper > lower)
    return rounded if code >= 0 else -rounded


def niti_steps(gradient: Sequence[int], gradient_bits: int) -> list[int]:
    """The gradient's `gradient_bits` highest bits below ceil(log2 max|g|)."""
    largest, length = max(map(abs, gradient)), 0
    while 1 << length < largest:
        length += 1
    return [pseudo_stochastic(g, max(length - gradient_bits, 0)) for g in gradient]


def grid_update(master: int, steps: int, shift: int, bits: int) -> int:
    """A master code that many grid steps lower, within the bits-wide words but the lowest."""
    most = (1 << (bits - 1)) - 1
    return min(max((master >> shift) - steps, -most), most) << shift


def normalised(gradient: Sequence[int]) -> list[int]:
    """g / ||g|| with 24 fractional bits, rounded to zero; the root has 6."""
    norm = isqrt(sum(g * g for g in gradient) << 12)
    if not norm:
        return [0 for _ in gradient]
    return [(abs(g) << 30) // norm * (1 if g >= 0 else -1) for g in gradient]
