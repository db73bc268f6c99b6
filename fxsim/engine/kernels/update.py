"""The weight update on flat arrays of codes; see `fxsim.engine.update` for formats.

SGD: 32-bit codes; master: 26 fractional bits; momentum and gradient: 24; rate and decay: 20;
friction (the momentum coefficient): 15. Adam: gradient: 28 fractional bits, |code| < 2**30; first
moment: 36; second: 56.
"""

import numpy as np

from fxsim.engine.jit import kernel
from fxsim.engine.kernels.normalisation import integer_root
from fxsim.engine.kernels.rounding import DRAW_BITS, RND_CONV, draw, round_shift

HIGH = 2**31 - 1
LOW = -(2**31)
LARGEST_RATIO = 1 << 32  # of the moments, 28 fractional bits: 16


@kernel
def limited(code):
    """A code inside 32 bits."""
    return min(max(code, np.int64(LOW)), np.int64(HIGH))


@kernel
def sgd_range(
    start, stop, master, momentum, gradient, friction, rate, decay, nesterov, rounding, key
):
    """momentum = friction * momentum + pull; master -= rate * (momentum, or pull + friction * it).

    pull = gradient + decay * master. Each product is rounded once (to nearest even; the last as
    `rounding` says), each sum saturates. Returns how many sums saturated.
    """
    saturated = 0
    for i in range(start, stop):
        weight = np.int64(master[i])
        rubbed = round_shift(np.int64(momentum[i]) * friction, np.int64(15), RND_CONV, np.int64(0))
        pull = round_shift(weight * decay, np.int64(22), RND_CONV, np.int64(0))
        pull += np.int64(gradient[i])
        velocity = limited(rubbed + pull)
        saturated += np.int64(velocity != rubbed + pull)
        ahead = velocity
        if nesterov:
            more = round_shift(velocity * friction, np.int64(15), RND_CONV, np.int64(0)) + pull
            ahead = limited(more)
            saturated += np.int64(ahead != more)
        step = round_shift(ahead * rate, np.int64(18), rounding, draw(key, i, DRAW_BITS))
        moved = limited(weight - step)
        saturated += np.int64(moved != weight - step)
        momentum[i] = velocity
        master[i] = moved
    return saturated


@kernel
def adam_range(
    start,
    stop,
    master,
    first,
    second,
    gradient,
    fade_first,
    fade_second,
    rate,
    epsilon,
    pull,
    decay,
    rounding,
    key,
):
    """first += fade * (g - first); second += fade * (g*g - second); master -= rate * ratio + pull.

    fade_first : 1 - beta1, 16 fractional bits; fade_second : 1 - beta2, 20; rate : 20, with the
    bias corrections; epsilon : 28, corrected; pull : rate * weight decay, 26 (AdamW);
    decay : 20, added to the gradient (Adam with L2)
    ratio = first / (root of second + epsilon), 28 fractional bits, rounded down, |ratio| <= 16.
    Returns how many weights saturated.
    """
    saturated, low_mask = 0, (np.int64(1) << 24) - 1
    most = (np.int64(1) << 30) - 1
    for i in range(start, stop):
        weight = np.int64(master[i])
        g = np.int64(gradient[i])
        g += round_shift(weight * decay, np.int64(18), RND_CONV, np.int64(0))
        g = min(max(g, -most), most)
        first[i] += ((g << 8) - first[i]) * fade_first >> 16
        rest = g * g - second[i]
        second[i] += (rest >> 24) * fade_second * 16 + ((rest & low_mask) * fade_second >> 20)
        root = integer_root(second[i]) + epsilon
        ratio = (first[i] << 20) // max(root, np.int64(1))
        ratio = min(max(ratio, np.int64(-LARGEST_RATIO)), np.int64(LARGEST_RATIO))
        exact = (ratio * rate << 4) + weight * pull
        step = round_shift(exact, np.int64(26), rounding, draw(key, i, DRAW_BITS))
        moved = limited(weight - step)
        saturated += np.int64(moved != weight - step)
        master[i] = moved
    return saturated
