"""AdaPT's rules, with the numbers worked by hand."""

from __future__ import annotations

from math import e, exp, inf, log

import numpy as np
import pytest

from fxsim.engine import casts
from fxsim.engine.tensor import FixedTensor
from fxsim.engine.update import MOMENTUM
from fxsim.identifiers import Role
from fxsim.numerics.formats import Cast, FixedPoint, Rounding
from fxsim.numerics.operand_formats import TensorFormat
from fxsim.numerics.state_formats import MASTER
from fxsim.policies import adapt_rules as rules
from fxsim.policies.adapt import Adapt, AdaptDecisions, diversity
from fxsim.training.policy import StepInfo, UpdateInfo

POLICY = Adapt()
SHAPES = {"conv": (2, 2), "fc": (1, 4)}


def test_the_first_grid_is_qpytorchs():
    _, decisions = POLICY.decide(POLICY.initial_state(SHAPES), StepInfo(), None)
    wanted = POLICY.operand_format(decisions, "conv", Role.WEIGHT)
    assert (wanted.bits, wanted.frac, wanted.rounding) == (8, 4, Rounding.STOCHASTIC)
    far = FixedTensor(np.array([[-(2**31), 2**31 - 1]]), MASTER)  # -32 and almost 32
    assert casts.quantise_tensor(far, wanted, 0)[0].to_float().tolist() == [[-8, 7.9375]]


@pytest.mark.parametrize(
    ("word", "frac", "value", "executed"),
    [
        (17, 4, 0.3, 0.3125),  # steps of 1/16, as decided
        (17, 14, 9.0, 4 - 2**-13),  # beyond the decided range of +-4; 2 finer bits do not fit
        (24, 20, 3.0, 3.0),
        (32, 24, 100.0, 100.0),
    ],
)
def test_words_beyond_16_bits_keep_their_fraction_and_range(word, frac, value, executed):
    wanted = TensorFormat(word, frac)
    tensor = FixedTensor(np.array([[round(value * 2**20), 1]]), FixedPoint(32, 20))
    found, _ = casts.quantise_tensor(tensor, wanted, 0)
    assert found.format.bits <= 16
    assert found.to_float()[0, 0] == executed
    assert found.blocks.bits.tolist() == [[word]]


def test_a_product_of_two_activations_has_a_dynamic_scale():
    wanted = POLICY.operand_format(AdaptDecisions(strategy=0), "attention.scores", Role.ACTIVATION)
    assert (wanted.bits, wanted.frac) == (8, None)


def test_a_product_of_a_later_position_has_the_format_of_its_weight():
    row = {"learning_rate": 0, "strategy": 0, "word.lstm.recurrent": 11, "frac.lstm.recurrent": 7}
    decisions = AdaptDecisions.from_columns(row)
    assert POLICY.operand_format(decisions, "lstm.recurrent.3", Role.ACTIVATION).bits == 11
    assert POLICY.gradient_format(decisions, "lstm.recurrent.bias").frac == 7


def test_results_beyond_the_words_are_not_cast():
    decisions = AdaptDecisions(strategy=0, word={"a": 16, "b": 17}, frac={"a": 9, "b": 9})
    assert POLICY.result_format(decisions, "a").bits == 16
    assert POLICY.result_format(decisions, "b") is None


def test_push_down_bisects_fraction_then_word():
    tried = []

    def loses(word: int, frac: int) -> bool:
        tried.append((word, frac))
        return frac < 9 if word == 16 else word < 11

    # fraction in 4..12: 8 loses, 10 does not, 9 does not; word in 8..16: 12 not, 10 loses, 11 not
    assert rules.push_down(16, 12, loses) == (10, 8)
    assert tried == [(16, 8), (16, 10), (16, 9), (12, 8), (10, 8), (11, 8)]


def test_push_down_with_quirks_tests_the_lower_end():
    tried = []

    def loses(word: int, frac: int) -> bool:
        tried.append((word, frac))
        return False

    assert rules.push_down(8, 8, loses, quirks=True) == (4, 4)
    assert tried[:2] == [(8, 4), (8, 4)]


@pytest.mark.parametrize(("strategy", "more"), [(0, 2), (1, 3), (2, 4)])
def test_push_up(strategy, more):
    # x = ln(e**1.5) - 1 = 0.5: s1 = ceil(4) = 4, s2 = ceil(32 / 4) - 6 = 2; buffer 4
    assert rules.push_up(e**1.5, 8, 6, strategy, 4) == (6 + more + 4, 6 + more)


def test_push_up_adds_one_bit_where_gradients_agree():
    for agreed in (0.0, 1.0, e, inf):
        assert rules.push_up(agreed, 8, 4, 2, 0) == (9, 5)


def test_push_up_stays_within_32_bits_and_leaves_the_buffer():
    assert rules.push_up(1.0, 32, 32, 0, 8) == (32, 24)
    assert rules.push_up(1.0, 9, 4, 0, 0) == (10, 5)  # a longer word stays longer


