"""Joint histograms against counting every multiply-accumulate."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fxsim.arithmetic.blocks import BlockMap
from fxsim.cost.array import element_bits
from fxsim.engine.geometry import Convolution
from fxsim.engine.joint import joint_histogram


def random_map(rng, rows, columns):
    grid = (-(-rows // 4), -(-columns // 4))
    bits = rng.choice([0, 2, 4, 8], grid).astype(np.uint8)
    return BlockMap(bits, np.zeros_like(bits), rows, columns, 4, 4, 6)


def counted(pass_, left, right, g):
    """{(bits, bits): MACs} by looking at every product of the expanded operands."""
    a, b = element_bits(pass_, left, right, g)
    found = {}
    for i in range(a.shape[0]):
        for j in range(b.shape[1]):
            for p, q in zip(a[i].tolist(), b[:, j].tolist(), strict=True):
                found[p, q] = found.get((p, q), 0) + 1
    return found


def as_dict(pass_, left, right, g):
    a, b, joint = joint_histogram(pass_, left, right, g)
    return {
        (int(p), int(q)): int(joint[i, j])
        for i, p in enumerate(a)
        for j, q in enumerate(b)
        if joint[i, j]
    }


@given(
    batch=st.integers(1, 2), side=st.integers(3, 5), channels=st.integers(1, 6),
    filters=st.integers(1, 6), kernel=st.integers(1, 3), stride=st.integers(1, 2),
    padding=st.integers(0, 1), seed=st.integers(0, 99),
)  # fmt: skip
def test_convolutions(batch, side, channels, filters, kernel, stride, padding, seed):
    g = Convolution(side, side, channels, filters, kernel, stride, padding)
    rng = np.random.default_rng(seed)
    x = random_map(rng, batch * side * side, channels)
    w = random_map(rng, filters, g.depth)
    e = random_map(rng, batch * g.out_height * g.out_width, filters)
    for pass_, left, right in (
        ("forward", x, w), ("grad_input", e, w), ("grad_weight", x, e),
    ):  # fmt: skip
        assert as_dict(pass_, left, right, g) == counted(pass_, left, right, g)


@given(
    batch=st.integers(1, 9), inputs=st.integers(1, 9), outputs=st.integers(1, 9),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_matrices(batch, inputs, outputs, seed):
    rng = np.random.default_rng(seed)
    x, w = random_map(rng, batch, inputs), random_map(rng, outputs, inputs)
    e = random_map(rng, batch, outputs)
    for pass_, left, right in (
        ("forward", x, w), ("grad_input", e, w), ("grad_weight", x, e),
    ):  # fmt: skip
        assert as_dict(pass_, left, right, None) == counted(pass_, left, right, None)
