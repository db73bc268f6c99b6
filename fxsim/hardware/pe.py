"""Processing elements: cycles, energy and area of one product at (bits_a, bits_b).

A unit does `sub_operations_per_cycle` in a cycle (passes, brick products, bit steps); a product of
two words takes `sub_operations(a, b)` of them, and a step of the unit (`products_per_step`: its
lanes, and its tile of `tile`^3) takes `step_cycles(a, b)` cycles. Words of 0 bits belong to skipped
blocks: no work where the PE can skip, else that of its narrowest words. Energy and area of a unit
include its accumulators.

Kinds whose time follows the data itself, not its word length, name the `statistic` of each operand
that the trace must hold; `sub_operations` is then an upper bound, at the word length.
"""

from __future__ import annotations

from abc import abstractmethod
from math import prod
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from fxsim.hardware.dataflow import Loop, Operand
from fxsim.hardware.section import Section, Unit, quantity
from fxsim.hardware.step_cycles import (
    Steps,
    UnitGroup,
    distinct_positions,
    in_bit_cycles,
    longest_word,
    term_products,
)
from fxsim.numerics.word_statistics import WordStatistics

Count = Annotated[int, Field(ge=1)]
Width = Annotated[int, Field(ge=1, le=32)]
Statistic = Literal["top_bit", "ones", "booth"]


class ProcessingElement(Section):
    """What every kind has.

    lanes : products that a unit does side by side, by loop
    tile : a unit works on blocks, tile x tile by tile x tile words at a time
    skip_zero_blocks : blocks of 0 bits take no time
    skip_zero_words : operands whose zero words take no time (the trace's share of zeros; perfectly
        compacted, which is an assumption)
    max_bits : the widest operand that it takes
    idle_energy : what a unit without work draws, as a share of one at work
    """

    describes: ClassVar[str]  # the kind in a line, for drawings

    lanes: Annotated[dict[Loop, Count], Field(default_factory=dict)]
    tile: Annotated[int, Field(ge=1, le=16)] = 1
    skip_zero_blocks: bool = False
    skip_zero_words: frozenset[Literal["left", "right"]] = frozenset()
    max_bits: Width = 32
    energy_pj_per_unit_cycle: Annotated[float, quantity(Unit.PJ_PER_UNIT_CYCLE, gt=0)]
    idle_energy: Annotated[float, Field(ge=0, le=1)] = 0.0
    leakage_uw_per_unit: Annotated[float, quantity(Unit.UW_PER_UNIT, ge=0)]
    area_um2_per_unit: Annotated[float, quantity(Unit.UM2_PER_UNIT, gt=0)]

    @property
    def products_per_step(self) -> int:
        """Products of one step."""
        return self.tile**3 * prod(self.lanes.values())

    @property
    def sub_operations_per_cycle(self) -> int:
        """Sub-operations that a unit does in a cycle."""
        return prod(self.lanes.values())

    @abstractmethod
    def unskipped_sub_operations(self, bits_a: int, bits_b: int) -> int:
        """Sub-operations of one product of words that are not skipped."""

    def sub_operations(self, bits_a: int, bits_b: int) -> int:
        """Sub-operations of one product."""
        if self.skip_zero_blocks and 0 in (bits_a, bits_b):
            return 0
        return self.unskipped_sub_operations(max(bits_a, 1), max(bits_b, 1))

    def step_cycles(self, bits_a: int, bits_b: int) -> int:
        """Cycles of one step."""
        return -(
            -self.products_per_step
            * self.sub_operations(bits_a, bits_b)
            // self.sub_operations_per_cycle
        )

    def energy_pj(self, bits_a: int, bits_b: int) -> float:
        """Energy of one product, its accumulation included [pJ]."""
        return (
            self.sub_operations(bits_a, bits_b)
            / self.sub_operations_per_cycle
            * self.energy_pj_per_unit_cycle
        )

    def statistic(self, operand: Operand) -> Statistic | None:
        """What of an operand's words decides the time beyond their length."""
        return None

    def step_distribution(
        self,
        left: WordStatistics | None,
        right: WordStatistics | None,
        bits: tuple[int, int],
        group: UnitGroup,
    ) -> Steps:
        """How long a step of a group of units takes.

        Parameters
        ----------
        left, right : what the operands' words were like, where `statistic` asks for it
        bits : their word lengths
        group : the units that step together
        """
        return Steps.always(float(self.step_cycles(*bits)))

    @property
    def word_bits(self) -> int | None:
        """The one word length of every operand, None where it is that of the data."""
        return None

    def packed(self, bits_a: int, bits_b: int) -> dict[str, int]:
        """Further products that narrow words make room for, by loop."""
        return {}

    def modes(self, bits_a: int, bits_b: int) -> list[tuple[int, int]]:
        """Pairs of word lengths as which a product may be run: its own, then wider ones."""
        return [(bits_a, bits_b)]


