"""Operands and settings that the tests of products share."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, settings

from fxsim.engine.operand import Operand
from fxsim.engine.tensor import FixedTensor, storage
from fxsim.numerics.formats import Accumulator, FixedPoint, Overflow, Rounding

WIDE = Accumulator(48, Overflow.ERROR)
ROUNDINGS = [mode for mode in Rounding if mode is not Rounding.STOCHASTIC]
OVERFLOWS = [Overflow.SAT, Overflow.SAT_ZERO, Overflow.SAT_SYM, Overflow.WRAP, Overflow.WRAP_SM]
on_machine = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def operand(rng, shape, bits, frac=0, signed=True):
    word = FixedPoint(bits, frac, signed)
    codes = rng.integers(word.min_code, word.max_code, shape, endpoint=True)
    return FixedTensor(codes.astype(storage(word)), word)


def bounded(peak):
    """An operand that is known by its bound alone."""
    return Operand(np.empty(0, np.int64), peak, 0)
