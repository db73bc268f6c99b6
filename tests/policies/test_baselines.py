"""Uniform, MuPPET, WAGE, NITI and DoReFa with PACT, with the numbers worked by hand."""

from __future__ import annotations

from math import exp

import numpy as np
import pytest

from fxsim.engine import casts
from fxsim.engine.tensor import FixedTensor
from fxsim.engine.update import MOMENTUM
from fxsim.identifiers import Role
from fxsim.numerics.formats import FixedPoint, Overflow
from fxsim.numerics.operand_formats import ClippedFormat, TanhFormat
from fxsim.numerics.state_formats import MASTER
from fxsim.policies.dorefa_pact import DorefaPact
from fxsim.policies.level_formats import LevelDecisions
from fxsim.policies.muppet import Muppet, scale_of
from fxsim.policies.niti import Niti
from fxsim.policies.uniform import Uniform
from fxsim.policies.wage import Wage
from fxsim.training.decisions import NitiDecisions, WageDecisions
from fxsim.training.policy import LossGradient, StepInfo, UpdateInfo


def words(*codes: int, frac: int = 0) -> FixedTensor:
    return FixedTensor(np.array([codes], np.int16), FixedPoint(16, frac))


# --- uniform ---------------------------------------------------------------------------------


def test_uniform_scales_are_dynamic_or_static_by_role():
    policy = Uniform(weight=4, weight_frac=3, overflow="SAT_SYM")
    static = policy.operand_format({}, "conv", Role.WEIGHT)
    assert (static.bits, static.frac, static.overflow) == (4, 3, Overflow.SAT_SYM)
    assert policy.operand_format({}, "conv", Role.ERROR).frac is None
    found, losses = casts.quantise_tensor(words(-40, 5, frac=4), static, 0)
    assert found.to_float().tolist() == [[-0.875, 0.25]]  # -2.5 is outside; 5/16 ties to even
    assert losses.overflowed == 1


def test_static_scales_ask_for_words_at_the_peak():
    assert Uniform().word_scale == "bound"
    assert Uniform(error_frac=0).word_scale == "peak"
    assert Uniform(error_frac=0, word_scale="bound").word_scale == "bound"


# --- muppet ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("codes", "bits", "frac"),
    [
        ((100, -3), 8, 0),  # 127.5 / 100 = 1.275: floor(log2) = 0
        ((63, -64), 8, 1),  # 127.5 / 63 = 2.02 and 128.5 / 64 = 2.008
        ((64, -1), 8, 0),  # 127.5 / 64 = 1.99
        ((1, -128), 8, 0),  # 128.5 / 128 = 1.004: the lowest code serves
        ((127, -129), 8, -1),  # 128.5 / 129 = 0.996
        ((0, 0), 8, 0),
        ((5, 1), 12, 8),  # 2047.5 / 5 = 409.5
    ],
)
def test_muppets_scale(codes, bits, frac):
    assert scale_of(words(*codes), bits) == frac
    assert scale_of(words(*codes, frac=6), bits) == (frac + 6 if any(codes) else 0)


def after_update(step: int, gradient) -> UpdateInfo:
    codes = (np.array([gradient]) * 2**20).astype(np.int64)
    return UpdateInfo(
        StepInfo(step, 100, 10),
        1.0,
        {},
        {},
        {"conv.weight": FixedTensor(codes, MOMENTUM), "conv.bias": FixedTensor(codes[0], MOMENTUM)},
    )


def test_muppets_diversity_over_a_window_of_epochs():
    policy = Muppet()
    state, memory = policy.initial_state({}), {}
    assert policy.after_update(state, memory, after_update(3, [1, 0])) == (
        {},
        {},
    )  # not the end of an epoch
    for step, gradient in ((9, [1, 0]), (19, [0, 1]), (29, [1, 0])):
        changed, sums = policy.after_update(state, memory, after_update(step, gradient))
        state, memory = {**state, **changed}, {**memory, **sums}
    # sum of squares 3, the sum (2, 1): 3 / 5; biases do not count
    assert state["diversity"] == pytest.approx(0.6)
    assert state["epochs"] == 0
    assert not memory["conv.weight"].any()
    assert list(memory) == ["conv.weight"]


