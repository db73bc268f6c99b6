"""SGD with momentum on flat int64 arrays of 32-bit codes.

master: 26 fractional bits; momentum and gradient: 24; rate and decay: 20; friction (the
momentum coefficient): 15.
"""

import numpy as np

from fxsim.engine.kernels._jit import kernel
from fxsim.engine.kernels.rounding import DRAW_BITS, RND_CONV, draw, round_shift

HIGH = 2**31 - 1
LOW = -(2**31)


@kernel
def sgd_range(start, stop, master, momentum, gradient, friction, rate, decay, rounding, key):
    """momentum = friction * momentum + gradient + decay * master; master -= rate * momentum.

    Each product is rounded once (to nearest even; the last as `rounding` says), each sum
    saturates. Returns how many sums saturated.
    """
    saturated = 0
    for i in range(start, stop):
        velocity = round_shift(momentum[i] * friction, np.int64(15), RND_CONV, np.int64(0))
        pull = round_shift(master[i] * decay, np.int64(22), RND_CONV, np.int64(0))
        velocity += gradient[i] + pull
        if velocity > HIGH or velocity < LOW:
            saturated += 1
            velocity = np.int64(HIGH) if velocity > 0 else np.int64(LOW)
        step = round_shift(velocity * rate, np.int64(18), rounding, draw(key, i, DRAW_BITS))
        weight = master[i] - step
        if weight > HIGH or weight < LOW:
            saturated += 1
            weight = np.int64(HIGH) if weight > 0 else np.int64(LOW)
        momentum[i] = velocity
        master[i] = weight
    return saturated
