"""Elementwise work on words against the specification, bit for bit."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fxsim.engine import vector_int16
from fxsim.engine.tensor import FixedTensor
from fxsim.numerics import specification, specification_vector
from fxsim.numerics.formats import FixedPoint

CODES = st.integers(-(2**15), 2**15 - 1)
PAIRS = st.lists(st.tuples(CODES, CODES), min_size=1, max_size=9)


def word(codes, frac=0):
    return FixedTensor(np.array(codes, np.int16), FixedPoint(16, frac))


@given(codes=st.lists(st.integers(-(2**40), 2**40), min_size=1, max_size=9), frac=st.integers(0, 9))
def test_words_take_the_finest_scale_that_holds_them(codes, frac):
    got = vector_int16.to_int16(FixedTensor(np.array(codes), FixedPoint(42, frac)))
    assert (got.codes.tolist(), got.format.frac) == specification_vector.words(codes, frac)
    assert got.codes.dtype == np.int16


@given(pairs=PAIRS, frac_a=st.integers(-20, 20), frac_b=st.integers(-20, 20), relu=st.booleans())
def test_addition(pairs, frac_a, frac_b, relu):
    a, b = zip(*pairs, strict=True)
    got = vector_int16.add(word(a, frac_a), word(b, frac_b), relu)
    frac = min(frac_a, frac_b)
    total = [
        specification.rnd_conv(x, frac_a - frac) + specification.rnd_conv(y, frac_b - frac)
        for x, y in pairs
    ]
    total = [max(code, 0) if relu else code for code in total]
    assert (got.codes.tolist(), got.format.frac) == specification_vector.words(total, frac)


@given(pairs=PAIRS)
def test_multiplication(pairs):
    a, b = zip(*pairs, strict=True)
    got = vector_int16.multiply(word(a, 3), word(b, 5))
    codes, dropped = specification_vector.multiply(a, b)
    assert (got.codes.tolist(), got.format.frac) == (codes, 8 - dropped)


def test_a_product_that_rounds_up_to_the_limit_saturates():
    assert vector_int16.multiply(word([255], 8), word([257], 0)).codes.tolist() == [2**15 - 1]


@given(codes=st.lists(CODES, min_size=1, max_size=9), most=st.integers(1, 2**15 - 1))
def test_clipping_and_its_gradient(codes, most):
    x, e = word(codes), word(codes[::-1], 4)
    assert vector_int16.clip(x, most).codes.tolist() == [min(max(code, 0), most) for code in codes]
    back, above = vector_int16.clip_backward(e, x, most)
    pairs = list(zip(codes[::-1], codes, strict=True))
    assert back.codes.tolist() == [a if 0 < c <= most else 0 for a, c in pairs]
    assert above == sum(a for a, c in pairs if c > most)


@given(pairs=PAIRS, slope=st.integers(0, 2**15 - 1))
def test_leaky_relu(pairs, slope):
    a, b = zip(*pairs, strict=True)
    got = vector_int16.leak(word(a, 2), word(b), slope)
    assert got.codes.tolist() == [specification_vector.leak(x, y, slope) for x, y in pairs]


@given(
    codes=st.lists(CODES, min_size=1, max_size=30),
    threshold=st.integers(0, 61440),
    key=st.integers(0, 2**64 - 1),
)
def test_dropout(codes, threshold, key):
    got = vector_int16.drop(word(codes, 7), threshold, key)
    want = [
        specification_vector.drop(code, specification.draw(key, i), threshold)
        for i, code in enumerate(codes)
    ]
    assert got.codes.tolist() == [code for code, _ in want]
    assert got.format.frac == 7 - want[0][1]


@pytest.mark.parametrize("share", ["0.1", "0.5", "0.9"])
def test_dropout_keeps_the_mean(share):
    """Within five standard errors; the share that is kept, too."""
    size, lost = 100_000, Fraction(share)
    x = word([1000] * size, 4)
    got = vector_int16.drop(x, round(lost * 2**16), 3).to_float()
    kept = (got != 0).mean()
    error = (float(lost) * (1 - float(lost)) / size) ** 0.5
    assert abs(kept - (1 - float(lost))) < 5 * error
    assert abs(got.mean() / 62.5 - 1) < 5 * error / (1 - float(lost)) + 2**-13


@given(pairs=PAIRS, frac_a=st.integers(-9, 9), frac_b=st.integers(-9, 9))
def test_concatenation_is_at_the_coarser_scale(pairs, frac_a, frac_b):
    a, b = zip(*pairs, strict=True)
    got = vector_int16.concatenate([word(a, frac_a), word(b, frac_b)], 0)
    frac = min(frac_a, frac_b)
    want = [specification.cast(x, frac_a - frac, 16)[0] for x in a]
    want += [specification.cast(x, frac_b - frac, 16)[0] for x in b]
    assert (got.codes.tolist(), got.format.frac) == (want, frac)


@given(tokens=st.lists(st.integers(0, 4), min_size=1, max_size=12), seed=st.integers(0, 99))
def test_scatter_adds_the_rows_of_a_token(tokens, seed):
    x = np.random.default_rng(seed).integers(-(2**15), 2**15, (len(tokens), 3)).astype(np.int16)
    got = vector_int16.scatter(FixedTensor(x, FixedPoint(16, 5)), np.array(tokens), 5)
    want = np.zeros((5, 3), np.int64)
    for row, token in zip(x, tokens, strict=True):
        want[token] += row
    assert np.array_equal(got.codes, want)


@given(bound=st.integers(0, 2**50))
def test_sums_at_the_proven_scale_cannot_leave_a_word(bound):
    frac = vector_int16.sum_frac(bound, 0)
    for code in (bound, -bound):
        assert not specification.cast(code, -frac, 17)[2]
        assert abs(specification.cast(code, -frac, 17)[0]) <= 2**15


def test_sums_of_columns_are_exact():
    x = np.full((70_000, 2), -(2**15), np.int16)
    assert (
        vector_int16.column_sums(FixedTensor(x, FixedPoint(16, 3))).codes.tolist()
        == [-(2**15) * 70_000] * 2
    )
