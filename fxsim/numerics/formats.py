"""Number formats: what a stored integer means, and how it is rounded and limited.

Names follow SystemC (IEEE 1666-2011, clause 7.10) where SystemC has the mode, ac_fixed for
`RND_CONV_ODD`; the others are APyTypes' (TRN_INF, TRN_AWAY, TRN_MAG, JAM_UNBIASED for our `JAM`,
JAM for our `JAM_ALWAYS`, and the overflow mode NUMERIC_STD).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from fractions import Fraction
from operator import index

from fxsim.display import Displayed
from fxsim.errors import FormatError

MAX_DATA_BITS = 32
MAX_ACCUMULATOR_BITS = 64
MAX_FRAC = 1000  # so that every value is a float64, too
MAX_PRODUCTS = 1 << 31  # of a tree or chunk


class Rounding(IntEnum):
    """What becomes of dropped low bits. The values are those that the kernels switch on.

    Examples
    --------
    >>> Rounding.RND_CONV, Rounding["TRN"]
    (Rounding.RND_CONV, Rounding.TRN)
    """

    RND = 0  # nearest, ties to +infinity
    RND_ZERO = 1  # nearest, ties to zero
    RND_MIN_INF = 2  # nearest, ties to -infinity
    RND_INF = 3  # nearest, ties away from zero
    RND_CONV = 4  # nearest, ties to even
    TRN = 5  # towards -infinity
    TRN_ZERO = 6  # towards zero
    RND_CONV_ODD = 7  # nearest, ties to odd
    JAM = 8  # towards -infinity, last kept bit OR-ed with "any lost bit"
    STOCHASTIC = 9  # up with the probability of the dropped fraction, quantised to the draw
    TRN_INF = 10  # towards +infinity
    TRN_AWAY = 11  # away from zero
    TRN_MAG = 12  # towards -infinity plus the sign bit, even where no 1 is dropped
    JAM_ALWAYS = 13  # towards -infinity, last kept bit set, even where nothing is lost

    def __repr__(self) -> str:
        return f"Rounding.{self.name}"


class Overflow(IntEnum):
    """What becomes of a value outside the format. The values are those of the kernels.

    Examples
    --------
    >>> Overflow.SAT, Overflow["WRAP"]
    (Overflow.SAT, Overflow.WRAP)
    """

    SAT = 0  # nearest representable value
    SAT_ZERO = 1  # zero
    SAT_SYM = 2  # nearest representable value, with -max instead of min
    WRAP = 3  # drop high bits; with saturated_bits n > 0 as SystemC's SC_WRAP, n
    WRAP_SM = 4  # sign-magnitude wrap, SystemC's SC_WRAP_SM, n (signed only)
    ERROR = 5  # raise FormatError
    NUMERIC_STD = 6  # keep the sign and the low bits - 1 bits (signed only; VHDL's resize)

    def __repr__(self) -> str:
        return f"Overflow.{self.name}"


def check_integers(where: str, **values: object) -> None:
    """Refuse what is no whole number.

    Parameters
    ----------
    where : what is checked, for the message
    **values : by name

    Raises
    ------
    FormatError : naming the value

    Examples
    --------
    >>> check_integers("word", bits=8)
    """
    for name, value in values.items():
        try:
            index(value)  # type: ignore[arg-type]
        except TypeError:
            raise FormatError(f"{where}: {name} must be a whole number, not {value!r}") from None


@dataclass(frozen=True, slots=True)
class FixedPoint(Displayed):
    """`value = code * 2**-frac`, with `bits` the word length, sign included.

    Parameters
    ----------
    bits : word length, 1 to 64 (accumulators use it, too); data words are limited to 32 bits where
        they are made
    frac : fractional bits; may be negative or exceed `bits`
    signed : two's complement, else from 0

    Raises
    ------
    FormatError : for what is no whole number, or outside these limits

    Examples
    --------
    >>> word = FixedPoint(8, 5)
    >>> word.min_code, word.max_code, word.step
    (-128, 127, Fraction(1, 32))
    """

    bits: int
    frac: int
    signed: bool = True

    def __post_init__(self) -> None:
        check_integers("FixedPoint", bits=self.bits, frac=self.frac)
        object.__setattr__(self, "bits", index(self.bits))  # NumPy's integers would overflow
        object.__setattr__(self, "frac", index(self.frac))
        if not 1 <= self.bits <= MAX_ACCUMULATOR_BITS:
            raise FormatError(
                f"FixedPoint: bits must be 1 to {MAX_ACCUMULATOR_BITS}, not {self.bits}"
            )
        if abs(self.frac) > MAX_FRAC:
            raise FormatError(
                f"FixedPoint: frac must be -{MAX_FRAC} to {MAX_FRAC}, not {self.frac}"
            )

    @property
    def min_code(self) -> int:
        """The smallest code."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def max_code(self) -> int:
        """The largest code."""
        return (1 << (self.bits - 1)) - 1 if self.signed else (1 << self.bits) - 1

    @property
    def step(self) -> Fraction:
        """The value of one unit in the last place, exactly."""
        return Fraction(1, 1 << self.frac) if self.frac >= 0 else Fraction(1 << -self.frac)


