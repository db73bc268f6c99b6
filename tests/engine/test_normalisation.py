"""Normalisation against the specification, bit for bit, and against the textbook."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fxsim.engine import normalisation
from fxsim.engine.kernels import normalisation as normalising
from fxsim.engine.tensor import FixedTensor
from fxsim.errors import FormatError
from fxsim.numerics import specification, specification_vector
from fxsim.numerics.formats import FixedPoint


@given(st.integers(1, 2**61))
def test_reciprocal_root_equals_reference_and_its_bound(value):
    root, half = np.empty(1, np.int64), np.empty(1, np.int64)
    normalising.reciprocal_roots(np.array([value], np.int64), root, half)
    assert (int(root[0]), int(half[0])) == specification_vector.reciprocal_root(value)
    exact = Fraction(1, value) * 4 ** int(half[0])  # (2**half / sqrt(value)) squared
    low, high = (int(root[0]) * (1 + d * Fraction(1, 2**15)) for d in (-1, 1))
    assert low**2 <= exact <= high**2


@given(st.integers(0, 2**62 - 1))
def test_integer_root(value):
    root = int(normalising.integer_root(np.int64(value)))
    assert root * root <= value < (root + 1) ** 2


@given(value=st.integers(-(2**61), 2**61), places=st.integers(-70, 80))
def test_shifted_equals_reference(value, places):
    got = int(normalising.shifted(np.int64(value), np.int64(places)))
    assert got == specification_vector.shifted(value, places)


def norm_case(seed, rows, channels, frac):
    rng = np.random.default_rng(seed)
    x = rng.integers(-(2**15), 2**15, (rows, channels)) >> rng.integers(0, 16, channels)
    e = rng.integers(-(2**15), 2**15, (rows, channels)) >> rng.integers(0, 16, channels)
    gamma = rng.integers(-(2**15), 2**15, channels) >> rng.integers(0, 14, channels)
    beta = rng.integers(-(2**28), 2**28, channels) >> rng.integers(0, 28, channels)
    word = FixedPoint(16, frac)
    x, e = x.astype(np.int16), e.astype(np.int16)
    return FixedTensor(x, word), FixedTensor(e, FixedPoint(16, 21)), gamma, beta


@given(
    seed=st.integers(0, 9999),
    rows=st.integers(1, 30),
    channels=st.integers(1, 4),
    frac=st.integers(-3, 24),
    relu=st.booleans(),
)
def test_batch_norm_equals_reference(seed, rows, channels, frac, relu):
    x, e, gamma, beta = norm_case(seed, rows, channels, frac)
    summary = normalisation.summarise(x)
    mean, variance = normalisation.batch_moments(summary)
    out, stash = normalisation.batch_norm(x, summary, mean, variance, gamma, beta, relu)
    columns, lines, moments = x.codes.T.tolist(), [], []
    for c in range(channels):
        m, v = specification_vector.moments(columns[c])
        assert (mean[c], variance[c]) == (m, v)
        root, half = specification_vector.inverse_deviation(v, frac)
        moments.append((m, root, half))
        lines.append(
            specification_vector.batch_norm_line(m, root, half, int(gamma[c]), int(beta[c]))
        )
    want, out_frac, _ = specification_vector.affine(columns, lines)
    shown = [[max(code, 0) if relu else code for code in column] for column in want]
    assert (out.codes.T.tolist(), out.format.frac) == (shown, out_frac)
    back, grad_gamma, grad_beta = normalisation.batch_norm_backward(e, stash, relu)
    errors = [
        [a if b > 0 or not relu else 0 for a, b in zip(column, made, strict=True)]
        for column, made in zip(e.codes.T.tolist(), want, strict=True)
    ]
    codes, places, slopes, slope_places = specification_vector.batch_norm_backward(
        errors, columns, lines, moments, frac, 21
    )
    assert (back.codes.T.tolist(), back.format.frac) == (codes, places)
    assert grad_gamma.codes.tolist() == slopes
    assert grad_gamma.format.frac == slope_places or not any(slopes)
    assert grad_beta.codes.tolist() == [sum(column) for column in errors]


@given(
    seed=st.integers(0, 999),
    rows=st.integers(1, 9),
    mean=st.integers(-(2**40), 2**40),
    variance=st.integers(0, 2**60),
    frac=st.integers(-3, 24),
)
def test_inference_with_any_running_statistics_equals_reference(seed, rows, mean, variance, frac):
    x, _, gamma, beta = norm_case(seed, rows, 1, frac)
    found = [np.array([value], np.int64) for value in (mean, variance)]
    out, _ = normalisation.batch_norm(x, normalisation.summarise(x), *found, gamma, beta)
    root, half = specification_vector.inverse_deviation(variance, frac)
    line = specification_vector.batch_norm_line(mean, root, half, int(gamma[0]), int(beta[0]))
    want, places, _ = specification_vector.affine(x.codes.T.tolist(), [line])
    assert (out.codes.T.tolist(), out.format.frac) == (want, places)


@given(
    state=st.tuples(st.integers(-(2**31), 2**31 - 1), st.integers(0, 2**47 - 1)),
    moments=st.tuples(st.integers(-(2**19), 2**19), st.integers(0, 2**40)),
    frac=st.integers(-3, 24),
)
def test_running_statistics_equal_reference(state, moments, frac):
    old, new = ([np.array([v], np.int64) for v in pair] for pair in (state, moments))
    running = normalisation.advance(normalisation.RunningStatistics(*old), *new, frac)
    mean = specification_vector.advance(state[0], moments[0], frac + 4 - 16, 32)
    variance = specification_vector.advance(state[1], moments[1], 2 * frac + 8 - 20, 48)
    assert (int(running.mean[0]), int(running.variance[0])) == (mean, variance)
    assert 0 <= variance < 2**47
    back = normalisation.running_moments(running, frac)
    assert int(back[0][0]) == specification.cast(mean, 16 - frac - 4, 62)[0]
    assert int(back[1][0]) == specification.cast(variance, 20 - 2 * frac - 8, 61)[0]


def test_batch_norm_follows_the_float_formula():
    """Against the textbook in float64, to half a step of the result and of the slope's mantissa."""
    rng = np.random.default_rng(0)
    codes = np.rint(rng.normal(3, 2, (512, 4)) * 2**10).astype(np.int16)
    x = FixedTensor(codes, FixedPoint(16, 10))
    one, zero = np.full(4, 1 << 13), np.zeros(4, np.int64)
    summary = normalisation.summarise(x)
    moments = normalisation.batch_moments(summary)
    out, _ = normalisation.batch_norm(x, summary, *moments, one, zero)
    values = x.to_float()
    want = (values - values.mean(0)) / np.sqrt(values.var(0) + 2**-17)
    allowed = 2.0 ** -(out.format.frac + 1) + np.abs(want) * 2**-13 + 2**-14
    assert (np.abs(out.to_float() - want) <= allowed).all()


