"""The weight update on flat arrays of codes; see `fxsim.engine.update` for formats and bounds.

Codes are at most 62 bits, rates a multiplier and the places that it is shifted down. Master weights
have 26 fractional bits and 32 in all; those of fewer are multiples of 2**grid. Left shifts that
leave 61 bits stop there, which lies outside every word.
"""

import numpy as np

from fxsim.engine.jit import kernel
from fxsim.engine.kernels.normalisation import integer_root
from fxsim.engine.kernels.rounding import (
    DRAW_BITS,
    RND_CONV,
    STOCHASTIC,
    TRN_ZERO,
    draw,
    limit,
    round_shift,
    shift_left_exactly,
)

GUARD = np.int64(16)  # places beyond a word's, at which terms are summed
MASTER_FRAC = 26
FADE_BITS = 20
AHEAD_BITS = 34  # of Nesterov's momentum, which is not kept
_OUTSIDE = 1 << 61


@kernel
def shifted(code, shift, mode, draw_code):
    """code * 2**-shift, rounded; 0 beyond 62 places."""
    if code == 0 or shift > 62:
        return np.int64(0)
    if shift >= 0:
        return round_shift(code, shift, mode, draw_code)
    left = min(-shift, np.int64(62))
    most = np.int64(_OUTSIDE) >> left
    if code > most:
        return np.int64(_OUTSIDE)
    if code < -most:
        return np.int64(-_OUTSIDE)
    return shift_left_exactly(code, left, mode)


@kernel
def cut(code, shift):
    """code * 2**-shift, towards zero."""
    return shifted(code, shift, TRN_ZERO, np.int64(0))


@kernel
def word(code, bits, overflow):
    """A code brought into a word, and whether it lay outside."""
    high = (np.int64(1) << (bits - 1)) - 1
    low = -high if overflow == 2 else -high - 1  # SAT_SYM
    if low <= code <= high:
        return code, np.int64(0)
    return limit(code, low, high, bits, True, overflow, 0), np.int64(1)


@kernel
def sgd_range(
    start,
    stop,
    master,
    momentum,
    gradient,
    friction,
    damped_shift,
    ahead_shift,
    rate,
    step_shift,
    decay,
    decay_shift,
    gradient_shift,
    bits,
    overflow,
    nesterov,
    modes,
    keys,
    grid,
    master_bits,
):
    """momentum = friction * momentum + pull; master -= rate * (momentum, or pull + friction * it).

    pull = gradient + decay * master; modes, keys: how momentum and step are rounded, and drawn.
    Returns how many momenta overflowed, how many weights saturated, how many gradients moved
    nothing because of rounding; and the first element whose momentum overflowed, or -1.
    """
    overflowed, saturated, vanished, first_outside = 0, 0, 0, -1
    for i in range(start, stop):
        weight, pulled = np.int64(master[i]), np.int64(gradient[i])
        pull = cut(pulled, gradient_shift) + cut(weight * decay, decay_shift)
        damped = cut(np.int64(momentum[i]) * friction, damped_shift)
        noise = draw(keys[0], i, DRAW_BITS) if modes[0] == STOCHASTIC else np.int64(0)
        exact = round_shift(damped + pull, GUARD, modes[0], noise)
        velocity, outside = word(exact, bits, overflow)
        ahead = velocity
        if nesterov:
            further = cut(velocity * friction, ahead_shift) + pull
            ahead, further_outside = word(
                round_shift(further, GUARD, RND_CONV, np.int64(0)), AHEAD_BITS, 0
            )
            outside += further_outside
        overflowed += outside
        if outside > 0 and first_outside < 0:
            first_outside = i
        step = shifted(ahead * rate, step_shift, modes[1], draw(keys[1], i, DRAW_BITS))
        moved, outside = word((weight >> grid) - step, master_bits, 0)
        saturated += outside
        lost = step == 0 and pulled != 0 and (velocity == 0 or modes[1] != STOCHASTIC)
        vanished += np.int64(lost)
        momentum[i] = velocity
        master[i] = moved << grid
    return overflowed, saturated, vanished, first_outside


