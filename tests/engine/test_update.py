"""The weight update against the specification, bit for bit, and against floats over long runs."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fxsim.engine import update
from fxsim.engine.tensor import FixedTensor
from fxsim.errors import FormatError, ShapeError
from fxsim.numerics import specification, specification_update
from fxsim.numerics.formats import FixedPoint, Overflow, Rounding
from fxsim.numerics.state_formats import MASTER, StateFormat, UpdateFormats

CODES = st.integers(-(2**31), 2**31 - 1)
SCALES = st.integers(-20, 60)
RATES = st.fractions(0, 100, max_denominator=10**9)
KEY = (7, 11, 13)
MASTERS = st.sampled_from([MASTER, FixedPoint(16, 14), FixedPoint(8, 2), FixedPoint(20, 26)])
ROUNDINGS = st.sampled_from(list(Rounding))
ZERO = FixedTensor(np.zeros(1, np.int64), FixedPoint(32, 24))


def tensor(code: int, bits: int, frac: int) -> FixedTensor:
    return FixedTensor(np.array([code], np.int64), FixedPoint(bits, frac))


def on(master: FixedPoint, code: int) -> int:
    """A master code on the format's grid, inside its words."""
    low, high = master.min_code, master.max_code
    return min(max(code >> (26 - master.frac), low), high) << (26 - master.frac)


@st.composite
def states(draw, most: int) -> StateFormat:
    bits = draw(st.integers(8, most))
    frac = draw(st.none() | st.integers(0, 12))
    overflow = draw(st.sampled_from([Overflow.SAT, Overflow.SAT_SYM, Overflow.WRAP]))
    return StateFormat(bits, frac, draw(ROUNDINGS), overflow)


@contextmanager
def refused_if_static(*forms: StateFormat):
    """Values far outside a static scale are refused, and no other."""
    try:
        yield
    except FormatError as problem:
        static = any(form.frac is not None for form in forms)
        assume(not (static and "far outside" in str(problem)))
        raise


def overflow_of(form: StateFormat) -> str:
    return "SAT" if form.frac is None else form.overflow.name


@given(
    codes=st.tuples(CODES, CODES, CODES),
    scales=st.tuples(SCALES, SCALES),
    rates=st.tuples(st.fractions(0, 1, max_denominator=10**9), RATES, RATES),
    momentum=states(32),
    own=MASTERS,
    rounding=ROUNDINGS,
    nesterov=st.booleans(),
)
def test_sgd_equals_reference(codes, scales, rates, momentum, own, rounding, nesterov):
    formats = UpdateFormats(own, rounding, momentum)
    constants = update.SgdConstants(rates[0], rates[1], rates[2] / 100, nesterov, formats)
    master, velocity = on(own, codes[0]), tensor(codes[1], 32, scales[0])
    gradient = tensor(codes[2], 32, scales[1])
    with refused_if_static(momentum):
        got = update.sgd(tensor(master, 32, 26), velocity, gradient, constants, KEY[:2])
    want = specification_update.sgd(
        master,
        *codes[1:],
        momentum_frac=scales[0],
        gradient_frac=scales[1],
        frac=got.momentum.format.frac,
        bits=momentum.bits,
        friction=tuple(update.multiplier(rates[0], 30)),
        rate=tuple(update.multiplier(rates[1])),
        decay=tuple(update.multiplier(rates[2] / 100)),
        modes=(momentum.rounding.name, rounding.name),
        overflow=overflow_of(momentum),
        draws=tuple(specification.draw(key, 0) for key in KEY[:2]),
        nesterov=nesterov,
        master_frac=own.frac,
        master_bits=own.bits,
    )
    assert (int(got.master.codes[0]), int(got.momentum.codes[0])) == want
    if momentum.frac is None:
        assert got.overflowed == 0


