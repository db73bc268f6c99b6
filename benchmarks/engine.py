"""The engine against NumPy's float32 BLAS, at the same thread count, in one run.

A ratio is float32's time over ours. The int8 targets are those of a portable path, the others those
that an engine with the processor's dot-product instructions is to reach.
"""

from __future__ import annotations

import numpy as np
from side_by_side import arguments, ratio, report
from threadpoolctl import threadpool_limits

from fxsim.arithmetic.formats import Accumulator, BlockFormat, FixedPoint, Overflow, TensorFormat
from fxsim.engine import casts, linear
from fxsim.engine.tensor import FixedTensor

SHAPES = [(512, 512, 4608), (8192, 64, 576), (6400, 16, 160)]


def gemm(m: int, n: int, k: int, bits: int, accumulator: Accumulator) -> float:
    rng = np.random.default_rng(0)
    high = 1 << (bits - 1)
    a, b = (rng.integers(-high, high, s).astype(np.int16) for s in ((m, k), (n, k)))
    x, y = a.astype(np.float32), b.astype(np.float32)
    return ratio(lambda: linear.gemm_codes(a, b, high, high, accumulator), lambda: x @ y.T)


def blocks() -> float:
    """Uniform quantisation and product over block-wise ones, 4x4 blocks of 0, 2, 4 or 8 bits."""
    rng = np.random.default_rng(0)
    x, w = (
        FixedTensor(rng.integers(-(2**20), 2**20, s), FixedPoint(32, 16))
        for s in ((8192, 576), (64, 576))
    )
    one = np.ones((1, 1), np.int64)
    mixed, plain = BlockFormat(threshold=2000), TensorFormat(8)

    def block_wise():
        a, b = (casts.quantise_blocks(t, mixed, one, 0)[0] for t in (x, w))
        linear.multiply(a, b, Accumulator(48, Overflow.SAT))

    def uniform():
        a, b = (casts.quantise_tensor(t, plain, 0)[0] for t in (x, w))
        linear.multiply(a, b, Accumulator(32, Overflow.SAT))

    return ratio(block_wise, uniform)


def main() -> None:
    given = arguments(__doc__)
    wide, saturating = Accumulator(48, Overflow.SAT), Accumulator(24, Overflow.SAT)
    with threadpool_limits(given.threads, user_api="blas"):
        rows = [
            (f"int8 GEMM {m}x{n}x{k}, proven wide, vs sgemm", gemm(m, n, k, 8, wide), 0.6)
            for m, n, k in SHAPES
        ]
        m, n, k = SHAPES[1]
        rows += [
            ("int16 GEMM 8192x64x576, exact, vs sgemm", gemm(m, n, k, 16, wide), 1.8),
            ("int8, 24-bit saturating, uniform data, vs sgemm", gemm(m, n, k, 8, saturating), 2.5),
            ("4x4 blocks, casts included, vs our uniform 8 bits", blocks(), 0.7),
        ]
    report(rows, given.json)


if __name__ == "__main__":
    main()