@kernel
def headroom(value):
    """By how much a positive value can be shifted up and stay below 2**62."""
    up = np.int64(0)
    for step in (32, 16, 8, 4, 2, 1):
        if value < np.int64(1) << (62 - up - step):
            up += step
    return up


@kernel
def faded(old, new, fade, fade_shift):
    """old + fade * (new - old), the product rounded down; |new - old| < 2**62, fade of 20 bits."""
    rest = new - old
    low_bits = np.int64(FADE_BITS - 1)
    high, low = rest >> low_bits, rest & ((np.int64(1) << low_bits) - 1)
    return old + ((high * fade + (low * fade >> low_bits)) >> (fade_shift - low_bits))


@kernel
def adam_ratio(first, second, first_frac, second_frac, epsilon, epsilon_shift):
    """first / (root of second + epsilon), as code (below 2**33) and fractional bits.

    second < 2**61; epsilon has 24 bits. The root has 31 bits whatever the size of `second`, the
    quotient 29 to 33; both are rounded towards zero.
    """
    if first == 0:
        return np.int64(0), np.int64(0)
    if second == 0:
        denominator, frac = epsilon << 8, epsilon_shift + 8
    else:
        up = headroom(second)
        up -= (second_frac + up) & 1
        root, frac = integer_root(second << up), (second_frac + up) >> 1
        down = max(frac - epsilon_shift - 7, np.int64(0))
        frac -= down
        denominator = (root >> min(down, np.int64(62))) + cut(epsilon, epsilon_shift - frac)
    magnitude = abs(first)
    up = headroom(magnitude)
    quotient = (magnitude << up) // denominator
    return quotient if first > 0 else -quotient, first_frac + up - frac


@kernel
def adam_range(
    start,
    stop,
    master,
    first,
    second,
    gradient,
    gradient_shift,
    decay,
    decay_shift,
    fades,
    fade_shifts,
    into,
    out,
    fracs,
    square_shift,
    bits,
    overflows,
    modes,
    keys,
    epsilon,
    epsilon_shift,
    rate,
    rate_shift,
    pull,
    pull_shift,
    grid,
    master_bits,
):
    """first += fade * (g - first); second += fade * (g*g - second); master -= rate * ratio + pull.

    g = gradient + decay * master; ratio: see `adam_ratio`; pull: of the master weight itself
    fades, into, out, fracs, bits, overflows : of both moments: into the scale of the sum, out of
    it, and then; modes, keys : of both moments and of the step
    Returns how many moments overflowed, how many weights saturated, how many
    gradients moved nothing because of rounding; and the first element of which a moment
    overflowed, or -1.
    """
    overflowed, saturated, vanished, first_outside = 0, 0, 0, -1
    for i in range(start, stop):
        weight, pulled = np.int64(master[i]), np.int64(gradient[i])
        g = cut(pulled, gradient_shift[0]) + cut(weight * decay, decay_shift)
        m = faded(cut(first[i], into[0]), cut(g, gradient_shift[1]), fades[0], fade_shifts[0])
        m = shifted(m, out[0], modes[0], draw(keys[0], i, DRAW_BITS))
        m, outside = word(m, bits[0], overflows[0])
        v = faded(cut(second[i], into[1]), cut(g * g, square_shift), fades[1], fade_shifts[1])
        v = shifted(v, out[1], modes[1], draw(keys[1], i, DRAW_BITS))
        v, second_outside = word(v, bits[1], overflows[1])
        outside += second_outside
        overflowed += outside
        if outside > 0 and first_outside < 0:
            first_outside = i
        first[i], second[i] = m, v
        ratio, frac = adam_ratio(m, max(v, np.int64(0)), fracs[0], fracs[1], epsilon, epsilon_shift)
        exact = cut(ratio * rate, frac + rate_shift) + cut(weight * pull, pull_shift)
        step = round_shift(exact, GUARD, modes[2], draw(keys[2], i, DRAW_BITS))
        moved, outside = word((weight >> grid) - step, master_bits, 0)
        saturated += outside
        lost = step == 0 and pulled != 0 and (ratio == 0 or modes[2] != STOCHASTIC)
        vanished += np.int64(lost)
        master[i] = moved << grid
    return overflowed, saturated, vanished, first_outside