@dataclass(frozen=True, slots=True)
class Cast:
    """A format and how a value is brought into it.

    Parameters
    ----------
    format : the result's format
    rounding : what becomes of dropped low bits
    overflow : what becomes of values outside the format
    saturated_bits : n of SystemC's SC_WRAP and SC_WRAP_SM
    random_bits : bits of a draw of STOCHASTIC, 1 to 32

    Raises
    ------
    FormatError : for a mode that the format does not have

    Examples
    --------
    >>> Cast(FixedPoint(8, 4), overflow=Overflow.SAT_SYM).low
    -127
    """

    format: FixedPoint
    rounding: Rounding = Rounding.RND_CONV
    overflow: Overflow = Overflow.SAT
    saturated_bits: int = 0
    random_bits: int = 16

    def __post_init__(self) -> None:
        check_overflow("Cast", self.overflow, self.saturated_bits, self.format.signed)
        check_random_bits("Cast", self.random_bits)

    @classmethod
    def to(cls, target: Cast | FixedPoint) -> Cast:
        """A cast as it is, or the usual one to a format: nearest even, saturating.

        Parameters
        ----------
        target : a cast, or a format alone

        Returns
        -------
        A cast.

        Examples
        --------
        >>> Cast.to(FixedPoint(8, 4)).rounding
        Rounding.RND_CONV
        """
        return target if isinstance(target, Cast) else cls(target)

    @property
    def low(self) -> int:
        """The smallest code that saturation leaves."""
        symmetric = self.overflow is Overflow.SAT_SYM and self.format.signed
        return -self.format.max_code if symmetric else self.format.min_code

    @property
    def high(self) -> int:
        """The largest code that saturation leaves."""
        return self.format.max_code


