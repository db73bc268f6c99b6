"""The weight update: SGD with momentum and weight decay on integer state."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from fxsim.arithmetic.formats import FixedPoint, Rounding
from fxsim.engine import casts
from fxsim.engine.kernels import updating
from fxsim.engine.tensor import FixedTensor
from fxsim.engine.threads import split

MASTER = FixedPoint(32, 26)
MOMENTUM = FixedPoint(32, 24)
RATE_FRAC = 20
FRICTION_FRAC = 15


def constant(value: Fraction, frac: int) -> int:
    """A non-negative constant as a code with `frac` fractional bits, nearest, ties up."""
    return int((2 * value * (1 << frac) + 1) // 2)


def sgd(
    master: FixedTensor,
    momentum: FixedTensor,
    gradient: FixedTensor,
    friction: int,
    rate: int,
    decay: int,
    rounding: Rounding,
    key: int,
) -> tuple[FixedTensor, FixedTensor, int]:
    """New (master weights, momentum), and how many sums saturated.

    friction : momentum coefficient, 15 fractional bits; rate, decay : 20 fractional bits
    gradient : any format; cast to the momentum's, 32 bits with 24 fractional
    rounding : of rate * momentum before it is subtracted

    Source: Sutskever et al., ICML 2013, in the form of PyTorch's SGD (no dampening).
    """
    words = casts.cast(gradient, MOMENTUM)[0].codes.reshape(-1)
    weights, velocity = master.codes.copy(), momentum.codes.copy()
    parts = split(
        updating.sgd_range,
        words.size,
        8,
        weights.reshape(-1),
        velocity.reshape(-1),
        words,
        friction,
        rate,
        decay,
        int(rounding),
        np.uint64(key),
    )
    return FixedTensor.trusted(weights, MASTER), FixedTensor.trusted(velocity, MOMENTUM), sum(parts)
