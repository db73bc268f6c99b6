"""What the words of a tensor are like: bit lengths, essential bits, and where they lie.

Units whose time follows the data are priced with these counts; the trace keeps them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
LENGTHS = 33  # bit lengths from 0 to 32


@dataclass(frozen=True, slots=True, eq=False)
class WordStatistics:
    """What an operand's words are like, as counts of words.

    top_bits : by bit length of the magnitude (a sign, where there is one, is added by `signed`)
    ones, booth : by how many ones, and how many digits of the canonical signed-digit form
    positions, booth_positions : words that have a one (a digit) at each bit
    """

    words: int
    signed: bool
    top_bits: Counts
    ones: Counts
    booth: Counts
    positions: Counts
    booth_positions: Counts

    @classmethod
    def of(cls, codes: NDArray[np.integer]) -> WordStatistics:
        """Counted from an operand's codes."""
        flat = codes.reshape(-1)
        low = int(flat.min(initial=0))
        if flat.itemsize <= 2:  # by value: there are few
            counts = np.bincount(flat.astype(np.int64) - low)
            values = np.arange(low, low + len(counts), dtype=np.int64)
        else:
            values, counts = np.unique(flat.astype(np.int64), return_counts=True)
        size = np.abs(values)
        turned = np.where(values < 0, ~values, values)  # the bits beside the sign
        naf = size ^ (3 * size)  # the non-adjacent form's digits stand where these bits do, up by 1
        bits = np.arange(LENGTHS - 1)

        def by(measure: Counts) -> Counts:
            return np.bincount(measure, counts, LENGTHS).astype(np.int64)

        return cls(
            int(flat.size),
            low < 0,
            by(np.ceil(np.log2(turned + 1.0)).astype(np.int64)),
            by(np.bitwise_count(size).astype(np.int64)),
            by(np.bitwise_count(naf).astype(np.int64)),
            ((size[:, None] >> bits & 1) * counts[:, None]).sum(axis=0),
            ((naf[:, None] >> bits + 1 & 1) * counts[:, None]).sum(axis=0),
        )
