"""What a product becomes before it is stored: bias, scale, ReLU, rounding and overflow, fused."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fxsim.engine.kernels import epilogue as epilogue_kernels
from fxsim.engine.overflow_statistics import OverflowStatistics
from fxsim.engine.tensor import FixedTensor
from fxsim.errors import FormatError, ShapeError
from fxsim.numerics.formats import Cast, FixedPoint, Overflow, Rounding, check_key
from fxsim.numerics.scale import Scale

Ints = NDArray[np.int64]

LARGEST_CODE = 63  # bits of the largest |code| that the epilogue's int64 arithmetic holds
LARGEST_SHIFT = 62
NARROW_CODE = 30  # the same of its int32 lanes, see `kernels.requantise`


@dataclass(frozen=True, slots=True)
class Epilogue:
    """The epilogue of a product, in this order: add `bias`, scale, clip negatives, cast.

    Parameters
    ----------
    cast : to the result's format; a format alone means nearest even, saturating
    bias : (N,) codes with the accumulator's fractional bits, one an output column
    scale : one Scale, or one a column (per channel), from the accumulator's codes to the
        output's; None keeps the value (a power of two)
    relu : negative values become zero
    key : the stream of draws of STOCHASTIC

    Raises
    ------
    FormatError : for an unsigned 64-bit format, or a key beyond 64 bits

    Examples
    --------
    >>> Epilogue(FixedPoint(8, 4), relu=True).format
    FixedPoint(bits=8, frac=4, signed=True)
    """

    cast: Cast | FixedPoint
    bias: FixedTensor | None = None
    scale: Scale | tuple[Scale, ...] | None = None
    relu: bool = False
    key: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "cast", Cast.to(self.cast))
        check_key("Epilogue", self.key)
        if self.format.bits == 64 and not self.format.signed:
            raise FormatError("Epilogue: codes are int64, an unsigned format has at most 63 bits")

    @property
    def target(self) -> Cast:
        """How results are cast."""
        return Cast.to(self.cast)

    @property
    def format(self) -> FixedPoint:
        """The result's format."""
        return self.target.format

    def check_width(self, width: int) -> None:
        """Refuse bias and scales that are not one a column.

        Parameters
        ----------
        width : columns of the product

        Raises
        ------
        ShapeError : for another number of them

        Examples
        --------
        >>> Epilogue(FixedPoint(8, 0)).check_width(3)
        """
        if self.bias is not None and self.bias.shape != (width,):
            raise ShapeError(f"output: bias must be ({width},), not {self.bias.shape}")
        if isinstance(self.scale, tuple) and len(self.scale) != width:
            raise ShapeError(
                f"output: there must be {width} scales, one a column, not {len(self.scale)}"
            )

    def part(self, columns: slice) -> Epilogue:
        """The epilogue of some of the columns.

        Parameters
        ----------
        columns : a slice of them

        Returns
        -------
        The same, with their bias and scales.

        Examples
        --------
        >>> Epilogue(FixedPoint(8, 0), scale=(Scale(1, 0), Scale(3, 1))).part(slice(1, 2)).scale
        (Scale(multiplier=3, shift=1),)
        """
        bias, scale = self.bias, self.scale
        if bias is not None:
            bias = FixedTensor.trusted(bias.codes[columns], bias.format)
        return replace(self, bias=bias, scale=scale[columns] if isinstance(scale, tuple) else scale)


@dataclass(frozen=True, slots=True, eq=False)
class EpilogueArguments:
    """An `Epilogue` as `kernels.epilogue` takes it."""

    bias: Ints
    multiplier: Ints
    shift: Ints
    fields: Ints
    key: np.uint64

    @property
    def arguments(self) -> tuple[Any, ...]:
        """As the kernels take them, in order."""
        return self.bias, self.multiplier, self.shift, self.fields, self.key

    @staticmethod
    def overflows(parts: list[tuple[int, int, int, int]]) -> OverflowStatistics:
        """What ranges of a kernel that ends with `epilogue_rows` counted."""
        overflows, over, altered = (sum(int(part[i]) for part in parts) for i in range(3))
        firsts = [int(part[3]) for part in parts if part[3] >= 0]
        return OverflowStatistics(overflows, over, altered, min(firsts, default=None))


