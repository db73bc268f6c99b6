"""Formats as SystemC, Vitis HLS, Catapult and the Q notation write them.

    sc_fixed<16, 6, SC_RND_CONV, SC_SAT>      sc_ufixed<8, 0>
    ap_fixed<16,6,AP_RND_CONV,AP_SAT>         ap_ufixed<8,0,AP_TRN,AP_WRAP,2>
    ac_fixed<16,6,true,AC_RND_CONV,AC_SAT>    ac_fixed<8,0,false>
    Q5.10   UQ5.10   Q15

The arguments are word length, integer bits (sign included), [ac: signed], rounding, overflow, and
[not ac: n saturated bits]; what is left out is truncation and wrapping, as in C++.
Qm.n is Texas Instruments': m integer bits without the sign, so Q5.10 has 16 bits (Arm's Q6.10);
it names no modes, so they are RND and SAT here unless given.

Sources: IEEE 1666-2011, 7.10; AMD UG1399, ap_fixed; Algorithmic C Datatypes reference manual.
"""

from __future__ import annotations

import re

from fxsim.errors import FormatError, hint
from fxsim.numerics.formats import Cast, FixedPoint, Overflow, Rounding

_FAMILIES = ("sc_fixed", "sc_ufixed", "ap_fixed", "ap_ufixed", "ac_fixed")
_STANDARD = (
    Rounding.RND,
    Rounding.RND_ZERO,
    Rounding.RND_MIN_INF,
    Rounding.RND_INF,
    Rounding.RND_CONV,
    Rounding.TRN,
    Rounding.TRN_ZERO,
)
_ROUNDINGS = {"sc": _STANDARD, "ap": _STANDARD, "ac": (*_STANDARD, Rounding.RND_CONV_ODD)}
_SATURATIONS = (Overflow.SAT, Overflow.SAT_ZERO, Overflow.SAT_SYM, Overflow.WRAP)
_OVERFLOWS = {
    "sc": (*_SATURATIONS, Overflow.WRAP_SM),
    "ap": (*_SATURATIONS, Overflow.WRAP_SM),
    "ac": _SATURATIONS,
}
_TEMPLATE = re.compile(r"\s*([a-z_]+)\s*<([^<>]*)>\s*")
_INTEGER = re.compile(r"-?[0-9]{1,6}")
_Q = re.compile(r"\s*(U?)Q(?:(-?[0-9]{1,6})\.)?(-?[0-9]{1,6})\s*", re.IGNORECASE)


def parse(text: str, rounding: Rounding = Rounding.RND, overflow: Overflow = Overflow.SAT) -> Cast:
    """The format and modes that a type name states.

    Parameters
    ----------
    text : a type as SystemC, Vitis HLS, Catapult or the Q notation write it; see the module
    rounding, overflow : the modes of Q notation, which names none

    Returns
    -------
    The cast.

    Raises
    ------
    FormatError : naming the part that is wrong

    Examples
    --------
    >>> parse("ap_fixed<8,3,AP_RND_CONV,AP_SAT>").format
    FixedPoint(bits=8, frac=5, signed=True)
    >>> parse("Q5.10").format.bits
    16
    """
    match = _Q.fullmatch(text)
    if match:
        unsigned, integer, fraction = match[1] != "", int(match[2] or 0), int(match[3])
        bits = integer + fraction + (not unsigned)
        return Cast(FixedPoint(bits, fraction, not unsigned), rounding, overflow)
    match = _TEMPLATE.fullmatch(text)
    if not match:
        raise FormatError(
            f"{text!r}: must be a type such as ap_fixed<16,6,AP_RND_CONV,AP_SAT>, sc_ufixed<8,0>,"
            " ac_fixed<16,6,true> or Q5.10"
        )
    name = match[1]
    if name not in _FAMILIES:
        raise FormatError(
            f"{text!r}: the type must be one of {', '.join(_FAMILIES)}, not {name!r}"
            f"{hint(name, _FAMILIES)}"
        )
    return _template(text, name, [part.strip() for part in match[2].split(",")])


def _template(text: str, name: str, parts: list[str]) -> Cast:
    family = name[:2]
    signed, rest = name[3] != "u", parts[2:]
    if len(parts) < 2 or len(parts) > 5:
        raise FormatError(f"{text!r}: needs 2 to 5 arguments, not {len(parts)}")
    if family == "ac":
        signed = _boolean(text, rest[0]) if rest else True
        rest = rest[1:]
    bits, integer = (_integer(text, part) for part in parts[:2])
    rounding = _mode(text, family, rest[0], _ROUNDINGS[family]) if rest else Rounding.TRN
    overflow = _mode(text, family, rest[1], _OVERFLOWS[family]) if rest[1:] else Overflow.WRAP
    n = _integer(text, rest[2]) if rest[2:] else 0
    return Cast(FixedPoint(bits, bits - integer, signed), Rounding(rounding), Overflow(overflow), n)


def _integer(text: str, part: str) -> int:
    if not _INTEGER.fullmatch(part):
        raise FormatError(f"{text!r}: must be a whole number, not {part!r}")
    return int(part)


def _boolean(text: str, part: str) -> bool:
    if part not in ("true", "false"):
        raise FormatError(f"{text!r}: signedness must be true or false, not {part!r}")
    return part == "true"


def _mode(text: str, family: str, part: str, modes: tuple[Rounding | Overflow, ...]) -> int:
    names = {f"{family.upper()}_{mode.name}": mode for mode in modes}
    if part not in names:
        raise FormatError(
            f"{text!r}: must be one of {', '.join(names)}, not {part!r}{hint(part, names)}"
        )
    return names[part]


def written(cast: Cast, family: str) -> str:
    """The type name of a format and its modes.

    Parameters
    ----------
    cast : a format and its modes
    family : "sc", "ap", "ac", or "Q" (which has no modes)

    Returns
    -------
    The name, which `parse` reads back.

    Raises
    ------
    FormatError : for a mode that the family lacks

    Examples
    --------
    >>> written(Cast(FixedPoint(8, 5)), "ap")
    'ap_fixed<8,3,AP_RND_CONV,AP_SAT>'
    """
    word = cast.format
    if family == "Q":
        sign = "" if word.signed else "U"
        return f"{sign}Q{word.bits - word.frac - word.signed}.{word.frac}"
    if family not in _ROUNDINGS:
        raise FormatError(f"notation: must be one of sc, ap, ac, Q, not {family!r}")
    if cast.rounding not in _ROUNDINGS[family]:
        raise FormatError(f"notation: {family}_fixed has no {cast.rounding.name}")
    if cast.overflow not in _OVERFLOWS[family]:
        raise FormatError(f"notation: {family}_fixed has no {cast.overflow.name}")
    prefix = family.upper()
    size = [str(word.bits), str(word.bits - word.frac)]
    modes = [f"{prefix}_{cast.rounding.name}", f"{prefix}_{cast.overflow.name}"]
    if family == "ac":
        if cast.saturated_bits:
            raise FormatError("notation: ac_fixed has no saturated bits")
        return f"ac_fixed<{','.join([*size, str(word.signed).lower(), *modes])}>"
    extra = [str(cast.saturated_bits)] if cast.saturated_bits else []
    return f"{family}_{'' if word.signed else 'u'}fixed<{','.join([*size, *modes, *extra])}>"