def test_muppets_second_violation_raises_the_precision():
    policy = Muppet()
    state = {**policy.initial_state({}), **policy.judged(policy.initial_state({}), 3.0, 2)}
    margin = 1 + 1.5 * exp(-0.5)  # epoch 5
    state |= policy.judged(state, 3.0 / (margin - 0.01), 5)
    assert (state["violated"], state["level"]) == (0, 0)
    state |= policy.judged(state, 3.0 / (margin + 0.01), 5)
    assert (state["violated"], state["level"]) == (1, 0)
    state |= policy.judged(state, 1.0, 5)
    assert (state["violated"], state["level"], state["largest"]) == (0, 1, 0.0)
    assert policy.decide(state, StepInfo(), None)[1].bits == 12


def test_muppets_last_level_is_priced_as_32_bits():
    policy = Muppet()
    state = {**policy.initial_state({}), "level": 4}
    _, decisions = policy.decide(state, StepInfo(), None)
    policy.on_operand(state, StepInfo(), decisions, "conv", Role.ERROR, words(5))
    found, _ = casts.quantise_tensor(
        words(5), policy.operand_format(decisions, "conv", Role.ERROR), 0
    )
    assert found.blocks.bits.tolist() == [[32]]


# --- wage ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fan_in", "octave"),
    [
        (150, 2),  # limit 0.1414; 0.75 / 0.1414 = 5.30, log2 is 2.41
        (3, 0),  # limit 1 is above 0.75: the scale is at least 1
        (576, 3),  # limit 0.0722; 10.39, log2 is 3.38
    ],
)
def test_wages_layer_scale(fan_in, octave):
    assert Wage().layer_octave(fan_in) == octave
    assert Wage().grid(fan_in) == 7 + octave


def test_wages_weights():
    policy = Wage()
    state = policy.initial_state({"conv": (6, 150)})
    _, decisions = policy.decide(state, StepInfo(), None)
    wanted = policy.operand_format(decisions, "conv", Role.WEIGHT)
    assert (wanted.bits, wanted.frac, wanted.overflow) == (2, 3, Overflow.SAT_SYM)
    # w / a of 0.5, 0.26, 0.24 over 4: Q(w) is 0.5 (rounds to 1 step, clipped), 0.5, 0
    master = FixedTensor((np.array([[0.5, 0.26, 0.24, -0.9]]) / 4 * 2**26).astype(int), MASTER)
    codes = casts.quantise_tensor(master, wanted, 0)[0].codes
    assert codes.tolist() == [[1, 1, 0, -1]]


def test_wages_first_weights_are_spread_by_their_bits():
    # He's bound sqrt(6 / 150) = 0.2 becomes 0.75 / 4, on a grid of 2**-9
    bound = int(0.2 * 2**26)
    found = Wage().initial_codes("conv.weight", np.array([[bound] + [0] * 149]), True)
    assert found[0, 0] == round(0.75 / 4 * 2**9) << 17
    again = Wage().initial_codes("conv.weight", found, False)
    assert (again == found).all(), "an earlier run's weights stay"
    gamma = np.array([5])
    assert Wage().initial_codes("bn.gamma", gamma, True) is gamma


def test_wages_errors_and_activations():
    policy = Wage()
    state = policy.initial_state({"conv": (6, 150), "fc": (10, 100)})
    # max|e| = 96 / 2**10: 2**round(log2) is 2**(7 - 10): steps of 2**(-3 - 7)
    decisions = policy.decide(state, StepInfo(), None)[1]

    def cast(layer: str, role: Role, *codes: int) -> None:
        policy.on_operand(state, StepInfo(), decisions, layer, role, words(*codes, frac=10))

    cast("fc", Role.ERROR, 96, -3)
    cast("fc", Role.ACTIVATION, 0, 900)
    assert decisions.frac == {"error.fc": 10, "activation.fc": 7}
    cast("conv", Role.ACTIVATION, 0, 900)
    assert decisions.limit == {"fc": 1, "conv": 0}
    assert policy.input_limit(decisions, "fc") == 1
    assert policy.input_limit(decisions, "conv") is None


