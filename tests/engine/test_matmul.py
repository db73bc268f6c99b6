"""Products in all passes against the specification, on every path that the machine has."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from operands import OVERFLOWS, WIDE, bounded, on_machine, operand
from support import jit_only
from windows import axis, square, windows

from fxsim.engine import matmul
from fxsim.engine.dispatch import Kernel, plan
from fxsim.engine.epilogue import Epilogue
from fxsim.engine.geometry import Convolution
from fxsim.engine.instruction_set import InstructionSet
from fxsim.engine.tensor import FixedTensor
from fxsim.engine.window import Window
from fxsim.errors import FormatError, ShapeError
from fxsim.numerics import specification
from fxsim.numerics.formats import Accumulator, Cast, FixedPoint, Overflow, Rounding
from fxsim.numerics.scale import Scale


@on_machine
@given(
    m=st.integers(1, 30),
    n=st.integers(1, 40),
    k=st.integers(1, 140),
    bits_a=st.integers(1, 16),
    bits_b=st.integers(1, 16),
    accumulator=st.integers(8, 40),
    overflow=st.sampled_from(["WRAP", "SAT"]),
    seed=st.integers(0, 999),
)
def test_gemm_equals_reference(machine, m, n, k, bits_a, bits_b, accumulator, overflow, seed):
    rng = np.random.default_rng(seed)
    a, b = operand(rng, (m, k), bits_a, 3), operand(rng, (n, k), bits_b, 4)
    got, _ = matmul.multiply(a, b, Accumulator(accumulator, Overflow[overflow]))
    want = specification.gemm(a.codes.tolist(), b.codes.tolist(), accumulator, overflow)
    assert got.codes.tolist() == want
    assert got.format == FixedPoint(accumulator, 7)


@on_machine
@given(
    rows=st.integers(1, 130),
    n=st.integers(1, 40),
    k=st.integers(1, 200),
    bits=st.integers(16, 24),
    scale=st.sampled_from([20, 60, 127]),
    seed=st.integers(0, 99),
)
def test_saturating_sums_of_small_and_large_codes(machine, rows, n, k, bits, scale, seed):
    """Tiles cleared by norms, by chunks, and by neither."""
    rng = np.random.default_rng(seed)
    word = FixedPoint(8, 0)
    a, b = (
        FixedTensor(rng.normal(0, scale, s).clip(-128, 127).astype(np.int8), word)
        for s in ((rows, k), (n, k))
    )
    got, lost = matmul.multiply(a, b, Accumulator(bits, Overflow.SAT))
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    want = np.zeros((rows, n), np.int64)
    for x, y in zip(a.codes.T.astype(np.int64), b.codes.T.astype(np.int64), strict=True):
        want = np.clip(want + np.outer(x, y), low, high)
    assert (got.codes == want).all()
    altered = np.flatnonzero(want != a.codes.astype(np.int64) @ b.codes.T.astype(np.int64))
    assert lost.altered == altered.size
    assert lost.first == (altered[0] if altered.size else None)


def test_extreme_codes_in_long_sums_are_exact(machine):
    jit_only()
    a = FixedTensor(np.full((2, 5000), -(2**15), np.int16), FixedPoint(16, 0))
    b = FixedTensor(np.full((5, 5000), -(2**15), np.int16), FixedPoint(16, 0))
    assert (matmul.multiply(a, b, WIDE)[0].codes == 5000 * 2**30).all()
    a, b = (FixedTensor(np.full((2, 200_000), v, np.int8), FixedPoint(8, 0)) for v in (-128, -128))
    assert (matmul.multiply(a, b, WIDE)[0].codes == 200_000 * 2**14).all()
    assert (matmul.linear_grad_weight(_turned(a), _turned(b), WIDE)[0].codes == 200_000 << 14).all()
    a = FixedTensor(np.full((2, 3000), -(2**15), np.int16), FixedPoint(16, 0))
    assert (matmul.linear_grad_weight(_turned(a), _turned(a), WIDE)[0].codes == 3000 << 30).all()


def _turned(tensor):
    return FixedTensor(np.ascontiguousarray(tensor.codes.T), tensor.format)


@on_machine
@given(
    k=st.integers(1, 12),
    bits_a=st.integers(17, 32),
    bits_b=st.integers(2, 32),
    limit=st.integers(33, 62),
    overflow=st.sampled_from(["WRAP", "SAT"]),
    seed=st.integers(0, 99),
)
def test_operands_up_to_32_bits(machine, k, bits_a, bits_b, limit, overflow, seed):
    rng = np.random.default_rng(seed)
    a, b = operand(rng, (3, k), bits_a), operand(rng, (4, k), bits_b)
    register = Accumulator(limit, Overflow[overflow])
    if overflow == "SAT" and k << (bits_a + bits_b - 2) >= 1 << 63:
        with pytest.raises(FormatError, match="need more than the engine's 64 bits"):
            matmul.multiply(a, b, register)
        return
    want = specification.gemm(a.codes.tolist(), b.codes.tolist(), limit, overflow)
    assert matmul.multiply(a, b, register)[0].codes.tolist() == want


@pytest.mark.parametrize(
    ("depth", "peaks", "accumulator", "machine", "kernel", "wraps", "certify"),
    [
        (100, (128, 128), Accumulator(32, Overflow.SAT), "portable", Kernel.INT32, False, False),
        (100, (128, 128), Accumulator(16, Overflow.WRAP), "portable", Kernel.INT32, True, False),
        (100, (128, 128), Accumulator(16, Overflow.SAT), "portable", Kernel.INT32, False, True),
        (100, (2**15, 2**15), Accumulator(48), "portable", Kernel.INT64, False, False),
        (131_071, (128, 128), Accumulator(32), "portable", Kernel.INT32, False, False),
        (131_072, (128, 128), Accumulator(32), "portable", Kernel.INT32, False, True),
        (100, (128, 128), Accumulator(32), "vnni", Kernel.VNNI_S8, False, False),
        (100, (128, 128), Accumulator(32), "amx", Kernel.AMX_S8, False, False),
        (100, (128, 256), Accumulator(32), "amx", Kernel.VNNI_S16, False, False),
        (100, (128, 128), Accumulator(32), "avx2", Kernel.AVX2_S16, False, False),
        (100, (2**16, 128), Accumulator(48), "vnni", Kernel.INT64, False, False),
    ],
)
def test_the_path_follows_the_bound(depth, peaks, accumulator, machine, kernel, wraps, certify):
    chosen = plan(*map(bounded, peaks), depth, accumulator, InstructionSet(machine))
    assert (chosen.kernel, chosen.wraps, chosen.certify) == (kernel, wraps, certify)
    if chosen.chunk:
        assert chosen.chunk * peaks[0] * peaks[1] < 2**31


def test_full_int16_codes_are_cut_into_bytes():
    chosen = plan(bounded(2**15), bounded(2**15), 100, WIDE, InstructionSet.VNNI)
    assert (chosen.kernel, chosen.digits) == (Kernel.VNNI_S16, 2)
    assert chosen.chunk * 2**15 * 2**7 < 2**31


def test_sums_beyond_64_bits_are_refused():
    with pytest.raises(FormatError, match="need more than the engine's 64 bits"):
        plan(bounded(2**15), bounded(2**15), 2**40, WIDE, InstructionSet.PORTABLE)


def test_an_error_accumulator_says_how_often_it_overflowed(machine):
    a = FixedTensor(np.full((1, 4), 127, np.int8), FixedPoint(8, 0))
    with pytest.raises(
        FormatError, match="16-bit accumulator overflowed at 2 additions of 1 x 1 sums over K=4"
    ):
        matmul.multiply(a, a, Accumulator(16, Overflow.ERROR))


def test_unequal_depths_are_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(ShapeError, match="their last axes, and their batches, must be equal"):
        matmul.multiply(operand(rng, (2, 40), 8), operand(rng, (2, 3), 8), WIDE)


@on_machine
@given(
    batch=st.integers(1, 2),
    height=st.integers(3, 6),
    width=st.integers(1, 6),
    channels=st.integers(1, 3),
    filters=st.integers(1, 5),
    down=windows(),
    across=windows(),
    groups=st.sampled_from([1, 1, 2, 3]),
    depthwise=st.booleans(),
    bits=st.sampled_from([8, 12, 16]),
    accumulator=st.sampled_from([(40, "SAT"), (17, "SAT"), (14, "SAT"), (14, "WRAP")]),
    seed=st.integers(0, 99),
)
def test_convolutions_equal_reference(
    machine,
    batch,
    height,
    width,
    channels,
    filters,
    down,
    across,
    groups,
    depthwise,
    bits,
    accumulator,
    seed,
):
    if depthwise:
        channels = filters = 1
    shape = (height, width, channels * groups, filters * groups)
    g = Convolution(*shape, down, across, groups)
    if g.out_height < 1 or g.out_width < 1:
        return
    rng = np.random.default_rng(seed)
    x = operand(rng, (batch, height, width, g.channels), bits)
    w = operand(rng, (g.filters, g.depth), 8)
    e = operand(rng, (batch, g.out_height, g.out_width, g.filters), bits)
    limited = Accumulator(accumulator[0], Overflow[accumulator[1]])
    forward = matmul.convolution_forward(x, w, g, limited)[0].codes
    back = matmul.convolution_grad_input(e, w, g, limited)[0].codes
    gradient = matmul.convolution_grad_weight(x, e, g, limited)[0].codes
    for group in range(groups):
        c = slice(group * channels, (group + 1) * channels)
        f = slice(group * filters, (group + 1) * filters)
        _check_group(
            g,
            accumulator,
            x.codes[..., c],
            w.codes[f],
            e.codes[..., f],
            forward[..., f],
            back[..., c],
            gradient[f],
        )


def _check_group(g, accumulator, x, w, e, forward, back, gradient):
    """The three passes of one group against the specification."""

    def total(pairs):
        return specification.accumulate(pairs, *accumulator)[0]

    images, weights, errors = x.tolist(), w.tolist(), e.tolist()
    shape = axis(g.vertical), axis(g.horizontal)
    places = list(np.ndindex(len(images), g.out_height, g.out_width))
    pairs = {
        (i, y, z, f): specification.convolution_pairs(images[i], weights[f], y, z, *shape)
        for i, y, z in places
        for f in range(len(weights))
    }
    assert all(forward[key] == total(value) for key, value in pairs.items())
    for i, y, z, c in np.ndindex(back.shape):
        want = specification.grad_input_pairs(errors[i], weights, y, z, c, back.shape[3], *shape)
        assert back[i, y, z, c] == total(want)
    for f, k in np.ndindex(gradient.shape):
        want = [(errors[i][y][z][f], pairs[i, y, z, f][k][0]) for i, y, z in places]
        assert gradient[f, k] == total(want)


@on_machine
@given(
    m=st.integers(1, 100),
    n=st.integers(1, 20),
    k=st.integers(1, 70),
    relu=st.booleans(),
    bits=st.integers(2, 16),
    frac=st.integers(-8, 12),
    rounding=st.sampled_from(list(Rounding)),
    overflow=st.sampled_from(OVERFLOWS[:4]),
    scaled=st.booleans(),
    biased=st.booleans(),
    wrap=st.booleans(),
    seed=st.integers(0, 99),
)
def test_the_epilogue_equals_reference(
    machine, m, n, k, relu, bits, frac, rounding, overflow, scaled, biased, wrap, seed
):
    """Bias, a scale a column, ReLU, any rounding and overflow, counted, on every path."""
    rng = np.random.default_rng(seed)
    a, b = operand(rng, (m, k), 8, 3), operand(rng, (n, k), 8, 4)
    register = Accumulator(14, Overflow.WRAP) if wrap else Accumulator(32, Overflow.SAT)
    bias = rng.integers(-5000, 5000, n) if biased else np.zeros(n, np.int64)
    scales = [
        Scale(int(f), int(s))
        for f, s in zip(rng.integers(-300, 300, n), rng.integers(0, 12, n), strict=True)
    ]
    word = FixedPoint(bits, frac)
    output = Epilogue(
        Cast(word, rounding, overflow, random_bits=11),
        FixedTensor(bias, FixedPoint(32, 7)) if biased else None,
        tuple(scales) if scaled else None,
        relu,
        key=9,
    )
    got, lost = matmul.multiply(a, b, register, output)
    sums = specification.gemm(
        a.codes.tolist(), b.codes.tolist(), register.bits, register.overflow.name
    )
    quantised = overflowed = 0
    for i, j in np.ndindex(m, n):
        code = sums[i][j] + int(bias[j])
        shift = 7 - frac
        if scaled:
            code, shift = code * scales[j].multiplier, scales[j].shift
        code = max(code, 0) if relu else code
        want, dropped, outside = specification.cast(
            code,
            shift,
            bits,
            True,
            rounding.name,
            overflow.name,
            0,
            specification.draw(9, i * n + j, 11),
            11,
        )
        assert got.codes[i, j] == want
        quantised, overflowed = quantised + dropped, overflowed + outside
    assert (lost.quantised, lost.overflowed) == (quantised, overflowed)
    assert got.format == word


def test_batches_of_matrices_are_multiplied_one_by_one(machine):
    rng = np.random.default_rng(1)
    a, b, one = operand(rng, (3, 5, 20), 8), operand(rng, (3, 4, 20), 8), operand(rng, (4, 20), 8)
    register = Accumulator(14, Overflow.SAT)
    got, lost = matmul.multiply(a, b, register)
    altered = 0
    for i in range(3):
        want = specification.gemm(a.codes[i].tolist(), b.codes[i].tolist(), 14, "SAT")
        assert got.codes[i].tolist() == want
        exact = a.codes[i].astype(np.int64) @ b.codes[i].astype(np.int64).T
        altered += int((exact != np.array(want)).sum())
    assert lost.altered == altered > 0
    shared_b = matmul.multiply(a, one, register)[0].codes
    want = specification.gemm(a.codes.reshape(15, 20).tolist(), one.codes.tolist(), 14, "SAT")
    assert shared_b.reshape(15, 4).tolist() == want


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda a: matmul.multiply(a, a, WIDE, start=a), "start must be \\(2,\\) codes of"),
        (
            lambda a: matmul.multiply(a, a, WIDE, Epilogue(FixedPoint(8, 0), bias=a)),
            "bias must be \\(2,\\), not \\(2, 3\\)",
        ),
        (
            lambda a: matmul.multiply(a, a, WIDE, Epilogue(FixedPoint(8, 0), scale=(Scale(1, 0),))),
            "there must be 2 scales, one a column, not 1",
        ),
        (
            lambda a: matmul.multiply(
                a, a, WIDE, Epilogue(Cast(FixedPoint(4, 0), overflow=Overflow.ERROR))
            ),
            "output: . of 4 results do not fit FixedPoint",
        ),
        (
            lambda a: matmul.multiply(
                a, a, WIDE, Epilogue(FixedPoint(8, 0), scale=Scale(2**31 - 1, -31))
            ),
            "need .* bits and .* the engine has 63",
        ),
        (lambda a: matmul.linear_grad_weight(a, _turned(a), WIDE), "one row an example"),
        (lambda a: Cast(FixedPoint(8, 0), random_bits=0), "random_bits must be 1 to 32, not 0"),
        (
            lambda a: square(4, 4, 3, 4, 3, groups=2),
            "groups must divide channels and filters, not 2 groups of 3 channels and 4 filters",
        ),
        (lambda a: Window(3, stride=0), "stride must be at least 1, not 0"),
        (
            lambda a: matmul.convolution_forward(a, a, square(2, 2, 1, 1, 5), WIDE),
            "kernel over 5 x 5 does not fit an input of 2 x 2",
        ),
    ],
)
def test_mistakes_are_named(build, message):
    a = FixedTensor(np.full((2, 3), 100, np.int8), FixedPoint(8, 0))
    with pytest.raises((FormatError, ShapeError), match=message):
        build(a)


@pytest.mark.parametrize("shape", [(0, 5, 3), (4, 0, 3), (4, 5, 0)])
def test_empty_operands_give_empty_or_zero_sums(machine, shape):
    m, n, k = shape
    a, b = (FixedTensor(np.zeros(s, np.int8), FixedPoint(8, 0)) for s in ((m, k), (n, k)))
    got, lost = matmul.multiply(a, b, WIDE)
    assert got.shape == (m, n)
    assert not got.codes.any()
    assert lost.altered == 0


@pytest.mark.parametrize("order", ["reversed", "strided", "fortran"])
def test_operands_may_lie_anyhow_in_memory(machine, order):
    rng = np.random.default_rng(2)
    base = rng.integers(-128, 128, (40, 60)).astype(np.int8)
    view = {
        "reversed": base[::-1, ::-1],
        "strided": base[::2, ::3],
        "fortran": np.asfortranarray(base),
    }[order]
    a = FixedTensor(view, FixedPoint(8, 0))
    assert (matmul.multiply(a, a, WIDE)[0].codes == view.astype(int) @ view.astype(int).T).all()


def test_images_of_the_wrong_shape_are_refused():
    g = square(4, 4, 2, 3, 3)
    rng = np.random.default_rng(0)
    x, w = operand(rng, (1, 4, 4, 1), 8), operand(rng, (3, 18), 8)
    with pytest.raises(ShapeError, match="activation must be \\(N, 4, 4, 2\\), not"):
        matmul.convolution_forward(x, w, g, WIDE)


@given(
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 6),
    st.sampled_from([33, 48, 62, 63, 64]),
    st.integers(0, 2**32),
)
def test_what_wraps_is_counted_where_the_exact_sum_leaves_int64(m, n, k, bits, seed):
    rng = np.random.default_rng(seed)
    least, most = -(1 << 31), (1 << 31) - 1
    a, b = (
        rng.choice([least, least + 1, most, 0, 1, -1, 12345], (rows, k)).astype(np.int32)
        for rows in (m, n)
    )
    accumulator = Accumulator(bits, Overflow.WRAP)
    tensors = (FixedTensor(codes, FixedPoint(32, 0)) for codes in (a, b))
    sums, lost = matmul.linear_forward(*tensors, accumulator, None)
    exact = [sum(int(x) * int(y) for x, y in zip(u, v, strict=True)) for u in a for v in b]
    half = 1 << (bits - 1)
    wrapped = [(total + half) % (2 * half) - half for total in exact]
    leaving = [i for i, (one, other) in enumerate(zip(exact, wrapped, strict=True)) if one != other]
    assert sums.codes.ravel().tolist() == wrapped
    assert lost.altered == len(leaving)
    assert lost.first == (leaving[0] if leaving else None)


def test_two_products_fill_more_than_64_bits():
    least = FixedTensor(np.full((1, 2), -(1 << 31), np.int32), FixedPoint(32, 0))
    sums, lost = matmul.linear_forward(least, least, Accumulator(64, Overflow.WRAP), None)
    assert sums.codes.tolist() == [[-(1 << 63)]]
    assert (lost.altered, lost.first) == (1, 0)
