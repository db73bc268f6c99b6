"""What policies share that keep weights on a coarse grid, without a wider copy."""

from __future__ import annotations

from fractions import Fraction
from math import isqrt
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator

from fxsim.numerics.state_formats import MASTER
from fxsim.policies.base import IntegerPolicy
from fxsim.policies.update_words import MasterWords


def _shares(values: tuple[float, ...]) -> tuple[float, ...]:
    if list(values) != sorted(values) or not all(0 < share < 1 for share in values):
        raise ValueError(f"must be rising shares between 0 and 1, not {list(values)}")
    return values


Shares = Annotated[tuple[float, ...], AfterValidator(_shares)]  # of a run


def refuse_master(policy: IntegerPolicy[Any]) -> None:
    """Refuse words of master weights where the grid decides them."""
    if policy.master != MasterWords():
        raise ValueError("master must not be given: this policy keeps weights in words of its own")


def stretched(codes: NDArray[np.int64], square: Fraction) -> NDArray[np.int64]:
    """Master codes stretched so that the largest is worth the root of `square`, rounded down."""
    bound = isqrt(int(square * (1 << 2 * MASTER.frac)))
    largest = max(int(np.abs(codes).max()), 1)
    wide: NDArray[np.int64] = codes * bound // largest
    return wide


def on_grid(codes: NDArray[np.int64], grid: int, bits: int) -> NDArray[np.int64]:
    """Master codes at the nearest multiples of 2**-grid, in the `bits`-bit words but the lowest."""
    shift, most = MASTER.frac - grid, (1 << (bits - 1)) - 1
    units = np.clip((codes + (1 << shift >> 1)) >> shift, -most, most)
    rounded: NDArray[np.int64] = units << shift
    return rounded
