"""The controller on hand-made feedback."""

from __future__ import annotations

import numpy as np
import pytest

from fxsim.engine.tensor import FixedTensor
from fxsim.identifiers import OPERAND_ROLES, Role
from fxsim.numerics.formats import FixedPoint
from fxsim.policies.dynasty import Dynasty
from fxsim.training.policy import Feedback, StepInfo

POLICY = Dynasty(
    warmup=0,
    initial_lambda=0.1,
    growth=1.5,
    shrink=0.5,
    retreat=0.25,
    smoothing=0.5,
    weight_budget=0.1,
    activation_budget=0.1,
    error_budget=0.2,
)


def after(perturbation: float, loss: float = 1.0, state=None):
    state = state or POLICY.initial_state({})
    seen = Feedback(5, loss, dict.fromkeys(OPERAND_ROLES, perturbation))
    return POLICY.decide(state, StepInfo(), seen)


def test_lambda_grows_within_the_budget_and_shrinks_beyond_it():
    _, decisions = after(0.15)
    # beyond the weights' and activations' budget, within the errors'
    assert decisions.threshold == {
        Role.WEIGHT: round(0.1 * 0.5 * 65536),
        Role.ACTIVATION: round(0.1 * 0.5 * 65536),
        Role.ERROR: round(0.1 * 1.5 * 65536),
    }


def test_the_perturbation_is_smoothed():
    state, _ = after(0.0)
    state, decisions = after(0.18, state=state)  # smoothed: 0 + 0.5 * 0.18 = 0.09 < 0.1
    assert state["perturbation.weight"] == pytest.approx(0.09)
    assert decisions.threshold[Role.WEIGHT] == round(0.1 * 1.5 * 1.5 * 65536)


def test_a_loss_that_jumps_makes_every_lambda_retreat():
    state, _ = after(0.0, loss=1.0)
    _, decisions = after(0.0, loss=5.0, state=state)
    assert set(decisions.threshold.values()) == {round(0.1 * 1.5 * 0.25 * 65536)}


def test_warm_up_takes_lossless_savings_only():
    policy = Dynasty(warmup=10)
    state = policy.initial_state({})
    assert set(policy.decide(state, StepInfo(), None)[1].threshold.values()) == {0}
    assert set(policy.decide(state, StepInfo(), Feedback(8, 1.0))[1].threshold.values()) == {0}
    assert min(policy.decide(state, StepInfo(), Feedback(9, 1.0))[1].threshold.values()) > 0


def test_gains_are_relative_tile_means_smoothed_by_an_eighth():
    gradient = np.zeros((4, 8), np.int64)
    gradient[:, :4], gradient[:, 4:] = 4096, 1024
    tensor = FixedTensor(gradient, FixedPoint(32, 0))
    first = POLICY.on_gradient(None, Role.WEIGHT, tensor)
    assert first.tolist() == [[4096 << 3, 1024 << 3]]  # the largest has 16 bits
    second = POLICY.on_gradient(
        first, Role.WEIGHT, FixedTensor(gradient[:, ::-1].copy(), tensor.format)
    )
    change = (1024 << 3) - (4096 << 3)
    assert second[0, 0] == first[0, 0] + (change >> 3)


def test_no_gradient_says_nothing():
    nothing = FixedTensor(np.zeros((4, 4), np.int64), FixedPoint(32, 0))
    assert POLICY.on_gradient(None, Role.WEIGHT, nothing) is None
    kept = np.ones((1, 1), np.int64)
    assert POLICY.on_gradient(kept, Role.WEIGHT, nothing) is kept


def test_activations_are_judged_by_channel():
    gradient = FixedTensor(np.ones((2, 3, 3, 8), np.int64), FixedPoint(32, 0))
    assert POLICY.on_gradient(None, Role.ACTIVATION, gradient).shape == (1, 2)
