"""Scales, requantisation and floats against the specification and gemmlowp."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import jit_only, shared

from fxsim.engine import casts
from fxsim.engine.rescale import rescale, rescale_double
from fxsim.engine.tensor import FixedTensor
from fxsim.errors import FormatError
from fxsim.numerics import specification
from fxsim.numerics.formats import Cast, FixedPoint, Overflow, Rounding
from fxsim.numerics.scale import Scale

INT32 = FixedPoint(32, 0)


def test_both_roundings_of_tflite_agree_on_every_row():
    jit_only()
    d = np.load(shared("golden", "arithmetic", "public_requant.npz"))
    single = double = 0
    for x, mult, shift, y, once in zip(
        *(d[k].tolist() for k in ("x", "mult", "shift", "y", "y_single")), strict=True
    ):
        scale, tensor = Scale(mult, 31 - shift), FixedTensor(np.array([x], np.int64), INT32)
        assert rescale_double(tensor, scale, INT32)[0].codes[0] == y
        double += 1
        wide = FixedPoint(62, 0)
        assert rescale(tensor, scale, wide)[0].codes[0] == once
        single += 1
    assert (single, double) == (20_000, 20_000)


@given(
    codes=st.lists(st.integers(-(2**20), 2**20), min_size=1, max_size=6),
    multiplier=st.integers(-(2**20), 2**20),
    shift=st.integers(-5, 40),
    rounding=st.sampled_from([m for m in Rounding if m is not Rounding.STOCHASTIC]),
    overflow=st.sampled_from([Overflow.SAT, Overflow.SAT_SYM, Overflow.SAT_ZERO, Overflow.WRAP]),
)
def test_rescaling_equals_reference(codes, multiplier, shift, rounding, overflow):
    tensor = FixedTensor(np.array(codes, np.int64), FixedPoint(22, 3))
    target = FixedPoint(8, 0)
    got, losses = rescale(tensor, Scale(multiplier, shift), Cast(target, rounding, overflow))
    want = [
        specification.cast(c * multiplier, shift, 8, True, rounding.name, overflow.name)
        for c in codes
    ]
    assert got.codes.tolist() == [w[0] for w in want]
    assert losses.quantised == sum(w[1] for w in want)
    assert losses.overflowed == sum(w[2] for w in want)


def test_each_channel_has_its_own_scale():
    tensor = FixedTensor(np.full((3, 2), 100, np.int64), FixedPoint(16, 0))
    got, _ = rescale(tensor, (Scale(3, 2), Scale(1, 0)), FixedPoint(16, 0))
    assert got.codes.tolist() == [[75, 100]] * 3
    with pytest.raises(FormatError, match=r"need \d+ bits and"):
        rescale(tensor, Scale(2**31 - 1, -31), FixedPoint(16, 0))


@given(st.fractions(min_value=Fraction(1, 10**6), max_value=10**6), st.integers(2, 31))
def test_the_nearest_scale_is_near(value, bits):
    scale = Scale.nearest(value, bits)
    assert abs(scale.value - value) <= value * Fraction(1, 2**bits)
    assert scale.multiplier.bit_length() == bits


def test_a_scale_too_small_for_its_shift_has_fewer_bits():
    scale = Scale.nearest(1e-10)
    assert scale == Scale(461168602, 62)
    assert abs(scale.value / Fraction(1e-10) - 1) < 2**-29
    assert Scale.nearest(3e-17).multiplier.bit_length() == 8


def test_impossible_scales_say_why():
    for build, message in (
        (lambda: Scale(1 << 31, 0), "multiplier must be an int32, not 2147483648"),
        (lambda: Scale(1, 63), "shift must be -31 to 62, not 63"),
        (lambda: Scale.nearest(0), "a scale must be positive, not 0"),
        (lambda: Scale.nearest(1e-18), "must be between 2.78e-17 and 4.61e.18, not 1e-18"),
        (lambda: Scale.nearest(1e19), "must be between 2.78e-17 and 4.61e.18, not 1e.19"),
    ):
        with pytest.raises(FormatError, match=message):
            build()


@given(
    values=st.lists(
        st.floats(-1e6, 1e6, allow_nan=False) | st.integers(-64, 64).map(lambda i: i / 32),
        min_size=1,
        max_size=6,
    ),
    bits=st.integers(1, 24),
    frac=st.integers(-6, 20),
    signed=st.booleans(),
    rounding=st.sampled_from(list(Rounding)),
    overflow=st.sampled_from(list(Overflow)[:4]),
    random_bits=st.integers(1, 16),
)
def test_floats_are_rounded_once_from_their_exact_value(
    values, bits, frac, signed, rounding, overflow, random_bits
):
    wanted = Cast(FixedPoint(bits, frac, signed), rounding, overflow, random_bits=random_bits)
    got, losses = casts.from_float(values, wanted, 5)
    codes, lost = [], 0
    for i, value in enumerate(values):
        exact = Fraction(value) * Fraction(2) ** frac
        places = exact.denominator.bit_length() - 1
        code, dropped, _ = specification.cast(
            2 * exact.numerator,
            places + 1,
            bits,
            signed,
            rounding.name,
            overflow.name,
            0,
            specification.draw(5, i, random_bits),
            random_bits,
        )
        codes.append(code)
        lost += dropped
    assert got.codes.tolist() == codes
    assert losses.quantised == lost
    assert (got.to_float() == np.array(codes) * 2.0**-frac).all()


def test_floats_that_are_no_numbers_are_refused():
    with pytest.raises(FormatError, match=r"must be finite, not nan at \[1\]"):
        casts.from_float([1.0, float("nan")], Cast(FixedPoint(8, 4)))
    far, seen = casts.from_float([1e30, -1e30], Cast(FixedPoint(8, 4)))
    assert (far.codes.tolist(), seen.overflowed) == ([127, -128], 2)


def test_tensors_refuse_codes_outside_their_format_and_stay_as_they_are():
    with pytest.raises(FormatError, match=r"must be -8 to 7 .* not 9 at \[0, 1\]"):
        FixedTensor(np.array([[1, 9]]), FixedPoint(4, 0))
    with pytest.raises(FormatError, match="must be a NumPy array, not list"):
        FixedTensor([1], FixedPoint(4, 0))
    source = np.array([1, 2])
    tensor = FixedTensor(source, FixedPoint(4, 1))
    with pytest.raises(ValueError, match="read-only"):
        tensor.codes[0] = 3
    assert repr(tensor) == "FixedTensor(array([1, 2]), FixedPoint(bits=4, frac=1, signed=True))"