@given(
    codes=st.tuples(CODES, st.integers(-(2**39), 2**39 - 1), st.integers(0, 2**61 - 1), CODES),
    scales=st.tuples(SCALES, SCALES, SCALES),
    forms=st.tuples(states(40), states(62)),
    own=MASTERS,
    rounding=ROUNDINGS,
    betas=st.tuples(*[st.fractions(0, Fraction(999, 1000), max_denominator=10**6)] * 2),
    rate=RATES,
    epsilon=st.fractions(Fraction(1, 10**12), 1, max_denominator=10**12),
    step=st.integers(0, 9999),
    decoupled=st.booleans(),
)
def test_adam_equals_reference(
    codes, scales, forms, own, rounding, betas, rate, epsilon, step, decoupled
):
    formats = UpdateFormats(own, rounding, first=forms[0], second=forms[1])
    c = update.AdamConstants.of(betas, epsilon, rate, Fraction(1, 100), decoupled, step)
    master = on(own, codes[0])
    first, second = tensor(codes[1], 40, scales[0]), tensor(codes[2], 62, scales[1])
    gradient = tensor(codes[3], 32, scales[2])
    with refused_if_static(*forms):
        got = update.adam(tensor(master, 32, 26), first, second, gradient, c, formats, KEY)
    spec, draws = specification_update, [specification.draw(key, 0) for key in KEY]
    bound = Fraction(abs(codes[3])) / Fraction(2) ** scales[2]
    bound += c.decay.value * abs(master) / 2**26
    place = update.finest_frac(bound, 32) if bound else scales[2]
    g = spec.shift_down(codes[3], scales[2] - place)
    g += spec.shift_down(master * c.decay.code, 26 + c.decay.places - place)
    new = []
    for old, frac, square, bits, form, fade, drawn, result in zip(
        codes[1:3], scales[:2], (1, 2), (61, 62), forms, c.fades, draws[:2],
        (got.momentum, got.square), strict=True,
    ):  # fmt: skip
        most = max(Fraction(abs(old)) / Fraction(2) ** frac, bound**square)
        fine = update.finest_frac(most, bits, 250 + 16) if most else frac
        moment = spec.moment(
            old,
            spec.shift_down(g**square, square * place - fine),
            tuple(fade),
            (frac, fine, result.format.frac),
            form.bits,
            form.rounding.name,
            overflow_of(form),
            drawn,
        )
        new.append(moment)
    fracs = (got.momentum.format.frac, got.square.format.frac)
    ratio = spec.adam_ratio(new[0], max(new[1], 0), fracs, tuple(c.epsilon))
    want = spec.adam_master(
        master, ratio, tuple(c.rate), tuple(c.pull), rounding.name, draws[2], own.frac, own.bits
    )
    assert [int(x.codes[0]) for x in (got.master, got.momentum, got.square)] == [want, *new]


def test_adams_constants_are_those_of_the_paper():
    """Rate and epsilon with both bias corrections, within the last bit of their multipliers."""
    betas, rate, epsilon = (Fraction(9, 10), Fraction(999, 1000)), Fraction(1, 4), Fraction(1, 1000)
    for step in (0, 1, 10, 1000):
        got = update.AdamConstants.of(betas, epsilon, rate, Fraction(0), False, step)
        first, second = (1 - beta ** (step + 1) for beta in betas)
        for squared in (
            (got.rate.value * first / rate) ** 2 / second,
            (got.epsilon.value / epsilon) ** 2 / second,
        ):
            assert abs(squared - 1) <= Fraction(1, 1 << update.RATE_BITS - 2)


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e6])
def test_adam_follows_the_float_formula_at_any_scale_of_gradients(scale):
    """200 steps on a quadratic, beside float64: the same path to a thousandth."""
    betas = (Fraction(9, 10), Fraction(999, 1000))
    weight, m, v = np.array([1.0, -0.5]), np.zeros(2), np.zeros(2)
    master = FixedTensor((weight * 2**26).astype(np.int64), MASTER)
    first = second = FixedTensor(np.zeros(2, np.int64), FixedPoint(62, 0))
    frac = 30 - int(np.ceil(np.log2(scale)))
    for step in range(200):
        codes = np.rint(master.to_float() * scale * 2.0**frac).astype(np.int64)
        c = update.AdamConstants.of(
            betas, Fraction(1, 10**8), Fraction(1, 100), Fraction(0), False, step
        )
        gradient = FixedTensor(codes, FixedPoint(32, frac))
        done = update.adam(
            master, first, second, gradient, c, UpdateFormats(rounding=Rounding.RND_CONV)
        )
        master, first, second = done.master, done.momentum, done.square
        g = weight * scale
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        corrected = m / (1 - 0.9 ** (step + 1)), v / (1 - 0.999 ** (step + 1))
        weight = weight - 0.01 * corrected[0] / (np.sqrt(corrected[1]) + 1e-8)
    assert np.abs(master.to_float() - weight).max() < 1e-3


