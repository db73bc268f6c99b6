"""Formats of operands: how the bits and the scale of a whole tensor are chosen.

One word length for all of it, or bits block by block, or the levels of a uniform quantiser.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fxsim.errors import FormatError
from fxsim.numerics.formats import MAX_DATA_BITS, Cast, FixedPoint, Overflow, Rounding

MAX_LEVEL_BITS = 12  # of uniform quantisers whose step is no power of two
BIT_COST_FRAC = 32  # of bit costs, which are shares of a whole training step


@dataclass(frozen=True, slots=True)
class TensorFormat:
    """One word length and one power-of-two scale for a whole tensor.

    Parameters
    ----------
    bits : word length, 2 to 32
    frac : fractional bits; None is dynamic scaling: the scale follows from the leading-zero count
        of max|x|, the finest one at which no code lies outside the word before rounding
    rounding, overflow : how codes are brought into the word. A dynamic scale holds all codes but
        those that rounding alone takes past the largest one: these saturate, whatever `overflow`
        says, for it is of static scales (SAT_SYM, which takes a code from each word, is of both)

    Raises
    ------
    FormatError : for a word length outside these limits

    Examples
    --------
    >>> TensorFormat(8).frac is None
    True
    """

    bits: int
    frac: int | None = None
    rounding: Rounding = Rounding.RND_CONV
    overflow: Overflow = Overflow.SAT

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= MAX_DATA_BITS:
            raise FormatError(f"TensorFormat: bits must be 2 to {MAX_DATA_BITS}, not {self.bits}")

    def cast(self, format: FixedPoint) -> Cast:
        """The cast to a format that the tensor's scale has been chosen for.

        Parameters
        ----------
        format : the word length, and the scale that was chosen

        Returns
        -------
        The cast, with this format's modes.

        Examples
        --------
        >>> TensorFormat(8, rounding=Rounding.TRN).cast(FixedPoint(8, 3)).rounding
        Rounding.TRN
        """
        dynamic = self.frac is None and self.overflow is not Overflow.SAT_SYM
        return Cast(format, self.rounding, Overflow.SAT if dynamic else self.overflow)


@dataclass(frozen=True, slots=True)
class BlockFormat:
    """Bits chosen block by block, each block with its own shared exponent.

    Each block takes the smallest candidate whose sensitivity (see
    `fxsim.engine.block_casts.quantise_blocks`) is at most `threshold / 2**16` of the tensor's mean
    block sensitivity, else the largest candidate.

    Parameters
    ----------
    rows, columns : the block, 1 to 64 on a side
    candidates : ascending word lengths; 0 skips a block
    threshold : 16 fractional bits
    window : octaves by which the finest scale lies below that of the tensor's largest value in the
        largest candidate, so that aligned codes have `max(candidates) + window` bits
    rounding : of codes
    skip_penalty : how many times the sensitivity of skipping a block counts

    Raises
    ------
    FormatError : for what is outside these limits

    Examples
    --------
    >>> BlockFormat(4, 4, (0, 4, 8), threshold=1 << 12).candidates
    (0, 4, 8)
    """

    most_threshold: ClassVar[int] = 1 << 20

    rows: int = 4
    columns: int = 4
    candidates: tuple[int, ...] = (0, 2, 4, 8)
    threshold: int = 0
    window: int = 0
    rounding: Rounding = Rounding.RND_CONV
    skip_penalty: int = 1

    def __post_init__(self) -> None:
        if not (1 <= self.rows <= 64 and 1 <= self.columns <= 64):
            raise FormatError(
                f"BlockFormat: a block must be 1 to 64 on a side, not {self.rows}x{self.columns}"
            )
        good = self.candidates and list(self.candidates) == sorted(set(self.candidates))
        if not good or self.candidates[0] < 0 or self.candidates[-1] < 2 or 1 in self.candidates:
            raise FormatError(
                "BlockFormat: candidates must be ascending bits, each 0 or at least 2, not all 0,"
                f" not {list(self.candidates)}"
            )
        if not self.window >= 0 or not 2 <= self.candidates[-1] + self.window <= 15:
            raise FormatError(
                f"BlockFormat: the largest candidate and the window must come to at most 15 bits,"
                f" not {self.candidates[-1]} + {self.window}"
            )
        if not 1 <= self.skip_penalty <= 16:
            raise FormatError(f"BlockFormat: skip_penalty must be 1 to 16, not {self.skip_penalty}")
        if not 0 <= self.threshold <= self.most_threshold:
            raise FormatError(
                f"{type(self).__name__}: threshold must be 0 to {self.most_threshold}, not"
                f" {self.threshold}"
            )


@dataclass(frozen=True, slots=True)
class CostAwareBlockFormat(BlockFormat):
    """Bits chosen block by block against what they cost.

    Each block takes the candidate of least sensitivity + `threshold / 2**16` * price * the
    tensor's mean block sensitivity. `threshold` may be up to 2**40.

    Parameters
    ----------
    fixed, by_row, by_column : prices of the candidates, 32 fractional bits: of the whole tensor at
        that candidate, as a share of a training step. Those by row (column) are weighted by how
        much the block's row (column) of blocks holds up those in lockstep with it.
    row_group, column_group : block rows (columns) that run in lockstep; 1: none waits
    work : what a candidate keeps a processing element busy, by which rows are compared
    rounds : how often weights are moved towards balance: times work / mean work of the group

    Raises
    ------
    FormatError : for prices that are not one a candidate, and for what `BlockFormat` refuses

    Examples
    --------
    >>> free = (0, 0, 0, 0)
    >>> CostAwareBlockFormat(
    ...     fixed=free, by_row=free, by_column=free, work=(0, 2, 4, 8), row_group=4
    ... ).row_group
    4
    """

    most_threshold: ClassVar[int] = 1 << 40

    fixed: tuple[int, ...] = ()
    by_row: tuple[int, ...] = ()
    by_column: tuple[int, ...] = ()
    row_group: int = 1
    column_group: int = 1
    work: tuple[int, ...] = ()
    rounds: int = 2

    def __post_init__(self) -> None:
        BlockFormat.__post_init__(self)
        for name in ("fixed", "by_row", "by_column", "work"):
            numbers = getattr(self, name)
            if len(numbers) != len(self.candidates) or min(numbers) < 0:
                raise FormatError(
                    f"CostAwareBlockFormat: {name} must be {len(self.candidates)} numbers of at"
                    f" least 0, one a candidate, not {list(numbers)}"
                )
        if min(self.row_group, self.column_group) < 1 or not 0 <= self.rounds <= 8:
            raise FormatError(
                "CostAwareBlockFormat: groups must be at least 1 and rounds 0 to 8, not"
                f" {self.row_group}, {self.column_group} and {self.rounds}"
            )


@dataclass(frozen=True, slots=True)
class TanhFormat:
    """DoReFa's weights, as scaled integers: see `fxsim.engine.quantisers.tanh_levels`.

    Parameters
    ----------
    bits : of the levels, 1 to 12
    unit : values span [-1, 1], as in the paper; else the tensor keeps its largest magnitude

    Raises
    ------
    FormatError : for more or fewer bits

    Examples
    --------
    >>> TanhFormat(4).unit
    False
    """

    bits: int
    unit: bool = False

    def __post_init__(self) -> None:
        check_levels("TanhFormat", self.bits)


@dataclass(frozen=True, slots=True)
class ClippedFormat:
    """PACT's activations, as scaled integers: 2**bits levels over [0, alpha].

    Parameters
    ----------
    bits : of the levels, 1 to 12
    alpha : the first value of the learned clipping level, 1 to 31 [units of the value]

    Raises
    ------
    FormatError : for what is outside these limits

    Examples
    --------
    >>> ClippedFormat(4).alpha
    10
    """

    bits: int
    alpha: int = 10

    def __post_init__(self) -> None:
        check_levels("ClippedFormat", self.bits)
        if not 1 <= self.alpha <= 31:
            raise FormatError(f"ClippedFormat: alpha must be 1 to 31, not {self.alpha}")


def check_levels(where: str, bits: int) -> None:
    """Refuse uniform levels of too few or too many bits.

    Parameters
    ----------
    where : what is checked, for the message
    bits : must be 1 to 12

    Raises
    ------
    FormatError : for another

    Examples
    --------
    >>> check_levels("TanhFormat", 4)
    """
    if not 1 <= bits <= MAX_LEVEL_BITS:
        raise FormatError(f"{where}: bits must be 1 to {MAX_LEVEL_BITS}, not {bits}")


OperandFormat = TensorFormat | BlockFormat | TanhFormat | ClippedFormat
