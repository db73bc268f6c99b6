"""Tensors of integer codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fxsim.arithmetic.blocks import BlockMap
from fxsim.arithmetic.formats import FixedPoint
from fxsim.errors import FormatError

Codes = NDArray[np.signedinteger[Any]]


def storage(format: FixedPoint) -> Any:
    """The smallest NumPy type that holds a format's codes."""
    needed = format.bits + (not format.signed)
    return next(
        (kind for size, kind in ((8, np.int8), (16, np.int16), (32, np.int32)) if needed <= size),
        np.int64,
    )


@dataclass(frozen=True, slots=True, eq=False)
class FixedTensor:
    """Integer codes and the format that gives them value: `codes * 2**-format.frac`.

    Wide tensors (accumulators, words of the vector unit) hold int64 codes. Operands of the
    multiplier array hold int16 codes and the block map they were made under; their codes are
    aligned, so that all blocks share `format.frac`.
    """

    codes: Codes
    format: FixedPoint
    blocks: BlockMap | None = None

    def __post_init__(self) -> None:
        if not np.issubdtype(self.codes.dtype, np.signedinteger):
            raise FormatError(f"FixedTensor: codes must be integers, not {self.codes.dtype}")

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the codes."""
        return self.codes.shape

    def matrix(self) -> Codes:
        """The codes as (everything else, last axis)."""
        return self.codes.reshape(-1, self.codes.shape[-1])

    def reshape(self, *shape: int) -> FixedTensor:
        """The same wide tensor in another shape; a block map belongs to a shape and is refused."""
        if self.blocks is not None:
            raise FormatError("FixedTensor.reshape: a tensor with a block map keeps its shape")
        return FixedTensor(self.codes.reshape(shape), self.format)

    def to_float(self) -> NDArray[np.float64]:
        """The values, for people and metrics; the datapath never calls this."""
        return np.ldexp(self.codes.astype(np.float64), -self.format.frac)
