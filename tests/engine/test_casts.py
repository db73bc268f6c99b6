"""Casts against the specification, bit for bit, in every mode."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import shared

from fxsim.engine import casts
from fxsim.engine.kernels import rounding as kernels
from fxsim.engine.tensor import FixedTensor
from fxsim.errors import FormatError
from fxsim.numerics import specification
from fxsim.numerics.formats import Cast, FixedPoint, Overflow, Rounding
from fxsim.numerics.notation import parse
from fxsim.numerics.operand_formats import TensorFormat

CODES = st.integers(-(2**61), 2**61)


def test_kernels_number_the_modes_as_the_formats_do():
    for mode in Rounding:
        assert getattr(kernels, mode.name) == mode
    for mode in Overflow:
        assert getattr(kernels, mode.name) == mode


@given(key=st.integers(0, 2**64 - 1), index=st.integers(0, 2**40))
def test_draws_equal_reference(key, index):
    assert int(kernels.draw64(np.uint64(key), np.int64(index))) == specification.draw64(key, index)


@pytest.mark.parametrize("rounding", list(Rounding), ids=lambda m: m.name)
@given(
    codes=st.lists(CODES, min_size=1, max_size=8), shift=st.integers(0, 62), key=st.integers(0, 9)
)
def test_rounding_equals_reference(rounding, codes, shift, key):
    x = FixedTensor(np.array(codes, np.int64), FixedPoint(63, shift))
    got, losses = casts.cast(x, Cast(FixedPoint(63, 0), rounding), key)
    want = [
        specification.cast(c, shift, 63, True, rounding.name, "SAT", 0, specification.draw(key, i))
        for i, c in enumerate(codes)
    ]
    assert got.codes.tolist() == [w[0] for w in want]
    assert losses.quantised == sum(w[1] for w in want)


@pytest.mark.parametrize("overflow", [m for m in Overflow if m is not Overflow.ERROR])
@given(
    codes=st.lists(st.integers(-(2**40), 2**40), min_size=1, max_size=8),
    shift=st.integers(-20, 40),
    bits=st.integers(1, 32),
    signed=st.booleans(),
    n=st.integers(0, 6),
)
def test_overflow_equals_reference(overflow, codes, shift, bits, signed, n):
    if overflow in (Overflow.WRAP_SM, Overflow.NUMERIC_STD):
        signed = True
    n = n if overflow in (Overflow.WRAP, Overflow.WRAP_SM) else 0
    x = FixedTensor(np.array(codes, np.int64), FixedPoint(42, shift))
    got, losses = casts.cast(x, Cast(FixedPoint(bits, 0, signed), Rounding.RND, overflow, n))
    want = [specification.cast(c, shift, bits, signed, "RND", overflow.name, n) for c in codes]
    assert got.codes.tolist() == [w[0] for w in want]
    assert losses.overflowed == sum(w[2] for w in want)


def test_every_systemc_cast_agrees():
    d = np.load(shared("golden", "arithmetic", "public_cast.npz"))
    names = ("RND", "RND_ZERO", "RND_MIN_INF", "RND_INF", "RND_CONV", "TRN", "TRN_ZERO")
    x, y, flags = d["x"], d["y"], d["flags"]
    edges = np.r_[0, np.cumsum(d["count"])]
    for config, start, stop in zip(d["cfg"].tolist(), edges[:-1], edges[1:], strict=True):
        source_signed, source_bits, frac, signed, bits, integer_bits, q, o, n = config
        source = FixedTensor(x[start:stop], FixedPoint(source_bits, frac, bool(source_signed)))
        target = FixedPoint(bits, bits - integer_bits, bool(signed))
        got, losses = casts.cast(source, Cast(target, Rounding[names[q]], Overflow(o), n))
        assert np.array_equal(got.codes, y[start:stop]), config
        assert losses.quantised == int((flags[start:stop] & 1).sum())
        assert losses.overflowed == int((flags[start:stop] >> 1).sum())


def test_stochastic_rounding_is_unbiased_and_differs_from_nearest():
    x = FixedTensor(np.full(20_000, 5, np.int64), FixedPoint(8, 4))  # 5/16
    got, _ = casts.cast(x, Cast(FixedPoint(8, 0), Rounding.STOCHASTIC), 7)
    share, deviation = 5 / 16, (5 / 16 * 11 / 16 / 20_000) ** 0.5
    assert abs(got.codes.mean() - share) < 5 * deviation
    assert set(got.codes.tolist()) == {0, 1}


def test_error_overflow_names_the_first_element():
    x = FixedTensor(np.array([127, -128, 300, 4], np.int64), FixedPoint(16, 0))
    with pytest.raises(FormatError, match=r"1 of 4 codes do not fit .* element 2, value 300"):
        casts.cast(x, Cast(FixedPoint(8, 0), overflow=Overflow.ERROR))


@given(
    codes=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=4),
    frac=st.integers(-70, 140),
    bits=st.integers(1, 64),
    rounding=st.sampled_from(list(Rounding)),
    overflow=st.sampled_from(["SAT", "WRAP", "WRAP_SM"]),
    n=st.integers(0, 5),
    random_bits=st.integers(1, 32),
)
def test_wide_words_and_long_shifts_are_right(
    codes, frac, bits, rounding, overflow, n, random_bits
):
    """What no 64-bit register holds (fxpmath's issues 41, 76 and 85)."""
    n = 0 if overflow == "SAT" else n
    x = FixedTensor(np.array(codes, np.int64), FixedPoint(64, frac))
    got, losses = casts.cast(
        x, Cast(FixedPoint(bits, 0), rounding, Overflow[overflow], n, random_bits), 3
    )
    want = [
        specification.cast(
            c,
            frac,
            bits,
            True,
            rounding.name,
            overflow,
            n,
            specification.draw(3, i, random_bits),
            random_bits,
        )
        for i, c in enumerate(codes)
    ]
    assert got.codes.tolist() == [w[0] for w in want]
    assert losses.overflowed == sum(w[2] for w in want)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64])