class Path:
    """A weight that begins at 0, and how far rounding to nearest may have led it astray."""

    def __init__(self) -> None:
        self.master, self.moves = FixedTensor(np.zeros(1, np.int32), MASTER), 0

    def move(self, done: update.Updated) -> None:
        assert (done.overflowed, done.saturated) == (0, 0)
        self.moves += int(done.master.codes[0] != self.master.codes[0])
        self.master = done.master

    def ends_at(self, exact: float, fade: float) -> bool:
        """Within half a code a move, the steps below half a code, and a millionth for the rates."""
        codes = self.moves / 2 + 0.5 / (1 - fade) + abs(exact) * 2**26 / 10**6
        return abs(int(self.master.codes[0]) - exact * 2**26) <= codes


def sgd_path(pulse: float, zeros: int, rate: str, friction: str, pulses: int = 1) -> Path:
    """Gradients of `pulse`, then zeros."""
    form = FixedPoint(31, 29 - int(np.floor(np.log2(abs(pulse)))))
    fed = FixedTensor(np.array([round(pulse * 2.0**form.frac)]), form)
    path, velocity = Path(), ZERO
    formats = UpdateFormats(rounding=Rounding.RND_CONV)
    constants = update.SgdConstants(Fraction(friction), Fraction(rate), formats=formats)
    for gradient in [fed] * pulses + [ZERO] * zeros:
        done = update.sgd(path.master, velocity, gradient, constants)
        path.move(done)
        velocity = done.momentum
    if zeros and friction == "0.99":
        assert not velocity.codes.any()
    return path


@pytest.mark.parametrize(
    ("fed", "exact"),
    [
        ({"pulse": 300, "zeros": 0, "rate": "0.01", "friction": "0.9"}, -3.0),
        (
            {"pulse": 2e-8, "zeros": 0, "rate": "1", "friction": "0.9", "pulses": 50},
            -2e-7 * (50 - 9 * (1 - 0.9**50)),
        ),
        (
            {"pulse": 5e-8, "zeros": 0, "rate": "1", "friction": "0.9", "pulses": 50},
            -5e-7 * (50 - 9 * (1 - 0.9**50)),
        ),
        ({"pulse": 1e-3, "zeros": 30_000, "rate": "0.1", "friction": "0.99"}, -0.01),
        (
            {"pulse": 1e-3, "zeros": 30_000, "rate": "0.001", "friction": "0.9999"},
            -0.01 * (1 - 0.9999**30_001),
        ),
    ],
)
def test_sgd_neither_clips_nor_underflows_nor_drifts(fed, exact):
    """Where the sums of the geometric series lie."""
    assert sgd_path(**fed).ends_at(exact, float(fed["friction"]))


