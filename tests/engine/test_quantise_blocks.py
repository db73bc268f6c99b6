"""Block-wise formats against the specification, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fxsim.engine import block_casts
from fxsim.engine.tensor import FixedTensor
from fxsim.engine.threads import set_threads
from fxsim.numerics import specification
from fxsim.numerics.formats import FixedPoint, Rounding
from fxsim.numerics.operand_formats import BlockFormat


@pytest.mark.parametrize("rounding", [Rounding.RND_CONV, Rounding.STOCHASTIC, Rounding.TRN])
@given(
    shape=st.tuples(st.integers(1, 11), st.integers(1, 11)),
    block=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    candidates=st.sampled_from([(0, 2, 4, 8), (2, 4, 8), (4, 8), (8,), (0, 3, 6)]),
    threshold=st.sampled_from([0, 1, 700, 20_000, 65_536]),
    window=st.integers(0, 7),
    penalty=st.sampled_from([1, 8]),
    spread=st.integers(0, 20),
    seed=st.integers(0, 999),
)
def test_equals_reference(
    rounding, shape, block, candidates, threshold, window, penalty, spread, seed
):
    rng = np.random.default_rng(seed)
    x = rng.integers(-(2**15), 2**15, shape) >> rng.integers(0, spread + 1, shape)
    grid = (-(-shape[0] // block[0]), -(-shape[1] // block[1]))
    gain = rng.integers(1, 2**12, grid)
    wanted = BlockFormat(*block, candidates, threshold, window, rounding, penalty)
    got, seen = block_casts.quantise_blocks(FixedTensor(x, FixedPoint(32, 9)), wanted, gain, seed)
    codes, bits, exponents, base = specification.quantise_blocks(
        x.tolist(),
        *block,
        candidates,
        threshold,
        window,
        lambda i, j: int(gain[i, j]),
        penalty,
        rounding.name,
        seed,
    )
    assert got.codes.tolist() == codes
    assert got.blocks.bits.tolist() == bits
    assert got.blocks.shifts.tolist() == exponents
    assert got.format.frac == 9 - base
    assert seen.signal >= 0


@given(seed=st.integers(0, 99))
def test_every_block_fits_its_bits_and_the_aligned_word(seed):
    rng = np.random.default_rng(seed)
    scale = np.repeat(np.repeat(rng.integers(0, 12, (4, 6)), 4, 0), 4, 1)
    x = rng.integers(-(2**30), 2**30, (16, 24)) >> scale
    gain = np.ones((1, 1), np.int64)
    got, _ = block_casts.quantise_blocks(
        FixedTensor(x, FixedPoint(32, 0)), BlockFormat(threshold=30_000), gain, 0
    )
    bits = got.blocks.expand().astype(int)
    shifts = np.repeat(np.repeat(got.blocks.shifts.astype(int), 4, 0), 4, 1)
    own = got.codes.astype(int) >> shifts
    assert (own << shifts == got.codes).all()
    assert (np.abs(own) <= (1 << np.maximum(bits - 1, 0)) - 1).all()
    assert np.abs(got.codes.astype(int)).max() < 1 << (got.format.bits - 1)
    assert len(np.unique(bits)) > 1  # mixed, or nothing was shown


def test_a_higher_threshold_never_adds_bits():
    x = FixedTensor(np.random.default_rng(0).integers(-999, 999, (32, 32)), FixedPoint(32, 0))
    one = np.ones((1, 1), np.int64)
    totals = [
        block_casts.quantise_blocks(x, BlockFormat(threshold=t), one, 0)[0].blocks.stored_bits()
        for t in (0, 500, 3000, 20_000, 65_536)
    ]
    assert totals == sorted(totals, reverse=True)
    assert totals[0] > totals[-1]


def test_zero_threshold_takes_only_what_costs_nothing():
    """A tile of zeros is skipped; one that fits fewer bits at the finest exponent takes them."""
    x = np.zeros((4, 12), np.int64)
    x[:, :4], x[:, 8:] = 1000, 50
    got, seen = block_casts.quantise_blocks(
        FixedTensor(x, FixedPoint(32, 0)), BlockFormat(), np.ones((1, 1), np.int64), 0
    )
    assert got.blocks.bits.tolist() == [[8, 0, 4]]
    assert got.blocks.shifts[0, 2] == 0
    assert seen.sensitivity == 0


def test_threads_change_nothing():
    x = np.random.default_rng(1).integers(-(2**30), 2**30, (2048, 64))
    found = []
    for threads in (1, 2, 3):
        set_threads(threads)
        got, seen = block_casts.quantise_blocks(
            FixedTensor(x, FixedPoint(32, 0)),
            BlockFormat(threshold=900),
            np.ones((1, 1), np.int64),
            5,
        )
        found.append((got.codes.tobytes(), got.blocks.bits.tobytes(), seen))
    set_threads(1)
    assert found[0] == found[1] == found[2]
