"""Which kernel may serve a dot product: the choice is made by a bound, never by a flag."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from fxsim.engine.instruction_set import InstructionSet
from fxsim.engine.kernels import packed
from fxsim.errors import FormatError
from fxsim.numerics.formats import Accumulator, Overflow, Rounding

INT32_MAX = 2**31 - 1
INT64_MAX = 2**63 - 1
WORTHWHILE = 64  # products that an int32 chunk must hold before a wider sum would be faster
DIGIT = 128  # bound on |low byte| and |high byte| of an int16 code cut in two


class Kernel(Enum):
    """How sums are executed; all give the bits of the reference."""

    AMX_S8 = packed.AMX_S8
    VNNI_S8 = packed.VNNI_S8
    VNNI_S16 = packed.VNNI_S16
    HALF_UP = packed.HALF_UP
    TRUNCATED = packed.TRUNCATED
    AVX2_S16 = packed.AVX2_S16
    INT32 = "plain int32 sums in chunks of k"
    INT64 = "plain int64 sums"
    SEQUENTIAL = "addition by addition"

    @property
    def is_packed(self) -> bool:
        """Whether it runs on dot-product instructions, on packed operands."""
        return isinstance(self.value, int)

    @property
    def drops_nothing(self) -> bool:
        """Whether products enter the sum as they are."""
        return self not in (Kernel.HALF_UP, Kernel.TRUNCATED, Kernel.SEQUENTIAL)

    @property
    def sums_exactly(self) -> bool:
        """Whether it is packed and rounds no product."""
        return self.is_packed and self.drops_nothing

    @property
    def code_bytes(self) -> int:
        """Bytes of an operand's code as a packed kernel takes it."""
        return 1 if self in (Kernel.AMX_S8, Kernel.VNNI_S8) else 2


@dataclass(frozen=True, slots=True)
class Plan:
    """A kernel and what makes it exact.

    chunk : products whose sum is proven to fit int32 (0: sums are int64)
    digits : 2 if b's int16 codes are cut into two bytes, each summed apart
    wraps : results wrap once at the end
    certify : rows that may leave the register are executed addition by addition
    """

    kernel: Kernel
    chunk: int = 0
    digits: int = 1
    wraps: bool = False
    certify: bool = False


def plan(
    depth: int,
    peak_a: int,
    peak_b: int,
    accumulator: Accumulator,
    instruction_set: InstructionSet,
    finer: int = 0,
) -> Plan:
    """Choose the path of sums of `depth` products of codes with |a| <= peak_a, |b| <= peak_b.

    finer : fractional bits that a product has beyond the accumulator's

    Proof. Every partial sum is at most depth * peak_a * peak_b in magnitude, whatever the order.
    Where that fits the register, no step overflows, and any wide enough sum is the same. A
    wrapping register is arithmetic modulo 2**bits: wrap once at the end. Otherwise a step may
    overflow, and the rows where it may are executed addition by addition. Products that are cast
    or rounded one by one are executed so as well, unless one instruction does exactly that.
    """
    if accumulator.product is not None or finer:
        return _rounded(depth, peak_a, peak_b, accumulator, instruction_set, finer)
    worst = depth * peak_a * peak_b
    modular = _is_modular(accumulator)
    if worst > INT64_MAX and not modular:
        raise FormatError(
            f"dot product: |codes| up to {peak_a} and {peak_b} over K={depth} need more than the"
            " engine's 64 bits; narrow an operand or split K"
        )
    fits = worst <= largest_safe(accumulator)
    certify = not fits and not modular
    return _wide(
        depth, peak_a, peak_b, instruction_set, wraps=modular and not fits, certify=certify
    )


def largest_safe(accumulator: Accumulator) -> int:
    """The largest |partial sum| at which no addition can overflow."""
    if not accumulator.signed or (accumulator.partial and not accumulator.partial.signed):
        return 0
    bits = min(accumulator.bits, accumulator.partial.bits if accumulator.partial else 64)
    return (1 << (bits - 1)) - 1


def _is_modular(accumulator: Accumulator) -> bool:
    registers = (accumulator, accumulator.partial or accumulator)
    return all(
        r.overflow is Overflow.WRAP
        and not r.saturated_bits
        and r.signed
        and r.bits >= accumulator.bits
        for r in registers
    )


def _wide(
    depth: int,
    peak_a: int,
    peak_b: int,
    instruction_set: InstructionSet,
    wraps: bool,
    certify: bool,
) -> Plan:
    largest = max(peak_a, peak_b)
    chunk = INT32_MAX // max(peak_a * peak_b, 1)
    if largest <= 128 and instruction_set in (InstructionSet.AMX, InstructionSet.VNNI):
        kernel = Kernel.AMX_S8 if instruction_set is InstructionSet.AMX else Kernel.VNNI_S8
        return Plan(kernel, chunk, 1, wraps, certify)
    enough = chunk >= min(depth, WORTHWHILE)
    if largest <= 1 << 15 and instruction_set is not InstructionSet.PORTABLE:
        kernel = Kernel.AVX2_S16 if instruction_set is InstructionSet.AVX2 else Kernel.VNNI_S16
        if enough:
            return Plan(kernel, chunk, 1, wraps, certify)
        return Plan(kernel, INT32_MAX // (peak_a * DIGIT), 2, wraps, certify)
    if largest <= 1 << 15 and enough:
        return Plan(Kernel.INT32, min(chunk, max(depth, 1)), 1, wraps, certify)
    return Plan(Kernel.INT64, 0, 1, wraps, certify)


def _rounded(
    depth: int,
    peak_a: int,
    peak_b: int,
    accumulator: Accumulator,
    instruction_set: InstructionSet,
    finer: int,
) -> Plan:
    """VPMULHRSW and VPMULHW round int8 products half up and down; nothing may overflow."""
    instructions = {Rounding.RND: Kernel.HALF_UP, Rounding.TRN: Kernel.TRUNCATED}
    kernel = instructions.get(accumulator.product_rounding)
    worst = depth * ((peak_a * peak_b >> finer) + 1) if finer > 0 else INT64_MAX
    direct = (
        kernel is not None
        and accumulator.product is None
        and accumulator.sum_rounding is None
        and max(peak_a, peak_b) <= 128
        and finer <= 15
        and instruction_set in (InstructionSet.AMX, InstructionSet.VNNI)
        and worst <= INT32_MAX
    )
    fits = worst <= largest_safe(accumulator)
    if kernel is not None and direct and (fits or _is_modular(accumulator)):
        return Plan(kernel, max(depth, 1), 1, wraps=not fits)
    return Plan(Kernel.SEQUENTIAL)
