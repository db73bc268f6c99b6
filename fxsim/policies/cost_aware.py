"""Block maps that minimise an accelerator's own cycles or energy. Ours, see the class."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from fxsim.identifiers import OPERAND_ROLES, Role
from fxsim.numerics.operand_formats import BlockFormat, CostAwareBlockFormat
from fxsim.policies.dynasty import Dynasty
from fxsim.training.policy import BitCostRequest, Decisions, State

PARTS = ("fixed", "by_row", "by_column")


class CostAware(Dynasty):
    """DYNASTY's sensitivities and budgets; the bits go where the accelerator gains the most.

    Ours; no paper. Where `Dynasty` compares a tile's sensitivity with one threshold, this weighs
    it against what the tile's bits cost on `accelerator`: tile b of layer l takes the candidate n
    of least s_b(n) / mean s(0) + mu_role * price_l(n).

    - price_l(n) is the share of a training step's cycles (or energy, `objective`) that the operand
      costs at n bits, as the cost model prices it (`fxsim.cost.bit_costs`): its mapping, traffic,
      packing and passes, the other operands at `reference_bits`. A layer that waits for memory
      saves only traffic; a machine with fixed multipliers saves nothing, and keeps its bits.
    - Lockstep: rows (columns) of tiles that run in lockstep pay by how far their work exceeds the
      group's mean, in `rounds` rounds; what is not on the critical path gets its bits back.
    - mu_role moves like Dynasty's lambda, under the same budgets, loss guard and warm-up.

    The prices are asked for before the first step and recorded with the run, once, so a replay
    needs no accelerator.
    """

    summary: ClassVar[str] = "bits per 4x4 tile by an accelerator's own prices, lockstep included"
    source: ClassVar[str] = "ours: a Lagrangian over DYNASTY's sensitivities and the cost model"

    accelerator: str = "dynasty"
    objective: Literal["cycles", "energy"] = "cycles"
    reference_bits: Annotated[int, Field(ge=2, le=8)] = 4
    rounds: Annotated[int, Field(ge=0, le=8)] = 2
    initial_lambda: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    most_lambda: ClassVar[float] = 1e6

    @property
    def name(self) -> str:
        return "cost_aware"

    @property
    def bit_cost_request(self) -> BitCostRequest:
        return BitCostRequest(
            self.accelerator,
            self.candidates,
            self.objective,
            self.reference_bits,
            (self.block_rows, self.block_columns),
        )

    def constants(self, state: State) -> Decisions:
        """The prices, groups and works."""
        decisions: Decisions = {}
        for name, parts in state.get("bit_costs", {}).items():
            for part in PARTS:
                for bits, price in zip(self.candidates, parts[part], strict=True):
                    decisions[f"{part}.{name}.{bits}"] = price
        for role in OPERAND_ROLES:
            rows, columns = state.get("groups", {}).get(role, (1, 1))
            decisions |= {f"row_group.{role}": rows, f"column_group.{role}": columns}
        for bits, work in zip(self.candidates, state.get("work", self.candidates), strict=True):
            decisions[f"work.{bits}"] = work
        return decisions

    def operand_format(self, decisions: Decisions, layer: str, role: Role) -> BlockFormat:
        def costs(part: str) -> tuple[int, ...]:
            return tuple(decisions.get(f"{part}.{role}.{layer}.{n}", 0) for n in self.candidates)

        parts: dict[str, Any] = {part: costs(part) for part in PARTS}
        return CostAwareBlockFormat(
            self.block_rows,
            self.block_columns,
            self.candidates,
            decisions[f"threshold.{role}"],
            self.exponent_window,
            self.operand_rounding(role),
            self.skip_penalty,
            **parts,
            row_group=decisions[f"row_group.{role}"],
            column_group=decisions[f"column_group.{role}"],
            work=tuple(decisions[f"work.{n}"] for n in self.candidates),
            rounds=self.rounds,
        )
