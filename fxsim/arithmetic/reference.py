"""The specification: every operation of the datapath in Python integers.

Slow, obvious, and without a single import of ours. The kernels are tested against this, bit for
bit; tests compose these functions into whole training steps. Tensors are nested lists.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isqrt

Matrix = list[list[int]]

# --- rounding: code * 2**-shift to an integer, 0 <= shift ------------------------------------


def _nearest(code: int, shift: int, tie_up: Callable[[int], bool]) -> int:
    quotient, remainder = divmod(code, 1 << shift)
    twice = 2 * remainder
    return quotient + (twice > 1 << shift or (twice == 1 << shift and tie_up(quotient)))


def rnd(code: int, shift: int) -> int:
    """Nearest, ties to +infinity."""
    return _nearest(code, shift, lambda q: True)


def rnd_zero(code: int, shift: int) -> int:
    """Nearest, ties to zero."""
    return _nearest(code, shift, lambda q: q < 0)


def rnd_min_inf(code: int, shift: int) -> int:
    """Nearest, ties to -infinity."""
    return _nearest(code, shift, lambda q: False)


def rnd_inf(code: int, shift: int) -> int:
    """Nearest, ties away from zero."""
    return _nearest(code, shift, lambda q: q >= 0)


def rnd_conv(code: int, shift: int) -> int:
    """Nearest, ties to even."""
    return _nearest(code, shift, lambda q: q % 2 == 1)


def rnd_conv_odd(code: int, shift: int) -> int:
    """Nearest, ties to odd."""
    return _nearest(code, shift, lambda q: q % 2 == 0)


def trn(code: int, shift: int) -> int:
    """Towards -infinity."""
    return code // (1 << shift)


def trn_zero(code: int, shift: int) -> int:
    """Towards zero."""
    return code // (1 << shift) if code >= 0 else -(-code // (1 << shift))


def jam(code: int, shift: int) -> int:
    """Towards -infinity, then the last kept bit OR-ed with "any lost bit" (von Neumann)."""
    return trn(code, shift) | (code % (1 << shift) != 0)


def stochastic(code: int, shift: int, draw: int, draw_bits: int = 16) -> int:
    """Up if the top `draw_bits` dropped bits plus the draw carry out: probability 2**-draw_bits."""
    quotient, remainder = divmod(code, 1 << shift)
    top = (remainder << draw_bits) >> shift
    return quotient + ((top + draw) >> draw_bits)


ROUNDINGS: dict[str, Callable[[int, int], int]] = {
    "RND": rnd,
    "RND_ZERO": rnd_zero,
    "RND_MIN_INF": rnd_min_inf,
    "RND_INF": rnd_inf,
    "RND_CONV": rnd_conv,
    "RND_CONV_ODD": rnd_conv_odd,
    "TRN": trn,
    "TRN_ZERO": trn_zero,
    "JAM": jam,
}


def round_code(code: int, shift: int, mode: str, draw: int = 0) -> int:
    """`code * 2**-shift` rounded; a negative shift is an exact left shift."""
    if shift <= 0:
        return code << -shift
    return stochastic(code, shift, draw) if mode == "STOCHASTIC" else ROUNDINGS[mode](code, shift)


# --- overflow --------------------------------------------------------------------------------


def limits(bits: int, signed: bool, mode: str) -> tuple[int, int]:
    """(smallest, largest) code; SAT_SYM gives up the most negative one."""
    high = (1 << (bits - 1)) - 1 if signed else (1 << bits) - 1
    low = (-high if mode == "SAT_SYM" else -high - 1) if signed else 0
    return low, high


def wrap(code: int, bits: int, signed: bool) -> int:
    """The low `bits` bits, sign-extended for signed formats."""
    word = code % (1 << bits)
    return word - (1 << bits) if signed and word >> (bits - 1) else word


def _saturate_top(low: int, bits: int, signed: bool, n: int, over: bool) -> int:
    """`low` in the low bits - n bits; the n bits above are those of the nearest limit."""
    if signed:
        top = (1 << (bits - 1)) - (1 << (bits - n)) if over else -(1 << (bits - 1))
    else:
        top = (1 << bits) - (1 << (bits - n)) if over else 0
    return top + low % (1 << (bits - n))


def wrap_n(code: int, bits: int, signed: bool, n: int) -> int:
    """SystemC SC_WRAP, n: the top n bits saturate (the sign is kept), the others wrap."""
    return _saturate_top(code, bits, signed, n, code >= 0) if n else wrap(code, bits, signed)


def wrap_sign_magnitude(code: int, bits: int, n: int) -> int:
    """SystemC SC_WRAP_SM, n: as WRAP, n, but mirrored on every second lap."""
    above = code >> bits if n == 0 else -(code < 0)
    mirrored = (above ^ (code >> (bits - max(n, 1)))) & 1
    if n > 1:
        mirrored = not mirrored
    word = ~code if mirrored else code
    return wrap(word, bits, True) if n < 2 else _saturate_top(word, bits, True, n, code >= 0)


def limit_code(code: int, bits: int, signed: bool, mode: str, n: int = 0) -> tuple[int, bool]:
    """(code inside the format, whether it overflowed)."""
    low, high = limits(bits, signed, mode)
    if low <= code <= high:
        return code, False
    if mode == "SAT_ZERO":
        return 0, True
    if mode in ("SAT", "SAT_SYM", "ERROR") or (n >= bits and mode.startswith("WRAP")):
        return (high if code > high else low), True
    if mode == "WRAP":
        return wrap_n(code, bits, signed, n), True
    return wrap_sign_magnitude(code, bits, n), True


def cast(
    code: int,
    shift: int,
    bits: int,
    signed: bool = True,
    rounding: str = "RND_CONV",
    overflow: str = "SAT",
    n: int = 0,
    draw: int = 0,
) -> tuple[int, bool, bool]:
    """(code, any non-zero bit dropped, overflowed) of a move by `shift` binary places."""
    quantised = shift > 0 and code % (1 << shift) != 0
    result, overflowed = limit_code(
        round_code(code, shift, rounding, draw), bits, signed, overflow, n
    )
    return result, quantised, overflowed