def test_adams_moments_fade_to_nothing():
    """One pulse of -1e-5, then 30,000 zeros at rate 1e-3: float64 ends at 0.0060."""
    path = Path()
    first = second = FixedTensor(np.zeros(1, np.int64), FixedPoint(62, 0))
    pulse = FixedTensor(np.array([round(-1e-5 * 2**45)]), FixedPoint(32, 45))
    betas, formats = (
        (Fraction(9, 10), Fraction(999, 1000)),
        UpdateFormats(rounding=Rounding.RND_CONV),
    )
    weight, m, v = 0.0, 0.0, 0.0
    for step in range(30_000):
        c = update.AdamConstants.of(
            betas, Fraction(1, 10**8), Fraction(1, 1000), Fraction(0), False, step
        )
        done = update.adam(path.master, first, second, ZERO if step else pulse, c, formats)
        path.move(done)
        first, second = done.momentum, done.square
        g = 0.0 if step else -1e-5
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        root = np.sqrt(v / (1 - 0.999 ** (step + 1)))
        weight -= 0.001 * m / (1 - 0.9 ** (step + 1)) / (root + 1e-8)
    assert round(weight, 4) == 0.0060
    assert path.ends_at(weight, 0.9)
    assert not first.codes.any()


@pytest.mark.parametrize(
    ("beta", "epsilon", "code"),
    [
        ("0", "1e-8", 10),
        ("0.999", "1", 50),  # a gradient far below epsilon, at a rate of 1: a small ratio
        ("0.999999", "0.0013", 671),
    ],
)
def test_the_first_step_is_the_gradient_over_itself_and_epsilon(beta, epsilon, code):
    betas, gradient = (
        (Fraction(beta), 1 - Fraction(1, 1 << 20)),
        FixedTensor(np.array([code]), ZERO.format),
    )
    size = Fraction(code, 1 << 24)
    exact = -size / (size + Fraction(epsilon))
    c = update.AdamConstants.of(betas, Fraction(epsilon), Fraction(1), Fraction(0), False, 0)
    path = Path()
    path.move(update.adam(ZERO, ZERO, ZERO, gradient, c, UpdateFormats(rounding=Rounding.RND_CONV)))
    assert path.ends_at(float(exact), 0)


@pytest.mark.parametrize("rate", ["4e-7", "1.4e-6", "0.99999", "0.05", "1e-12", "1000"])
def test_rates_are_held_to_a_millionth(rate):
    exact = Fraction(rate)
    assert abs(update.multiplier(exact).value / exact - 1) < Fraction(1, 10**6)
    if exact >= Fraction(1, 10**9):
        assert abs(update.rate_of(update.rate_code(exact)) / exact - 1) < Fraction(1, 1000)


def test_a_momentum_near_one_keeps_its_distance_from_it():
    exact = Fraction("0.99999")
    held = update.multiplier(exact, update.FRICTION_BITS).value
    assert abs((1 - held) / (1 - exact) - 1) < Fraction(1, 1000)


@pytest.mark.parametrize(("rounding", "moves"), [("RND_CONV", False), ("STOCHASTIC", True)])
def test_narrow_masters_stall_to_nearest_and_learn_stochastically(rounding, moves):
    """Gupta et al., arXiv 1502.02551: 200 steps of a quarter of a word's last bit."""
    own = FixedPoint(16, 14)
    gradient = FixedTensor(np.full(256, 1), FixedPoint(16, 16))  # 2**-16, rate 1
    formats = UpdateFormats(own, Rounding[rounding])
    master = FixedTensor(np.zeros(256, np.int32), MASTER)
    velocity = FixedTensor(np.zeros(256, np.int32), FixedPoint(32, 24))
    vanished = 0
    for step in range(200):
        constants = update.SgdConstants(Fraction(0), Fraction(1), formats=formats)
        done = update.sgd(master, velocity, gradient, constants, (0, step))
        master, velocity, vanished = done.master, done.momentum, vanished + done.vanished
    assert not (master.codes % (1 << 12)).any()
    mean = float(master.to_float().mean())
    assert (abs(mean / (-200 * 2**-16) - 1) < 0.1) if moves else mean == 0
    assert vanished == (0 if moves else 200 * 256)


