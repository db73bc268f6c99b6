"""AdaQAT's variables, with the numbers worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fxsim.engine.tensor import FixedTensor
from fxsim.identifiers import Role
from fxsim.numerics.formats import FixedPoint
from fxsim.numerics.operand_formats import ClippedFormat, TanhFormat
from fxsim.numerics.state_formats import MASTER
from fxsim.policies.adaqat import Adaqat
from fxsim.training.policy import Feedback, StepInfo, UpdateInfo

SHAPES = {"conv1": (4, 9), "conv2": (8, 36), "conv3": (8, 72), "fc": (10, 8)}
POLICY = Adaqat()
FRESH = {"relaxed": 4.0, "frozen": False, "fell_to": [], "rises": {}}


def decide(policy, state, loss=None, **probes):
    feedback = None if loss is None else Feedback(0, loss, {}, probes)
    return policy.decide(state, StepInfo(), feedback)


def test_the_first_step_uses_the_first_bits_and_asks_for_two_probes():
    _, decisions = decide(POLICY, POLICY.initial_state(SHAPES))
    assert decisions.bits == {"weight": 4, "activation": 4}
    probes = POLICY.probes(decisions)
    assert {name: probe.bits for name, probe in probes.items()} == {
        "weight": {"weight": 3, "activation": 4},
        "activation": {"weight": 4, "activation": 3},
    }


def test_a_step_of_both_variables():
    state, decisions = decide(
        POLICY, POLICY.initial_state(SHAPES), 1.0, weight=1.2, activation=1.01
    )
    # g_w = 1 - 1.2 + 0.02 * 4 = -0.12; g_a = 1 - 1.01 + 0.01 * 4 = 0.03; rates 0.1
    assert state["variables"]["weight"]["relaxed"] == pytest.approx(4.012)
    assert state["variables"]["activation"]["relaxed"] == pytest.approx(3.997)
    assert decisions.bits == {"weight": 5, "activation": 4}


def test_the_price_is_the_other_roles_bits():
    state = POLICY.initial_state(SHAPES)
    state["variables"]["activation"] = {**FRESH, "relaxed": 6.5}
    state, _ = decide(POLICY, state, 1.0, weight=1.0)
    assert state["variables"]["weight"]["relaxed"] == pytest.approx(4 - 0.1 * 0.02 * 7)


def test_more_than_ten_oscillations_freeze_at_the_larger_width():
    variable, rises = dict(FRESH), 0
    while not variable["frozen"]:
        variable = POLICY.moved(variable, 0.5)  # 4 bits: 3.5 is still 4
        variable = POLICY.moved(variable, 0.6)  # 2.9: fell to 3
        variable = POLICY.moved(variable, -1.1)  # back to 4
        rises += 1
        assert rises < 20
    assert rises == 11
    assert variable["relaxed"] == 4.0
    assert variable["rises"] == {"3": 11}


def test_a_rise_from_bits_it_never_fell_to_is_no_oscillation():
    variable = POLICY.moved(dict(FRESH), -0.5)  # 4 to 5 bits
    assert variable["rises"] == {}


def test_the_floor_freezes_at_two_bits():
    variable = POLICY.moved({**FRESH, "relaxed": 1.55}, 0.2)
    assert (variable["relaxed"], variable["frozen"]) == (1.5, True)


def test_frozen_variables_are_probed_no_more():
    state = POLICY.initial_state(SHAPES)
    state["variables"]["weight"] = {**FRESH, "frozen": True}
    _, decisions = decide(POLICY, state)
    assert list(POLICY.probes(decisions)) == ["activation"]
    state["variables"]["activation"] = {**FRESH, "frozen": True}
    assert POLICY.probes(decide(POLICY, state)[1]) == {}


def test_formats():
    _, decisions = decide(POLICY, POLICY.initial_state(SHAPES))
    positive = FixedTensor(np.array([[0, 5]], np.int16), FixedPoint(16, 3))
    signed = FixedTensor(np.array([[-1, 5]], np.int16), FixedPoint(16, 3))
    state = POLICY.initial_state(SHAPES)
    for layer, x in (("conv1", positive), ("conv2", positive), ("conv3", signed)):
        POLICY.on_operand(state, StepInfo(), decisions, layer, Role.ACTIVATION, x)
    assert POLICY.operand_format(decisions, "conv1", Role.WEIGHT).bits == 8  # the first layer
    assert POLICY.operand_format(decisions, "conv2", Role.WEIGHT) == TanhFormat(4)
    assert POLICY.operand_format(decisions, "conv2", Role.ACTIVATION) == ClippedFormat(4, 10)
    assert POLICY.operand_format(decisions, "conv3", Role.ACTIVATION).frac is None
    assert POLICY.operand_format(decisions, "conv2", Role.ERROR).bits == 8


def test_layer_by_layer_one_variable_moves_at_a_time():
    policy = Adaqat(granularity="layer", initial_bits=5)
    state = policy.initial_state(SHAPES)
    assert list(state["variables"]) == [
        "weight.conv2",
        "weight.conv3",
        "activation.conv2",
        "activation.conv3",
    ]
    assert policy.probes(decide(policy, state)[1]) == {}, "they are not in order yet"
    _, decisions = decide(policy, {**state, "ordered.weight": True})
    probes = policy.probes(decisions)
    assert list(probes) == ["weight.conv2"]
    assert probes["weight.conv2"].bits == {**decisions.bits, "weight.conv2": 4}
    assert policy.bits_of(decisions, "conv3", Role.ACTIVATION) == 5


def test_weights_adapt_by_falling_error_activations_by_rising():
    policy = Adaqat(granularity="layer")
    state = policy.initial_state(SHAPES)
    rng = np.random.default_rng(0)

    def uniform(top: float, shape) -> FixedTensor:
        return FixedTensor((rng.uniform(-top, top, shape) * 2**26).astype(np.int64), MASTER)

    masters = {
        "conv2.weight": uniform(0.1, (8, 36)),
        "conv3.weight": uniform(0.9, (8, 72)),
        "conv2.clip.alpha": FixedTensor(np.array([8 << 26]), FixedPoint(62, 26)),
        "conv3.clip.alpha": FixedTensor(np.array([2 << 26]), FixedPoint(62, 26)),
    }
    seen = UpdateInfo(StepInfo(), 1.0, {}, masters, {})
    state |= policy.after_update(state, {}, seen)[0]
    assert state["order"][:2] == ["weight.conv3", "weight.conv2"]
    assert policy.after_update(state, {}, seen) == ({}, {})  # the weights are not done
    assert policy.exploring(state) == ["weight.conv3"]
    for name in state["order"][:2]:
        state["variables"][name]["frozen"] = True
    state |= policy.after_update(state, {}, seen)[0]
    assert state["order"][2:] == ["activation.conv3", "activation.conv2"]
    assert policy.exploring(state) == ["activation.conv3"]


def test_a_start_at_the_floor_is_refused():
    with pytest.raises(ValueError, match=r"floor must be below initial_bits = 2\.0, not 2\.5"):
        Adaqat(initial_bits=2, floor=2.5)
