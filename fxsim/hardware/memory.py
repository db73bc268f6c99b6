"""Memory levels: what they hold, how wide their ports are, what a bit costs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from fxsim.hardware.dataflow import Loop, Operand
from fxsim.hardware.section import (
    AreaMm2,
    BitsPerCycle,
    EnergyPjPerBit,
    Positive,
    Section,
    Text,
    Unit,
    quantity,
)

OPERANDS: tuple[Operand, ...] = ("left", "right", "output")


def _unlimited(value: object) -> object:
    return None if value == "unlimited" else value


class MemoryLevel(Section):
    """A memory that holds operands of the product.

    capacity_bits : of all of it (`per_pe`: in each unit); None ("unlimited") off-chip
    bandwidth_bits_per_cycle : of its reads, and of its writes too unless these have
        `write_bandwidth_bits_per_cycle`, a port of their own
    double_buffered : half of it holds the tile in use, half is being filled meanwhile; else, where
        its transfers run beside the array's work, the array waits for what does not come between
        a word's last use and the next tile
    overlapped : whether its transfers run beside the array's work; as `double_buffered` says (and
        of the units' own always) unless it is given: ZigZag's memories may be full and overlap
    per_pe : each unit has one, of `capacity_bits`, `area_mm2` and `leakage_mw` (bandwidth is that
        of all of them together); else the array shares it
    shared_along : of per_pe: loops along which neighbouring units share one
    keeps_halo : where tiles follow one another along rows or columns of an image, the pixels that
        both need stay, as in a line buffer; else every tile is fetched whole (so always where
        `dataflow.tiles` is whole)
    multicast : a word that several units need is read once for all of them
    burst_bits : what one access moves at least; every run of neighbouring words takes whole ones
    """

    name: Text
    holds: Annotated[tuple[Operand, ...], Field(min_length=1)]
    capacity_bits: Annotated[
        Positive | None,
        BeforeValidator(_unlimited, json_schema_input_type=Positive | Literal["unlimited"]),
    ]
    bandwidth_bits_per_cycle: BitsPerCycle
    write_bandwidth_bits_per_cycle: Annotated[float | None, quantity(Unit.BITS_PER_CYCLE, gt=0)] = (
        None
    )
    read_energy_pj_per_bit: EnergyPjPerBit
    write_energy_pj_per_bit: EnergyPjPerBit
    double_buffered: bool = True
    overlapped: bool | None = None
    per_pe: bool = False
    shared_along: tuple[Loop, ...] = ()
    keeps_halo: bool = True
    multicast: bool = True
    burst_bits: Positive = 1
    leakage_mw: Annotated[float, quantity(Unit.MW, ge=0)] = 0.0
    area_mm2: AreaMm2 = 0.0

    @property
    def overlaps(self) -> bool:
        """Whether its transfers run beside the array's work."""
        return self.double_buffered or self.per_pe if self.overlapped is None else self.overlapped

    @property
    def usable_bits(self) -> int:
        """What a tile may occupy."""
        if self.capacity_bits is None:
            raise ValueError(f"{self.name} is unlimited")
        return self.capacity_bits // 2 if self.double_buffered else self.capacity_bits


class Packing(Section):
    """How words lie in memory.

    words : "dense"; "containers" of `container_bits` (0: dense), each word in whole ones, one at
        least;
        "power_of_two", the next of 1, 2, 4, 8, ... bits; "aligned_blocks", dense within a block
        whose end is aligned to `container_bits`
    """

    words: Literal["dense", "containers", "power_of_two", "aligned_blocks"] = "containers"
    container_bits: Annotated[int, Field(ge=0, le=512)] = 0

    def stored_bits(self, bits: int) -> int:
        """What one word takes, without what aligns its block."""
        if self.words == "power_of_two":
            return 1 << (bits - 1).bit_length() if bits > 0 else 0
        if self.words == "containers" and self.container_bits:
            return max(1, -(-bits // self.container_bits)) * self.container_bits
        return bits

    def block_bits(self, bits: int, elements: float) -> float:
        """What a block of so many words takes."""
        words = self.stored_bits(bits) * elements
        if self.words == "aligned_blocks" and self.container_bits:
            return -(-words // self.container_bits) * self.container_bits
        return words
