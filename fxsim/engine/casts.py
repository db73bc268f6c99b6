"""Explicit casts: the only places where codes are rounded or limited."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fxsim.engine.kernels import casting, elementwise
from fxsim.engine.overflow_statistics import OverflowStatistics
from fxsim.engine.tensor import Codes, FixedTensor, storage
from fxsim.engine.threads import split
from fxsim.errors import FormatError
from fxsim.numerics import specification
from fxsim.numerics.block_map import BlockMap
from fxsim.numerics.draws import Lfsr
from fxsim.numerics.formats import Cast, FixedPoint, Overflow, Rounding, check_key
from fxsim.numerics.operand_formats import TensorFormat

LARGEST_SHIFT = 62
FLOAT_BITS = 61  # of a float's code that int64 holds with its sticky bit
NARROW_BITS = 30  # what int32 lanes leave free of overflow
OPERAND_BITS = 16  # multiplier operands are int16


def bit_length(value: int) -> int:
    """Bits of |value|: the word's length less its leading zeros.

    Parameters
    ----------
    value : any integer

    Returns
    -------
    0 for 0.

    Examples
    --------
    >>> bit_length(-8)
    4
    """
    return abs(int(value)).bit_length()


def peak(codes: Codes) -> int:
    """The largest magnitude of some codes.

    Parameters
    ----------
    codes : any shape, signed integers

    Returns
    -------
    max|code|, 0 for an empty tensor.

    Examples
    --------
    >>> peak(np.array([3, -8], np.int16))
    8
    """
    flat = np.ascontiguousarray(codes).reshape(-1)
    if not flat.size:
        return 0
    parts = split(elementwise.extremes_range, flat.size, 1, flat)
    return max(max(-int(low), int(high)) for low, high in parts)


@dataclass(frozen=True, slots=True, eq=False)
class _Draws:
    """The draws of STOCHASTIC: a stream by its key, or those of a shift register in order."""

    key: int
    register_draws: NDArray[np.int64]

    @classmethod
    def of(cls, to: Cast, key: int, lfsr: Lfsr | None, count: int) -> _Draws:
        """For so many elements."""
        if to.rounding is Rounding.STOCHASTIC and lfsr is not None:
            return cls(key, lfsr_draws(lfsr, count, to.random_bits))
        return cls(key, np.empty(0, np.int64))

    def drawn(self, element: int, bits: int) -> int:
        """An element's draw, by the specification."""
        if self.register_draws.size:
            return int(self.register_draws[element])
        return specification.draw(self.key, element, bits)


