"""The specification against vectors that SystemC and APyTypes computed."""

from __future__ import annotations

import numpy as np
from support import shared

from fxsim.arithmetic import reference

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
            got = reference.cast(x[i], shift, bits, bool(signed), SC_ROUNDING[q], SC_OVERFLOW[o], n)
            assert got == (y[i], bool(flags[i] & 1), bool(flags[i] & 2)), config
        row += count
    assert row == 200_030


def test_ties_to_odd_and_jamming_agree_with_apytypes():
    d = np.load(shared("golden", "arithmetic", "public_extra_apytypes.npz"))
    x, y = d["x"].tolist(), d["y"].tolist()
    row = compared = 0
    for (_, frac, bits, integer_bits, q, o), count in zip(
        d["cfg"].tolist(), d["count"].tolist(), strict=True
    ):
        shift = frac - (bits - integer_bits)
        mode = {3: "RND_CONV_ODD", 4: "JAM"}.get(q)
        if mode and o < 2:
            for i in range(row, row + count):
                got, lost, _ = reference.cast(x[i], shift, bits, True, mode, ("SAT", "WRAP")[o])
                # APyTypes jams exact values too; ours is von Neumann's, "any lost bit"
                if mode == "RND_CONV_ODD" or lost:
                    assert got == y[i]
                    compared += 1
        row += count
    assert compared > 3_000
