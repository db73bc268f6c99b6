"""AdaQAT: relaxed bit-widths, moved by finite differences of the loss. See the class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from fxsim.engine import quantisers
from fxsim.engine.tensor import FixedTensor
from fxsim.identifiers import OperandId, Role
from fxsim.numerics.operand_formats import MAX_LEVEL_BITS, TanhFormat
from fxsim.policies.level_formats import LevelDecisions, ScaledIntegers
from fxsim.training.context import CLIP
from fxsim.training.decisions import table
from fxsim.training.policy import Feedback, Memory, State, StepInfo, UpdateInfo

Rate = Annotated[float, Field(gt=0)]
Cost = Annotated[float, Field(ge=0)]
ROLES = (Role.WEIGHT, Role.ACTIVATION)


@dataclass(slots=True, kw_only=True)
class AdaqatDecisions(LevelDecisions):
    """Whether each of the variables explores, besides its bits."""

    explore: dict[OperandId, int] = table(OperandId.parse)


class Adaqat(ScaledIntegers[AdaqatDecisions]):
    """Bits of weights and activations as real numbers N, used rounded up, while the network trains.

    Source: Gernigon et al., AdaQAT, arXiv 2404.16876. The update rule, its constants and the
    freezing are those of the author's later code, which is per layer; the paper is network-wide
    (`granularity`). docs/policies/adaqat.md.

    - Each step, while a variable explores, one forward pass more with one of its bits less: L'.
      N <- N - rate ((L - L') + cost * n of the other role, mean over layers), the gradient of the
      loss and of the hard cost n_w n_a.
    - N that rises from k to k + 1 bits, having come down to k before, counts an oscillation of k;
      more than `oscillations` freeze it at k + 1. N at `floor` freezes at 2 bits. When nothing
      explores, steps have one forward pass.
    - "layer": one layer at a time, weights first, the largest error between n and n - 1 bits
      first, then activations, the smallest first. Ours: an activation's error is that of a uniform
      step over [0, alpha], (alpha / (2**(n-1) - 1))**2.

    Paper settings as they are remembered, no targets: start 8/8, rates 1e-3 and 5e-4, cost 0.15.
    """

    summary: ClassVar[str] = "relaxed bit-widths by finite differences of the loss, then frozen"
    source: ClassVar[str] = "Gernigon et al., arXiv 2404.16876; constants of the author's code"

    granularity: Literal["network", "layer"] = "network"
    initial_bits: Annotated[float, Field(ge=2, le=MAX_LEVEL_BITS)] = 4.0
    weight_rate: Rate = 0.1
    activation_rate: Rate = 0.1
    weight_cost: Cost = 0.02
    activation_cost: Cost = 0.01
    oscillations: Annotated[int, Field(ge=0)] = 10
    floor: Annotated[float, Field(gt=1, le=MAX_LEVEL_BITS)] = 1.5

    @model_validator(mode="after")
    def _starts_above_the_floor(self) -> Adaqat:
        if self.floor >= self.initial_bits:
            raise ValueError(
                f"floor must be below initial_bits = {self.initial_bits}, not {self.floor}"
            )
        return self

    @property
    def name(self) -> str:
        return "adaqat"

    def initial_state(self, shapes: Mapping[str, tuple[int, ...]]) -> State:
        """N of every variable: a role's, or a layer's of each role, in the order they adapt."""
        state = super().initial_state(shapes)
        names = [OperandId(role) for role in ROLES]
        if self.granularity == "layer":
            inner = [owner for owner in shapes if owner not in self.edges(state)]
            names = [OperandId(role, owner) for role in ROLES for owner in inner]
        fresh = {"relaxed": self.initial_bits, "frozen": False, "fell_to": [], "rises": {}}
        return {**state, "variables": {name: dict(fresh) for name in names}, "order": names}

    def exploring(self, state: State) -> list[str]:
        """The variables that move: all that are not frozen, or the first such layer."""
        moving = [name for name in state["order"] if not state["variables"][name]["frozen"]]
        if self.granularity == "network" or not moving:
            return moving
        role = OperandId.parse(moving[0]).role
        return moving[:1] if state.get(f"ordered.{role}") else []

    def decide(
        self, state: State, step_info: StepInfo, feedback: Feedback | None
    ) -> tuple[State, AdaqatDecisions]:
        variables = dict(state["variables"])
        if feedback is not None:
            for name in feedback.probes:
                gradient = feedback.loss - feedback.probes[name] + self._cost_slope(state, name)
                rate: float = getattr(self, f"{OperandId.parse(name).role}_rate")
                variables[name] = self.moved(variables[name], rate * gradient)
        new = {**state, "variables": variables}
        exploring = self.exploring(new)
        return new, AdaqatDecisions(
            bits={OperandId.parse(n): ceil(v["relaxed"]) for n, v in variables.items()},
            edge=self.edges(state),
            explore={OperandId.parse(n): int(n in exploring) for n in variables},
        )

    def _cost_slope(self, state: State, name: str) -> float:
        """The gradient of cost * n_w * n_a by one of them."""
        role = OperandId.parse(name).role
        bits = [
            ceil(v["relaxed"])
            for n, v in state["variables"].items()
            if OperandId.parse(n).role is not role
        ]
        cost: float = getattr(self, f"{role}_cost")
        mean: float = sum(bits) / max(len(bits), 1)
        return cost * mean

    def moved(self, variable: dict[str, Any], step: float) -> dict[str, Any]:
        """A variable after N <- N - step; it freezes if it oscillates or is at the floor."""
        before = ceil(variable["relaxed"])
        relaxed = min(max(variable["relaxed"] - step, self.floor), float(MAX_LEVEL_BITS))
        after = ceil(relaxed)
        fell_to, rises = list(variable["fell_to"]), dict(variable["rises"])
        frozen = relaxed <= self.floor
        if after < before and after not in fell_to:
            fell_to.append(after)
        if after > before and before in fell_to:
            rises[str(before)] = rises.get(str(before), 0) + 1
            if rises[str(before)] > self.oscillations:
                relaxed, frozen = float(before + 1), True
        return {"relaxed": relaxed, "frozen": frozen, "fell_to": fell_to, "rises": rises}

    def probes(self, decisions: AdaqatDecisions) -> Mapping[str, AdaqatDecisions]:
        """One forward pass for each variable that explores, with one of its bits less."""
        return {
            name: replace(decisions, bits={**decisions.bits, name: decisions.bits[name] - 1})
            for name, explores in decisions.explore.items()
            if explores
        }

    def after_update(self, state: State, memory: Memory, seen: UpdateInfo) -> tuple[State, Memory]:
        """Put the layers in order: weights at the first step, activations once weights are done."""
        if self.granularity == "network":
            return {}, {}
        role = next((r for r in ROLES if self._untouched(state, r)), None)
        frozen = all(
            v["frozen"] for n, v in state["variables"].items() if n.startswith(Role.WEIGHT)
        )
        if role is None or (role is Role.ACTIVATION and not frozen):
            return {}, {}
        mine = [name for name in state["order"] if name.startswith(role)]
        errors = {name: self._error(name, state["variables"][name], seen) for name in mine}
        ordered = sorted(mine, key=lambda name: errors[name], reverse=role is Role.WEIGHT)
        rest = [name for name in state["order"] if name not in mine]
        order = ordered + rest if role is Role.WEIGHT else rest + ordered
        return {"order": order, f"ordered.{role}": True}, {}

    def _untouched(self, state: State, role: Role) -> bool:
        return not state.get(f"ordered.{role}", False)

    def _error(self, name: str, variable: dict[str, Any], seen: UpdateInfo) -> float:
        """Mean squared difference of a tensor at n and at n - 1 bits."""
        operand = OperandId.parse(name)
        bits = ceil(variable["relaxed"])
        if operand.role is Role.ACTIVATION:
            alpha = seen.masters.get(f"{operand.layer}{CLIP}.alpha")
            top = self.alpha if alpha is None else float(alpha.to_float()[0])
            return float((top / ((1 << (bits - 1)) - 1)) ** 2)
        master: FixedTensor = seen.masters[f"{operand.layer}.weight"]
        wide, narrow = (
            quantisers.tanh_levels(master, TanhFormat(n, self.unit_weights)).to_float()
            for n in (bits, bits - 1)
        )
        return float(np.mean((wide - narrow) ** 2))
