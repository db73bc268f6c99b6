from __future__ import annotations

from dataclasses import astuple
from fractions import Fraction

import numpy as np
import pytest

from fxsim.errors import FormatError
from fxsim.numerics.formats import Accumulator, FixedPoint, Overflow, Rounding
from fxsim.numerics.operand_formats import BlockFormat, TensorFormat
from fxsim.numerics.scale import Scale


def test_limits_and_step():
    assert (FixedPoint(8, 4).min_code, FixedPoint(8, 4).max_code) == (-128, 127)
    assert (FixedPoint(8, 4, signed=False).min_code, FixedPoint(8, 4, False).max_code) == (0, 255)
    assert FixedPoint(8, 4).step == Fraction(1, 16)
    assert FixedPoint(8, -3).step == 8


def test_formats_print_as_they_are_built():
    assert eval(repr(FixedPoint(8, 4))) == FixedPoint(8, 4)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: FixedPoint(0, 0), "bits must be 1 to 64, not 0"),
        (lambda: FixedPoint(65, 0), "bits must be 1 to 64, not 65"),
        (lambda: Accumulator(1), "bits must be 2 to 64, not 1"),
        (
            lambda: Accumulator(32, Overflow.SAT, saturated_bits=2),
            "saturated_bits must be 0 with SAT, not 2",
        ),
        (
            lambda: Accumulator(32, Overflow.WRAP_SM, signed=False),
            "WRAP_SM keeps a sign, the format must be signed",
        ),
        (lambda: Accumulator(32, tree=4, chunk=6), "chunk a multiple of it .* tree 4, chunk 6"),
        (lambda: Accumulator(32, partial=Accumulator(16)), "partial needs a chunk"),
        (
            lambda: Accumulator(32, sum_rounding=Rounding.STOCHASTIC),
            "sum_rounding cannot be STOCHASTIC",
        ),
        (lambda: TensorFormat(1), "bits must be 2 to 32, not 1"),
        (lambda: BlockFormat(0, 4), "1 to 64 on a side, not 0x4"),
        (
            lambda: BlockFormat(candidates=(0, 1, 8)),
            "each 0 or at least 2, not all 0, not \\[0, 1, 8\\]",
        ),
        (lambda: BlockFormat(candidates=(8, 4)), "ascending"),
        (lambda: BlockFormat(window=8), "at most 15 bits, not 8 \\+ 8"),
        (lambda: BlockFormat(threshold=-1), "threshold must be 0 to"),
    ],
)
def test_impossible_formats_say_why(build, message):
    with pytest.raises(FormatError, match=message):
        build()


def test_numpys_integers_become_pythons():
    for made in (FixedPoint(np.int8(8), np.int64(-5)), Scale(np.int32(3), np.int8(2))):
        assert all(type(number) is int for number in astuple(made)[:2])
