"""Draws and losses are numbered by the place in the whole result, whatever path serves it."""

from __future__ import annotations

import numpy as np
import pytest
from support import jit_only
from windows import square

from fxsim.engine import casts, instruction_set, matmul
from fxsim.engine.epilogue import Epilogue
from fxsim.engine.tensor import FixedTensor
from fxsim.errors import FormatError, ShapeError
from fxsim.numerics import specification
from fxsim.numerics.draws import Lfsr
from fxsim.numerics.formats import Accumulator, Cast, FixedPoint, Overflow, Rounding

INT8 = FixedPoint(8, 0)
WIDE = Accumulator(40, Overflow.SAT)
NOISY = Epilogue(Cast(FixedPoint(12, -5), Rounding.STOCHASTIC), key=21)


def codes(rng, *shape):
    return FixedTensor(rng.integers(-128, 128, shape).astype(np.int8), INT8)


def drawn(sums):
    """Sums rounded as `NOISY` says, each by the draw of its own place."""
    found = [
        specification.cast(c, 5, 12, True, "STOCHASTIC", "SAT", 0, specification.draw(21, i))[0]
        for i, c in enumerate(sums.reshape(-1).tolist())
    ]
    return np.array(found).reshape(sums.shape)


@pytest.mark.parametrize(
    "g",
    [
        square(6, 5, 4, 6, 3, 2, 1),
        square(5, 5, 4, 4, 3, 1, 1, groups=2),
        square(5, 5, 4, 4, 3, 2, 1, groups=4),
        square(4, 4, 3, 5, 1, 3, 0),
    ],
    ids=["stride", "groups", "depthwise", "gaps"],
)
def test_every_pass_of_a_convolution_draws_by_place(machine, g):
    rng = np.random.default_rng(0)
    x, w = codes(rng, 2, g.height, g.width, g.channels), codes(rng, g.filters, g.depth)
    e = codes(rng, 2, g.out_height, g.out_width, g.filters)
    for operation, operands in (
        (matmul.convolution_forward, (x, w)),
        (matmul.convolution_grad_input, (e, w)),
        (matmul.convolution_grad_weight, (x, e)),
    ):
        sums = operation(*operands, g, WIDE)[0].codes
        assert (operation(*operands, g, WIDE, NOISY)[0].codes == drawn(sums)).all()


def test_batches_draw_by_place(machine):
    rng = np.random.default_rng(1)
    a, b = codes(rng, 3, 4, 9), codes(rng, 3, 5, 9)
    sums = matmul.multiply(a, b, WIDE)[0].codes
    assert (matmul.multiply(a, b, WIDE, NOISY)[0].codes == drawn(sums)).all()


def test_groups_have_their_own_product_noise(machine):
    g = square(3, 3, 2, 2, 1, groups=2)
    x = FixedTensor(np.full((1, 3, 3, 2), 9, np.int8), INT8)
    w = FixedTensor(np.full((2, 1), 11, np.int8), INT8)
    noisy = Accumulator(32, Overflow.SAT, -4, product_rounding=Rounding.STOCHASTIC)
    got = matmul.convolution_forward(x, w, g, noisy, Epilogue(FixedPoint(16, -4), key=3))[0].codes
    want = [specification.stochastic(99, 4, specification.draw(3, i)) for i in range(18)]
    assert got.reshape(-1).tolist() == want


@pytest.mark.parametrize(
    "accumulator",
    [
        Accumulator(15, Overflow.SAT),
        Accumulator(15, Overflow.WRAP),
        Accumulator(16, Overflow.SAT),
        Accumulator(12, Overflow.WRAP, -3, product_rounding=Rounding.RND),
    ],
)
@pytest.mark.parametrize("output", [None, Epilogue(FixedPoint(6, -6)), Epilogue(FixedPoint(24, 0))])
def test_altered_sums_are_counted_and_placed_alike(machine, accumulator, output):
    g = square(4, 4, 4, 4, 3, 1, 1, groups=2)
    rng = np.random.default_rng(2)
    small = rng.integers(-128, 128, (2, 4, 4, 4)).astype(np.int8)
    small[0, :2] = 0  # so that the first altered sum lies further on
    x, w = FixedTensor(small, INT8), codes(rng, g.filters, g.depth)
    wide = Accumulator(40, Overflow.SAT, accumulator.frac, product_rounding=Rounding.RND)
    exact = matmul.convolution_forward(x, w, g, wide)[0].codes
    limited = matmul.convolution_forward(x, w, g, accumulator)[0].codes
    _, lost = matmul.convolution_forward(x, w, g, accumulator, output)
    altered = np.flatnonzero(exact != limited)
    assert (lost.altered, lost.first) == (altered.size, altered[0])


