"""Batch norm folded into the layer before it: the exact factor, and the same inference."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import isqrt

import numpy as np
import tiny
from hypothesis import given
from hypothesis import strategies as st

from fxsim.engine.normalisation import RunningStatistics
from fxsim.policies.uniform import Uniform
from fxsim.training import folding, loop
from fxsim.training.context import StepContext
from fxsim.training.layers.base import parameter
from fxsim.training.layers.normalisation import BatchNorm


@given(
    weight=st.integers(-(2**28), 2**28),
    gamma=st.integers(-(2**15), 2**15 - 1),
    beta=st.integers(-(2**27), 2**27),
    mean=st.integers(-(2**20), 2**20),
    variance=st.integers(2**8, 2**40),
)
def test_folded_weights_are_the_rounded_products(weight, gamma, beta, mean, variance):
    """Within half a step and the reciprocal root's stated 2**-15, and the factor's 2**-30."""
    made = {
        "c.weight": parameter(np.array([[weight]])),
        "n.gamma": parameter(np.array([gamma << 13])),
        "n.beta": parameter(np.array([beta])),
    }
    running = RunningStatistics(np.array([mean]), np.array([variance]))
    got_weight, got_bias = folding._folded(made, "c", "n", running)
    inside = Fraction(variance, 2**20) + Fraction(1, 2**17)
    root = Fraction(isqrt(int(inside * 4**60)), 2**60)
    factor = Fraction(gamma, 2**13) / root
    for got, exact in (
        (got_weight, weight * factor),
        (got_bias, beta - Fraction(mean, 2**16) * 2**26 * factor),
    ):
        want = min(max(exact, Fraction(-(2**31))), Fraction(2**31 - 1))
        drift = abs(weight * factor) if got is got_weight else abs(beta - exact)
        assert abs(int(got.master.codes.reshape(-1)[0]) - want) <= 1 + drift * Fraction(1, 2**14)


def test_inference_is_the_same_without_the_batch_norms():
    """To the roundings of 16-bit operands and words."""
    model, data = tiny.model(), tiny.data()
    policy = Uniform(weight=16, activation=16, accumulator_bits=48, word_scale="peak")
    trained = loop.train(model, data, policy, replace(tiny.SETTINGS, epochs=30), 0)
    folded, parameters = folding.fold(model, trained.parameters, trained.running)
    assert any(isinstance(layer, BatchNorm) for layer in model.layers)
    assert not any(isinstance(layer, BatchNorm) for layer in folded.layers)
    inputs, _ = data.test_batch(0, 3)
    found = []
    for network, state in ((model, trained.parameters), (folded, parameters)):
        context = StepContext(0, 0, False, policy, {}, state, dict(trained.running), {})
        found.append(network.forward(context, inputs)[0].tensor.to_float())
    assert np.abs(found[0] - found[1]).max() < 2**-9 * np.abs(found[0]).max()
    assert "b1.gamma" in trained.parameters  # the run's own parameters stay as they are


def test_a_batch_norm_after_an_addition_stays():
    model = tiny.model()
    wired = replace(model.layers[2], inputs=("c1",))  # the convolution has two readers now
    layers = (*model.layers[:2], wired, *model.layers[3:])
    odd = type(model)(
        (*layers[:4], replace(layers[4], inputs=("c2", "b1")), *layers[5:]), (4, 4, 1), 3
    )
    folded, _ = folding.fold(odd, odd.initial_parameters(0), odd.initial_running())
    assert any(isinstance(layer, BatchNorm) for layer in folded.layers)
