"""Softmax, losses and pooling against the specification, bit for bit."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from windows import windows

from fxsim.engine import pooling, softmax
from fxsim.engine.tensor import FixedTensor
from fxsim.engine.window import Window
from fxsim.numerics import specification, specification_vector
from fxsim.numerics.formats import FixedPoint, Rounding


def test_the_power_table_is_exact():
    assert softmax.POWERS.tolist() == specification_vector.power_of_two_table()


@given(
    rows=st.integers(1, 4),
    classes=st.integers(2, 6),
    scale=st.integers(0, 27),
    smoothing=st.sampled_from(["0", "0.1", "0.25"]),
    seed=st.integers(0, 999),
)
def test_cross_entropy_equals_reference(rows, classes, scale, smoothing, seed):
    rng = np.random.default_rng(seed)
    logits = rng.integers(-(2**scale) - 1, 2**scale + 1, (rows, classes))
    labels = rng.integers(0, classes, rows)
    probability, error = softmax.cross_entropy(
        FixedTensor(logits, softmax.LOGIT), labels, Fraction(smoothing)
    )
    off = int(Fraction(smoothing) * 2**30 / classes + Fraction(1, 2))
    table = softmax.POWERS.tolist()
    want = specification_vector.softmax_error(logits.tolist(), labels.tolist(), table, off)
    assert (probability.codes.tolist(), error.codes.tolist()) == want


@given(rows=st.integers(1, 4), classes=st.integers(2, 5), seed=st.integers(0, 999))
def test_squared_error_equals_reference(rows, classes, seed):
    rng = np.random.default_rng(seed)
    values = rng.integers(-(2**20), 2**20, (rows, classes))
    labels = rng.integers(0, classes, rows)
    _, error = softmax.squared_error(FixedTensor(values, softmax.LOGIT), labels)
    assert error.codes.tolist() == specification_vector.squared_error(
        values.tolist(), labels.tolist()
    )
    assert error.format.frac == 28


@given(
    batch=st.integers(1, 3), size=st.integers(1, 6), causal=st.booleans(), seed=st.integers(0, 99)
)
def test_attention_softmax_and_its_gradient_equal_reference(batch, size, causal, seed):
    rng = np.random.default_rng(seed)
    scores = rng.integers(-(2**18), 2**18, (batch, size, size))
    got = softmax.softmax(FixedTensor(scores, softmax.LOGIT), causal)
    table = softmax.POWERS.tolist()
    want = [
        [
            specification_vector.softmax(row, t + 1 if causal else size, table)
            for t, row in enumerate(m)
        ]
        for m in scores.tolist()
    ]
    assert got.codes.tolist() == want
    shares = rng.integers(0, 2**14, (batch * size, size)).astype(np.int16)
    errors = rng.integers(-(2**15), 2**15, shares.shape).astype(np.int16)
    back = softmax.softmax_backward(
        FixedTensor(errors, FixedPoint(16, 9)), FixedTensor(shares, FixedPoint(16, 14))
    )
    exact = [
        specification_vector.softmax_backward(p, e, 14)
        for p, e in zip(shares.tolist(), errors.tolist(), strict=True)
    ]
    codes, frac = specification_vector.words([code for row in exact for code in row], 23)
    assert (back.codes.reshape(-1).tolist(), back.format.frac) == (codes, frac)


def test_softmax_keeps_its_error_bound():
    rng = np.random.default_rng(0)
    logits = FixedTensor(rng.integers(-(2**19), 2**19, (200, 10)), softmax.LOGIT)
    probability = softmax.softmax(logits)
    exact = np.exp(logits.to_float() - logits.to_float().max(1, keepdims=True))
    exact /= exact.sum(1, keepdims=True)
    assert (np.abs(probability.to_float() - exact) <= exact * 2**-15 + 2**-29).all()


@given(
    down=windows(padding=2, dilation=1),
    across=windows(padding=2, dilation=1),
    sides=st.tuples(st.integers(3, 6), st.integers(3, 6)),
    seed=st.integers(0, 99),
    rounding=st.sampled_from(list(Rounding)),
)
def test_pooling_equals_reference(down, across, sides, seed, rounding):
    sliding = tuple(
        replace(w, before=min(w.before, w.size - 1), after=min(w.after, w.size - 1))
        for w in (down, across)
    )
    down, across = sliding
    rng = np.random.default_rng(seed)
    x = FixedTensor(rng.integers(-9, 9, (2, *sides, 2)).astype(np.int16), FixedPoint(16, 3))
    largest, choice = pooling.max_pool(x, sliding)
    mean = pooling.average_pool(x, sliding, rounding, key=5)
    e = rng.integers(-99, 99, largest.shape).astype(np.int16)
    error = FixedTensor(e, FixedPoint(16, 5))
    back = pooling.max_pool_backward(error, choice, sliding, x.shape)
    spread = pooling.average_pool_backward(error, sliding, x.shape, rounding, key=6)
    area = down.size * across.size
    want_back, want_spread = np.zeros(x.shape, int), np.zeros(x.shape, int)
    for n, r, c, f in np.ndindex(largest.shape):
        taps = [
            (
                r * down.stride + t // across.size - down.before,
                c * across.stride + t % across.size - across.before,
            )
            for t in range(area)
        ]
        taps = [(y, z) for y, z in taps if 0 <= y < sides[0] and 0 <= z < sides[1]]
        window = [int(x.codes[n, y, z, f]) for y, z in taps]
        assert largest.codes[n, r, c, f] == max(window)
        number = int(np.ravel_multi_index((n, r, c, f), largest.shape))
        share = specification_vector.round_quotient(
            sum(window), area, rounding.name, specification.draw(5, number)
        )
        assert mean.codes[n, r, c, f] == share
        y, z = taps[window.index(max(window))]
        want_back[n, y, z, f] += e[n, r, c, f]
        for y, z in taps:
            want_spread[n, y, z, f] += specification_vector.round_quotient(
                int(e[n, r, c, f]) << 8, area, rounding.name, specification.draw(6, number)
            )
    for got, want, frac in ((back, want_back, 5), (spread, want_spread, 13)):
        codes, kept = specification_vector.words(want.reshape(-1).tolist(), frac)
        assert (got.codes.reshape(-1).tolist(), got.format.frac) == (codes, kept)


@given(numerator=st.integers(-999, 999), shift=st.integers(0, 6), mode=st.sampled_from(Rounding))
def test_a_quotient_by_a_power_of_two_is_a_shift(numerator, shift, mode):
    """The specification of quotients against that of shifts, which SystemC confirms."""
    got = specification_vector.round_quotient(numerator, 1 << shift, mode.name, 4321)
    if mode in (Rounding.JAM_ALWAYS, Rounding.TRN_MAG) and shift == 0:
        return  # they do not look at what is lost, and a shift of nothing is none
    assert got == specification.round_code(numerator, shift, mode.name, 4321)


@pytest.mark.parametrize(("rounding", "mean"), [("RND", -2), ("RND_INF", -3), ("TRN_ZERO", -2)])
def test_a_mean_of_minus_two_and_a_half(rounding, mean):
    """-10 / 4: half up, away from zero as TFLite has it, and towards zero."""
    x = FixedTensor(np.array([-1, -2, -3, -4], np.int16).reshape(1, 2, 2, 1), FixedPoint(16, 0))
    whole = (Window(2, 2), Window(2, 2))
    assert pooling.average_pool(x, whole, Rounding[rounding]).codes.item() == mean