def epilogue_arguments(
    epilogue: Epilogue | None,
    register: FixedPoint,
    wraps: bool,
    width: int,
    bound: int,
    base: int = 0,
) -> EpilogueArguments:
    """The arguments for `width` columns of sums in `register`, which wrap at the end if asked.

    bound : on |sum|, where it is tighter than the register
    base : number of the result's first element, for the draws
    """
    fields = np.zeros(epilogue_kernels.FIELDS, np.int64)
    fields[epilogue_kernels.SUM_BITS], fields[epilogue_kernels.BASE] = (
        register.bits if wraps else 64,
        base,
    )
    bias, multiplier = np.zeros(width, np.int64), np.ones(width, np.int64)
    if epilogue is None:
        fields[epilogue_kernels.KIND] = epilogue_kernels.STORE
        return EpilogueArguments(bias, multiplier, bias, fields, np.uint64(0))
    epilogue.check_width(width)
    if epilogue.bias is not None:
        bias = _bias(epilogue.bias, register)
    multiplier, shift = _scales(epilogue, register, width)
    peak = min(bound, 1 << (register.bits - register.signed))
    largest = _largest(peak, bias, multiplier, shift)
    cast = epilogue.target
    fields[epilogue_kernels.ROUNDING] = cast.rounding
    fields[epilogue_kernels.OVERFLOW] = cast.overflow
    fields[epilogue_kernels.SATURATED] = cast.saturated_bits
    fields[epilogue_kernels.BITS] = cast.format.bits
    fields[epilogue_kernels.SIGNED] = cast.format.signed
    fields[epilogue_kernels.LOW], fields[epilogue_kernels.HIGH] = cast.low, cast.high
    fields[epilogue_kernels.RELU] = epilogue.relu
    fields[epilogue_kernels.RANDOM_BITS] = cast.random_bits
    fields[epilogue_kernels.KIND] = _kind(epilogue, largest, multiplier, shift)
    return EpilogueArguments(bias, multiplier, shift, fields, np.uint64(epilogue.key))


def _bias(bias: FixedTensor, register: FixedPoint) -> Ints:
    if bias.format.frac != register.frac:
        raise FormatError(
            f"output: bias must have the sums' {register.frac} fractional bits, not"
            f" {bias.format.frac}"
        )
    return bias.codes.astype(np.int64)


def _scales(epilogue: Epilogue, register: FixedPoint, width: int) -> tuple[Ints, Ints]:
    if epilogue.scale is None:
        shift = register.frac - epilogue.format.frac
        return np.ones(width, np.int64), np.full(width, shift, np.int64)
    scales = (epilogue.scale,) * width if isinstance(epilogue.scale, Scale) else epilogue.scale
    return (
        np.array([scale.multiplier for scale in scales], np.int64),
        np.array([scale.shift for scale in scales], np.int64),
    )


def _largest(peak: int, bias: Ints, multiplier: Ints, shift: Ints) -> int:
    """Bits of the largest |code| that the epilogue may meet; FormatError if they exceed int64."""
    biased = peak + _largest_magnitude(bias)
    scaled = biased * _largest_magnitude(multiplier)
    bits = (scaled << max(-int(shift.min(initial=0)), 0)).bit_length()
    if bits > LARGEST_CODE or int(shift.max(initial=0)) > LARGEST_SHIFT:
        raise FormatError(
            f"output: sums up to {peak}, bias, multiplier and shift need {bits} bits and"
            f" {int(shift.max(initial=0))} places, the engine has {LARGEST_CODE}; narrow the"
            " accumulator or the multiplier"
        )
    return bits


def _largest_magnitude(values: Ints) -> int:
    return max(abs(int(values.max(initial=0))), abs(int(values.min(initial=0))))


def _kind(epilogue: Epilogue, largest: int, multiplier: Ints, bit_shift: Ints) -> int:
    """The cheapest way that is proven right for codes of `largest` bits; see `kernels.epilogue`."""
    cast, target = epilogue.target, epilogue.format
    uniform = bool((multiplier == 1).all() and (bit_shift == bit_shift[:1]).all())
    shift = int(bit_shift[0]) if bit_shift.size else 0
    holds = largest < target.bits and target.signed and cast.rounding is not Rounding.JAM_ALWAYS
    if uniform and shift == 0 and holds and epilogue.bias is None and not epilogue.relu:
        return epilogue_kernels.STORE
    clips = cast.overflow in (Overflow.SAT, Overflow.SAT_SYM, Overflow.ERROR)
    narrow = (
        clips
        and uniform
        and max(largest, target.bits, cast.random_bits) <= NARROW_CODE
        and 0 <= shift <= NARROW_CODE
        and cast.rounding <= Rounding.STOCHASTIC
    )
    if narrow:
        return epilogue_kernels.NARROW
    nearest = cast.rounding <= Rounding.RND_CONV or cast.rounding is Rounding.RND_CONV_ODD
    scaled = clips and nearest and int(bit_shift.min(initial=1)) >= 1 and largest < LARGEST_CODE
    return epilogue_kernels.SCALED if scaled else epilogue_kernels.GENERAL
