"""A matrix product as it is executed: its operands and plan, and where the result lies."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from fxsim.engine.dispatch import Plan
from fxsim.engine.epilogue import Epilogue, EpilogueArguments, epilogue_arguments
from fxsim.engine.geometry import Gather
from fxsim.engine.operand import Operand


@dataclass(frozen=True, slots=True, eq=False)
class Product:
    """a's rows, gathered from an image, (M, K), times b's rows (N, K): M x N sums of K products.

    epilogue : what becomes of a sum before it is stored; None stores the sums
    """

    a: Operand
    gather: Gather
    b: Operand
    plan: Plan
    epilogue: Epilogue | None

    @property
    def width(self) -> int:
        """N, the columns of the result."""
        return int(self.b.codes.shape[0])

    @property
    def work(self) -> int:
        """Multiply-accumulates a row."""
        return self.gather.depth * self.width

    def planned(self, plan: Plan) -> Product:
        """The same under another plan."""
        return replace(self, plan=plan)

    def arguments(self, place: Place) -> EpilogueArguments:
        """The epilogue of the result at a place, as the kernels take it."""
        return arguments(self.plan, self.epilogue, self.width, place.base)


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Where a product's result lies: out[:, column : column + N].

    base : number of out's first element in the whole result, for draws and counts
    """

    out: NDArray[Any]
    column: int = 0
    base: int = 0

    @property
    def stride(self) -> int:
        """Elements from a row of the result to the next."""
        return int(self.out.shape[1])

    @property
    def first(self) -> int:
        """Number of the result's first element."""
        return self.base + self.column


def arguments(
    plan: Plan, epilogue: Epilogue | None, width: int, base: int = 0
) -> EpilogueArguments:
    """The epilogue of `width` columns of a plan's sums, as the kernels take it."""
    return epilogue_arguments(epilogue, plan.register, plan.wraps, width, plan.bound, base)
