"""The prices that a cost-aware policy weighs, on machines where they are known by hand."""

from __future__ import annotations

from fractions import Fraction

import pytest
from machines import machine

from fxsim.cost import bit_costs
from fxsim.cost.model import evaluate_cost
from fxsim.policies.uniform import Uniform
from fxsim.runs import synthetic_trace
from fxsim.training.layers.linear import Linear
from fxsim.training.model import Model
from fxsim.training.settings import TrainingSettings

CANDIDATES = (0, 2, 4, 8)


@pytest.fixture(scope="module")
def trace():
    """Two linear layers, 64 -> 64 -> 64, batch 64: the last has all three passes."""
    layers = tuple(
        Linear(name=name, inputs=(before,), in_shapes=((64,),), features=64, bias=False)
        for name, before in (("a", "input"), ("b", "a"))
    )
    settings = TrainingSettings(1, 64, Fraction("0.1"))
    return synthetic_trace.one_step(Model(layers, (64,), 64), Uniform(), settings)


def test_a_fixed_multiplier_has_no_price_for_bits(trace):
    on = machine("bit_parallel", 4, 4, dram_bandwidth=1e6)
    found = bit_costs.bit_costs(trace, on, CANDIDATES, "cycles", 4)
    assert set(found) == {
        ("weight", "a"),
        ("weight", "b"),
        ("activation", "a"),
        ("activation", "b"),
        ("error", "a"),
        ("error", "b"),
    }
    for prices in found.values():
        assert prices.by_row == prices.by_column == (0, 0, 0, 0)


def test_bricks_double_with_the_bits(trace):
    """4x4 units of 2x2 tiles, 16 bricks of 2x2 bits: a beat is 8 * work / 16 cycles.

    The partner has 4 bits: work of 0, 2, 4, 8 bricks, so beats of 0, 1, 2 and 4 cycles.
    """
    on = machine("composable", 4, 4, dram_bandwidth=1e6, tile=2)
    prices = bit_costs.bit_costs(trace, on, CANDIDATES, "cycles", 4)["weight", "b"]
    whole = evaluate_cost(bit_costs._with_bits(trace, "", 0, 4), on).table["cycles"].sum()
    folds, steps = (64 // 8) ** 2, 64 // 2
    by_hand = [folds * steps * step_cycles / whole for step_cycles in (0, 1, 2, 4)]
    # the fetch of the first tiles, a few words over a wide memory, is not by hand
    assert list(prices.by_row) == pytest.approx(by_hand, abs=2 / whole)
    assert prices.by_column == pytest.approx(prices.by_row, abs=2 / whole)


def test_energy_is_paid_for_traffic_too(trace):
    on = machine("bit_parallel", 4, 4)
    prices = bit_costs.bit_costs(trace, on, CANDIDATES, "energy", 4)["activation", "a"]
    assert prices.fixed[-1] > prices.fixed[1] > 0  # the cast stores more


@pytest.mark.parametrize(
    ("dataflow", "role", "groups"),
    [
        # 8 x 4 units of 4x4 tiles, blocks of 4: m or k along rows, n or m along columns
        ("output_stationary", "activation", (8, 8)),
        ("output_stationary", "weight", (4, 4)),
        ("output_stationary", "error", (8, 4)),
        ("weight_stationary", "activation", (1, 1)),  # m is time
        ("weight_stationary", "weight", (4, 4)),
        ("input_stationary", "weight", (1, 1)),  # n is time
        ("input_stationary", "activation", (4, 4)),
    ],
)
def test_what_runs_in_lockstep(dataflow, role, groups):
    on = machine("composable", 8, 4, dataflow, tile=4)
    assert bit_costs.groups(on, role, (4, 4)) == groups


def test_work_is_the_units():
    assert bit_costs.sub_operations(machine("composable"), CANDIDATES, 4) == [0, 2, 4, 8]
    assert bit_costs.sub_operations(machine("bit_parallel"), CANDIDATES, 4) == [1, 1, 1, 1]
