"""Which kernel may serve a dot product: the choice is made by a bound, never by a flag."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from fxsim.engine import instruction_set
from fxsim.engine.instruction_set import InstructionSet
from fxsim.engine.kernels import packed
from fxsim.engine.operand import Operand
from fxsim.errors import FormatError
from fxsim.numerics.formats import Accumulator, FixedPoint, Overflow, Rounding

INT32_MAX = 2**31 - 1
INT64_MAX = 2**63 - 1
WORTHWHILE = 64  # products that an int32 chunk must hold before a wider sum would be faster
DIGIT = 128  # bound on |low byte| and |high byte| of an int16 code cut in two


class Kernel(Enum):
    """How sums are executed; all give the bits of the specification."""

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
    """How sums of products are executed, and what makes that exact; made once, and carried.

    accumulator : that the sums obey
    register : its format, with the fraction of these products
    product_frac : fractional bits of an exact product
    exact_bound : on the magnitude of any sum, were the register unlimited
    kernel : see `Kernel`
    chunk : products whose sum is proven to fit int32 (0: sums are int64)
    digits : 2 if b's int16 codes are cut into two bytes, each summed apart
    wraps : results wrap once at the end
    certify : rows that may leave the register are executed addition by addition
    """

    accumulator: Accumulator
    register: FixedPoint
    product_frac: int
    exact_bound: int
    kernel: Kernel
    chunk: int = 0
    digits: int = 1
    wraps: bool = False
    certify: bool = False

    @property
    def excess_frac(self) -> int:
        """Fractional bits that a product has beyond the register's (negative: lacks)."""
        return self.product_frac - self.register.frac

    @property
    def bound(self) -> int:
        """A bound on the magnitude of finished sums."""
        limited = self.wraps or self.certify or self.kernel is Kernel.SEQUENTIAL
        return 1 << self.accumulator.bits if limited else self.exact_bound

    def certified(self) -> Plan:
        """The same where no row can leave the register."""
        return replace(self, certify=False)

    def sequential(self) -> Plan:
        """The same sums, addition by addition."""
        return replace(self, kernel=Kernel.SEQUENTIAL, chunk=0, wraps=False, certify=False)


def plan(
    a: Operand,
    b: Operand,
    depth: int,
    accumulator: Accumulator,
    instructions: InstructionSet | None = None,
) -> Plan:
    """Choose how this machine executes sums of `depth` products of codes of a and b.

    Parameters
    ----------
    a, b : the operands; their `peak` bounds every code's magnitude
    depth : products of a sum
    accumulator : that the sums obey
    instructions : to run on; None: those in use

    Raises
    ------
    FormatError : if a sum may need more than the engine's 64 bits

    Notes
    -----
    Proof. Every partial sum is at most depth * peak_a * peak_b in magnitude, whatever the order.
    Where that fits the register, no step overflows, and any wide enough sum is the same. A
    wrapping register is arithmetic modulo 2**bits: wrap once at the end. Otherwise a step may
    overflow, and the rows where it may are executed addition by addition. Products that are cast
    or rounded one by one are executed so as well, unless one instruction does exactly that.
    """
    instructions = instructions or instruction_set.chosen()
    product_frac = a.frac + b.frac
    register = accumulator.register(product_frac)
    dropped = max(product_frac - register.frac, 0)
    bound = depth * ((a.peak * b.peak >> dropped) + (dropped > 0))
    slow = Plan(accumulator, register, product_frac, bound, Kernel.SEQUENTIAL)
    if accumulator.product is not None or slow.excess_frac:
        return _rounded(slow, a, b, depth, instructions)
    worst = depth * a.peak * b.peak
    modular = _is_modular(accumulator)
    if worst > INT64_MAX and not modular:
        raise FormatError(
            f"dot product: |codes| up to {a.peak} and {b.peak} over K={depth} need more than the"
            " engine's 64 bits; narrow an operand or split K"
        )
    fits = worst <= largest_safe(accumulator)
    wide = replace(slow, wraps=modular and not fits, certify=not fits and not modular)
    return _wide(wide, a, b, depth, instructions)


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


def _wide(chosen: Plan, a: Operand, b: Operand, depth: int, instructions: InstructionSet) -> Plan:
    """The plan with the fastest kernel whose chunks are proven to fit."""
    largest = max(a.peak, b.peak)
    chunk = INT32_MAX // max(a.peak * b.peak, 1)
    if largest <= 128 and instructions in (InstructionSet.AMX, InstructionSet.VNNI):
        kernel = Kernel.AMX_S8 if instructions is InstructionSet.AMX else Kernel.VNNI_S8
        return replace(chosen, kernel=kernel, chunk=chunk)
    enough = chunk >= min(depth, WORTHWHILE)
    if largest <= 1 << 15 and instructions is not InstructionSet.PORTABLE:
        kernel = Kernel.AVX2_S16 if instructions is InstructionSet.AVX2 else Kernel.VNNI_S16
        if enough:
            return replace(chosen, kernel=kernel, chunk=chunk)
        return replace(chosen, kernel=kernel, chunk=INT32_MAX // (a.peak * DIGIT), digits=2)
    if largest <= 1 << 15 and enough:
        return replace(chosen, kernel=Kernel.INT32, chunk=min(chunk, max(depth, 1)))
    return replace(chosen, kernel=Kernel.INT64)


def _rounded(slow: Plan, a: Operand, b: Operand, depth: int, instructions: InstructionSet) -> Plan:
    """VPMULHRSW and VPMULHW round int8 products half up and down; nothing may overflow."""
    accumulator, excess = slow.accumulator, slow.excess_frac
    kernels = {Rounding.RND: Kernel.HALF_UP, Rounding.TRN: Kernel.TRUNCATED}
    kernel = kernels.get(accumulator.product_rounding)
    worst = depth * ((a.peak * b.peak >> excess) + 1) if excess > 0 else INT64_MAX
    direct = (
        kernel is not None
        and accumulator.product is None
        and accumulator.sum_rounding is None
        and max(a.peak, b.peak) <= 128
        and excess <= 15
        and instructions in (InstructionSet.AMX, InstructionSet.VNNI)
        and worst <= INT32_MAX
    )
    fits = worst <= largest_safe(accumulator)
    if kernel is not None and direct and (fits or _is_modular(accumulator)):
        return replace(slow, kernel=kernel, chunk=max(depth, 1), wraps=not fits)
    return slow
