"""Block maps: how many bits each tile of a matrix has, and at which shared exponent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fxsim.display import Displayed
from fxsim.errors import FormatError


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class BlockMap(Displayed):
    """Bits and exponents of the tiles of one (rows, columns) matrix.

    Parameters
    ----------
    bits : (block rows, block columns) uint8, the word length of each tile; 0 is a skipped tile
    shifts : same shape, uint8; a tile's codes are worth `2**shift` steps of the tensor's grid
    rows, columns : the matrix, whose last tiles may be ragged
    block_rows, block_columns : the tile
    metadata_bits : what naming one tile's bits and exponent costs [bits]

    Raises
    ------
    FormatError : for arrays of another shape or type

    Examples
    --------
    >>> bits = np.array([[8, 4]], np.uint8)
    >>> blocks = BlockMap(bits, np.zeros_like(bits), 4, 6, 4, 4, 2)
    >>> blocks.elements_by_bits(), blocks.stored_bits()
    ({4: 8, 8: 16}, 164)
    """

    bits: NDArray[np.uint8]
    shifts: NDArray[np.uint8]
    rows: int
    columns: int
    block_rows: int
    block_columns: int
    metadata_bits: int

    def __post_init__(self) -> None:
        sizes = (self.rows, self.columns, self.block_rows, self.block_columns)
        if min(sizes) < 1:
            raise FormatError(
                "BlockMap: matrix and block must have at least one row and column, not"
                f" {self.rows} x {self.columns} in {self.block_rows} x {self.block_columns}"
            )
        for name in ("bits", "shifts"):
            array = getattr(self, name)
            if not isinstance(array, np.ndarray) or array.dtype != np.uint8:
                raise FormatError(f"BlockMap: {name} must be an array of uint8")
        grid = (-(-self.rows // self.block_rows), -(-self.columns // self.block_columns))
        if self.bits.shape != grid or self.shifts.shape != grid:
            raise FormatError(
                f"BlockMap: bits and shifts of a {self.rows} x {self.columns} matrix in"
                f" {self.block_rows} x {self.block_columns} blocks must be {grid}, not"
                f" {self.bits.shape} and {self.shifts.shape}"
            )
        for name in ("bits", "shifts"):
            view = getattr(self, name).view()
            view.flags.writeable = False
            object.__setattr__(self, name, view)

    @classmethod
    def whole(cls, rows: int, columns: int, bits: int) -> BlockMap:
        """The map of a tensor with one word length: a single tile, without metadata.

        Parameters
        ----------
        rows, columns : the matrix
        bits : of every element

        Returns
        -------
        The map.

        Examples
        --------
        >>> BlockMap.whole(3, 5, 8).stored_bits()
        120
        """
        one = np.full((1, 1), bits, np.uint8)
        return cls(one, np.zeros((1, 1), np.uint8), rows, columns, rows, columns, 0)

    @classmethod
    def shared_scale(
        cls,
        bits: NDArray[np.uint8],
        rows: int,
        columns: int,
        block_rows: int,
        block_columns: int,
        widest: int,
    ) -> BlockMap:
        """Tiles that keep the high bits of one word: n bits drop the low `widest` - n.

        A map names one of the word lengths that occur, for each tile.

        Parameters
        ----------
        bits : (block rows, block columns) uint8
        rows, columns : the matrix
        block_rows, block_columns : the tile
        widest : bits of the word

        Returns
        -------
        The map; its shifts follow from the bits.

        Examples
        --------
        >>> BlockMap.shared_scale(np.array([[8, 2]], np.uint8), 4, 8, 4, 4, 8).shifts.tolist()
        [[0, 6]]
        """
        levels = max(len(np.unique(bits)) - 1, 0).bit_length()
        shifts = np.where(bits > 0, widest - bits.astype(np.int64), 0).astype(np.uint8)
        return cls(bits, shifts, rows, columns, block_rows, block_columns, levels)

    @property
    def blocks(self) -> int:
        """How many tiles."""
        return int(self.bits.size)

    def tile_sizes(self) -> NDArray[np.int64]:
        """Elements in each tile, ragged edges counted as they are.

        Returns
        -------
        (block rows, block columns) int64.

        Examples
        --------
        >>> BlockMap.shared_scale(np.array([[8, 2]], np.uint8), 3, 6, 4, 4, 8).tile_sizes().tolist()
        [[12, 6]]
        """
        heights = np.diff(np.r_[0 : self.rows : self.block_rows, self.rows])
        widths = np.diff(np.r_[0 : self.columns : self.block_columns, self.columns])
        return np.outer(heights, widths).astype(np.int64)

    def elements_by_bits(self) -> dict[int, int]:
        """How many elements have each word length.

        Returns
        -------
        {bits: elements}, ascending.

        Examples
        --------
        >>> BlockMap.whole(2, 3, 4).elements_by_bits()
        {4: 6}
        """
        sizes = self.tile_sizes()
        return {int(level): int(sizes[self.bits == level].sum()) for level in np.unique(self.bits)}

    def stored_bits(self) -> int:
        """Bits of all words and their metadata, densely packed.

        Returns
        -------
        The sum [bits].

        Examples
        --------
        >>> BlockMap.whole(2, 3, 4).stored_bits()
        24
        """
        words = sum(bits * count for bits, count in self.elements_by_bits().items())
        return words + self.metadata_bits * self.blocks

    def expand(self) -> NDArray[np.uint8]:
        """The bits of every element.

        Returns
        -------
        (rows, columns) uint8.

        Examples
        --------
        >>> BlockMap.shared_scale(np.array([[8, 2]], np.uint8), 1, 3, 1, 2, 8).expand().tolist()
        [[8, 8, 2]]
        """
        tall = np.repeat(self.bits, self.block_rows, axis=0)[: self.rows]
        return np.repeat(tall, self.block_columns, axis=1)[:, : self.columns]
