"""APT's scale, error measure and interval, with the numbers worked by hand."""

from __future__ import annotations

from math import log2

import numpy as np
import pytest

from fxsim.engine.tensor import FixedTensor
from fxsim.identifiers import Role
from fxsim.numerics.formats import FixedPoint
from fxsim.policies.apt import Apt, AptDecisions
from fxsim.training.policy import StepInfo

POLICY = Apt()


def tensor(*codes: int, frac: int = 10) -> FixedTensor:
    return FixedTensor(np.array([codes], np.int16), FixedPoint(16, frac))


# 1016 / 1024 / 127 = 2**-7 exactly: steps of 8 codes; 1016 stays, 3 becomes 0
EVEN = tensor(1016, 8, 16, 24)
SKEWED = tensor(1016, *[3] * 40)


def after(policy: Apt, x: FixedTensor, step: int, state=None, per_epoch: int = 1000):
    step_info = StepInfo(step, 10 * per_epoch, per_epoch)
    decisions = AptDecisions()
    changed = policy.on_operand(state or {}, step_info, decisions, "conv", Role.ERROR, x)
    return changed, decisions


@pytest.mark.parametrize(
    ("largest", "frac", "bits", "shift"),
    [
        (1 << 10, 10, 8, -6),  # Z = 1: ceil(log2(1 / 127)) = ceil(-6.99)
        (127 << 3, 10, 8, -7),  # Z = 127 / 128: exactly 2**-7
        (1 << 10, 10, 16, -14),  # ceil(log2(1 / 32767)) = ceil(-14.99996)
        (127, 0, 8, 0),
        (128, 0, 8, 1),
        (0, 3, 8, -12),
    ],
)
def test_the_scale(largest, frac, bits, shift):
    assert POLICY.measured(tensor(largest, frac=frac), bits)[0] == shift


def test_the_error_measure():
    assert POLICY.measured(EVEN, 8) == (-7, 0.0)
    exact, kept = 1016 + 3 * 40, 1016
    assert POLICY.measured(SKEWED, 8) == (-7, pytest.approx(log2((exact - kept) / exact + 1)))
    assert POLICY.measured(SKEWED, 16) == (-15, 0.0)


@pytest.mark.parametrize(
    ("shift", "average", "difference", "interval"),
    [
        (-6, -6.0, 0.01, 8),  # d2 = 100 * 1e-4: 0.1 / 0.01 - 2
        (-6, -6.0, 0.03, 1),  # d2 = 0.09: 0.1 / 0.09 - 2 is below 1
        (-6, -5.0, 0.0, 1),  # d1 = 0.04: 2.5 - 2, rounded to 0 or 1
        (-6, -5.75, 0.01, 8),  # d1 = d2 = 0.01
        (-6, -6.0, 0.0, 1000),  # nothing moves: an epoch
        (-6, -6.0, 0.0005, 1000),  # 0.1 / 2.5e-5 - 2 = 3998, capped
    ],
)
def test_the_interval(shift, average, difference, interval):
    assert POLICY.interval(shift, average, difference, 1000) == interval


def test_bits_grow_by_eight_and_the_average_falls_with_them():
    state, decisions = after(POLICY, SKEWED, 500)
    known = state["error.conv"]
    assert decisions.columns() == {"learning_rate": 0, "bits.error.conv": 16, "frac.error.conv": 15}
    assert known["average"] == pytest.approx(0.04 * -15 + 0.96 * (100 - 8))


def test_restarting_gives_the_average_its_octaves_back():
    policy, state = Apt(mode="restart"), {}
    for step in range(400):
        state = after(policy, SKEWED, step, state, 500)[0]
    # 8 bits fail and 16 serve at every update; the average nears s + 8, not minus infinity
    assert state["error.conv"]["average"] == pytest.approx(-15 + 8 * 0.04 - 8 * 0.04, abs=9)


def test_growing_keeps_the_bits_and_restarting_tries_eight_again():
    for mode, bits in (("grow", 16), ("restart", 8)):
        policy = Apt(mode=mode)
        state, _ = after(policy, SKEWED, 0)
        _, decisions = after(policy, EVEN, 1, state)
        assert decisions.bits["error.conv"] == bits


def test_the_widest_word_ends_the_search():
    wide = Apt(threshold=0.0, most_bits=24)
    # 3 of 2**15 - 1 is lost at no width here, so a threshold of 0 stops at once; 8 bits lose it
    assert after(wide, tensor(32767, 3, frac=0), 0)[1].bits["error.conv"] == 16
    assert after(Apt(most_bits=8), SKEWED, 0)[1].bits["error.conv"] == 8


def test_every_step_first_then_at_intervals_then_once_an_epoch():
    state, _ = after(POLICY, EVEN, 9)  # within the first 1 % of 1000 steps
    assert state["error.conv"]["next"] == 10
    settled = {"error.conv": {"bits": 8, "shift": -7, "average": -7.0, "next": 10}}
    half_off = {"error.conv": {**settled["error.conv"], "average": -7.5}}
    state, _ = after(POLICY, EVEN, 10, half_off)  # d1 = 0.04 * 0.5: 0.1 / 0.02 - 2 = 3 steps
    assert state["error.conv"]["next"] == 13
    state, _ = after(POLICY, EVEN, 10, settled)
    assert state["error.conv"]["next"] == 1000  # nothing moves: the epoch's end
    settled["error.conv"]["next"] = 1000
    state, _ = after(POLICY, EVEN, 1000, settled)
    assert state["error.conv"]["next"] == 2000


def test_between_updates_bits_and_scale_stay_and_the_average_moves():
    known = {"error.conv": {"bits": 8, "shift": -7, "average": 3.0, "next": 50}}
    state, decisions = after(POLICY, SKEWED, 20, known)
    assert decisions.columns() == {"learning_rate": 0, "bits.error.conv": 8, "frac.error.conv": 7}
    assert state["error.conv"]["average"] == pytest.approx(0.04 * -7 + 0.96 * 3)


def test_a_word_of_24_bits_is_executed_in_16_and_stored_as_24():
    from fxsim.engine import casts

    wanted = POLICY.operand_format(
        AptDecisions(bits={"weight.c": 24}, frac={"weight.c": 23}), "c", Role.WEIGHT
    )
    found, _ = casts.quantise_tensor(tensor(700, -3), wanted, 0)
    assert found.format.bits == 16
    assert found.blocks.bits.tolist() == [[24]]
    assert found.to_float().tolist() == tensor(700, -3).to_float().tolist()
