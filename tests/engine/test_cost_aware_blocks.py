"""Tiles that weigh sensitivity against prices, against the specification."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fxsim.engine import block_casts
from fxsim.engine.tensor import FixedTensor
from fxsim.errors import FormatError
from fxsim.numerics import specification
from fxsim.numerics.formats import FixedPoint, Rounding
from fxsim.numerics.operand_formats import CostAwareBlockFormat

ONE = 1 << 32
FREE = (0, 0, 0, 0)
PLAIN = CostAwareBlockFormat(
    2, 4, threshold=1 << 16, fixed=FREE, by_row=FREE, by_column=FREE, work=(0, 1, 4, 16)
)


@st.composite
def cases(draw):
    rows, columns = draw(st.integers(1, 13)), draw(st.integers(1, 13))
    size = draw(st.sampled_from([3, 60, 3000, 32767]))
    x = draw(
        st.lists(
            st.lists(st.integers(-size, size), min_size=columns, max_size=columns),
            min_size=rows,
            max_size=rows,
        )
    )
    prices = st.lists(st.integers(0, ONE), min_size=4, max_size=4).map(sorted).map(tuple)
    wanted = replace(
        PLAIN,
        rows=draw(st.integers(1, 4)),
        columns=draw(st.integers(1, 5)),
        threshold=draw(st.one_of(st.integers(0, 1 << 18), st.integers(0, 1 << 40))),
        fixed=draw(prices),
        by_row=draw(prices),
        by_column=draw(prices),
        row_group=draw(st.integers(1, 3)),
        column_group=draw(st.integers(1, 3)),
        rounds=draw(st.integers(0, 3)),
        skip_penalty=draw(st.integers(1, 8)),
        rounding=draw(st.sampled_from([Rounding.RND_CONV, Rounding.STOCHASTIC])),
    )
    return x, wanted, draw(st.one_of(st.integers(1, 9), st.just(9000)))


@given(cases())
def test_maps_and_codes_equal_the_specification(case):
    x, wanted, slope = case
    grid = (-(-len(x) // wanted.rows), -(-len(x[0]) // wanted.columns))
    gain = np.array(
        [[1 + (slope * (i + 2 * j)) % 7 for j in range(grid[1])] for i in range(grid[0])]
    )
    tensor = FixedTensor(np.array(x, np.int16), FixedPoint(16, 5))
    found, _ = block_casts.quantise_blocks(tensor, wanted, gain, 7)
    bits, exponents, base = specification.cost_aware_blocks(
        x,
        wanted.rows,
        wanted.columns,
        wanted.candidates,
        wanted.threshold,
        (wanted.fixed, wanted.by_row, wanted.by_column),
        (wanted.row_group, wanted.column_group),
        wanted.work,
        wanted.rounds,
        lambda i, j: int(gain[i, j]),
        wanted.skip_penalty,
    )
    assert found.blocks.bits.tolist() == bits
    assert found.blocks.shifts.tolist() == exponents
    assert found.format.frac == 5 - base
    for r, line in enumerate(x):
        for c, code in enumerate(line):
            n, s = (m[r // wanted.rows][c // wanted.columns] for m in (bits, exponents))
            drawn = specification.draw(7, r * len(line) + c)
            rounded = specification.round_code(code, base + s, wanted.rounding.name, drawn)
            assert int(found.codes[r, c]) == (rounded << s if n else 0)


def test_a_price_decides_and_a_balance_moves_it():
    """Two rows of tiles that run in lockstep, one of large and one of small values."""
    x = np.zeros((4, 32), np.int16)
    x[:2], x[2:, ::4] = 100, 12
    tensor = FixedTensor(x, FixedPoint(16, 0))
    one = np.ones((1, 1), np.int64)

    def work(**changes):
        priced = replace(PLAIN, by_row=(0, ONE // 64, ONE // 16, ONE // 4), **changes)
        bits = block_casts.quantise_blocks(tensor, priced, one, 0)[0].blocks.bits
        return [sum({0: 0, 2: 1, 4: 4, 8: 16}[int(b)] for b in line) for line in bits]

    dear = work(threshold=1 << 24, rounds=0)
    assert sum(dear) < sum(work(threshold=0, rounds=0))
    alone, together = (
        work(threshold=1 << 16, rounds=0),
        work(threshold=1 << 16, rounds=3, row_group=2),
    )
    assert (alone, together) == ([32, 0], [32, 32]), "the row that waits has bits for nothing"


def test_free_bits_lose_nothing():
    x = FixedTensor(np.array([[100, -3, 7, 1]], np.int16), FixedPoint(16, 0))
    found, seen = block_casts.quantise_blocks(x, PLAIN, np.ones((1, 1), np.int64), 0)
    assert found.codes.tolist() == x.codes.tolist()
    assert seen.sensitivity == 0


def test_prices_must_be_one_a_candidate():
    with pytest.raises(FormatError, match="by_row must be 4 numbers of at least 0"):
        replace(PLAIN, by_row=(1, 2))
    with pytest.raises(FormatError, match="groups must be at least 1"):
        replace(PLAIN, row_group=0)
    with pytest.raises(FormatError, match="threshold must be 0 to"):
        replace(PLAIN, threshold=-1)
