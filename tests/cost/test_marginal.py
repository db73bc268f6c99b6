"""The prices that a cost-aware policy weighs, on machines where they are known by hand."""

from __future__ import annotations

from fractions import Fraction

import pytest
from machines import machine

from fxsim import rehearsal
from fxsim.cost import marginal
from fxsim.cost.price import price
from fxsim.precision import Uniform
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
    return rehearsal.one_step(Model(layers, (64,), 64), Uniform(), settings)


def test_a_fixed_multiplier_has_no_price_for_bits(trace):
    on = machine("bit_parallel", 4, 4, dram_bandwidth=1e6)
    found = marginal.prices(trace, on, CANDIDATES, "cycles", 4)
    assert set(found) == {
        ("weight", "a"), ("weight", "b"), ("activation", "a"), ("activation", "b"), ("error", "a"),
        ("error", "b"),
    }  # fmt: skip
    for prices in found.values():
        assert prices.by_row == prices.by_column == (0, 0, 0, 0)


def test_bricks_double_with_the_bits(trace):
    """2x2-bit bricks, 16 a unit, the partner at 4 bits: 0, 2, 4, 8 pieces of work a product."""
    on = machine("composable", 4, 4, dram_bandwidth=1e6)
    prices = marginal.prices(trace, on, CANDIDATES, "cycles", 4)["weight", "b"]
    # a unit multiplies one pair a beat, however few its bricks: only 16 of them share it
    table = price(marginal._with_bits(trace, "weight", 8, 4), on).table
    whole = price(marginal._with_bits(trace, "", 0, 4), on).table["cycles"].sum()
    forward = table[(table["layer"] == "b") & (table["pass"] == "forward")]
    product = forward[forward["operation"] == "product"]["cycles"].sum()
    none = price(marginal._with_bits(trace, "weight", 0, 4), on).table
    least = none[(none["layer"] == "b") & (none["pass"] == "forward")
                 & (none["operation"] == "product")]["cycles"].sum()  # fmt: skip
    assert prices.by_row[-1] == pytest.approx((product - least) / whole)
    assert prices.by_row[0] == 0
    assert list(prices.by_row) == sorted(prices.by_row)


def test_energy_is_paid_for_traffic_too(trace):
    on = machine("bit_parallel", 4, 4)
    prices = marginal.prices(trace, on, CANDIDATES, "energy", 4)["activation", "a"]
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
def test_what_marches_together(dataflow, role, groups):
    on = machine("composable", 8, 4, dataflow, tile=4)
    assert marginal.groups(on, role, (4, 4)) == groups


def test_work_is_the_units():
    assert marginal.work(machine("composable"), CANDIDATES, 4) == [0, 2, 4, 8]
    assert marginal.work(machine("bit_parallel"), CANDIDATES, 4) == [1, 1, 1, 1]
