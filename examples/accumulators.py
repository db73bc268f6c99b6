"""What users of fixed-point tools ask for in vain, one line of output each. Run me: no arguments.

The numbers in brackets are the issues in which they asked.
"""

from __future__ import annotations

import numpy as np

from fxsim.engine import casts, matmul
from fxsim.engine.rescale import rescale, rescale_double
from fxsim.engine.tensor import FixedTensor
from fxsim.errors import FormatError
from fxsim.numerics.formats import Accumulator, Cast, FixedPoint, Overflow, Rounding
from fxsim.numerics.notation import parse, written
from fxsim.numerics.scale import Scale

rng = np.random.default_rng(0)
INT8 = FixedPoint(8, 4)
a, b = (
    FixedTensor(rng.integers(-128, 128, shape).astype(np.int8), INT8)
    for shape in ((64, 256), (32, 256))
)

# An accumulator that saturates at every addition (APyTypes 857, Brevitas 81 and 766), and says how
# many sums that changed and which was the first (APyTypes 133, acetone 51, hls4ml 324).
sums, lost = matmul.multiply(a, b, Accumulator(18, Overflow.SAT))
print(f"18 bits, saturating: {lost.altered} of {sums.codes.size} sums altered, first {lost.first}")
assert sums.codes.max() == (1 << 17) - 1
assert lost.altered > 0

# The same sums may wrap, or be refused with a count.
wrapped, lost = matmul.multiply(a, b, Accumulator(18, Overflow.WRAP))
print(f"18 bits, wrapping:   {lost.altered} sums altered")
try:
    matmul.multiply(a, b, Accumulator(18, Overflow.ERROR))
except FormatError as problem:
    print(f"18 bits, refusing:   {problem}")

# Partial sums of one width into an accumulator of another (Brevitas 524): 16 products at a time in
# 18 bits, their sums in 24.
chunked = Accumulator(24, Overflow.SAT, chunk=16, partial=Accumulator(18, Overflow.SAT))
sums, lost = matmul.multiply(a, b, chunked)
print(f"18 into 24 bits:     {lost.altered} sums altered")

# Products that lose bits before the addition, and an adder tree of four.
rounded = Accumulator(20, Overflow.SAT, frac=4, product_rounding=Rounding.RND, tree=4)
sums, lost = matmul.multiply(a, b, rounded)
print(f"rounded products:    {sums.format}")

# Wide words, without wrap errors (fxpmath 41, 76, 85): 64-bit codes, moved by 90 places.
wide = FixedTensor(np.array([2**63 - 1, -(2**63)], np.int64), FixedPoint(64, 90))
narrow, lost = casts.cast(wide, FixedPoint(16, 30))
print(f"64 bits to 16:       {narrow.codes.tolist()}, {lost.overflowed} saturated")

# Requantisation rounded once or twice, by choice (TFLite): they differ on 0.6 % of inputs.
codes = FixedTensor(rng.integers(-(2**30), 2**30, 100_000), FixedPoint(32, 0))
scale = Scale(1_395_864_371, 31 + 9)
once, _ = rescale(codes, scale, FixedPoint(32, 0))
twice, _ = rescale_double(codes, scale, FixedPoint(32, 0))
print(f"single or double:    {(once.codes != twice.codes).sum()} of {codes.codes.size} differ")

# Formats as other tools write them.
word = parse("ap_fixed<16,6,AP_RND_CONV,AP_SAT>")
assert word == Cast(FixedPoint(16, 10), Rounding.RND_CONV, Overflow.SAT)
print(f"one format:          {written(word, 'ac')} = {written(word, 'Q')}")
