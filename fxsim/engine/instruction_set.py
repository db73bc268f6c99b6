"""Which instructions products run on: chosen by what the processor has, or forced.

Every path gives the same bits. `FXSIM_PATH=vnni` (or `force`) chooses one; `available` lists what
this machine has, fastest first.
"""

from __future__ import annotations

import ctypes
import os
from enum import Enum
from functools import cache

import numpy as np

from fxsim.engine.jit import JIT
from fxsim.engine.kernels import packed, simd
from fxsim.errors import FormatError, hint

VARIABLE = "FXSIM_PATH"
_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA = 158, 0x1023, 18


class InstructionSet(Enum):
    """A set of dot-product instructions; the values are those of `FXSIM_PATH`."""

    AMX = "amx"  # int8 tiles (TDPBSSD); the rest as VNNI
    VNNI = "vnni"  # AVX-512 VNNI: VPDPBUSD on int8, VPDPWSSD on int16
    AVX2 = "avx2"  # VPMADDWD on int16
    PORTABLE = "portable"  # plain loops, as LLVM vectorises them


_forced: InstructionSet | None = None


@cache
def available() -> tuple[InstructionSet, ...]:
    """The paths of this machine, fastest first."""
    sets = [InstructionSet.PORTABLE]
    if JIT and simd.HAS_AVX2:
        sets.insert(0, InstructionSet.AVX2)
    if JIT and simd.HAS_VNNI:
        sets.insert(0, InstructionSet.VNNI)
    if JIT and simd.HAS_AMX and _amx_permitted() and _amx_multiplies():
        sets.insert(0, InstructionSet.AMX)
    return tuple(sets)


def force(instruction_set: InstructionSet | None) -> None:
    """Use this path from now on; None is the fastest again."""
    global _forced
    if instruction_set is not None and not isinstance(instruction_set, InstructionSet):
        raise FormatError(f"engine path: must be a Machine, not {instruction_set!r}")
    if instruction_set is not None and instruction_set not in available():
        names = ", ".join(known_set.value for known_set in available())
        raise FormatError(
            f"engine path: {instruction_set.value!r} is not on this processor, which has {names}"
        )
    _forced = instruction_set


def chosen() -> InstructionSet:
    """The path in use: the forced one, that of FXSIM_PATH, or the fastest."""
    if _forced is not None:
        return _forced
    requested = os.environ.get(VARIABLE, "")
    if not requested:
        return available()[0]
    names = {instruction_set.value: instruction_set for instruction_set in available()}
    if requested not in names:
        raise FormatError(
            f"{VARIABLE}: must be one of {', '.join(names)} on this processor, not {requested!r}"
            f"{hint(requested, names)}"
        )
    return names[requested]


def tile_configuration() -> np.ndarray:
    """Eight AMX tiles of 16 rows of 64 bytes (palette 1). Source: Intel SDM, LDTILECFG."""
    settings = np.zeros(64, np.uint8)
    settings[0] = 1
    settings[16:32:2] = 64
    settings[48:56] = 16
    return settings


def _amx_permitted() -> bool:
    """Ask the kernel for the tile registers, for this process and its threads."""
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.syscall(_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA) == 0)


def _amx_multiplies() -> bool:
    """Whether a tile of known numbers comes out right, before any result relies on it."""
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-128, 128, (32, 128)).astype(np.int8) for _ in range(2))
    products = np.zeros((32, 32), np.int32)
    packed.check_amx(tile_configuration(), a, b, np.zeros(32 * 128, np.int8), products)
    return bool((products == a.astype(np.int64) @ b.astype(np.int64).T).all())