@pytest.mark.parametrize("rounding", list(Rounding), ids=lambda m: m.name)
@given(
    data=st.data(),
    shift=st.integers(0, 30),
    bits=st.integers(1, 30),
    signed=st.booleans(),
    random_bits=st.integers(1, 30),
)
def test_narrow_lanes_equal_reference(dtype, rounding, data, shift, bits, signed, random_bits):
    width = min(np.dtype(dtype).itemsize * 8, 31)
    word = FixedPoint(width, shift)
    codes = data.draw(st.lists(st.integers(word.min_code, word.max_code), min_size=1, max_size=9))
    got, losses = casts.cast(
        FixedTensor(np.array(codes, dtype), word),
        Cast(FixedPoint(bits, 0, signed), rounding, random_bits=random_bits),
        11,
        np.int32,
    )
    want = [
        specification.cast(
            c,
            shift,
            bits,
            signed,
            rounding.name,
            "SAT",
            0,
            specification.draw(11, i, random_bits),
            random_bits,
        )
        for i, c in enumerate(codes)
    ]
    assert got.codes.tolist() == [w[0] for w in want]
    assert losses.quantised == sum(w[1] for w in want)
    assert losses.overflowed == sum(w[2] for w in want)


@given(st.lists(st.integers(-(2**30), 2**30), min_size=1, max_size=20), st.integers(2, 16))
def test_dynamic_scale_is_the_finest_that_fits(codes, bits):
    x = FixedTensor(np.array(codes, np.int64), FixedPoint(32, 10))
    got, _ = casts.quantise_tensor(x, TensorFormat(bits), 0)
    largest, shift = max(abs(c) for c in codes), 10 - got.format.frac
    assert shift >= 0
    assert largest < 1 << (shift + bits - 1)
    assert shift == 0 or largest >= 1 << (shift + bits - 2)
    assert got.codes.tolist() == [specification.cast(c, shift, bits)[0] for c in codes]


def test_floats_are_not_codes():
    with pytest.raises(FormatError, match="must be integers, not float64; casts"):
        FixedTensor(np.zeros(2), FixedPoint(8, 0))