def cast(
    tensor: FixedTensor,
    to: Cast | FixedPoint,
    key: int = 0,
    dtype: Any = np.int64,
    lfsr: Lfsr | None = None,
    largest: int | None = None,
) -> tuple[FixedTensor, OverflowStatistics]:
    """Move a tensor to another format, rounding each code once.

    Parameters
    ----------
    tensor : any shape, any format
    to : the format, and how codes are rounded and limited; a format alone means nearest even,
        saturating
    key : the stream of draws of STOCHASTIC (`fxsim.numerics.draws.stream_key`)
    dtype : the NumPy type of the result's codes
    lfsr : a shift register that draws instead, in the order of the elements
    largest : max|code|, where it is known; it may prove a faster way right

    Returns
    -------
    The tensor in the format, and how many codes dropped a bit and left the format.

    Raises
    ------
    FormatError : with `Overflow.ERROR`, if a code does not fit; for an unsigned 64-bit target

    Examples
    --------
    >>> x = FixedTensor(np.array([7, -8]), FixedPoint(8, 2))
    >>> cast(x, FixedPoint(4, 0))[0].codes.tolist()
    [2, -2]

    Notes
    -----
    Any shift and width is right: what the kernels' 64 bits cannot hold is computed in Python's
    integers, slowly.

    Source: IEEE 1666-2011, 7.10.9 (quantisation and overflow modes), as SystemC 2.3.4 executes
    them; ac_fixed has SAT_SYM give -1 at one bit (here 0), the 2019 ap_fixed header differs for
    unsigned WRAP with n and for WRAP_SM with n = 0. RND_CONV_ODD and JAM as in APyTypes, but JAM
    leaves codes alone that drop no bit.
    """
    to = Cast.to(to)
    check_key("cast", key)
    target = to.format
    if target.bits == 64 and not target.signed:
        raise FormatError("cast: codes are int64, an unsigned target has at most 63 bits, not 64")
    shift = tensor.format.frac - target.frac
    x = np.ascontiguousarray(tensor.codes).reshape(-1)
    length = tensor.format.bits + (not tensor.format.signed) - 1
    if largest is not None:
        length = min(length, bit_length(largest))
    keeps = shift <= 0 and length - shift < target.bits and target.signed
    if keeps and to.rounding is not Rounding.JAM_ALWAYS and to.overflow is not Overflow.SAT_SYM:
        bit_shift = min(-shift, target.bits - 1) if length else 0
        moved = x.astype(dtype) << np.array(bit_shift, dtype)  # nothing is dropped, nothing leaves
        return FixedTensor.trusted(moved.reshape(tensor.shape), target), OverflowStatistics()
    out = np.empty(x.size, dtype)
    draws = _Draws.of(to, key, lfsr, x.size)
    if _is_narrow(length, shift, to) and x.size < 1 << 32 and not draws.register_draws.size:
        parts = split(
            casting.requantise_range,
            x.size,
            2,
            x,
            out,
            shift,
            int(to.rounding),
            to.low,
            to.high,
            np.uint64(key),
            to.random_bits,
        )
    elif _fits_kernel(tensor.format, x, shift, to):
        parts = split(
            casting.cast_range,
            x.size,
            2,
            x,
            out,
            shift,
            to.low,
            to.high,
            target.bits,
            target.signed,
            int(to.rounding),
            int(to.overflow),
            to.saturated_bits,
            np.uint64(key),
            to.random_bits,
            draws.register_draws,
        )
    else:
        parts = [_cast_in_python(((code, shift) for code in x.tolist()), out, to, draws)]
    overflows = OverflowStatistics(*(int(sum(p[i] for p in parts)) for i in range(2)))
    if to.overflow is Overflow.ERROR and overflows.overflowed:
        first = _first_outside(x, shift, to, draws)
        raise FormatError(
            f"cast: {overflows.overflowed} of {x.size} codes do not fit {target}; the first is"
            f" element {element(first, tensor.shape)}, value {int(x[first])} *"
            f" 2**{-tensor.format.frac} = {int(x[first]) / 2.0**tensor.format.frac:.6g}"
        )
    return FixedTensor.trusted(out.reshape(tensor.shape), target), overflows


def element(number: int, shape: tuple[int, ...]) -> str:
    """An element by its indices.

    Parameters
    ----------
    number : in the order of the codes
    shape : of the tensor

    Returns
    -------
    Text for messages.

    Examples
    --------
    >>> element(5, (8,)), element(5, (2, 4))
    ('5', '[1, 1]')
    """
    indices = [int(i) for i in np.unravel_index(number, shape)] if len(shape) > 1 else number
    return str(indices)


def _is_narrow(length: int, shift: int, to: Cast) -> bool:
    """Whether int32 lanes serve codes of this length: see `kernels.requantise`."""
    return (
        length <= NARROW_BITS
        and 0 <= shift <= NARROW_BITS
        and to.format.bits <= NARROW_BITS
        and to.random_bits <= NARROW_BITS
        and to.overflow in (Overflow.SAT, Overflow.SAT_SYM, Overflow.ERROR)
        and to.rounding <= Rounding.STOCHASTIC
    )


def _fits_kernel(source: FixedPoint, x: Codes, shift: int, to: Cast) -> bool:
    """Whether int64 arithmetic holds every intermediate: see `kernels.casting`."""
    target = to.format
    keeps_high_bits = to.overflow in (Overflow.WRAP_SM, Overflow.NUMERIC_STD) or (
        to.overflow is Overflow.WRAP and to.saturated_bits > 0
    )
    wide = keeps_high_bits and shift < 0 and bit_length(peak(x)) - shift > LARGEST_SHIFT
    codes = source.bits + (not source.signed) <= LARGEST_SHIFT + 1
    width = target.bits + (not target.signed) <= LARGEST_SHIFT + (not keeps_high_bits)
    return codes and width and abs(shift) <= LARGEST_SHIFT and not wide