def test_partial_sums_round_as_the_whole_does():
    rng = np.random.default_rng(3)
    a, b = (FixedTensor(codes(rng, 2, 12).codes, FixedPoint(8, 4)) for _ in range(2))
    register = Accumulator(
        16,
        Overflow.SAT,
        5,
        sum_rounding=Rounding.TRN,
        chunk=4,
        partial=Accumulator(14, Overflow.SAT),
    )
    got = matmul.multiply(a, b, register)[0].codes
    outer = {"bits": 16, "overflow": "SAT", "sum_rounding": "TRN"}
    for i, j in np.ndindex(2, 2):
        pairs = list(zip(a.codes[i].tolist(), b.codes[j].tolist(), strict=True))
        want = specification.accumulate_in(pairs, 3, outer, chunk=4, partial={**outer, "bits": 14})
        assert got[i, j] == want[0]
    with pytest.raises(FormatError, match="fraction, products and rounding are those of the whole"):
        Accumulator(16, chunk=4, partial=Accumulator(14, frac=3))


@pytest.mark.parametrize(
    "register",
    [
        Accumulator(32, Overflow.SAT, product=Cast(FixedPoint(16, 58), Rounding.TRN)),
        Accumulator(32, Overflow.SAT, product=Cast(FixedPoint(63, 8, False), Rounding.TRN)),
        Accumulator(32, Overflow.SAT, product=Cast(FixedPoint(64, 8, False), Rounding.TRN)),
        Accumulator(32, chunk=4, partial=Accumulator(64, signed=False)),
    ],
)
def test_intermediates_beyond_int64_are_refused(register):
    a = FixedTensor(np.full((2, 80), 127, np.int8), FixedPoint(8, 4))
    register = Accumulator(
        10,
        Overflow.SAT,
        register.frac,
        product=register.product,
        chunk=register.chunk,
        partial=register.partial,
    )
    with pytest.raises(FormatError, match=r"need \d+ bits addition by addition; the engine has 63"):
        matmul.multiply(a, a, register)


def test_casts_that_need_their_high_bits_keep_them():
    for code, source, target, want in (
        (2**38, FixedPoint(40, 0), FixedPoint(16, 30), 0),
        (2**38 + 5, FixedPoint(40, 0), FixedPoint(32, 26), 335544320),
    ):
        x = FixedTensor(np.array([code]), source)
        got, _ = casts.cast(x, Cast(target, Rounding.TRN, Overflow.NUMERIC_STD))
        assert got.codes.tolist() == [want]


def test_the_smallest_floats_are_not_lost():
    for value, mode, want in ((-5e-324, Rounding.TRN, -1), (5e-324, Rounding.TRN_INF, 1)):
        got, losses = casts.from_float([value], Cast(FixedPoint(8, -10), mode))
        assert (got.codes[0], losses.quantised) == (want, 1)
    far, seen = casts.from_float([1e300], Cast(FixedPoint(8, 900)))
    assert (far.codes[0], seen.overflowed) == (127, 1)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda a: FixedPoint(8.5, 2), FormatError, "bits must be a whole number, not 8.5"),
        (lambda a: FixedPoint(8, 10**12), FormatError, "frac must be -1000 to 1000"),
        (lambda a: Epilogue(INT8, key=-1), FormatError, "key must be 0 to"),
        (lambda a: casts.cast(a, INT8, key=1 << 64), FormatError, "key must be 0 to"),
        (lambda a: instruction_set.force("vnni"), FormatError, "must be a Machine, not 'vnni'"),
        (
            lambda a: matmul.convolution_forward(
                FixedTensor(np.zeros((1, 3, 3, 1), np.int8), INT8),
                FixedTensor(np.zeros((2, 9), np.int8), INT8),
                square(3, 3, 1, 2, 3),
                WIDE,
                Epilogue(INT8, bias=FixedTensor(np.zeros(9, np.int64), FixedPoint(16, 0))),
            ),
            ShapeError,
            r"bias must be \(2,\), not \(9,\)",
        ),
    ],
)
def test_mistakes_of_formats_and_keys_are_named(build, error, message):
    with pytest.raises(error, match=message):
        build(FixedTensor(np.zeros((1, 1), np.int8), INT8))


def test_a_shift_register_names_the_first_element_outside():
    jit_only()
    x = FixedTensor(np.array([127 * 16 + 15]), FixedPoint(16, 4))
    register = Lfsr.maximal(16, 65535)
    with pytest.raises(FormatError, match="1 of 1 codes do not fit"):
        casts.cast(x, Cast(INT8, Rounding.STOCHASTIC, Overflow.ERROR), lfsr=register)


def test_empty_gradients_are_zero(machine):
    for inputs, outputs in ((0, 3), (3, 0), (3, 2)):
        x = FixedTensor(np.zeros((0, inputs), np.int8), INT8)
        e = FixedTensor(np.zeros((0, outputs), np.int8), INT8)
        got, _ = matmul.linear_grad_weight(x, e, Accumulator(16, Overflow.SAT))
        assert got.shape == (outputs, inputs)
        assert not got.codes.any()
