from __future__ import annotations

from itertools import permutations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from machines import machine

from fxsim.accelerator.mapper import ProductShape, best_mapping, spans
from fxsim.errors import FxsimError


def fetched(tiles, sizes, order, operand):
    """Bits moved for one operand, by walking the loops and fetching when the tile changes."""
    trips = [-(-size // tile) for size, tile in zip(sizes, tiles, strict=True)]
    loads, previous = 0, None
    for place in product(*(range(trips[d]) for d in order)):
        index = dict(zip(order, place, strict=True))
        now = tuple(index[d] for d in operand)
        loads += now != previous
        previous = now
    return loads


@settings(max_examples=25)
@given(
    m=st.integers(1, 40), n=st.integers(1, 40), k=st.integers(1, 40),
    buffer_bits=st.sampled_from([400, 1000, 4000, 100_000]),
)  # fmt: skip
def test_no_loop_nest_of_the_same_tiles_moves_less(m, n, k, buffer_bits):
    """Exhaustive, by walking every order of every candidate's loops."""
    on = machine(buffer_bits=buffer_bits)
    shape = ProductShape(m, n, k, 8, 4, 32)
    try:
        found = best_mapping(on, shape, "test")
    except FxsimError:
        return
    span, sizes = spans(on), (m, n, k)
    options = [
        sorted({min(span[d] * 2**i, s) for i in range(7)} | {s})
        for d, s in zip("mnk", sizes, strict=True)
    ]
    best = None
    for tiles in product(*options):
        tm, tn, tk = tiles
        if max(tm * tk * 8, tk * tn * 4, tm * tn * 32) > buffer_bits // 2:
            continue
        for order in permutations(range(3)):
            # tiles are equal but for the last, so that loads times a tile's share is the traffic
            trips = [-(-s // t) for s, t in zip(sizes, tiles, strict=True)]
            left = fetched(tiles, sizes, order, (0, 2)) / (trips[0] * trips[2]) * m * k * 8
            right = fetched(tiles, sizes, order, (2, 1)) / (trips[2] * trips[1]) * k * n * 4
            visits = fetched(tiles, sizes, order, (0, 1)) / (trips[0] * trips[1])
            traffic = left + right + 2 * (visits - 1) * m * n * 32
            best = traffic if best is None else min(best, traffic)
    assert found.dram_bits(shape) == pytest.approx(best, rel=1e-12)  # a sum of floats


def test_large_buffers_reach_the_compulsory_traffic():
    shape = ProductShape(100, 50, 70, 8, 4, 32)
    assert best_mapping(machine(buffer_bits=1 << 30), shape, "x").dram_bits(shape) == (
        100 * 70 * 8 + 70 * 50 * 4
    )


@given(m=st.integers(1, 300), n=st.integers(1, 300), k=st.integers(1, 300))
def test_more_capacity_never_moves_more(m, n, k):
    shape = ProductShape(m, n, k, 8, 8, 32)
    traffic = [
        best_mapping(machine(buffer_bits=bits), shape, "x").dram_bits(shape)
        for bits in (2_000, 20_000, 200_000)
    ]
    assert traffic == sorted(traffic, reverse=True)


def test_what_does_not_fit_says_which_level_lacks_how_much():
    with pytest.raises(
        FxsimError,
        match=r"fc, forward does not fit test: .* 128 bits in output_buffer, which has"
        " 50 usable; 78 bits are lacking",
    ):
        best_mapping(machine(buffer_bits=100), ProductShape(9, 9, 9, 8, 8, 32), "fc, forward")
