"""DoReFa's and PACT's levels against the specification, and what the levels are worth."""

from __future__ import annotations

from fractions import Fraction
from math import tanh

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fxsim.engine import matmul, quantisers
from fxsim.engine.tensor import FixedTensor
from fxsim.errors import FormatError
from fxsim.numerics import specification_vector as spec
from fxsim.numerics.formats import Accumulator, FixedPoint, Overflow
from fxsim.numerics.operand_formats import ClippedFormat, TanhFormat

MASTER = FixedPoint(32, 26)
CODES = st.lists(st.integers(-(2**31) + 1, 2**31 - 1), min_size=1, max_size=12)


def tensor(codes, format=MASTER) -> FixedTensor:
    return FixedTensor(np.array(codes, np.int64)[None], format)


@given(CODES, st.sampled_from([20, 26, 30]))
def test_tanh_equals_the_specification(codes, frac):
    found = quantisers.tanh(tensor(codes, FixedPoint(32, frac)))
    assert found[0].tolist() == [spec.fine_tanh(code, frac) for code in codes]


def test_tanh_is_as_close_as_it_says():
    codes = np.arange(-(2**31) + 1, 2**31, 2**18 + 12345)
    found = quantisers.tanh(tensor(codes))[0] / 2**30
    assert np.abs(found - np.tanh(codes / 2.0**26)).max() < 2**-19


@given(CODES, st.integers(2, 12))
def test_weights_equal_the_specification(codes, bits):
    found = quantisers.tanh_levels(tensor(codes), TanhFormat(bits))
    wanted, largest = spec.tanh_levels(codes, 26, bits)
    assert found.codes[0].tolist() == wanted
    worth = max(Fraction(largest, 2**30), Fraction(1, 2**26)) / (2**bits - 1)
    assert abs(found.scale.value / worth - 1) <= Fraction(1, 2**24)
    assert found.blocks.bits.tolist() == [[bits]]


def test_two_bits_of_weights_by_hand():
    # M = tanh(1); 3 levels above the lowest: q = round(3 (tanh(w) / 2M + 1/2))
    values = [1.0, 0.5, 0.1, -0.1, -1.0]
    found = quantisers.tanh_levels(tensor([int(v * 2**26) for v in values]), TanhFormat(2, True))
    by_hand = [2 * int(3 * (tanh(v) / (2 * tanh(1.0)) + 0.5) + 0.5) - 3 for v in values]
    assert found.codes[0].tolist() == by_hand == [3, 1, 1, -1, -3]
    assert found.to_float()[0].tolist() == pytest.approx([1, 1 / 3, 1 / 3, -1 / 3, -1])


def test_one_bit_of_weights_is_sign_and_mean():
    found = quantisers.tanh_levels(tensor([3 << 24, -1 << 24, 0]), TanhFormat(1))
    assert found.codes[0].tolist() == [1, -1, 1]
    assert found.scale.value == pytest.approx(float(Fraction(4, 3) / 4))


@given(
    st.lists(st.integers(-(2**15), 2**15 - 1), min_size=1, max_size=9),
    st.integers(1, 12),
    st.fractions(Fraction(1, 100), 31),
    st.integers(0, 14),
)
def test_activations_equal_the_specification(codes, bits, alpha, frac):
    found = quantisers.clipped_levels(
        tensor(codes, FixedPoint(16, frac)), ClippedFormat(bits), alpha
    )
    exact = (2**bits - 1) / (alpha * 2**frac)  # levels a word code
    scale = quantisers.Scale.nearest(exact, quantisers.SCALE_BITS)
    wanted = [spec.level_of(code, scale.multiplier, scale.shift, bits) for code in codes]
    assert found.codes[0].tolist() == wanted
    assert abs(found.scale.value * (2**bits - 1) / alpha - 1) <= Fraction(1, 2**24)


def test_activations_by_hand():
    # alpha 6, 2 bits: steps of 2; 2.9 is nearer to 2, 3 is halfway and goes up, 7 is clipped
    words = [int(v * 2**10) for v in (-1, 0.9, 2.9, 3, 7)]
    found = quantisers.clipped_levels(
        tensor(words, FixedPoint(16, 10)), ClippedFormat(2), Fraction(6)
    )
    assert found.codes[0].tolist() == [0, 0, 1, 2, 3]
    assert found.to_float()[0].tolist() == pytest.approx([0, 0, 2, 4, 6])


@given(st.lists(st.integers(-(2**15), 2**15 - 1), min_size=1, max_size=8), st.booleans())
def test_the_slope_is_one_less_the_square(codes, unit):
    master = tensor([code << 12 for code in codes])
    gradient = tensor([1000] * len(codes), FixedPoint(16, 3))
    wanted = TanhFormat(4, unit)
    found = quantisers.tanh_slope(gradient, master, wanted)
    t = np.tanh(master.to_float())
    top = max(np.abs(t).max(), 2**-30) if unit else 1.0
    if top > 2**-10:  # where M itself is known well
        exact = 125 * (1 - t * t) / top
        np.testing.assert_allclose(found.to_float(), exact, rtol=2**-12, atol=125 * 2**-14 / top)


def test_products_of_scaled_operands_are_integer_products():
    rng = np.random.default_rng(1)
    master = FixedTensor(rng.integers(-(2**25), 2**25, (5, 24)), MASTER)
    x = FixedTensor(rng.integers(0, 2**14, (7, 24)).astype(np.int16), FixedPoint(16, 11))
    w = quantisers.tanh_levels(master, TanhFormat(4))
    a = quantisers.clipped_levels(x, ClippedFormat(4), Fraction(6))
    sums, _ = matmul.linear_forward(a, w, Accumulator(32, Overflow.SAT))
    assert (sums.codes == a.codes.astype(np.int64) @ w.codes.astype(np.int64).T).all()
    worth = float(quantisers.worth(a, w))
    np.testing.assert_allclose(sums.codes * worth, a.to_float() @ w.to_float().T, rtol=1e-12)


@pytest.mark.parametrize("kind", [TanhFormat, ClippedFormat])
def test_bits_that_there_are_not_are_refused(kind):
    with pytest.raises(FormatError, match="bits must be 1 to 12, not 13"):
        kind(13)


def test_a_clipping_level_has_a_range():
    with pytest.raises(FormatError, match="alpha must be 1 to 31, not 32"):
        ClippedFormat(4, 32)
