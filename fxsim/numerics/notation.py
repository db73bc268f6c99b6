"""Formats as SystemC, Vitis HLS, Catapult and the Q notation write them.

    sc_fixed<16, 6, SC_RND_CONV, SC_SAT>      sc_ufixed<8, 0>
    ap_fixed<16,6,AP_RND_CONV,AP_SAT>         ap_ufixed<8,0,AP_TRN,AP_WRAP,2>
    ac_fixed<16,6,true,AC_RND_CONV,AC_SAT>    ac_fixed<8,0,false>
    ap_int<8>   ap_uint<8>   sc_int<8>   sc_uint<8>   ac_int<8,false>
    fixed<8,3>   ufixed<8,3,RND,SAT>
    Q5.10   UQ5.10   Q15

The arguments are word length, [fixed: integer bits, sign included], [ac: signed], [fixed: rounding,
overflow, and, not ac, n saturated bits]; what is left out is truncation and wrapping, as in C++.
`fixed` is ap_fixed as hls4ml writes it, its modes without AP_.
Qm.n has m integer bits: without the sign as Texas Instruments counts, so that Q5.10 has 16 bits, or
with it as Arm counts, where that is Q6.10. A signed Qm.n is read as Texas Instruments', with a
warning, unless `convention` says which. The Q notation names no modes: they are RND and SAT here
unless given.

Sources: IEEE 1666-2011, 7.10; AMD UG1399, ap_fixed and ap_int; Algorithmic C Datatypes reference
manual; hls4ml, documentation of its configuration; Q notation as Texas Instruments' IQmath and
Arm's application note 33 have it.
"""

from __future__ import annotations

import re
import warnings
from typing import Any, Literal

from fxsim.errors import FormatError, FxsimWarning, hint
from fxsim.numerics.formats import Cast, FixedPoint, Overflow, Rounding

_FIXED = ("sc_fixed", "sc_ufixed", "ap_fixed", "ap_ufixed", "ac_fixed", "fixed", "ufixed")
_INTEGERS = ("sc_int", "sc_uint", "ap_int", "ap_uint", "ac_int")
_FAMILIES = (*_FIXED, *_INTEGERS)
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


def parse(
    text: str,
    rounding: Rounding = Rounding.RND,
    overflow: Overflow = Overflow.SAT,
    convention: Literal["ti", "arm"] | None = None,
) -> Cast:
    """The format and modes that a type name states.

    Parameters
    ----------
    text : a type as SystemC, Vitis HLS, Catapult or the Q notation write it; see the module
    rounding, overflow : the modes of Q notation, which names none
    convention : whose Qm.n: m without the sign ("ti"), or with it ("arm")

    Returns
    -------
    The cast.

    Raises
    ------
    FormatError : naming the part that is wrong

    Warns
    -----
    FxsimWarning : for a signed Qm.n without `convention`; it is read as Texas Instruments'

    Examples
    --------
    >>> parse("ap_fixed<8,3,AP_RND_CONV,AP_SAT>").format
    FixedPoint(bits=8, frac=5, signed=True)
    >>> parse("Q5.10", convention="ti").format.bits
    16
    >>> parse("Q5.10", convention="arm").format.bits
    15
    >>> parse("ap_int<8>").format
    FixedPoint(bits=8, frac=0, signed=True)
    """
    if not isinstance(text, str):
        raise FormatError(f"a type must be text such as 'ap_fixed<16,6>', not {text!r}")
    if convention not in (None, "ti", "arm"):
        raise FormatError(f"convention must be 'ti' or 'arm', not {convention!r}")
    match = _Q.fullmatch(text)
    if match:
        unsigned, integer, fraction = match[1] != "", int(match[2] or 0), int(match[3])
        bits = integer + fraction
        if not unsigned:
            bits += match[2] is None or convention != "arm"
            if match[2] is not None and convention is None:
                warnings.warn(
                    f"{text!r} has {bits} bits as Texas Instruments counts, and {bits - 1} as Arm"
                    " does; it is read the first way: say convention='ti' or 'arm'",
                    FxsimWarning,
                    stacklevel=2,
                )
        return Cast(FixedPoint(bits, fraction, not unsigned), rounding, overflow)
    match = _TEMPLATE.fullmatch(text)
    if not match:
        raise FormatError(
            f"{text!r}: must be a type such as ap_fixed<16,6,AP_RND_CONV,AP_SAT>, sc_ufixed<8,0>,"
            " ac_fixed<16,6,true>, ap_int<8> or Q5.10"
        )
    name = match[1]
    if name not in _FAMILIES:
        raise FormatError(
            f"{text!r}: the type must be one of {', '.join(_FAMILIES)}, not {name!r}"
            f"{hint(name, _FAMILIES)}"
        )
    return _template(text, name, [part.strip() for part in match[2].split(",")])


def _template(text: str, name: str, parts: list[str]) -> Cast:
    family = name[:2] if "_" in name else ""
    whole = name in _INTEGERS
    signed, sizes = "_u" not in name and name[0] != "u", 1 if whole else 2
    most = sizes + (family == "ac") if whole else 5
    if not sizes <= len(parts) <= most:
        needs = f"{sizes} to {most} arguments" if sizes < most else "1 argument"
        raise FormatError(f"{text!r}: needs {needs}, not {len(parts)}")
    rest = parts[sizes:]
    if family == "ac":
        signed = _boolean(text, rest[0]) if rest else True
        rest = rest[1:]
    bits = _integer(text, parts[0])
    integer = bits if whole else _integer(text, parts[1])
    roundings, overflows = (_names(family, table) for table in (_ROUNDINGS, _OVERFLOWS))
    if rest[1:] and rest[0] in overflows and rest[1] in roundings:
        raise FormatError(f"{text!r}: rounding comes before overflow: write {rest[1]},{rest[0]}")
    rounding = _mode(text, rest[0], roundings) if rest else Rounding.TRN
    overflow = _mode(text, rest[1], overflows) if rest[1:] else Overflow.WRAP
    n = _integer(text, rest[2]) if rest[2:] else 0
    return Cast(FixedPoint(bits, bits - integer, signed), Rounding(rounding), Overflow(overflow), n)


def _names(family: str, table: dict[str, tuple[Any, ...]]) -> dict[str, Any]:
    """A family's modes by their names; those of `fixed` are ap_fixed's without a prefix."""
    prefix = f"{family.upper()}_" if family else ""
    return {f"{prefix}{mode.name}": mode for mode in table[family or "ap"]}


def _integer(text: str, part: str) -> int:
    if not _INTEGER.fullmatch(part):
        raise FormatError(f"{text!r}: must be a whole number, not {part!r}")
    return int(part)


def _boolean(text: str, part: str) -> bool:
    if part not in ("true", "false"):
        raise FormatError(f"{text!r}: signedness must be true or false, not {part!r}")
    return part == "true"


def _mode(text: str, part: str, names: dict[str, Any]) -> int:
    if part not in names:
        raise FormatError(
            f"{text!r}: must be one of {', '.join(names)}, not {part!r}{hint(part, names)}"
        )
    return int(names[part])


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