class BitParallel(ProcessingElement):
    """A multiplier of one width: wider words take several passes, narrower ones waste it.

    width_bits : of both operands, or of the left one where `right_width_bits` is given
    passes : "product", a pass for each pair of parts (multipliers); "widest", for the parts of the
        wider operand rounded up to a power of two (vector instructions, whose lanes halve)
    """

    describes: ClassVar[str] = (
        "multipliers of one width: wider words take passes, narrower ones waste it"
    )

    kind: Literal["bit_parallel"]
    width_bits: Width
    right_width_bits: Width | None = None
    passes: Literal["product", "widest"] = "product"

    def unskipped_sub_operations(self, bits_a: int, bits_b: int) -> int:
        if self.passes == "widest":
            return 1 << (-(-max(bits_a, bits_b) // self.width_bits) - 1).bit_length()
        return -(-bits_a // self.width_bits) * -(
            -bits_b // (self.right_width_bits or self.width_bits)
        )


class Composable(ProcessingElement):
    """Bricks that fuse to wider multipliers.

    A product of a and b bits takes ceil(a/brick) * ceil(b/brick) of a unit's bricks for a cycle.
    packs : the loop along which a unit does several narrow products at once, where it has no tile
    narrow_words : "cheapest", they run as wider ones, fewer at once, where that costs less (few
        channels would be padded to the many that narrow words take); "narrowest", never
    Source: Sharma et al., "Bit Fusion", ISCA 2018, arXiv 1712.01507 (16 bricks of 2x2 bits).
    """

    describes: ClassVar[str] = "bricks that fuse: fewer bits, more products at once"

    kind: Literal["composable"]
    brick_bits: Annotated[int, Field(ge=1, le=8)]
    bricks: Annotated[int, Field(ge=1, le=256)]
    packs: Loop | None = None
    narrow_words: Literal["cheapest", "narrowest"] = "cheapest"

    @property
    def sub_operations_per_cycle(self) -> int:
        return self.bricks * prod(self.lanes.values())

    def unskipped_sub_operations(self, bits_a: int, bits_b: int) -> int:
        return -(-bits_a // self.brick_bits) * -(-bits_b // self.brick_bits)

    def packed(self, bits_a: int, bits_b: int) -> dict[str, int]:
        if self.packs is None:
            return {}
        return {
            self.packs: max(
                self.bricks // self.unskipped_sub_operations(max(bits_a, 1), max(bits_b, 1)), 1
            )
        }

    def modes(self, bits_a: int, bits_b: int) -> list[tuple[int, int]]:
        modes = [(bits_a, bits_b)]
        if self.packs is None or self.narrow_words == "narrowest":
            return modes
        while self.packed(*modes[-1])[self.packs] > 1:
            a, b = (-(-max(bits, 1) // self.brick_bits) for bits in modes[-1])
            a, b = (2 * a, b) if a <= b else (a, 2 * b)
            if a * b > self.bricks:
                break
            modes.append((a * self.brick_bits, b * self.brick_bits))
        return modes


class Serial(ProcessingElement):
    """One operand comes bit by bit, the other whole: a product takes as many cycles as that has.

    adaptive : time follows the longest word (top bit) of the values that run in lockstep, not the
        tensor's word length (ShapeShifter)
    Source: Judd et al., "Stripes", MICRO 2016; Delmas et al., "ShapeShifter", MICRO 2019; cycles
    as in their simulator, DNNsim.
    """

    describes: ClassVar[str] = "one operand bit by bit: fewer of its bits, fewer cycles"

    kind: Literal["serial"]
    serial_operand: Literal["left", "right"] = "left"
    bits_per_cycle: Width = 1
    parallel_bits: Width = 16
    adaptive: bool = False

    def unskipped_sub_operations(self, bits_a: int, bits_b: int) -> int:
        serial, whole = (bits_a, bits_b) if self.serial_operand == "left" else (bits_b, bits_a)
        return -(-serial // self.bits_per_cycle) * -(-whole // self.parallel_bits)

    def statistic(self, operand: Operand) -> Statistic | None:
        return "top_bit" if self.adaptive and operand == self.serial_operand else None

    def step_distribution(
        self,
        left: WordStatistics | None,
        right: WordStatistics | None,
        bits: tuple[int, int],
        group: UnitGroup,
    ) -> Steps:
        """The longest serial word, once for each pass over the whole one."""
        if self.serial_operand == "left":
            words, count, empty, whole = left, group.windows * group.lanes, group.empty, bits[1]
        else:
            words, count, empty, whole = right, group.filters * group.lanes, False, bits[0]
        assert words is not None
        passes = Steps.always(-(-whole // self.parallel_bits))
        return in_bit_cycles(longest_word(words, count, empty).times(passes), self.bits_per_cycle)


class SerialSerial(ProcessingElement):
    """Both operands come bit by bit: a product takes a * b cycles of one-bit products.

    adaptive : the operands whose time follows the longest word of the values that run in lockstep
    Source: Sharify et al., "Loom", DAC 2018, arXiv 1706.07853; cycles as in DNNsim.
    """

    describes: ClassVar[str] = "both operands bit by bit"

    kind: Literal["serial_serial"]
    bits_per_cycle: Width = 1
    adaptive: frozenset[Literal["left", "right"]] = frozenset({"left"})

    def unskipped_sub_operations(self, bits_a: int, bits_b: int) -> int:
        return -(-bits_a // self.bits_per_cycle) * bits_b

    def statistic(self, operand: Operand) -> Statistic | None:
        return "top_bit" if operand in self.adaptive else None

    def step_distribution(
        self,
        left: WordStatistics | None,
        right: WordStatistics | None,
        bits: tuple[int, int],
        group: UnitGroup,
    ) -> Steps:
        """The product of both lengths: the longest words where adaptive, else the tensor's."""
        steps = Steps.always(1.0)
        for words, operand, count, length in (
            (left, "left", group.windows * group.lanes, bits[0]),
            (right, "right", group.filters * group.lanes, bits[1]),
        ):
            if operand in self.adaptive:
                assert words is not None
                empty = group.empty and operand == "left"
                steps = steps.times(longest_word(words, count, empty))
            else:
                steps = steps.times(Steps.always(max(length, 1)))
        return in_bit_cycles(steps, self.bits_per_cycle)


class TermSerial(ProcessingElement):
    """Only essential bits take time: the ones of a word's magnitude, or its Booth digits.

    operands : ["left"], all lanes of a column at the same bit position (Bit-Pragmatic, single
        stage); ["left", "right"], terms of one times terms of the other (Laconic)
    Source: Albericio et al., "Bit-Pragmatic", MICRO 2017; Sharify et al., "Laconic",
    arXiv 1805.04513; cycles as in DNNsim.
    """

    describes: ClassVar[str] = "only the bits that are one take time: the data decides"

    kind: Literal["term_serial"]
    operands: tuple[Literal["left"]] | tuple[Literal["left"], Literal["right"]] = ("left",)
    booth: bool = False
    parallel_bits: Width = 16

    def _terms(self, bits: int) -> int:
        return bits // 2 + 1 if self.booth else max(bits - 1, 1)

    def unskipped_sub_operations(self, bits_a: int, bits_b: int) -> int:
        if len(self.operands) == 2:
            return self._terms(bits_a) * self._terms(bits_b)
        return self._terms(bits_a) * -(-bits_b // self.parallel_bits)

    def statistic(self, operand: Operand) -> Statistic | None:
        if operand not in self.operands:
            return None
        return "booth" if self.booth else "ones"

    def step_distribution(
        self,
        left: WordStatistics | None,
        right: WordStatistics | None,
        bits: tuple[int, int],
        group: UnitGroup,
    ) -> Steps:
        """The most terms of a product, or bit positions of a window, in the group."""
        if group.empty:
            return Steps.always(1.0)
        assert left is not None
        if len(self.operands) == 2:
            assert right is not None
            return term_products(left, right, group, self.booth)
        passes = Steps.always(-(-bits[1] // self.parallel_bits))
        return distinct_positions(left, group.lanes, group.windows, self.booth).times(passes)


FLOAT_BITS = {"fp32": 32, "bf16": 16, "fp16": 16, "fp8": 8}


class FloatingPoint(ProcessingElement):
    """A floating-point multiply-accumulate unit; every operand has the format's word length."""

    describes: ClassVar[str] = "floating-point units: every word in their format"

    kind: Literal["floating_point"]
    format: Literal["fp32", "bf16", "fp16", "fp8"]

    def unskipped_sub_operations(self, bits_a: int, bits_b: int) -> int:
        return 1

    @property
    def word_bits(self) -> int | None:
        return FLOAT_BITS[self.format]


PE = Annotated[
    BitParallel | Composable | Serial | SerialSerial | TermSerial | FloatingPoint,
    Field(discriminator="kind"),
]
