"""32-bit shifts. Numba widens int32 shifts to int64, which halves the lanes of a vector.

Preconditions: 0 <= shift <= 31. Plain Python where kernels are interpreted.
"""

import numpy as np
from numba.core import types
from numba.core.typing import signature
from numba.extending import intrinsic

from fxsim.engine.jit import JIT


def _shift(instruction, plain):
    if not JIT:
        return plain

    @intrinsic
    def run(context, code, shift):
        def generate(context, builder, signature, values):
            return getattr(builder, instruction)(*values)

        return signature(types.int32, types.int32, types.int32), generate

    return run


shift_right = _shift("ashr", lambda code, shift: np.int32(int(code) >> int(shift)))
shift_left = _shift("shl", lambda code, shift: np.int64(int(code) << int(shift)).astype(np.int32))
shift_right_unsigned = _shift(
    "lshr",
    lambda code, shift: np.int64((int(code) & 0xFFFFFFFF) >> int(shift)).astype(np.int32),
)