def test_wages_rate_falls_to_an_eighth_twice():
    policy = Wage()
    state = policy.initial_state({})
    rates = [policy.decide(state, StepInfo(step, 300, 1), None)[1].rate for step in (0, 200, 250)]
    assert [rate / 2**24 for rate in rates] == [8, 1, 0.125]
    assert policy.decisions_type() is WageDecisions


# --- niti ------------------------------------------------------------------------------------


def test_nitis_weights_are_int8_from_xaviers_range():
    policy = Niti()
    # sqrt(6 / (40 + 110)) = 0.2: 127 / 0.2 = 635, so steps of 2**-9
    assert policy.grid((40, 110)) == 9
    bound = int((6 / 110) ** 0.5 * 2**26)  # the layer's own draw reaches He's bound
    found = policy.initial_codes("fc.weight", np.full((40, 110), bound), True)
    assert found[0, 0] == round(0.2 * 2**9) << 17
    assert (policy.initial_codes("fc.weight", found, False) == found).all()
    _, decisions = policy.decide(policy.initial_state({"fc": (40, 110)}), StepInfo(), None)
    wanted = policy.operand_format(decisions, "fc", Role.WEIGHT)
    assert (wanted.bits, wanted.frac, wanted.overflow) == (8, 9, Overflow.SAT_SYM)
    assert policy.operand_format(decisions, "fc", Role.ERROR).frac is None


def test_nitis_update_has_five_then_four_then_three_bits():
    policy = Niti()
    state = policy.initial_state({"fc": (40, 110)})
    kept = [policy.decide(state, StepInfo(s, 200, 1), None)[1] for s in (0, 99, 100, 150)]
    assert [d.gradient_bits for d in kept] == [5, 5, 4, 3]
    assert kept[0].grid["fc"] == 9
    assert policy.decisions_type() is NitiDecisions
    assert policy.loss_gradient is LossGradient.POWERS_OF_TWO


def test_nitis_phases_must_match_its_bits():
    with pytest.raises(ValueError, match="gradient_bits must be one more than the 2 drops"):
        Niti(gradient_bits=(5, 4))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Muppet(levels=(8, 4)), "must be rising bits of 2 to 32, not"),
        (lambda: Muppet(levels=(8, 64)), "must be rising bits of 2 to 32, not"),
        (lambda: Wage(drops=(2.0,)), "must be rising shares between 0 and 1"),
        (lambda: Niti(drops=(0.7, 0.5)), "must be rising shares between 0 and 1"),
    ],
)
def test_schedules_that_cannot_be_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


# --- dorefa and pact -------------------------------------------------------------------------


def test_dorefa_pact_has_8_bits_at_both_ends():
    policy = DorefaPact(weight=3, activation=2)
    state = policy.initial_state({"a": (1, 1), "b": (1, 1), "c": (1, 1)})
    _, decisions = policy.decide(state, StepInfo(), None)
    policy.on_operand(state, StepInfo(), decisions, "b", Role.ACTIVATION, words(0, 3))
    assert [policy.operand_format(decisions, n, Role.WEIGHT).bits for n in "abc"] == [8, 3, 8]
    assert policy.operand_format(decisions, "b", Role.WEIGHT) == TanhFormat(3)
    assert policy.operand_format(decisions, "b", Role.ACTIVATION) == ClippedFormat(2, 10)
    same = DorefaPact(first_last_bits=None)
    _, plain = same.decide(state, StepInfo(), None)
    assert same.operand_format(plain, "a", Role.WEIGHT) == TanhFormat(4)


def test_an_input_is_signed_or_not_from_when_it_was_first_seen():
    policy = DorefaPact()
    state = policy.initial_state({"a": (1, 1), "b": (1, 1)})
    decisions = LevelDecisions()

    def cast(layer: str, *codes: int) -> None:
        state.update(
            policy.on_operand(state, StepInfo(), decisions, layer, Role.ACTIVATION, words(*codes))
        )

    cast("b", 0, 3)
    cast("b", -5)
    cast("attention.scores", 3)  # no weights
    assert decisions.signed == {"b": 0, "attention.scores": 1}
