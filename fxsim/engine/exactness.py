"""Which kernel may serve a dot product: the choice is made by a bound, never by a flag."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from fxsim.arithmetic.formats import Accumulator, Overflow
from fxsim.errors import FormatError

INT32_MAX = 2**31 - 1
INT64_MAX = 2**63 - 1


class Path(Enum):
    """How a GEMM is executed; all give the bits of the reference."""

    INT32 = "int32 sums in chunks of k"
    INT64 = "int64 sums"
    CERTIFIED = "int64 sums, rows that may leave the accumulator rerun step by step"


@dataclass(frozen=True, slots=True)
class Plan:
    """The path, its k-chunk (INT32 only), and whether results wrap once at the end."""

    path: Path
    chunk: int
    wrap_at_end: bool


def plan(depth: int, peak_a: int, peak_b: int, accumulator: Accumulator) -> Plan:
    """Choose the path of sums of `depth` products of codes with |a| <= peak_a, |b| <= peak_b.

    Proof. Every partial sum is at most depth * peak_a * peak_b in magnitude. Where that fits the
    accumulator, no step overflows, and any order and any wide enough register give the same sum.
    A wrapping accumulator is arithmetic modulo 2**bits: wrap once at the end. Otherwise a step
    may overflow, and the rows where it may are executed step by step (`certify`).
    """
    worst = depth * peak_a * peak_b
    if worst > INT64_MAX:
        raise FormatError(
            f"dot product: |codes| up to {peak_a} and {peak_b} over K={depth} need more than the"
            " engine's 64 bits; narrow an operand or split K"
        )
    fits = worst < 1 << (accumulator.bits - 1)
    if not fits and accumulator.overflow is not Overflow.WRAP:
        return Plan(Path.CERTIFIED, 0, False)
    chunk = INT32_MAX // max(peak_a * peak_b, 1)
    if chunk >= min(depth, 64):
        return Plan(Path.INT32, min(chunk, max(depth, 1)), not fits)
    return Plan(Path.INT64, 0, not fits)