def _cast_in_python(
    codes: Iterable[tuple[int, int]], out: NDArray[Any], to: Cast, draws: _Draws
) -> tuple[int, int]:
    """The specification itself, for what no machine word holds: (quantised, overflowed).

    codes : each with the places that it is shifted down
    """
    quantised = overflowed = 0
    for i, (code, shift) in enumerate(codes):
        out[i], dropped, outside = specification.cast(
            code,
            shift,
            to.format.bits,
            to.format.signed,
            to.rounding.name,
            to.overflow.name,
            to.saturated_bits,
            draws.drawn(i, to.random_bits),
            to.random_bits,
        )
        quantised += dropped
        overflowed += outside
    return quantised, overflowed


def lfsr_draws(lfsr: Lfsr, count: int, bits: int) -> NDArray[np.int64]:
    """Draws of a shift register: its highest bits, one step a draw.

    Parameters
    ----------
    lfsr : the register
    count : how many draws
    bits : of a draw

    Returns
    -------
    (count,) int64.

    Raises
    ------
    FormatError : for more bits than the register has

    Examples
    --------
    >>> lfsr_draws(Lfsr.maximal(4), 3, 2).tolist()
    [0, 1, 2]
    """
    if bits > lfsr.width:
        raise FormatError(f"lfsr: a {lfsr.width}-bit register has no {bits} bits to draw")
    out = np.empty(count, np.int64)
    taps = sum(1 << (tap - 1) for tap in lfsr.taps)
    casting.lfsr_range(0, count, out, lfsr.width, taps, lfsr.seed, bits)
    return out


def _first_outside(x: Codes, shift: int, to: Cast, draws: _Draws) -> int:
    """The first element that overflows, looked for as the specification says."""
    for i, code in enumerate(x.tolist()):
        drawn = draws.drawn(i, to.random_bits)
        rounded = specification.round_code(code, shift, to.rounding.name, drawn, to.random_bits)
        if not to.format.min_code <= rounded <= to.format.max_code:
            return i
    raise AssertionError("a kernel counted an overflow that the specification does not have")


def dynamic_format(largest: int, frac: int, bits: int, max_frac: int | None = None) -> FixedPoint:
    """The finest power-of-two scale at which codes fit a word: a leading-zero count.

    Parameters
    ----------
    largest : max|code|
    frac : fractional bits of these codes
    bits : of the word
    max_frac : of the result, at most

    Returns
    -------
    The format. A tensor that fits as it is keeps its scale, and is not rounded.

    Examples
    --------
    >>> dynamic_format(1000, 10, 8)
    FixedPoint(bits=8, frac=7, signed=True)
    """
    finest = frac - max(0, bit_length(largest) - (bits - 1))
    return FixedPoint(bits, finest if max_frac is None else min(finest, max_frac))


def quantise_tensor(
    tensor: FixedTensor, form: TensorFormat, key: int, operand: bool = True
) -> tuple[FixedTensor, OverflowStatistics]:
    """Cast to one word length and scale; as an operand with a one-tile map, if asked.

    An operand wider than 16 bits enters the multipliers with 16: those at the finest scale that
    holds the largest code, but none finer than `form.frac`, and within the form's range. Its map
    (what is stored and priced) says `form.bits`.

    Parameters
    ----------
    tensor : any shape
    form : word length, scale or none, and modes
    key : the stream of draws of STOCHASTIC
    operand : whether it enters the multipliers, and so has a map

    Returns
    -------
    The tensor, and how many codes dropped a bit and left the format.

    Examples
    --------
    >>> x = FixedTensor(np.array([[100, -7]]), FixedPoint(16, 4))
    >>> quantise_tensor(x, TensorFormat(4), key=0)[0].codes.tolist()
    [[6, 0]]
    """
    largest = peak(tensor.codes)
    if operand and form.bits > OPERAND_BITS:
        target = _executed(form, bit_length(largest) - tensor.format.frac)
    elif form.frac is None:
        target = dynamic_format(largest, tensor.format.frac, form.bits)
    else:
        target = FixedPoint(form.bits, form.frac)
    dtype = storage(target)
    result, overflows = cast(tensor, form.cast(target), key, dtype, largest=largest)
    if not operand:
        return result, overflows
    rows, columns = tensor.matrix().shape
    return FixedTensor.trusted(
        result.codes, target, BlockMap.whole(rows, columns, form.bits)
    ), overflows


