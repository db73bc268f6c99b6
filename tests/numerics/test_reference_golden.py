"""The specification against vectors that SystemC and APyTypes computed."""

from __future__ import annotations

import numpy as np
from support import shared

from fxsim.engine import casts
from fxsim.engine.tensor import FixedTensor
from fxsim.numerics import specification
from fxsim.numerics.formats import Cast, FixedPoint, Overflow, Rounding

SC_ROUNDING = ("RND", "RND_ZERO", "RND_MIN_INF", "RND_INF", "RND_CONV", "TRN", "TRN_ZERO")
SC_OVERFLOW = ("SAT", "SAT_ZERO", "SAT_SYM", "WRAP", "WRAP_SM")


def test_every_systemc_cast_agrees():
    d = np.load(shared("golden", "arithmetic", "public_cast.npz"))
    x, y, flags = (d[k].tolist() for k in ("x", "y", "flags"))
    row = 0
    for config, count in zip(d["cfg"].tolist(), d["count"].tolist(), strict=True):
        _, _, frac, signed, bits, integer_bits, q, o, n = config
        shift = frac - (bits - integer_bits)
        for i in range(row, row + count):
            got = specification.cast(
                x[i], shift, bits, bool(signed), SC_ROUNDING[q], SC_OVERFLOW[o], n
            )
            assert got == (y[i], bool(flags[i] & 1), bool(flags[i] & 2)), config
        row += count
    assert row == 200_030


EXTRA_ROUNDING = ("TRN_INF", "TRN_AWAY", "TRN_MAG", "RND_CONV_ODD", "JAM_ALWAYS", "JAM")
EXTRA_OVERFLOW = ("SAT", "WRAP", "NUMERIC_STD")


def test_every_mode_beyond_systemc_agrees_with_apytypes():
    d = np.load(shared("golden", "arithmetic", "public_extra_apytypes.npz"))
    x, y = d["x"], d["y"]
    row = 0
    for (width, frac, bits, integer_bits, q, o), count in zip(
        d["cfg"].tolist(), d["count"].tolist(), strict=True
    ):
        rows, target = slice(row, row + count), FixedPoint(bits, bits - integer_bits)
        shift, modes = frac - target.frac, (EXTRA_ROUNDING[q], EXTRA_OVERFLOW[o])
        want = [specification.cast(c, shift, bits, True, *modes)[0] for c in x[rows].tolist()]
        assert want == y[rows].tolist(), (shift, bits, modes)
        tensor = FixedTensor(x[rows], FixedPoint(width, frac))
        got, _ = casts.cast(tensor, Cast(target, Rounding[modes[0]], Overflow[modes[1]]))
        assert got.codes.tolist() == want, (shift, bits, modes)
        row += count
    assert row == 20_012