def test_the_lookback():
    # 100 / 3 = 33.3: 34; 0.9 * 34 + 0.1 * 25 = 33.1
    assert rules.next_lookback(25, 3.0, 25, 100, 0.9) == 34
    assert rules.next_lookback(30, 50.0, 25, 100, 1.0) == 25
    assert rules.next_lookback(30, 0.5, 25, 100, 1.0) == 100


def test_the_resolution_follows_the_lookback_at_its_bounds():
    bounds = (25, 100, 50, 150)
    assert rules.next_resolution(60, 100, bounds) == 61
    assert rules.next_resolution(60, 25, bounds) == 59
    assert rules.next_resolution(60, 40, bounds) == 60
    assert rules.next_resolution(150, 100, bounds) == 150
    assert rules.next_resolution(50, 25, bounds) == 50


def test_the_strategy_is_bolder_while_the_loss_is_not_falling():
    assert rules.next_strategy(0, [1.0, 2.0], 1.5) == 1  # the mean is not above the loss
    assert rules.next_strategy(1, [1.0, 2.0], 1.6) == 2
    assert rules.next_strategy(2, [1.0, 2.0], 9.0) == 2
    assert rules.next_strategy(2, [1.0, 2.0], 1.4) == 0


def test_the_divergence_of_enough_bits_is_nothing():
    codes = np.random.default_rng(0).integers(-(2**25), 2**25, (4, 30))
    assert rules.divergence(FixedTensor(codes, MASTER), 28, 26, 50, 1) == 0


def test_the_divergence_by_hand():
    # bins of [0, 3]: 0 and 1 in the first, 2 and 3 in the second; at frac 0 and 3 bits all stay;
    # at frac -2 steps are 4: 2 and 3 round stochastically to 0 or 4 (the outer bin)
    master = FixedTensor(np.array([[0, 1, 2, 3]]), FixedPoint(8, 0))
    assert rules.divergence(master, 3, 0, 2, 1) == 0
    moved = casts.cast(master, Cast(FixedPoint(3, -2), Rounding.STOCHASTIC), 5)[0].codes[0].tolist()
    upper = sum(code > 0 for code in moved)
    q = [(4 - upper) / 4, upper / 4]
    by_hand = sum(b * log(b / 0.5) for b in q if b)
    assert rules.divergence(master, 3, -2, 2, 5) == pytest.approx(by_hand)
    quirk = sum(exp(b) * (b - 0.5) for b in q) / 2
    assert rules.divergence(master, 3, -2, 2, 5, quirks=True) == pytest.approx(quirk)


def test_diversity_is_the_count_over_the_norm_of_the_sum():
    one = 1 << MOMENTUM.frac
    assert diversity(np.array([one, one]), 2) == pytest.approx(2**0.5, rel=1e-3)  # orthogonal
    assert diversity(np.array([2 * one, 0]), 2) == 1.0  # the same
    assert diversity(np.array([0, 0]), 2) == inf


def seen(step: int, loss: float = 1.0, gradient=(0.5, 0.5, 0.5, 0.5)) -> UpdateInfo:
    grid = np.round(np.array(gradient) * 2**24).astype(np.int64).reshape(2, 2)
    weights = FixedTensor(np.array([[3, 0], [0, 1]]) << 20, MASTER)
    return UpdateInfo(
        StepInfo(step, 1000, 100),
        loss,
        {"conv.weight": weights},
        {"conv.weight": weights},
        {"conv.weight": FixedTensor(grid, MOMENTUM)},
    )


def test_a_review_adds_gradients_up_and_adapts_after_the_lookback():
    policy = Adapt(least_lookback=3, most_lookback=6, lookback_momentum=1.0)
    state, memory = policy.initial_state({"conv": (2, 2)}), {}
    formats = []
    for step in range(7):
        changed, sums = policy.after_update(state, memory, seen(step))
        state, memory = {**state, **changed}, {**memory, **sums}
        layer = state["layers"]["conv"]
        formats.append((layer["count"], layer["word"], layer["frac"]))
    # the same gradient every step: diversity 1, so the lookback is its most, 6
    assert [count for count, _, _ in formats] == [1, 2, 3, 4, 5, 0, 1]
    assert formats[4][1:] == (8, 4)
    assert formats[5][1:] != (8, 4)
    assert memory["conv"].tolist() == [[2**23] * 2] * 2  # begun again


def test_the_penalty_is_word_length_times_density():
    layers = {"conv": {"word": 8}}
    # two of four weights are not zero; l1 of 0.5 times (3 + 1) / 64
    assert Adapt(l1=0.5).penalty(layers, seen(0)) == pytest.approx(8 / 32 * 0.5 + 0.5 * 4 / 64)


def test_quirks_apply_the_codes_l1():
    assert float(Adapt(reference_quirks=True).l1_decay) == 1e-4
    assert float(Adapt().l1_decay) == 1e-8


def test_bounds_that_cross_are_refused():
    with pytest.raises(ValueError, match="least_lookback must be at most most_lookback = 10"):
        Adapt(most_lookback=10)
