"""Updates in few bits, normalised gradients and NITI's loss against the specification."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fxsim.engine import softmax, update, update_rules
from fxsim.engine.tensor import FixedTensor
from fxsim.numerics import specification
from fxsim.numerics import specification_update as spec
from fxsim.numerics import specification_vector as vector
from fxsim.numerics.formats import FixedPoint
from fxsim.numerics.state_formats import MASTER

GRADIENTS = st.lists(st.integers(-(2**31) + 1, 2**31 - 1), min_size=1, max_size=12)


def master(units, places) -> FixedTensor:
    return FixedTensor((np.array(units) << places).astype(np.int32), MASTER)


@given(GRADIENTS, st.integers(1, 2**31), st.integers(0, 2**64 - 1), st.integers(6, 12))
def test_wage_equals_the_specification(codes, rate, key, grid):
    places, units = 26 - grid, np.arange(len(codes)) * 20 - 100
    weights = master(units, places)
    gradient = FixedTensor(np.array(codes), FixedPoint(32, 9))
    updated = update_rules.wage(weights, gradient, rate, grid, 8, key)
    if not any(codes):
        assert updated is weights
        return
    draws = [specification.draw(key, i) for i in range(len(codes))]
    steps = spec.wage_steps(codes, rate, draws)
    wanted = [
        spec.grid_update(int(w), s, places, 8) for w, s in zip(weights.codes, steps, strict=True)
    ]
    assert updated.codes.tolist() == wanted


def test_wage_by_hand():
    # max|g| = 96: log2 is 6.58, so Shift is 2**7; rate 8: steps of 8 * g / 128, exact here
    gradient = FixedTensor(np.array([96, -32, 16]), FixedPoint(32, 0))
    updated = update_rules.wage(master([0, 0, 125], 19), gradient, 8 << 24, 7, 8, 1)
    assert (updated.codes >> 19).tolist() == [-6, 2, 124]
    up = update_rules.wage(master([-125, 126, 0], 19), gradient, 8 << 24, 7, 8, 1)
    assert (up.codes >> 19).tolist() == [-127, 127, -1]  # limited to what 8 bits hold but -128


@pytest.mark.parametrize(("code", "octave"), [(0, 0), (1, 0), (2, 1), (11, 3), (12, 4), (96, 7)])
def test_the_nearest_octave(code, octave):
    # 2**3.5 = 11.31, 2**6.5 = 90.5
    assert update_rules.nearest_octave(code) == octave


@given(GRADIENTS, st.integers(1, 7), st.integers(4, 12))
def test_niti_equals_the_specification(codes, kept, grid):
    places, units = 26 - grid, np.arange(len(codes)) * 15 - 80
    weights = master(units, places)
    updated = update_rules.niti(
        weights, FixedTensor(np.array(codes), FixedPoint(32, 3)), kept, grid, 8
    )
    steps = spec.niti_steps(codes, kept)
    wanted = [
        spec.grid_update(int(w), s, places, 8) for w, s in zip(weights.codes, steps, strict=True)
    ]
    assert updated.codes.tolist() == wanted


def test_pseudo_stochastic_rounding_by_hand():
    # 4 dropped bits: upper half 3 > lower half 1 rounds away; 1 < 2 and 2 = 2 do not
    codes = np.array([0b101_1101, -0b101_1101, 0b101_0110, 0b101_1010])
    assert update_rules.pseudo_stochastic(codes, 4).tolist() == [6, -6, 5, 5]
    # 3 dropped bits: upper two against twice the lowest: 2 > 2 no, 3 > 2 yes, 1 > 0 yes
    odd = np.array([0b1_101, 0b1_111, -0b1_010])
    assert update_rules.pseudo_stochastic(odd, 3).tolist() == [1, 2, -2]
    assert update_rules.pseudo_stochastic(codes, 0).tolist() == codes.tolist()


@given(GRADIENTS, st.integers(-20, 40))
def test_normalised_gradients_equal_the_specification(codes, frac):
    updated = update.normalised(FixedTensor(np.array(codes), FixedPoint(32, frac)))
    assert updated.format == update.MOMENTUM
    assert updated.codes.tolist() == spec.normalised(codes)
    norm = float(np.linalg.norm(updated.to_float()))
    # each quotient is cut by up to 2**-24, and the root by up to 2**-6 of a code
    assert norm <= 1 + 2**-5 if any(codes) else norm == 0


def test_a_normalised_gradient_by_hand():
    updated = update.normalised(FixedTensor(np.array([3, -4]), FixedPoint(8, 2)))
    assert updated.to_float().tolist() == pytest.approx([0.6, -0.8], abs=2**-23)


def test_l1_adds_the_sign():
    gradient = FixedTensor(np.array([5, 5, 5]), FixedPoint(16, 4))
    weights = FixedTensor(np.array([9, 0, -9]), MASTER)
    updated = update.plus_sign(gradient, weights, Fraction(1, 8))  # two steps of 1/16
    assert updated.to_float().tolist() == [7 / 16, 5 / 16, 3 / 16]
    # a factor far below the gradient's scale keeps 12 bits of itself
    small = update.plus_sign(gradient, weights, Fraction(1, 10**7))
    finer, step = small.format.frac - 4, round(Fraction(1, 10**7) * 2**small.format.frac)
    assert step.bit_length() == 12
    assert small.codes.tolist() == [(5 << finer) + step, 5 << finer, (5 << finer) - step]


@given(
    st.lists(
        st.lists(st.integers(-(2**22), 2**22), min_size=4, max_size=4), min_size=1, max_size=5
    ),
    st.integers(0, 3),
)
def test_the_power_of_two_error_equals_the_specification(scores, label):
    scores[0][0] = 1 << 16  # a logit of 1, too large for the second-order form
    logits = FixedTensor(np.array(scores), softmax.LOGIT)
    _, error = softmax.power_of_two_error(logits, np.full(len(scores), label))
    wanted = [vector.power_of_two_error(row, label, len(scores)) for row in scores]
    assert error.codes.tolist() == wanted


@given(
    scores=st.lists(
        st.lists(st.integers(-127, 127), min_size=4, max_size=4), min_size=1, max_size=5
    ),
    exponent=st.integers(-40, -7),
    label=st.integers(0, 3),
)
def test_the_error_of_small_logits_equals_the_specification(scores, exponent, label):
    logits = FixedTensor(np.array(scores), FixedPoint(8, -exponent))
    _, error = softmax.power_of_two_error(logits, np.full(len(scores), label))
    wanted = [vector.second_order_error(row, exponent, label, len(scores)) for row in scores]
    assert error.codes.tolist() == wanted


def test_small_logits_by_hand():
    """What NITI's `ti_loss.py` gives for logits -1, 1 and eight zeros, exponent -7."""
    logits = FixedTensor(np.array([[-1, 1, *[0] * 8]]), FixedPoint(8, 7))
    _, error = softmax.power_of_two_error(logits, np.array([9]))
    assert (error.codes[0, :3] >> 19).tolist() == [203, 206, 204]
    same = FixedTensor(logits.codes << 9, softmax.LOGIT)  # as words of another scale
    assert (softmax.power_of_two_error(same, np.array([9]))[1].codes == error.codes).all()


def test_the_power_of_two_error_by_hand():
    # logits 2 and 0 are 2.885 and 0 octaves: 2 and 0, so 2**10 - 1 and 2**8 - 1 of 1278
    logits = FixedTensor(np.array([[2 << 16, 0]]), softmax.LOGIT)
    _, error = softmax.power_of_two_error(logits, np.array([0]))
    shares = [1023 * 2048 // 1278, 255 * 2048 // 1278]
    assert error.codes.tolist() == [[-shares[1] << 19, shares[1] << 19]]