@dataclass(frozen=True, slots=True)
class Accumulator:
    """The register that a dot product runs into, and the order of its additions.

    Parameters
    ----------
    bits, frac, signed : the register; `frac` None is that of the exact product
    overflow, saturated_bits : what every single addition does outside the register
    product : the word each product is cast to first; None keeps it exact
    product_rounding : how a product with more fractional bits than `frac` is aligned to it, before
        the addition
    sum_rounding : instead, add exactly and round the sum to `frac` (SystemC's `acc += a * b`)
    tree : so many products are summed exactly by an adder tree before one addition
    chunk : products of one partial sum, each begun at zero in the register `partial` (None: one
        like this) and then added to this register; 0 is one sum over all

    Raises
    ------
    FormatError : for a register, a mode or an order that there is not

    Examples
    --------
    >>> Accumulator(24, Overflow.SAT).register(12)
    FixedPoint(bits=24, frac=12, signed=True)

    Notes
    -----
    Sums run in k order: saturation and rounding do not commute.
    Source: `SAT` and `WRAP` are IEEE 1666-2011's casts after each addition. APyTypes 0.5.1 casts
    only products (its issue 857), so SystemC is the oracle here.
    """

    bits: int = 32
    overflow: Overflow = Overflow.ERROR
    frac: int | None = None
    signed: bool = True
    saturated_bits: int = 0
    product: Cast | None = None
    product_rounding: Rounding = Rounding.TRN
    sum_rounding: Rounding | None = None
    tree: int = 1
    chunk: int = 0
    partial: Accumulator | None = None

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= MAX_ACCUMULATOR_BITS:
            raise FormatError(
                f"Accumulator: bits must be 2 to {MAX_ACCUMULATOR_BITS}, not {self.bits}"
            )
        check_overflow("Accumulator", self.overflow, self.saturated_bits, self.signed)
        check_integers("Accumulator", bits=self.bits, tree=self.tree, chunk=self.chunk)
        if self.tree < 1 or self.chunk < 0 or self.chunk % self.tree:
            raise FormatError(
                f"Accumulator: tree must be at least 1 and chunk a multiple of it (or 0), not"
                f" tree {self.tree}, chunk {self.chunk}"
            )
        if max(self.tree, self.chunk) > MAX_PRODUCTS:
            raise FormatError(f"Accumulator: tree and chunk must be at most {MAX_PRODUCTS}")
        if self.sum_rounding is Rounding.STOCHASTIC:
            raise FormatError("Accumulator: sum_rounding cannot be STOCHASTIC; round the products")
        if self.partial is not None:
            self._check_partial(self.partial)

    def register(self, frac: int) -> FixedPoint:
        """The format of sums of products.

        Parameters
        ----------
        frac : fractional bits of an exact product

        Returns
        -------
        The register's format; its fraction is the accumulator's own, or that of the products.

        Examples
        --------
        >>> Accumulator(32, frac=4).register(10).frac
        4
        """
        return FixedPoint(self.bits, frac if self.frac is None else self.frac, self.signed)

    def addition(self, frac: int) -> Cast:
        """What becomes of a sum at each addition.

        Parameters
        ----------
        frac : fractional bits of an exact product

        Returns
        -------
        The cast into the register.

        Examples
        --------
        >>> Accumulator(16, Overflow.WRAP).addition(8).overflow
        Overflow.WRAP
        """
        rounding = Rounding.TRN if self.sum_rounding is None else self.sum_rounding
        return Cast(self.register(frac), rounding, self.overflow, self.saturated_bits)

    def _check_partial(self, partial: Accumulator) -> None:
        if not self.chunk:
            raise FormatError("Accumulator: partial needs a chunk")
        plain = Accumulator(partial.bits, partial.overflow, None, partial.signed)
        own = replace(partial, saturated_bits=0, frac=None, sum_rounding=None)
        same = partial.frac in (None, self.frac)
        rounds_alike = partial.sum_rounding in (None, self.sum_rounding)
        if own != plain or not same or not rounds_alike:
            raise FormatError(
                "Accumulator: partial has bits, overflow and signedness of its own; fraction,"
                " products and rounding are those of the whole"
            )


def check_key(where: str, key: int) -> None:
    """Refuse a key that names no stream of draws.

    Parameters
    ----------
    where : what is checked, for the message
    key : must be 0 to 2**64 - 1

    Raises
    ------
    FormatError : for another

    Examples
    --------
    >>> check_key("cast", 7)
    """
    if not 0 <= key < 1 << 64:
        raise FormatError(f"{where}: key must be 0 to 2**64 - 1, not {key}")


def check_random_bits(where: str, bits: int) -> None:
    """Refuse a draw of too few or too many bits.

    Parameters
    ----------
    where : what is checked, for the message
    bits : must be 1 to 32

    Raises
    ------
    FormatError : for another

    Examples
    --------
    >>> check_random_bits("cast", 16)
    """
    if not 1 <= bits <= 32:
        raise FormatError(f"{where}: random_bits must be 1 to 32, not {bits}")


def check_overflow(where: str, overflow: Overflow, saturated_bits: int, signed: bool) -> None:
    """Refuse a mode that its format does not have.

    Parameters
    ----------
    where : what is checked, for the message
    overflow : the mode
    saturated_bits : n of SystemC's SC_WRAP and SC_WRAP_SM
    signed : whether the format is

    Raises
    ------
    FormatError : for bits that the mode does not take, or a sign that the format has not

    Examples
    --------
    >>> check_overflow("cast", Overflow.WRAP, 2, signed=True)
    """
    wraps = overflow in (Overflow.WRAP, Overflow.WRAP_SM)
    if saturated_bits < 0 or (saturated_bits and not wraps):
        raise FormatError(
            f"{where}: saturated_bits must be 0 with {overflow.name}, not {saturated_bits}"
        )
    if overflow in (Overflow.WRAP_SM, Overflow.NUMERIC_STD) and not signed:
        raise FormatError(f"{where}: {overflow.name} keeps a sign, the format must be signed")
