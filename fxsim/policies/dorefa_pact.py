"""DoReFa weights with PACT activations, at fixed bits."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from fxsim.identifiers import OperandId, Role
from fxsim.numerics.operand_formats import MAX_LEVEL_BITS
from fxsim.policies.level_formats import LevelDecisions, ScaledIntegers
from fxsim.training.policy import Feedback, State, StepInfo

LevelBits = Annotated[int, Field(ge=1, le=MAX_LEVEL_BITS)]


class DorefaPact(ScaledIntegers[LevelDecisions]):
    """Weights 2 q(tanh(w) / (2 max|tanh w|) + 1/2) - 1, activations clipped at a learned alpha.

    Source: Zhou et al., DoReFa-Net, arXiv 1606.06160 (weights, errors); Choi et al., PACT,
    arXiv 1805.06085 (activations; the first and last layer at 8 bits). DoReFa scales errors by
    sample, here a tensor shares one power of two; both round them stochastically. 4 and 4 bits
    are PACT's first column; 8 bits of error are ours (DoReFa-AlexNet: 6).
    """

    summary: ClassVar[str] = "DoReFa weights and PACT activations as scaled integers"
    source: ClassVar[str] = "Zhou et al., arXiv 1606.06160; Choi et al., arXiv 1805.06085"

    weight: LevelBits = 4
    activation: LevelBits = 4

    @property
    def name(self) -> str:
        return "dorefa_pact"

    def decide(
        self, state: State, step_info: StepInfo, feedback: Feedback | None
    ) -> tuple[State, LevelDecisions]:
        bits = {OperandId(Role.WEIGHT): self.weight, OperandId(Role.ACTIVATION): self.activation}
        return state, LevelDecisions(bits=bits, edge=self.edges(state))
