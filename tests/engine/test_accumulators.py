"""Accumulators of every kind against the specification and SystemC, on every path."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from operands import OVERFLOWS, ROUNDINGS, bounded, on_machine, operand
from support import jit_only, shared

from fxsim.engine import matmul
from fxsim.engine.dispatch import Kernel, plan
from fxsim.engine.epilogue import Epilogue
from fxsim.engine.instruction_set import InstructionSet
from fxsim.engine.tensor import FixedTensor
from fxsim.numerics import specification
from fxsim.numerics.formats import Accumulator, Cast, FixedPoint, Overflow, Rounding


@on_machine
@given(data=st.data())
def test_every_accumulator_equals_reference(machine, data):
    """Product casts and rounding, rounded sums, trees, chunks, partial registers, any overflow."""
    rng = np.random.default_rng(data.draw(st.integers(0, 999), "seed"))
    k = data.draw(st.integers(1, 40), "k")
    a = operand(rng, (3, k), data.draw(st.integers(2, 10), "bits of a"), 5)
    b = operand(rng, (4, k), data.draw(st.integers(2, 10), "bits of b"), 4)
    overflow = data.draw(st.sampled_from(OVERFLOWS), "overflow")
    wraps = overflow in (Overflow.WRAP, Overflow.WRAP_SM)
    signed = overflow is Overflow.WRAP_SM or data.draw(st.booleans(), "signed")
    bits, n = data.draw(st.integers(6, 40), "bits"), data.draw(st.integers(0, 3), "n") * wraps
    frac = data.draw(st.sampled_from([None, 2, 7, 9, 12]), "frac")
    tree = data.draw(st.sampled_from([1, 1, 2, 4]), "tree")
    chunk = tree * data.draw(st.sampled_from([0, 0, 1, 5]), "chunk")
    partial = None
    if chunk and data.draw(st.booleans(), "partial"):
        partial = Accumulator(data.draw(st.integers(6, 30), "partial bits"), overflow, frac, signed)
    sum_rounding = data.draw(st.sampled_from([None, *ROUNDINGS]), "sum rounding")
    if partial is not None:
        partial = Accumulator(partial.bits, overflow, frac, signed, n, sum_rounding=sum_rounding)
    product = None
    if data.draw(st.booleans(), "casts products"):
        word = FixedPoint(data.draw(st.integers(4, 20)), data.draw(st.integers(0, 11)))
        mode = data.draw(st.sampled_from(ROUNDINGS), "product cast")
        product = Cast(word, mode, data.draw(st.sampled_from(OVERFLOWS)))
    rounding = data.draw(st.sampled_from(ROUNDINGS), "product rounding")
    register = Accumulator(
        bits, overflow, frac, signed, n, product, rounding, sum_rounding, tree, chunk, partial
    )
    got, lost = matmul.multiply(a, b, register)

    def described(r):
        mode = {} if r.sum_rounding is None else {"sum_rounding": r.sum_rounding.name}
        found = {"bits": r.bits, "overflow": r.overflow.name, "signed": r.signed}
        return {**found, "n": r.saturated_bits, **mode}

    cast = product and (
        9 - product.format.frac,
        product.format.bits,
        True,
        product.rounding.name,
        product.overflow.name,
        0,
    )
    finer = 9 - (9 if frac is None else frac)
    altered = 0
    for i, x in enumerate(a.codes.tolist()):
        for j, y in enumerate(b.codes.tolist()):
            want, over = specification.accumulate_in(
                list(zip(x, y, strict=True)),
                finer,
                described(register),
                cast,
                rounding.name,
                tree,
                chunk,
                partial and described(partial),
            )
            assert got.codes[i, j] == want
            altered += over > 0
    assert lost.altered <= altered
    assert lost.altered or not altered or register.overflow is not Overflow.SAT
    assert got.format == FixedPoint(bits, 9 if frac is None else frac, signed)


@pytest.mark.parametrize("rounding", [Rounding.RND, Rounding.TRN])
def test_rounded_products_run_on_one_instruction(rounding):
    """All int8 pairs, every shift that the instruction serves."""
    jit_only()
    codes = np.arange(-128, 128, dtype=np.int8).reshape(-1, 1)
    a = FixedTensor(codes, FixedPoint(8, 0))
    for finer in range(1, 16):
        register = Accumulator(32, Overflow.SAT, -finer, product_rounding=rounding)
        exact = np.outer(codes.astype(np.int64), codes)
        half = (1 << finer >> 1) if rounding is Rounding.RND else 0
        got = matmul.multiply(a, a, register)[0].codes
        assert (got == (exact + half) >> finer).all(), finer
    chosen = plan(bounded(128), bounded(128), 1, register, InstructionSet.VNNI)
    assert chosen.kernel in (Kernel.HALF_UP, Kernel.TRUNCATED)


def test_stochastic_products_draw_by_index(machine):
    rng = np.random.default_rng(5)
    a, b = operand(rng, (3, 9), 8), operand(rng, (4, 9), 8)
    register = Accumulator(20, Overflow.SAT, -4, product_rounding=Rounding.STOCHASTIC)
    output = Epilogue(FixedPoint(20, -4), key=77)
    got = matmul.multiply(a, b, register, output)[0].codes
    for i, j in np.ndindex(got.shape):
        pairs = list(zip(a.codes[i].tolist(), b.codes[j].tolist(), strict=True))
        draws = [specification.draw(77, (i * 4 + j) * 9 + k) for k in range(9)]
        plain = {"bits": 20, "overflow": "SAT"}
        want = specification.accumulate_in(pairs, 4, plain, None, "STOCHASTIC", draws=draws)
        assert got[i, j] == want[0]


def _check_kernel(config, pairs, bias, y, overflows):
    """One golden dot product on the engine."""
    wa, fa, fb, _, p_bits, p_int, p_q, p_o, p_n, signed, bits, integer, q, o, n, wb, _ = config
    word = FixedPoint(bits, bits - integer, bool(signed))
    begin = specification.limit_code(bias, bits, bool(signed), Overflow(o).name, n)[0]
    product = None
    if p_bits:
        product = Cast(FixedPoint(p_bits, p_bits - p_int), Rounding(p_q), Overflow(p_o), p_n)
    register = Accumulator(
        bits, Overflow(o), word.frac, word.signed, n, product, sum_rounding=Rounding(q)
    )
    a, b = (np.array([side], np.int64) for side in zip(*pairs, strict=True))
    start = FixedTensor(np.array([begin], np.int64), word)
    left, right = FixedTensor(a, FixedPoint(wa, fa)), FixedTensor(b, FixedPoint(wb, fb))
    got, lost = matmul.multiply(left, right, register, start=start)
    assert (int(got.codes[0, 0]), lost.additions) == (y, overflows), config


def test_limited_accumulators_agree_with_systemc():
    """The specification and the engine, limited after every addition, products cast or exact."""
    jit_only()
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
            total = specification.limit_code(bias[row], bits, bool(signed), modes[o], n)[0]
            for left, right in pairs:
                product, frac = left * right, fa + fb
                if p_bits:
                    shift = frac - (p_bits - p_int)
                    product = specification.cast(
                        product, shift, p_bits, True, rounding[p_q], modes[p_o], p_n
                    )[0]
                    frac = p_bits - p_int
                finest = max(frac, bits - integer)
                exact = (total << (finest - (bits - integer))) + (product << (finest - frac))
                total, _, wrapped = specification.cast(
                    exact, finest - (bits - integer), bits, bool(signed), rounding[q], modes[o], n
                )
                over += wrapped
            assert (total, over) == (y[row], overflows[row]), config
            _check_kernel(config, pairs, bias[row], y[row], overflows[row])
            place += k
            row += 1
            compared += 1
    assert compared == 4_800


@on_machine
@given(mode=st.sampled_from([Rounding.RND, Rounding.RND_INF, Rounding.TRN_INF]))
def test_products_that_round_up_are_in_the_epilogues_bound(machine, mode):
    """127/128 squared rounds up to 1: 200 of them are 200, though 200 x floor(0.98) is 0."""
    word = FixedPoint(7, 7, signed=False)
    a = FixedTensor(np.full((1, 200), 127, np.int16), word)
    register = Accumulator(32, frac=0, product_rounding=mode)
    for target, code in ((FixedPoint(8, 0), 127), (FixedPoint(9, 0), 200)):
        got, lost = matmul.multiply(a, a, register, Epilogue(target))
        assert got.codes.tolist() == [[code]]
        assert lost.overflowed == (code == 127)
    # a register that these sums leave saturates; one that they just fit does not
    for bits, code in ((6, 31), (8, 127), (9, 200)):
        narrow = Accumulator(bits, Overflow.SAT, frac=0, product_rounding=mode)
        got, lost = matmul.multiply(a, a, narrow)
        assert got.codes.tolist() == [[code]]
        assert lost.altered == (code < 200)


@on_machine
@given(data=st.data())
def test_the_epilogue_at_the_ends_of_its_lanes_equals_reference(machine, data):
    """Sums of 29 to 62 bits, shifts of as many: where a rounding carry would leave a lane."""
    sizes = [28, 29, 30, 31, 32, 60, 61, 62]
    size, sign = data.draw(st.sampled_from(sizes), "bits"), data.draw(st.sampled_from([1, -1]))
    left = -(1 << min(size, 31)) + data.draw(st.integers(0, 1), "less")
    right = -(1 << max(size - 31, 0)) if sign > 0 else 1 << max(size - 32, 0)
    shift = data.draw(st.sampled_from([0, 1, 2, size - 1, size, min(size + 1, 62)]), "shift")
    mode = data.draw(st.sampled_from([r for r in Rounding if r is not Rounding.STOCHASTIC]))
    bits = data.draw(st.sampled_from([4, 16, 29, 30, 31, 32]), "bits of the result")
    overflow = data.draw(st.sampled_from([Overflow.SAT, Overflow.SAT_SYM, Overflow.WRAP]))
    a = FixedTensor(np.array([[left]], np.int64), FixedPoint(32, 0))
    b = FixedTensor(np.array([[right]], np.int64), FixedPoint(32, 0))
    cast = Cast(FixedPoint(bits, -shift), mode, overflow)
    got, _ = matmul.multiply(a, b, Accumulator(64), Epilogue(cast))
    wanted = specification.cast(left * right, shift, bits, True, mode.name, overflow.name)
    assert got.codes.item() == wanted[0]