@given(
    st.lists(st.integers(-(1 << 15), (1 << 15) - 1), min_size=1, max_size=8),
    st.integers(2, 15),
    st.sampled_from([mode for mode in Overflow if mode is not Overflow.SAT_SYM]),
)
def test_a_dynamic_scale_holds_its_words_whatever_static_ones_do(codes, bits, overflow):
    tensor = FixedTensor(np.array([codes], np.int16), FixedPoint(16, 13))
    form = TensorFormat(bits, None, Rounding.RND_CONV, overflow)
    result, _ = casts.quantise_tensor(tensor, form, key=0)
    wanted, dropped = specification.quantise_tensor(codes, bits, "RND_CONV", 0)
    assert result.codes[0].tolist() == wanted
    assert result.format.frac == 13 - dropped
    step = 2.0**-result.format.frac
    values = np.array(codes) * 2.0**-13
    assert np.abs(result.codes[0] * step - values).max() <= step


def test_rounding_alone_leaves_a_dynamic_word():
    tensor = FixedTensor(np.array([32740, 16384, -32740, 100], np.int16), FixedPoint(16, 13))
    form = TensorFormat(8, None, Rounding.RND_CONV, Overflow.WRAP)
    result, overflows = casts.quantise_tensor(tensor, form, key=0)
    assert (result.codes * 2.0**-result.format.frac).tolist() == [3.96875, 2.0, -4.0, 0.0]
    assert overflows.overflowed == 1


def test_unsigned_codes_become_signed_ones():
    for kind, wider in (("u1", "i2"), ("u2", "i4"), ("u4", "i8"), ("u8", "i8")):
        tensor = FixedTensor(np.array([1, 200], kind), FixedPoint(8, 0, signed=False))
        assert tensor.codes.dtype == np.dtype(wider)
        assert casts.cast(tensor, FixedPoint(4, 0))[0].codes.tolist() == [1, 7]
    with pytest.raises(FormatError, match=r"below 2\*\*63"):
        FixedTensor(np.array([1 << 63], np.uint64), FixedPoint(64, 0, signed=False))


def test_a_single_number_is_a_tensor():
    one = FixedTensor(np.array(5), FixedPoint(8, 0))
    result, _ = casts.quantise_tensor(one, TensorFormat(4), key=0)
    assert (result.shape, int(result.codes), result.blocks.rows) == ((), 5, 1)
    assert int(casts.from_float(0.25, FixedPoint(8, 3))[0].codes) == 2


@pytest.mark.parametrize("value", [2**53 + 1, [1, 2**53 + 1], np.array([[2**53 + 1]])])
def test_integers_that_are_no_floats_are_refused(value):
    with pytest.raises(FormatError, match=r"integers must be float64 exactly.*9007199254740993"):
        casts.from_float(value, FixedPoint(64, 0))
    assert int(casts.from_float(2**53, FixedPoint(64, 0))[0].codes) == 2**53


@given(
    value=st.floats(-9, 9) | st.floats(allow_nan=False, allow_infinity=False, width=32),
    frac=st.integers(-5, 63),
    rounding=st.sampled_from(list(Rounding)),
    overflow=st.sampled_from([Overflow.SAT, Overflow.WRAP, Overflow.SAT_ZERO]),
)
def test_floats_reach_wide_formats_exactly(value, frac, rounding, overflow):
    to = Cast(FixedPoint(64, frac), rounding, overflow)
    exact = Fraction(value) * Fraction(2) ** frac
    places = exact.denominator.bit_length()
    want = specification.cast(
        2 * exact.numerator,
        places,
        64,
        True,
        rounding.name,
        overflow.name,
        draw=specification.draw(3, 0),
    )
    got, seen = casts.from_float([value], to, key=3)
    assert (int(got.codes[0]), seen.overflowed) == (want[0], want[2])


def test_a_type_name_of_64_bits_holds_one():
    assert int(casts.from_float(1.0, parse("ap_fixed<64,4>"))[0].codes) == 1 << 60


@pytest.mark.parametrize("values", [None, "a", [1, [2, 3]], 10**400, [1 + 2j], [None], {"a": 1}])
def test_what_is_no_number_is_refused_in_one_line(values):
    with pytest.raises(FormatError, match="from_float: values must be real numbers within float64"):
        casts.from_float(values, FixedPoint(8, 2))
