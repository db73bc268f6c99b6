"""Batch norm, pooling, softmax and update against the specification, bit for bit."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fxsim.arithmetic import reference
from fxsim.arithmetic.formats import FixedPoint, Rounding
from fxsim.engine import elementwise, normalisation, pooling, softmax, update
from fxsim.engine.kernels import normalising
from fxsim.engine.tensor import FixedTensor
from fxsim.errors import FormatError


@given(st.integers(1, 2**61))
def test_reciprocal_root_equals_reference_and_its_bound(value):
    root, half = np.empty(1, np.int64), np.empty(1, np.int64)
    normalising.reciprocal_roots(np.array([value], np.int64), root, half)
    assert (int(root[0]), int(half[0])) == reference.reciprocal_root(value)
    exact = Fraction(1, value) * 4 ** int(half[0])  # (2**half / sqrt(value)) squared
    low, high = (int(root[0]) * (1 + d * Fraction(1, 2**15)) for d in (-1, 1))
    assert low**2 <= exact <= high**2


@given(st.integers(0, 2**62 - 1))
def test_integer_root(value):
    root = int(normalising.integer_root(np.int64(value)))
    assert root * root <= value < (root + 1) ** 2


def norm_case(seed, rows, channels, frac):
    rng = np.random.default_rng(seed)
    x = rng.integers(-(2**15), 2**15, (rows, channels)) >> rng.integers(0, 16, channels)
    e = rng.integers(-(2**15), 2**15, (rows, channels)) >> rng.integers(0, 16, channels)
    gamma = rng.integers(-(2**15), 2**15, channels) >> rng.integers(0, 14, channels)
    beta = rng.integers(-(2**28), 2**28, channels)
    return FixedTensor(x, FixedPoint(16, frac)), FixedTensor(e, FixedPoint(16, 21)), gamma, beta


@given(
    seed=st.integers(0, 9999), rows=st.integers(1, 30), channels=st.integers(1, 4),
    frac=st.integers(-3, 24),
)  # fmt: skip
def test_batch_norm_equals_reference(seed, rows, channels, frac):
    x, e, gamma, beta = norm_case(seed, rows, channels, frac)
    mean, variance = normalisation.batch_moments(x)
    out, stash, _ = normalisation.forward(x, mean, variance, gamma, beta)
    normals, roots = [], []
    for c in range(channels):
        column = x.codes[:, c].tolist()
        m, v = reference.batch_moments(column)
        assert (mean[c], variance[c]) == (m, v)
        want, normal, root, half = reference.normalise(column, frac, m, v, gamma[c], beta[c])
        assert out.codes[:, c].tolist() == want
        normals.append([int(u) for u in normal])
        roots.append((root, half))
    back, grad_gamma, grad_beta = normalisation.backward(e, stash, gamma)
    errors = e.codes.T.tolist()
    want, out_frac = reference.normalise_backward(errors, normals, roots, frac, 21, gamma.tolist())
    assert back.codes.T.tolist() == want
    assert back.format.frac == out_frac
    assert grad_beta.codes.tolist() == [sum(column) for column in errors]
    products = [
        sum(a * b for a, b in zip(p, q, strict=True)) for p, q in zip(errors, normals, strict=True)
    ]
    assert grad_gamma.codes.tolist() == products


@given(
    state=st.tuples(st.integers(-(2**31), 2**31 - 1), st.integers(0, 2**47 - 1)),
    moments=st.tuples(st.integers(-(2**19), 2**19), st.integers(0, 2**40)),
    frac=st.integers(-3, 24),
)
def test_running_statistics_equal_reference(state, moments, frac):
    old, new = ([np.array([v], np.int64) for v in pair] for pair in (state, moments))
    running = normalisation.advance(normalisation.RunningStatistics(*old), *new, frac)
    mean = reference.advance(state[0], moments[0], frac + 4 - 16, 32)
    variance = reference.advance(state[1], moments[1], 2 * frac + 8 - 20, 48)
    assert (int(running.mean[0]), int(running.variance[0])) == (mean, variance)
    assert 0 <= variance < 2**47
    back = normalisation.running_moments(running, frac)
    assert int(back[0][0]) == reference.cast(mean, 16 - frac - 4, 62)[0]
    assert int(back[1][0]) == reference.cast(variance, 20 - 2 * frac - 8, 61)[0]


def test_batch_norm_follows_the_float_formula():
    """Against the textbook in float64; the tolerance is that of 11-bit normalised words."""
    rng = np.random.default_rng(0)
    codes = np.rint(rng.normal(3, 2, (512, 4)) * 2**10).astype(np.int64)
    x = FixedTensor(codes, FixedPoint(16, 10))
    one, zero = np.full(4, 1 << 13), np.zeros(4, np.int64)
    out, _, _ = normalisation.forward(x, *normalisation.batch_moments(x), one, zero)
    values = x.to_float()
    want = (values - values.mean(0)) / np.sqrt(values.var(0) + 2**-17)
    assert np.abs(out.to_float() - want).max() < 2**-12 + 4 * 2**-15 + 2**-10


def test_batch_norm_refuses_what_would_overflow():
    x = FixedTensor(np.zeros((normalisation.MAX_ROWS + 1, 1), np.int64), FixedPoint(16, 0))
    with pytest.raises(FormatError, match="at most 4194304 values a channel"):
        normalisation.batch_moments(x)


def test_the_power_table_is_exact():
    assert softmax.POWERS.tolist() == reference.power_of_two_table()


@given(
    rows=st.integers(1, 4), classes=st.integers(2, 6), scale=st.integers(0, 27),
    seed=st.integers(0, 999),
)  # fmt: skip
def test_softmax_equals_reference(rows, classes, scale, seed):
    rng = np.random.default_rng(seed)
    logits = rng.integers(-(2**scale) - 1, 2**scale + 1, (rows, classes))
    labels = rng.integers(0, classes, rows)
    probability, error = softmax.softmax_cross_entropy(FixedTensor(logits, softmax.LOGIT), labels)
    want = reference.softmax_error(logits.tolist(), labels.tolist(), softmax.POWERS.tolist())
    assert (probability.codes.tolist(), error.codes.tolist()) == want


def test_softmax_keeps_its_error_bound():
    rng = np.random.default_rng(0)
    logits = FixedTensor(rng.integers(-(2**19), 2**19, (200, 10)), softmax.LOGIT)
    probability, _ = softmax.softmax_cross_entropy(logits, np.zeros(200, np.int64))
    exact = np.exp(logits.to_float() - logits.to_float().max(1, keepdims=True))
    exact /= exact.sum(1, keepdims=True)
    assert (np.abs(probability.to_float() - exact) <= exact * 2**-15 + 2**-29).all()


@given(
    size=st.integers(2, 3), stride=st.integers(1, 3), side=st.integers(3, 6),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_pooling_equals_reference(size, stride, side, seed):
    rng = np.random.default_rng(seed)
    x = FixedTensor(rng.integers(-9, 9, (2, side, side, 2)), FixedPoint(32, 3))
    largest, choice = pooling.max_pool(x, size, stride)
    mean = pooling.average_pool(x, size, stride)
    e = FixedTensor(rng.integers(-99, 99, largest.shape), FixedPoint(32, 5))
    back = pooling.max_pool_backward(e, choice, size, stride, x.shape)
    spread = pooling.average_pool_backward(e, size, stride, x.shape)
    want_back, want_spread = np.zeros(x.shape, int), np.zeros(x.shape, int)
    for n, r, c, f in np.ndindex(largest.shape):
        taps = [(r * stride + t // size, c * stride + t % size) for t in range(size * size)]
        window = [int(x.codes[n, y, z, f]) for y, z in taps]
        assert largest.codes[n, r, c, f] == max(window)
        assert mean.codes[n, r, c, f] == reference.divide_nearest(sum(window), size * size)
        y, z = taps[window.index(max(window))]
        want_back[n, y, z, f] += e.codes[n, r, c, f]
        for y, z in taps:
            want_spread[n, y, z, f] += reference.divide_nearest(
                int(e.codes[n, r, c, f]) << 8, size * size
            )
    assert np.array_equal(back.codes, want_back)
    assert np.array_equal(spread.codes, want_spread)
    assert spread.format.frac == 13


@pytest.mark.parametrize("rounding", list(Rounding))
@given(
    state=st.tuples(st.integers(-(2**31), 2**31 - 1), st.integers(-(2**31), 2**31 - 1)),
    gradient=st.integers(-(2**31), 2**31 - 1),
    rate=st.integers(0, 2**21), decay=st.integers(0, 2**19), key=st.integers(0, 99),
)  # fmt: skip
def test_sgd_equals_reference(rounding, state, gradient, rate, decay, key):
    friction = update.constant(Fraction(9, 10), update.FRICTION_FRAC)
    tensors = [
        FixedTensor(np.array([code], np.int64), form)
        for code, form in zip(
            (*state, gradient), (update.MASTER, update.MOMENTUM, update.MOMENTUM), strict=True
        )
    ]
    master, momentum, _ = update.sgd(*tensors, friction, rate, decay, rounding, key)
    want = reference.sgd(
        *state, gradient, friction, rate, decay, rounding.name, reference.draw(key, 0)
    )
    assert (master.codes.tolist(), momentum.codes.tolist()) == ([want[0]], [want[1]])


def test_constants_are_exact_decimals():
    assert update.constant(Fraction("0.9"), 15) == 29491
    assert update.constant(Fraction("0.05"), 20) == 52429


@given(
    a=st.integers(-(2**30), 2**30), b=st.integers(-(2**30), 2**30),
    frac_a=st.integers(-5, 30), frac_b=st.integers(-5, 30),
)  # fmt: skip
def test_addition_aligns_to_the_coarser_scale(a, b, frac_a, frac_b):
    x = FixedTensor(np.array([a], np.int64), FixedPoint(32, frac_a))
    y = FixedTensor(np.array([b], np.int64), FixedPoint(32, frac_b))
    got = elementwise.add(x, y)
    frac = min(frac_a, frac_b)
    want = reference.rnd_conv(a, frac_a - frac) + reference.rnd_conv(b, frac_b - frac)
    assert (int(got.codes[0]), got.format.frac) == (want, frac)
