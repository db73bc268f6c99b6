"""Processing elements: the work of one product at (bits_a, bits_b).

A unit does `capacity` pieces of work in a cycle; a product of two words is `work(a, b)` pieces.
Words of 0 bits belong to skipped blocks: no work where the PE can skip, else that of its
narrowest words.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Text = Annotated[str, Field(min_length=1)]


class _Unit(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    tile: Annotated[int, Field(ge=1, le=16)] = 1
    skip_zero_blocks: bool = False
    energy_pj_per_unit_cycle: Annotated[float, Field(gt=0)]
    leakage_uw_per_unit: Annotated[float, Field(ge=0)]
    area_um2_per_unit: Annotated[float, Field(gt=0)]
    source: Text

    @property
    @abstractmethod
    def capacity(self) -> int:
        """Pieces of work a unit does in a cycle."""

    @abstractmethod
    def steps(self, bits: int) -> int:
        """How many narrow words one word is made of; a product's work is the product of these."""

    def work(self, bits_a: int, bits_b: int) -> int:
        """Pieces of work of one product."""
        if self.skip_zero_blocks and 0 in (bits_a, bits_b):
            return 0
        return self.steps(max(bits_a, 1)) * self.steps(max(bits_b, 1))


class BitParallel(_Unit):
    """A multiplier of one width: wider words take several passes, narrower ones waste it."""

    kind: Literal["bit_parallel"]
    width_bits: Annotated[int, Field(ge=2, le=32)]

    @property
    def capacity(self) -> int:
        return 1

    def steps(self, bits: int) -> int:
        return -(-bits // self.width_bits)


class Composable(_Unit):
    """Bricks that fuse to wider multipliers.

    A product of a and b bits takes ceil(a/brick) * ceil(b/brick) of a unit's bricks for a cycle.
    Source: Sharma et al., "Bit Fusion", ISCA 2018, arXiv 1712.01507 (16 bricks of 2x2 bits).
    """

    kind: Literal["composable"]
    brick_bits: Annotated[int, Field(ge=1, le=8)]
    bricks: Annotated[int, Field(ge=1, le=256)]

    @property
    def capacity(self) -> int:
        return self.bricks

    def steps(self, bits: int) -> int:
        return -(-bits // self.brick_bits)


PE = Annotated[BitParallel | Composable, Field(discriminator="kind")]