def test_batch_norm_refuses_what_would_overflow():
    x = FixedTensor(np.zeros((normalisation.MAX_ROWS + 1, 1), np.int16), FixedPoint(16, 0))
    with pytest.raises(FormatError, match="at most 4194304 values a channel"):
        normalisation.summarise(x)


@given(
    seed=st.integers(0, 999),
    rows=st.integers(1, 6),
    channels=st.integers(1, 9),
    frac=st.integers(-3, 24),
    centred=st.booleans(),
)
def test_rows_equal_reference(seed, rows, channels, frac, centred):
    x, e, _, _ = norm_case(seed, rows, channels, frac)
    out, stash, _ = normalisation.normalise_rows(x, centred)
    found = [specification_vector.normalise_row(row, frac, centred) for row in x.codes.tolist()]
    assert out.codes.tolist() == [row for row, _, _ in found]
    back = normalisation.normalise_rows_backward(e, stash)
    want, places = specification_vector.normalise_rows_backward(
        e.codes.tolist(), out.codes.tolist(), [pair for _, *pair in found], frac, 21, centred
    )
    assert back.codes.tolist() == want
    assert back.format.frac == places or not any(map(any, want))


@given(
    seed=st.integers(0, 999),
    rows=st.integers(1, 6),
    channels=st.integers(1, 5),
    frac=st.integers(-3, 24),
)
def test_scale_and_shift_equal_reference(seed, rows, channels, frac):
    x, e, gamma, beta = norm_case(seed, rows, channels, frac)
    out, lines = normalisation.scale_shift(x, gamma, beta)
    described = [(0, int(g), 13 + frac, int(b)) for g, b in zip(gamma, beta, strict=True)]
    want, places, _ = specification_vector.affine(x.codes.T.tolist(), described)
    assert (out.codes.T.tolist(), out.format.frac) == (want, places)
    back, grad_gamma, grad_beta = normalisation.scale_shift_backward(e, x, lines)
    exact = e.codes * gamma * 2.0**-13
    step = 2.0 ** (21 - back.format.frac)
    # the multiplier is within half a unit of what int32 sums hold: 2**-14 of the largest product
    assert (np.abs(back.codes * step - exact) <= step + np.abs(exact).max() * 2**-13).all()
    assert grad_beta.codes.tolist() == e.codes.sum(axis=0, dtype=np.int64).tolist()
    products = (e.codes.astype(np.int64) * x.codes).sum(axis=0)
    assert grad_gamma.codes.tolist() == products.tolist()
    assert grad_gamma.format.frac == 21 + frac
