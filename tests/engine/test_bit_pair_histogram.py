"""Joint histograms against counting every multiply-accumulate."""

from __future__ import annotations

import numpy as np
import pytest
from elements import element_bits
from hypothesis import given
from hypothesis import strategies as st
from windows import windows

from fxsim.engine.bit_pair_histogram import bit_pair_histogram, elements_by_bits, gemm_shape
from fxsim.engine.contractions import Convolved, Matrix, Pairwise, Transposed
from fxsim.engine.geometry import Convolution
from fxsim.numerics.block_map import BlockMap


def random_map(rng, rows, columns):
    grid = (-(-rows // 4), -(-columns // 4))
    bits = rng.choice([0, 2, 4, 8], grid).astype(np.uint8)
    return BlockMap(bits, np.zeros_like(bits), rows, columns, 4, 4, 6)


def counted(pass_, left, right, contraction, batch=1):
    """{(bits, bits): MACs} by looking at every product of the expanded operands."""
    found = {}
    for a, b in element_bits(pass_, left, right, contraction, batch):
        for i in range(a.shape[0]):
            for j in range(b.shape[1]):
                for p, q in zip(a[i].tolist(), b[:, j].tolist(), strict=True):
                    found[p, q] = found.get((p, q), 0) + 1
    return found


def as_dict(pass_, left, right, contraction, batch=1):
    a, b, joint = bit_pair_histogram(pass_, left, right, contraction, batch)
    m, n, k, repeats = gemm_shape(pass_, left, right, contraction, batch)
    assert joint.sum() == m * n * k * repeats
    return {
        (int(p), int(q)): int(joint[i, j])
        for i, p in enumerate(a)
        for j, q in enumerate(b)
        if joint[i, j]
    }


def whole_map(rng, rows, columns):
    return BlockMap.whole(rows, columns, 8)


@pytest.mark.parametrize("map_of", [random_map, whole_map])
@given(
    batch=st.integers(1, 2),
    height=st.integers(3, 5),
    width=st.integers(1, 5),
    channels=st.integers(1, 3),
    filters=st.integers(1, 3),
    groups=st.integers(1, 3),
    down=windows(padding=1),
    across=windows(padding=1),
    turned=st.booleans(),
    seed=st.integers(0, 99),
)
def test_convolutions(
    map_of, batch, height, width, channels, filters, groups, down, across, turned, seed
):
    height, width = max(height, down.reach), max(width, across.reach)
    g = Convolution(height, width, channels * groups, filters * groups, down, across, groups)
    rng = np.random.default_rng(seed)
    x = map_of(rng, batch * height * width, g.channels)
    w = map_of(rng, g.filters, g.depth)
    e = map_of(rng, batch * g.out_height * g.out_width, g.filters)
    passes = [("forward", x, w), ("grad_input", e, w), ("grad_weight", x, e)]
    if turned:  # our input is what the convolution calls its error
        passes = [("forward", e, w), ("grad_input", x, w), ("grad_weight", x, e)]
    contraction = Transposed(g) if turned else Convolved(g)
    for pass_, left, right in passes:
        found = as_dict(pass_, left, right, contraction)
        assert found == counted(pass_, left, right, contraction)


@pytest.mark.parametrize("map_of", [random_map, whole_map])
@given(
    rows=st.integers(1, 9),
    inputs=st.integers(1, 9),
    outputs=st.integers(1, 9),
    batch=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_matrices(map_of, rows, inputs, outputs, batch, seed):
    rng = np.random.default_rng(seed)
    x, w = map_of(rng, batch * rows, inputs), map_of(rng, batch * outputs, inputs)
    e = map_of(rng, batch * rows, outputs)
    contraction = Pairwise() if batch > 1 else Matrix()
    for pass_, left, right in (
        ("forward", x, w),
        ("grad_input", e, w),
        ("grad_weight", x, e),
    ):
        found = as_dict(pass_, left, right, contraction, batch)
        assert found == counted(pass_, left, right, contraction, batch)


@given(rows=st.integers(1, 11), columns=st.integers(1, 11), seed=st.integers(0, 99))
def test_elements_are_counted_as_the_map_has_them(rows, columns, seed):
    found = random_map(np.random.default_rng(seed), rows, columns)
    assert elements_by_bits(found) == found.elements_by_bits()
