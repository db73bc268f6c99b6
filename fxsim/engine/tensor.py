"""Tensors of integer codes."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fxsim.errors import FormatError
from fxsim.numerics.block_map import BlockMap
from fxsim.numerics.formats import FixedPoint
from fxsim.numerics.scale import Scale

Codes = NDArray[np.signedinteger[Any]]


def storage(format: FixedPoint) -> Any:
    """The smallest NumPy type that holds a format's codes.

    Parameters
    ----------
    format : of the codes

    Returns
    -------
    A signed integer type.

    Examples
    --------
    >>> storage(FixedPoint(9, 0)).__name__
    'int16'
    """
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
    """Rows of the matrix view: all axes but the last.

    Parameters
    ----------
    codes : any shape but a single number

    Returns
    -------
    Their product.

    Examples
    --------
    >>> rows_of(np.zeros((2, 3, 4)))
    6
    """
    return prod(codes.shape[:-1])


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class FixedTensor:
    """Integer codes and the format that gives them value: `codes * 2**-format.frac`.

    Wide tensors (accumulators, words of the vector unit) hold int64 codes. Operands of the
    multiplier array hold int16 codes and the block map they were made under; their codes are
    aligned, so that all blocks share `format.frac`. Those of a uniform quantiser whose step is no
    power of two have a `scale` as well: `codes * 2**-format.frac * scale`.

    Parameters
    ----------
    codes : any shape, integers; they become read-only, and unsigned ones the next wider signed
    format : what they are worth
    blocks : the map of an operand
    scale : of a uniform quantiser

    Raises
    ------
    FormatError : for codes that are no integers, or outside the format (the first is named)

    Examples
    --------
    >>> FixedTensor(np.array([3, -8]), FixedPoint(4, 1)).to_float().tolist()
    [1.5, -4.0]
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
        if not np.issubdtype(self.codes.dtype, np.integer):
            help_ = "; casts.from_float converts floats" if self.codes.dtype.kind == "f" else ""
            raise FormatError(f"FixedTensor: codes must be integers, not {self.codes.dtype}{help_}")
        if self.codes.size:
            self._check_range()
        kind = self.codes.dtype.newbyteorder("=")
        if kind.kind == "u":
            if self.codes.max(initial=0) >= 1 << 63:
                raise FormatError("FixedTensor: codes must be below 2**63, for they become int64")
            kind = np.dtype(f"i{min(2 * kind.itemsize, 8)}")
        object.__setattr__(self, "codes", _frozen(self.codes.astype(kind, copy=False)))

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
        """A tensor whose codes are known to lie inside the format: no look at them.

        Parameters
        ----------
        codes, format, blocks, scale : as of the class

        Returns
        -------
        The tensor, on a read-only view of the codes.

        Examples
        --------
        >>> FixedTensor.trusted(np.array([1]), FixedPoint(8, 0)).shape
        (1,)
        """
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
        """The codes as a matrix.

        Returns
        -------
        (product of all other axes, last axis), a view; (1, 1) of a single number.

        Examples
        --------
        >>> FixedTensor(np.zeros((2, 3, 4), np.int64), FixedPoint(8, 0)).matrix().shape
        (6, 4)
        """
        if not self.codes.ndim:
            return self.codes.reshape(1, 1)
        return self.codes.reshape(rows_of(self.codes), self.codes.shape[-1])

    def reshape(self, *shape: int) -> FixedTensor:
        """The same wide tensor in another shape.

        Parameters
        ----------
        *shape : as NumPy takes it

        Returns
        -------
        The tensor.

        Raises
        ------
        FormatError : for a tensor with a block map, which belongs to a shape

        Examples
        --------
        >>> FixedTensor(np.zeros((2, 3), np.int64), FixedPoint(8, 0)).reshape(3, 2).shape
        (3, 2)
        """
        if self.blocks is not None:
            raise FormatError("FixedTensor.reshape: a tensor with a block map keeps its shape")
        return FixedTensor.trusted(self.codes.reshape(shape), self.format)

    def to_float(self) -> NDArray[np.float64]:
        """The values, for people and metrics; the datapath never calls this.

        Returns
        -------
        float64, of the codes' shape.

        Examples
        --------
        >>> FixedTensor(np.array([5]), FixedPoint(8, 2)).to_float().tolist()
        [1.25]
        """
        values = np.ldexp(self.codes.astype(np.float64), -self.format.frac)
        return values if self.scale is None else values * float(self.scale.value)
