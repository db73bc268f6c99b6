"""Learning-rate schedules: integers, and what their names say."""

from __future__ import annotations

from fractions import Fraction
from math import cos, pi

import pytest

from fxsim.training.schedule import Plateau, Schedule, cosine

RATE = Fraction(1, 10)
FULL = 109951162778  # 0.1 with 40 fractional bits


def codes(schedule, steps=100):
    return [schedule.rate_code(RATE, step, steps) for step in range(steps)]


def test_constant():
    assert set(codes(Schedule())) == {FULL}


def test_linear_falls_to_zero_by_equal_parts():
    assert codes(Schedule("linear")) == [FULL * (100 - step) // 100 for step in range(100)]


@pytest.mark.parametrize("denominator", [1, 7, 1000])
def test_the_integer_cosine(denominator):
    for numerator in range(denominator + 1):
        exact = cos(pi * numerator / denominator)
        assert abs(cosine(numerator, denominator) / 2**64 - exact) < 2**-50


def test_cosine_is_half_a_wave():
    found = codes(Schedule("cosine"))
    assert found[0] == FULL
    assert found == sorted(found, reverse=True)
    for step, code in enumerate(found):
        assert abs(code - FULL * (1 + cos(pi * step / 100)) / 2) <= 1


def test_warm_up_rises_to_the_rate():
    found = codes(Schedule("cosine", warmup=10))
    assert found[:10] == [FULL * (step + 1) // 11 for step in range(10)]
    assert found[10] == FULL


def test_steps_fall_at_milestones():
    found = codes(Schedule("step", milestones=(Fraction(1, 2), Fraction(3, 4))))
    assert [found[i] for i in (49, 50, 74, 75)] == [FULL, FULL // 10, FULL // 10, FULL // 100]


def test_a_plateau_is_left_after_patience():
    plateau, drops = Plateau(), []
    for loss in (1.0, 0.9, 0.95, 0.91, 0.92, 0.8, 0.85):
        plateau.epoch(loss, patience=2)
        drops.append(plateau.drops)
    assert drops == [0, 0, 0, 0, 1, 1, 1]
    assert Schedule("plateau").rate_code(RATE, 5, 10, drops=1) == FULL // 10


def test_patience_begins_again_with_a_better_loss_and_with_a_drop():
    plateau, waited, drops = Plateau(), [], []
    for loss in (1.0, 1.1, 1.1, 0.9, 0.9, 0.9, 0.9, 1.0, 1.0, 1.0, 0.8, 0.9):
        plateau.epoch(loss, patience=2)
        waited.append(plateau.waited)
        drops.append(plateau.drops)
    assert waited == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 0, 1]
    assert drops == [0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert plateau.best == 0.8
