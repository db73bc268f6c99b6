"""Activation functions: knots against decimal arithmetic, look-ups against the specification."""

from __future__ import annotations

from decimal import Decimal, getcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fxsim.engine import activation_functions
from fxsim.engine.tensor import FixedTensor
from fxsim.numerics import specification_vector
from fxsim.numerics.formats import FixedPoint

getcontext().prec = 60
ONE, PI = Decimal(1), Decimal("3.14159265358979323846264338327950288419716939937510582097494")


def sigmoid(x):
    return ONE / (ONE + (-x).exp())


def tanh(x):
    return 2 * sigmoid(2 * x) - 1


def density(x):
    return (-x * x / 2).exp() / (2 * PI).sqrt()


def cumulative(x):
    term = total = abs(x)
    n = 1
    while term > Decimal("1e-45"):
        n += 2
        term = term * x * x / n
        total += term
    half = Decimal("0.5") + density(x) * total
    return half if x >= 0 else ONE - half


def hard(x):
    return x * min(max(x + 3, Decimal(0)), Decimal(6)) / 6


# the function, and its derivative
EXACT = {
    "sigmoid": (sigmoid, lambda x: sigmoid(x) * (1 - sigmoid(x))),
    "tanh": (tanh, lambda x: 1 - tanh(x) ** 2),
    "silu": (lambda x: x * sigmoid(x), lambda x: sigmoid(x) * (1 + x * (1 - sigmoid(x)))),
    "gelu": (lambda x: x * cumulative(x), lambda x: cumulative(x) + x * density(x)),
    "hard_swish": (hard, lambda x: (2 * x + 3) / 6 if abs(x) < 3 else Decimal(x > 0)),
}


@pytest.mark.parametrize("name", activation_functions.FUNCTIONS)
@pytest.mark.parametrize("derivative", [False, True])
def test_knots_are_the_function_to_half_a_step(name, derivative):
    found = activation_functions.knots(name, derivative)
    assert len(found) == 2049
    for k in [*range(0, 2049, 41), 1023, 1024, 1025, 2048]:
        x = Decimal(k - 1024) / 64
        want = EXACT[name][derivative](x)
        if activation_functions.FUNCTIONS[name][2] and not derivative:
            want -= max(x, Decimal(0))
        assert abs(Decimal(int(found[k])) - want * 2**20) <= Decimal("0.500001"), k


@pytest.mark.parametrize("name", activation_functions.FUNCTIONS)
@given(codes=st.lists(st.integers(-(2**15), 2**15 - 1), min_size=1, max_size=20))
def test_look_ups_equal_reference(name, codes):
    x = FixedTensor(np.array(codes, np.int16), activation_functions.INPUT)
    table = activation_functions.knots(name, False).tolist()
    looked = specification_vector.words([specification_vector.look_up(c, table) for c in codes], 20)
    got = activation_functions.apply(x, name)
    if activation_functions.FUNCTIONS[name][2]:
        looked = specification_vector.add([max(c, 0) for c in codes], 11, *looked)
    assert (got.codes.tolist(), got.format.frac) == looked


@pytest.mark.parametrize("name", activation_functions.FUNCTIONS)
def test_functions_keep_their_error_bound(name):
    values = np.linspace(-20, 20, 4001)
    x = FixedTensor(np.rint(values * 2**10).astype(np.int16), FixedPoint(16, 10))
    got = activation_functions.apply(x, name)
    want = np.array([float(EXACT[name][0](Decimal(float(v)))) for v in x.to_float()])
    word = 2.0 ** -(got.format.frac + 1)
    assert np.abs(got.to_float() - want).max() <= 2**-11 + 2 * word


@pytest.mark.parametrize("name", activation_functions.FUNCTIONS)
def test_gradients_keep_their_error_bound(name):
    values = np.linspace(-15, 15, 3001)
    values = values[np.abs(np.abs(values) - 3) > 2**-5]  # hard-swish's steps
    x = FixedTensor(np.rint(values * 2**11).astype(np.int16), activation_functions.INPUT)
    one = FixedTensor(np.full(len(values), 2**14, np.int16), FixedPoint(16, 14))
    got = activation_functions.backward(one, x, name)
    want = np.array([float(EXACT[name][1](Decimal(float(v)))) for v in x.to_float()])
    assert np.abs(got.to_float() - want).max() <= 2**-11 + 2.0**-got.format.frac


def test_beyond_the_table_functions_go_on():
    x = FixedTensor(np.array([-32000, 32000], np.int16), FixedPoint(16, 8))  # +-125
    assert activation_functions.apply(x, "gelu").to_float().tolist() == [0, 125]
