from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fxsim.numerics.block_map import BlockMap


@given(
    rows=st.integers(1, 13),
    columns=st.integers(1, 13),
    block_rows=st.integers(1, 5),
    block_columns=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_counts_agree_with_the_expanded_map(rows, columns, block_rows, block_columns, seed):
    grid = (-(-rows // block_rows), -(-columns // block_columns))
    bits = np.random.default_rng(seed).choice([0, 2, 4, 8], grid).astype(np.uint8)
    found = BlockMap(bits, np.zeros_like(bits), rows, columns, block_rows, block_columns, 6)
    every = [
        int(bits[r // block_rows, c // block_columns]) for r in range(rows) for c in range(columns)
    ]
    assert found.expand().reshape(-1).tolist() == every
    assert found.elements_by_bits() == {b: every.count(b) for b in sorted(set(every))}
    assert found.stored_bits() == sum(every) + 6 * grid[0] * grid[1]


def test_a_whole_tensor_is_one_block_without_metadata():
    found = BlockMap.whole(3, 5, 8)
    assert (found.blocks, found.stored_bits()) == (1, 3 * 5 * 8)
