"""Casts under a given block map, against the specification; and operands' bits in a product."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fxsim.engine import block_casts, matmul
from fxsim.engine.tensor import FixedTensor
from fxsim.errors import FormatError, ShapeError
from fxsim.numerics import specification
from fxsim.numerics.block_map import BlockMap
from fxsim.numerics.formats import Accumulator, FixedPoint, Rounding


def example(data, rows, columns, block_rows, block_columns, widest):
    grid = (-(-rows // block_rows), -(-columns // block_columns))
    bits = data.draw(
        st.lists(st.integers(0, widest), min_size=grid[0] * grid[1], max_size=grid[0] * grid[1])
    )
    return np.array(bits, np.uint8).reshape(grid)


@given(
    data=st.data(),
    rows=st.integers(1, 9),
    columns=st.integers(1, 9),
    block_rows=st.integers(1, 4),
    block_columns=st.integers(1, 4),
    rounding=st.sampled_from(list(Rounding)),
    places=st.integers(-2, 20),
    widest=st.integers(1, 10),
    bits=st.sampled_from([20, 40]),
)
def test_every_tile_has_its_own_bits_and_exponent(
    data, rows, columns, block_rows, block_columns, rounding, places, widest, bits
):
    widths = example(data, rows, columns, block_rows, block_columns, widest)
    shifts = example(data, rows, columns, block_rows, block_columns, 5)
    blocks = BlockMap(widths, shifts, rows, columns, block_rows, block_columns, 4)
    word = FixedPoint(bits, places)
    codes = data.draw(
        st.lists(
            st.integers(word.min_code, word.max_code),
            min_size=rows * columns,
            max_size=rows * columns,
        )
    )
    tensor = FixedTensor(np.array(codes, np.int64).reshape(rows, columns), word)
    got, losses = block_casts.quantise_map(tensor, blocks, FixedPoint(15, 0), rounding, key=3)
    lost = over = 0
    for r, c in np.ndindex(rows, columns):
        n, up = (int(m[r // block_rows, c // block_columns]) for m in (widths, shifts))
        rounded = specification.round_code(
            int(tensor.codes[r, c]),
            places + up,
            rounding.name,
            specification.draw(3, r * columns + c),
        )
        code = specification.limit_code(rounded, n, True, "SAT")[0] if n else 0
        over += code != rounded
        lost += places + up > 0 and int(tensor.codes[r, c]) % (1 << (places + up)) != 0
        assert got.codes[r, c] == code << up
    assert (losses.quantised, losses.overflowed) == (lost, over)


def test_a_shared_scale_drops_low_bits_only():
    rng = np.random.default_rng(0)
    bits = rng.choice(np.array([0, 2, 4, 8], np.uint8), (2, 3))
    blocks = BlockMap.shared_scale(bits, 8, 12, 4, 4, 8)
    tensor = FixedTensor(rng.integers(-128, 128, (8, 12)), FixedPoint(8, 0))
    got, _ = block_casts.quantise_map(tensor, blocks, FixedPoint(8, 0), Rounding.TRN)
    kept = blocks.expand().astype(np.int64)
    want = np.where(kept > 0, (tensor.codes >> (8 - kept)) << (8 - kept), 0)
    assert (got.codes == want).all()
    assert got.codes.dtype == np.int8
    assert blocks.metadata_bits == 2
    sums = matmul.multiply(got, got, Accumulator(32))[0]
    assert (sums.codes == want @ want.T).all()


@pytest.mark.parametrize(
    ("target", "shape", "message"),
    [
        (FixedPoint(8, 0), (3, 4), r"the map is of \(4, 4\), not \(3, 4\)"),
        (FixedPoint(7, 0), (4, 4), "with 8 bits for the widest tile .* not FixedPoint"),
        (FixedPoint(8, 0, False), (4, 4), "the grid must be signed"),
        (FixedPoint(8, -70), (4, 4), "moves codes by at most 62 places"),
    ],
)
def test_maps_that_do_not_fit_say_why(target, shape, message):
    blocks = BlockMap.shared_scale(np.full((1, 1), 8, np.uint8), 4, 4, 4, 4, 8)
    tensor = FixedTensor(np.zeros(shape, np.int64), FixedPoint(8, 0))
    with pytest.raises((FormatError, ShapeError), match=message):
        block_casts.quantise_map(tensor, blocks, target)


def test_maps_of_the_wrong_grid_are_refused_and_maps_stay_as_they_are():
    ones = np.ones((2, 2), np.uint8)
    with pytest.raises(FormatError, match=r"in 4 x 4 blocks must be \(1, 1\), not \(2, 2\)"):
        BlockMap(ones, ones, 4, 4, 4, 4, 0)
    blocks = BlockMap(ones, ones, 8, 8, 4, 4, 0)
    with pytest.raises(ValueError, match="read-only"):
        blocks.bits[0, 0] = 3
