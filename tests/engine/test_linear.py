"""Products in all passes against the specification, and each path of the dispatch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import shared

from fxsim.arithmetic import reference
from fxsim.arithmetic.formats import Accumulator, FixedPoint, Overflow
from fxsim.engine import linear
from fxsim.engine.exactness import Path, plan
from fxsim.engine.linear import Convolution
from fxsim.engine.tensor import FixedTensor
from fxsim.engine.threads import set_threads
from fxsim.errors import FormatError, ShapeError

WIDE = Accumulator(48, Overflow.ERROR)


def operand(rng, shape, bits, frac=0):
    codes = rng.integers(-(1 << (bits - 1)), 1 << (bits - 1), shape).astype(np.int16)
    return FixedTensor(codes, FixedPoint(bits, frac))


@given(
    m=st.integers(1, 6), n=st.integers(1, 6), k=st.integers(1, 70),
    bits_a=st.integers(2, 16), bits_b=st.integers(2, 16),
    accumulator=st.integers(8, 40), overflow=st.sampled_from(["WRAP", "SAT"]),
    seed=st.integers(0, 999),
)  # fmt: skip
def test_gemm_equals_reference(m, n, k, bits_a, bits_b, accumulator, overflow, seed):
    rng = np.random.default_rng(seed)
    a, b = operand(rng, (m, k), bits_a, 3), operand(rng, (n, k), bits_b, 4)
    got = linear.multiply(a, b, Accumulator(accumulator, Overflow[overflow]))
    want = reference.gemm(a.codes.tolist(), b.codes.tolist(), accumulator, overflow)
    assert got.codes.tolist() == want
    assert got.format == FixedPoint(accumulator, 7)


def test_extreme_codes_in_long_sums_are_exact():
    a = FixedTensor(np.full((2, 5000), -(2**15), np.int16), FixedPoint(16, 0))
    b = FixedTensor(np.full((5, 5000), -(2**15), np.int16), FixedPoint(16, 0))
    assert (linear.multiply(a, b, WIDE).codes == 5000 * 2**30).all()
    a, b = (FixedTensor(np.full((2, 200_000), v, np.int16), FixedPoint(8, 0)) for v in (-128, -128))
    assert (linear.multiply(a, b, WIDE).codes == 200_000 * 2**14).all()


@pytest.mark.parametrize(
    ("depth", "peaks", "accumulator", "path", "wraps"),
    [
        (100, (128, 128), Accumulator(32, Overflow.SAT), Path.INT32, False),
        (100, (128, 128), Accumulator(16, Overflow.WRAP), Path.INT32, True),
        (100, (128, 128), Accumulator(16, Overflow.SAT), Path.CERTIFIED, False),
        (100, (2**15, 2**15), Accumulator(48, Overflow.SAT), Path.INT64, False),
        (131_071, (128, 128), Accumulator(32, Overflow.SAT), Path.INT32, False),
        (131_072, (128, 128), Accumulator(32, Overflow.SAT), Path.CERTIFIED, False),
    ],
)
def test_the_path_follows_the_bound(depth, peaks, accumulator, path, wraps):
    chosen = plan(depth, *peaks, accumulator)
    assert (chosen.path, chosen.wrap_at_end) == (path, wraps)
    if path is Path.INT32:
        assert chosen.chunk * peaks[0] * peaks[1] < 2**31


def test_sums_beyond_64_bits_are_refused():
    with pytest.raises(FormatError, match="need more than the engine's 64 bits"):
        plan(2**40, 2**15, 2**15, WIDE)


def test_an_error_accumulator_says_how_often_it_overflowed():
    a = FixedTensor(np.full((1, 4), 127, np.int16), FixedPoint(8, 0))
    with pytest.raises(
        FormatError, match="16-bit accumulator overflowed at 2 additions of 1 x 1 sums"
    ):
        linear.multiply(a, a, Accumulator(16, Overflow.ERROR))


def test_unequal_depths_are_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(ShapeError, match="second axes must be equal"):
        linear.multiply(operand(rng, (2, 40), 8), operand(rng, (2, 3), 8), WIDE)


@given(
    batch=st.integers(1, 2), height=st.integers(3, 6), width=st.integers(3, 6),
    channels=st.integers(1, 3), filters=st.integers(1, 5), kernel=st.integers(1, 3),
    stride=st.integers(1, 3), padding=st.integers(0, 2), dilation=st.integers(1, 2),
    accumulator=st.sampled_from([(40, "SAT"), (14, "SAT"), (14, "WRAP")]), seed=st.integers(0, 99),
)  # fmt: skip
def test_convolutions_equal_reference(
    batch, height, width, channels, filters, kernel, stride, padding, dilation, accumulator, seed
):
    g = Convolution(height, width, channels, filters, kernel, stride, padding, dilation)
    if g.out_height < 1 or g.out_width < 1:
        return
    rng = np.random.default_rng(seed)
    x = operand(rng, (batch, height, width, channels), 8)
    w = operand(rng, (filters, g.depth), 8)
    e = operand(rng, (batch, g.out_height, g.out_width, filters), 8)
    bits, overflow = accumulator
    limited = Accumulator(bits, Overflow[overflow])

    def total(pairs):
        return reference.accumulate(pairs, bits, overflow)[0]

    images, weights, errors = x.codes.tolist(), w.codes.tolist(), e.codes.tolist()
    places = [
        (i, y, z) for i in range(batch) for y in range(g.out_height) for z in range(g.out_width)
    ]
    shape = (kernel, stride, padding, dilation)
    pairs = {
        (i, y, z, f): reference.convolution_pairs(images[i], weights[f], y, z, *shape)
        for i, y, z in places
        for f in range(filters)
    }
    forward = linear.convolution_forward(x, w, g, limited).codes
    assert all(forward[key] == total(value) for key, value in pairs.items())

    back = linear.convolution_grad_input(e, w, g, limited).codes
    for i, y, z, c in np.ndindex(back.shape):
        want = reference.grad_input_pairs(errors[i], weights, y, z, c, channels, *shape)
        assert back[i, y, z, c] == total(want)

    gradient = linear.convolution_grad_weight(x, e, g, limited).codes
    for f, k in np.ndindex(gradient.shape):
        want = [(errors[i][y][z][f], pairs[i, y, z, f][k][0]) for i, y, z in places]
        assert gradient[f, k] == total(want)


def test_images_of_the_wrong_shape_are_refused():
    g = Convolution(4, 4, 2, 3, 3)
    rng = np.random.default_rng(0)
    x, w = operand(rng, (1, 4, 4, 1), 8), operand(rng, (3, 18), 8)
    with pytest.raises(ShapeError, match="activation must be \\(N, 4, 4, 2\\), not"):
        linear.convolution_forward(x, w, g, WIDE)


@pytest.mark.parametrize("overflow", ["SAT", "WRAP"])
def test_threads_change_nothing(overflow):
    rng = np.random.default_rng(3)
    a, b = operand(rng, (700, 300), 8), operand(rng, (20, 300), 8)
    found = []
    for threads in (1, 2, 3):
        set_threads(threads)
        found.append(linear.multiply(a, b, Accumulator(18, Overflow[overflow])).codes.tobytes())
    set_threads(1)
    assert len(set(found)) == 1


def test_limited_accumulators_agree_with_systemc():
    """Dot products of full-precision products, limited after every addition."""
    d = np.load(shared("golden", "arithmetic", "public_mac.npz"))
    a, b, bias, y, overflows = (d[k].tolist() for k in ("a", "b", "bias", "y", "n_ovf"))
    modes = ("SAT", "SAT_ZERO", "SAT_SYM", "WRAP", "WRAP_SM")
    rounding = ("RND", "RND_ZERO", "RND_MIN_INF", "RND_INF", "RND_CONV", "TRN", "TRN_ZERO")
    place = row = compared = 0
    for config in d["cfg"].tolist():
        (_, fa, fb, k, p_bits, p_int, p_q, p_o, p_n, signed, bits, integer, q, o, n, _, rows) = (
            config
        )
        for _ in range(rows):
            pairs = list(zip(a[place : place + k], b[place : place + k], strict=True))
            over = 0  # the start value is stored, and so cast, before anything is added
            total = reference.limit_code(bias[row], bits, bool(signed), modes[o], n)[0]
            for left, right in pairs:
                product, frac = left * right, fa + fb
                if p_bits:
                    shift = frac - (p_bits - p_int)
                    product = reference.cast(
                        product, shift, p_bits, True, rounding[p_q], modes[p_o], p_n
                    )[0]
                    frac = p_bits - p_int
                finest = max(frac, bits - integer)
                exact = (total << (finest - (bits - integer))) + (product << (finest - frac))
                total, _, wrapped = reference.cast(
                    exact, finest - (bits - integer), bits, bool(signed), rounding[q], modes[o], n
                )
                over += wrapped
            assert (total, over) == (y[row], overflows[row]), config
            place += k
            row += 1
            compared += 1
    assert compared == 4_800