@pytest.mark.parametrize("order", ["C", "F"])
def test_weights_move_in_any_order_of_memory(order):
    def laid(code: int, form: FixedPoint) -> FixedTensor:
        return FixedTensor(np.full((3, 4), code, order=order), form)

    master, gradient = laid(1 << 20, MASTER), laid(1, FixedPoint(16, 8))
    state = laid(0, FixedPoint(62, 0))
    done = update.sgd(master, state, gradient, update.SgdConstants(Fraction(0), Fraction(1)))
    assert (done.master.codes == (1 << 20) - (1 << 18)).all()
    assert (done.momentum.codes != 0).all()
    c = update.AdamConstants.of(
        (Fraction(9, 10), Fraction(999, 1000)),
        Fraction(1, 10**8),
        Fraction(1),
        Fraction(0),
        False,
        0,
    )
    done = update.adam(master, state, state, gradient, c)
    assert all(
        (x.codes != y.codes).all()
        for x, y in ((done.master, master), (done.momentum, state), (done.square, state))
    )


def test_other_shapes_are_refused():
    master = FixedTensor(np.zeros((4, 3), np.int32), MASTER)
    small = FixedTensor(np.zeros((2, 2), np.int32), FixedPoint(32, 24))
    constants = update.SgdConstants(Fraction(0), Fraction(1))
    with pytest.raises(ShapeError, match=r"the weights' shape, \[4, 3\], not \[2, 2\]"):
        update.sgd(master, master, small, constants)
    c = update.AdamConstants.of((Fraction(0),) * 2, Fraction(1), Fraction(1), Fraction(0), False, 0)
    with pytest.raises(ShapeError, match=r"not \[2, 2\]"):
        update.adam(master, master, small, master, c)


def test_narrow_words_say_what_they_do_not_hold():
    with pytest.raises(FormatError, match=r"at most 26 fractional and at most 6 others, not 16"):
        UpdateFormats(FixedPoint(16, 4))
    with pytest.raises(FormatError, match=r"element \[0, 1\], value 134217728 \* 2\*\*-26 = 2"):
        update.on_master_grid(np.array([[0, 2 << 26]]), FixedPoint(16, 15))
    form = UpdateFormats(momentum=StateFormat(16, 12, overflow=Overflow.ERROR))
    constants = update.SgdConstants(Fraction(0), Fraction(1), formats=form)
    master = FixedTensor(np.zeros(1, np.int32), MASTER)
    gradient = FixedTensor(np.array([9]), FixedPoint(16, 0))
    with pytest.raises(FormatError, match=r"1 words of its momentum .* element 0"):
        update.sgd(master, ZERO, gradient, constants)
    saturating = replace(form, momentum=StateFormat(16, 12))
    done = update.sgd(master, ZERO, gradient, replace(constants, formats=saturating))
    assert (done.overflowed, int(done.momentum.codes[0])) == (1, 2**15 - 1)


@given(seed=st.integers(0, 999), limit=st.sampled_from(["0.01", "1", "100"]))
def test_clipping_brings_the_norm_to_the_limit(seed, limit):
    rng = np.random.default_rng(seed)
    gradients = [
        FixedTensor(rng.integers(-(2**15), 2**15, 20).astype(np.int16), FixedPoint(16, frac))
        for frac in rng.integers(5, 20, 3)
    ]
    norm = np.sqrt(sum((g.to_float() ** 2).sum() for g in gradients))
    factor_and_shift = update.clip_factor(gradients, Fraction(limit))
    if norm < 0.999 * float(limit):
        assert factor_and_shift is None
    if norm > 1.001 * float(limit):
        factor, places = factor_and_shift
        assert 2**14 <= factor <= 2**15
        assert abs(factor * 2.0**-places * norm / float(limit) - 1) < 2**-13
        for gradient in gradients:
            clipped = update.clipped(gradient, factor, places)
            shift = gradient.format.frac + places - clipped.format.frac
            want = [
                specification.rnd_conv(int(code) * factor, shift)
                for code in gradient.codes.tolist()
            ]
            assert clipped.codes.tolist() == [min(code, 2**15 - 1) for code in want]
            assert np.abs(clipped.codes).max() >= 2**14  # all of its bits are used
