"""Tensors of integer codes."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fxsim.errors import FormatError, ShapeError
from fxsim.numerics.block_map import BlockMap
from fxsim.numerics.formats import FixedPoint
from fxsim.numerics.scale import Scale

Codes = NDArray[np.signedinteger[Any]]


def storage(format: FixedPoint) -> Any:
    """The smallest NumPy type that holds a format's codes."""
    needed = format.bits + (not format.signed)
    return next(
        (kind for size, kind in ((8, np.int8), (16, np.int16), (32, np.int32)) if needed <= size),
        np.int64,
    )


def _frozen(codes: NDArray[Any]) -> NDArray[Any]:
    """A read-only view."""
    view = codes.view()
    view.flags.writeable = False
    return view


def rows_of(codes: NDArray[Any]) -> int:
    """Rows of the matrix view: all axes but the last."""
    return prod(codes.shape[:-1])


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class FixedTensor:
    """Integer codes and the format that gives them value: `codes * 2**-format.frac`.

    Wide tensors (accumulators, words of the vector unit) hold int64 codes. Operands of the
    multiplier array hold int16 codes and the block map they were made under; their codes are
    aligned, so that all blocks share `format.frac`. Those of a uniform quantiser whose step is no
    power of two have a `scale` as well: `codes * 2**-format.frac * scale`.
    """

    codes: Codes
    format: FixedPoint
    blocks: BlockMap | None = None
    scale: Scale | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.codes, np.ndarray):
            raise FormatError(
                f"FixedTensor: codes must be a NumPy array, not {type(self.codes).__name__}"
            )
        if not np.issubdtype(self.codes.dtype, np.signedinteger):
            help_ = "; casts.from_float converts floats" if self.codes.dtype.kind == "f" else ""
            raise FormatError(
                f"FixedTensor: codes must be signed integers, not {self.codes.dtype}{help_}"
            )
        if self.codes.size:
            self._check_range()
        native = self.codes.astype(self.codes.dtype.newbyteorder("="), copy=False)
        object.__setattr__(self, "codes", _frozen(native))

    def _check_range(self) -> None:
        low, high = int(self.codes.min()), int(self.codes.max())
        if low < self.format.min_code or high > self.format.max_code:
            outside = (self.codes < self.format.min_code) | (self.codes > self.format.max_code)
            where = tuple(int(i) for i in np.argwhere(outside)[0])
            raise FormatError(
                f"FixedTensor: codes must be {self.format.min_code} to {self.format.max_code}"
                f" ({self.format}), not {int(self.codes[where])} at {list(where)}; cast to make"
                " them fit"
            )

    @classmethod
    def trusted(
        cls,
        codes: NDArray[Any],
        format: FixedPoint,
        blocks: BlockMap | None = None,
        scale: Scale | None = None,
    ) -> FixedTensor:
        """A tensor whose codes are known to lie inside the format: no look at them."""
        made = object.__new__(cls)
        object.__setattr__(made, "codes", _frozen(codes))
        object.__setattr__(made, "format", format)
        object.__setattr__(made, "blocks", blocks)
        object.__setattr__(made, "scale", scale)
        return made

    def __repr__(self) -> str:
        blocks = "" if self.blocks is None else f", {self.blocks!r}"
        return f"FixedTensor({self.codes!r}, {self.format!r}{blocks})"

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the codes."""
        return self.codes.shape

    def matrix(self) -> Codes:
        """The codes as (everything else, last axis)."""
        if not self.codes.ndim:
            raise ShapeError("FixedTensor: a single number has no matrix view")
        return self.codes.reshape(rows_of(self.codes), self.codes.shape[-1])

    def reshape(self, *shape: int) -> FixedTensor:
        """The same wide tensor in another shape; a block map belongs to a shape and is refused."""
        if self.blocks is not None:
            raise FormatError("FixedTensor.reshape: a tensor with a block map keeps its shape")
        return FixedTensor.trusted(self.codes.reshape(shape), self.format)

    def to_float(self) -> NDArray[np.float64]:
        """The values, for people and metrics; the datapath never calls this."""
        values = np.ldexp(self.codes.astype(np.float64), -self.format.frac)
        return values if self.scale is None else values * float(self.scale.value)
