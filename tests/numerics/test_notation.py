"""Type names of SystemC, Vitis HLS and Catapult, and Q notation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fxsim.errors import FormatError
from fxsim.numerics.formats import Cast, FixedPoint, Overflow, Rounding
from fxsim.numerics.notation import parse, written

STANDARD = list(Rounding)[:7]


@pytest.mark.parametrize(
    ("text", "cast"),
    [
        (
            "ap_fixed<16,6,AP_RND_CONV,AP_SAT>",
            Cast(FixedPoint(16, 10), Rounding.RND_CONV, Overflow.SAT),
        ),
        ("sc_fixed<8, 3>", Cast(FixedPoint(8, 5), Rounding.TRN, Overflow.WRAP)),
        (
            "sc_ufixed<8,-2,SC_TRN_ZERO,SC_WRAP,3>",
            Cast(FixedPoint(8, 10, False), Rounding.TRN_ZERO, Overflow.WRAP, 3),
        ),
        ("ap_ufixed<4,9>", Cast(FixedPoint(4, -5, False), Rounding.TRN, Overflow.WRAP)),
        (
            "ac_fixed<16,6,false,AC_RND_CONV_ODD,AC_SAT_SYM>",
            Cast(FixedPoint(16, 10, False), Rounding.RND_CONV_ODD, Overflow.SAT_SYM),
        ),
        ("ac_fixed<7,7>", Cast(FixedPoint(7, 0), Rounding.TRN, Overflow.WRAP)),
        ("ap_int<8>", Cast(FixedPoint(8, 0), Rounding.TRN, Overflow.WRAP)),
        ("ap_uint<7>", Cast(FixedPoint(7, 0, False), Rounding.TRN, Overflow.WRAP)),
        ("sc_uint<5>", Cast(FixedPoint(5, 0, False), Rounding.TRN, Overflow.WRAP)),
        ("ac_int<6,false>", Cast(FixedPoint(6, 0, False), Rounding.TRN, Overflow.WRAP)),
        ("ac_int<6>", Cast(FixedPoint(6, 0), Rounding.TRN, Overflow.WRAP)),
        ("fixed<8,3>", Cast(FixedPoint(8, 5), Rounding.TRN, Overflow.WRAP)),
        ("ufixed<8,3,RND,SAT>", Cast(FixedPoint(8, 5, False), Rounding.RND, Overflow.SAT)),
        ("Q15", Cast(FixedPoint(16, 15), Rounding.RND, Overflow.SAT)),
        ("UQ0.8", Cast(FixedPoint(8, 8, False), Rounding.RND, Overflow.SAT)),
    ],
)
def test_type_names_mean_what_their_standards_say(text, cast):
    assert parse(text) == cast


@given(
    bits=st.integers(1, 64),
    integer=st.integers(-20, 80),
    signed=st.booleans(),
    rounding=st.sampled_from(STANDARD),
    overflow=st.sampled_from(list(Overflow)[:5]),
    n=st.integers(0, 5),
    family=st.sampled_from(["sc", "ap", "ac"]),
)
def test_what_is_written_is_read_back(bits, integer, signed, rounding, overflow, n, family):
    wraps = overflow in (Overflow.WRAP, Overflow.WRAP_SM)
    if overflow is Overflow.WRAP_SM and (not signed or family == "ac"):
        return
    n = n if wraps and family != "ac" else 0
    cast = Cast(FixedPoint(bits, bits - integer, signed), rounding, overflow, n)
    assert parse(written(cast, family)) == cast
    assert eval(repr(cast)) == cast


@given(bits=st.integers(1, 64), frac=st.integers(-9, 70), signed=st.booleans())
def test_q_notation_is_read_back(bits, frac, signed):
    cast = Cast(FixedPoint(bits, frac, signed), Rounding.JAM, Overflow.SAT_ZERO)
    assert parse(written(cast, "Q"), Rounding.JAM, Overflow.SAT_ZERO, convention="ti") == cast


def test_q_notation_is_that_of_two_houses():
    assert parse("Q1.7", convention="arm").format == FixedPoint(8, 7)
    assert parse("Q1.7", convention="ti").format == FixedPoint(9, 7)
    with pytest.warns(UserWarning, match="'Q1.7' has 9 bits as Texas .* and 8 as Arm"):
        assert parse("Q1.7").format == FixedPoint(9, 7)
    for text in ("Q7", "UQ1.7"):  # the same in both
        assert parse(text) == parse(text, convention="arm") == parse(text, convention="ti")
    with pytest.raises(FormatError, match="convention must be 'ti' or 'arm', not 'intel'"):
        parse("Q1.7", convention="intel")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ap_fixd<8,3>", "must be one of sc_fixed, .* not 'ap_fixd'; did you mean 'ap_fixed'"),
        ("ap_fixed<8>", "needs 2 to 5 arguments, not 1"),
        ("ap_fixed<8,x>", "must be a whole number, not 'x'"),
        ("ap_fixed<8,3,AP_RND_CNV>", "not 'AP_RND_CNV'; did you mean 'AP_RND_CONV'"),
        ("ap_fixed<8,3,SC_RND>", "must be one of AP_RND, .* not 'SC_RND'"),
        ("ac_fixed<8,3,yes>", "signedness must be true or false, not 'yes'"),
        ("fixed point", "must be a type such as"),
        ("ap_fixed<8,3,AP_SAT,AP_RND>", "rounding comes before overflow: write AP_RND,AP_SAT"),
        ("fixed<8,3,AP_RND>", "must be one of RND, .* not 'AP_RND'; did you mean 'RND'"),
        ("ap_int<8,3>", "needs 1 argument, not 2"),
        ("ac_int<8,true,3>", "needs 1 to 2 arguments, not 3"),
        ("ap_fixed<99,3>", "bits must be 1 to 64, not 99"),
        ("ap_ufixed<8,3,AP_TRN,AP_WRAP_SM>", "WRAP_SM keeps a sign"),
    ],
)
def test_wrong_names_say_what_is_wrong(text, message):
    with pytest.raises(FormatError, match=message):
        parse(text)


@pytest.mark.parametrize("text", [None, 5, b"Q5.10"])
def test_a_type_is_text(text):
    with pytest.raises(FormatError, match="a type must be text such as 'ap_fixed<16,6>', not"):
        parse(text)


def test_a_family_without_the_mode_says_so():
    for mode in (Rounding.JAM, Rounding.RND_CONV_ODD):
        with pytest.raises(FormatError, match=f"ap_fixed has no {mode.name}"):
            written(Cast(FixedPoint(8, 3), mode), "ap")
    with pytest.raises(FormatError, match="ac_fixed has no WRAP_SM"):
        written(Cast(FixedPoint(8, 3), Rounding.RND, Overflow.WRAP_SM), "ac")
    with pytest.raises(FormatError, match="must be one of sc, ap, ac, Q, not 'vhdl'"):
        written(Cast(FixedPoint(8, 3)), "vhdl")
