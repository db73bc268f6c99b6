"""Block maps that minimise an accelerator's own cycles or energy. Ours, see the class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from fxsim.identifiers import OPERAND_ROLES, OperandId, Role
from fxsim.numerics.operand_formats import CostAwareBlockFormat
from fxsim.policies.dynasty import Blockwise, DynastyDecisions
from fxsim.training.decisions import table
from fxsim.training.policy import BitCostRequest, Feedback, State, StepInfo

PARTS = ("fixed", "by_row", "by_column")


class Candidate(NamedTuple):
    """An operand at a word length, recorded as `role.layer.bits`."""

    operand: OperandId
    bits: int

    def __str__(self) -> str:
        """As it is recorded."""
        return f"{self.operand}.{self.bits}"

    @classmethod
    def parse(cls, text: str) -> Candidate:
        """Read a recorded one."""
        operand, _, bits = text.rpartition(".")
        return cls(OperandId.parse(operand), int(bits))


@dataclass(slots=True, kw_only=True)
class CostAwareDecisions(DynastyDecisions):
    """The thresholds, and what a run knows of its accelerator from the beginning.

    Attributes
    ----------
    fixed, by_row, by_column : an operand's costs at a word length, of its elements and of the rows
        (columns) of blocks that run in lockstep
    row_group, column_group : rows (columns) of blocks that run in lockstep
    work : relative cycles of a block at a word length
    """

    fixed: dict[Candidate, int] = table(Candidate.parse, constant=True)
    by_row: dict[Candidate, int] = table(Candidate.parse, constant=True)
    by_column: dict[Candidate, int] = table(Candidate.parse, constant=True)
    row_group: dict[Role, int] = table(Role, constant=True)
    column_group: dict[Role, int] = table(Role, constant=True)
    work: dict[int, int] = table(int, constant=True)


class CostAware(Blockwise[CostAwareDecisions]):
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

    def decide(
        self, state: State, step_info: StepInfo, feedback: Feedback | None
    ) -> tuple[State, CostAwareDecisions]:
        """The thresholds, and the costs, groups and works that the state begins with."""
        costs: dict[str, Any] = {
            part: {
                Candidate(OperandId.parse(name), bits): cost
                for name, parts in state.get("bit_costs", {}).items()
                for bits, cost in zip(self.candidates, parts[part], strict=True)
            }
            for part in PARTS
        }
        groups = {role: state.get("groups", {}).get(role, (1, 1)) for role in OPERAND_ROLES}
        work = state.get("work", self.candidates)
        state, thresholds = self.thresholds(state, feedback)
        return state, CostAwareDecisions(
            threshold=thresholds,
            **costs,
            row_group={role: rows for role, (rows, _) in groups.items()},
            column_group={role: columns for role, (_, columns) in groups.items()},
            work=dict(zip(self.candidates, work, strict=True)),
        )

    def operand_format(
        self, decisions: CostAwareDecisions, layer: str, role: Role
    ) -> CostAwareBlockFormat:
        candidates = [Candidate(OperandId(role, layer), bits) for bits in self.candidates]

        def costs(by_candidate: dict[Candidate, int]) -> tuple[int, ...]:
            return tuple(by_candidate.get(candidate, 0) for candidate in candidates)

        return CostAwareBlockFormat(
            self.block_rows,
            self.block_columns,
            self.candidates,
            decisions.threshold[role],
            self.exponent_window,
            self.operand_rounding(role),
            self.skip_penalty,
            fixed=costs(decisions.fixed),
            by_row=costs(decisions.by_row),
            by_column=costs(decisions.by_column),
            row_group=decisions.row_group[role],
            column_group=decisions.column_group[role],
            work=tuple(decisions.work[bits] for bits in self.candidates),
            rounds=self.rounds,
        )