def _executed(form: TensorFormat, octave: int) -> FixedPoint:
    """The 16 bits or fewer that an operand of more has in the multipliers; see quantise_tensor.

    octave : values are below 2**octave
    """
    if form.frac is None:
        return FixedPoint(OPERAND_BITS, OPERAND_BITS - 1 - octave)
    top = min(octave, form.bits - 1 - form.frac)
    frac = min(form.frac, OPERAND_BITS - 1 - top)
    return FixedPoint(min(form.bits - (form.frac - frac), OPERAND_BITS), frac)


def from_float(
    values: ArrayLike, to: Cast | FixedPoint, key: int = 0
) -> tuple[FixedTensor, OverflowStatistics]:
    """Finite floats to a format, rounded once from their exact values, in any mode.

    Parameters
    ----------
    values : any shape
    to : the format, and how values are rounded and limited; a format alone means nearest even,
        saturating
    key : the stream of draws of STOCHASTIC

    Returns
    -------
    The tensor, and how many values were rounded and left the format. A float counts as having more
    fractional bits than the format (to TRN_MAG that matters).

    Raises
    ------
    FormatError : for NaN and infinity, naming the element; for integers beyond 2**53, which are no
        floats; for what is no real number

    Examples
    --------
    >>> from_float([0.3, -9.0], FixedPoint(4, 2))[0].codes.tolist()
    [1, -8]
    """
    to, exact = Cast.to(to), _exact_floats(values)
    if not np.isfinite(exact).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(exact))[0])
        raise FormatError(f"from_float: values must be finite, not {exact[where]} at {list(where)}")
    guard_bits = to.random_bits if to.rounding is Rounding.STOCHASTIC else 1
    with np.errstate(over="ignore", under="ignore"):
        steps = np.ldexp(exact, to.format.frac + guard_bits)
    whole = np.floor(np.where((steps == 0) & (exact < 0), -0.5, steps))
    if np.abs(whole).max(initial=0) >= 2.0**FLOAT_BITS:
        return _from_float_in_python(exact, to, key)
    # One more bit says whether anything lies below: no mode asks for more ("sticky" bit).
    below = (steps != whole) | ((steps == 0) & (exact != 0))
    codes = np.asarray(2 * whole.astype(np.int64) + below)
    tensor = FixedTensor.trusted(codes, FixedPoint(63, to.format.frac + guard_bits + 1))
    return cast(tensor, to, key, storage(to.format))


def _exact_floats(values: ArrayLike) -> NDArray[np.float64]:
    """Numbers as float64; integers that are none are refused."""
    try:
        numbers = np.asarray(values)
        if numbers.dtype.kind not in "biufO" or (numbers.dtype.kind == "O" and None in numbers):
            raise TypeError
        exact = np.asarray(numbers, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise FormatError(
            "from_float: values must be real numbers within float64, in an array or lists of one"
            f" length, not {str(values)[:60]}"
        ) from None
    if numbers.dtype.kind in "iuO":
        for i, number in enumerate(numbers.reshape(-1).tolist()):
            if number != float(number):
                raise FormatError(
                    f"from_float: integers must be float64 exactly, as all up to 2**53 are, not"
                    f" {number} at {element(i, numbers.shape)}; FixedTensor takes codes"
                )
    return exact


def _from_float_in_python(
    exact: NDArray[np.float64], to: Cast, key: int
) -> tuple[FixedTensor, OverflowStatistics]:
    """Floats whose codes no machine word holds before they are limited, by the specification."""
    out = np.empty(exact.size, storage(to.format))
    codes = (_with_a_finer_bit(value, to.format.frac) for value in exact.reshape(-1).tolist())
    counts = _cast_in_python(codes, out, to, _Draws.of(to, key, None, exact.size))
    if to.overflow is Overflow.ERROR and counts[1]:
        raise FormatError(f"from_float: {counts[1]} of {exact.size} values do not fit {to.format}")
    return FixedTensor.trusted(out.reshape(exact.shape), to.format), OverflowStatistics(*counts)


def _with_a_finer_bit(value: float, frac: int) -> tuple[int, int]:
    """A float as code and places: it counts as having at least one bit more than the format."""
    code, denominator = value.as_integer_ratio()
    places = denominator.bit_length() - 1 - frac
    return code << max(1 - places, 0), max(places, 1)
