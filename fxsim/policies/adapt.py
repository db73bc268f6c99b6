"""AdaPT: word and fraction lengths by divergence and gradient diversity. See the class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import inf, isqrt
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from fxsim.engine.tensor import FixedTensor
from fxsim.engine.update import MOMENTUM
from fxsim.engine.vector_int16 import VECTOR_BITS
from fxsim.identifiers import LayerId, ParameterId, Role
from fxsim.numerics.draws import stream_key
from fxsim.numerics.formats import Overflow, Rounding
from fxsim.numerics.operand_formats import TensorFormat
from fxsim.policies import adapt_rules as rules
from fxsim.policies.base import IntegerPolicy
from fxsim.policies.level_formats import owner_of
from fxsim.policies.uniform import OperandBits
from fxsim.training.decisions import Decisions, table
from fxsim.training.enum_fields import RoundingName
from fxsim.training.policy import Feedback, Memory, State, StepInfo, UpdateInfo

NARROWED = 12  # fractional bits that a gradient's sum loses before it is squared
Count = Annotated[int, Field(ge=1)]
CODE_L1 = 1e-4  # what the authors' code applies, whatever its configuration says


@dataclass(slots=True, kw_only=True)
class AdaptDecisions(Decisions):
    """The strategy's number, and each layer's format, lookback and resolution."""

    strategy: int
    word: dict[LayerId, int] = table()
    frac: dict[LayerId, int] = table()
    lookback: dict[LayerId, int] = table()
    resolution: dict[LayerId, int] = table()

    def of(self, owner: LayerId, rounding: Rounding) -> TensorFormat | None:
        """A layer's format; None if it has no weights."""
        if owner not in self.word:
            return None
        return TensorFormat(self.word[owner], self.frac[owner], rounding, Overflow.SAT)


class Adapt(IntegerPolicy[AdaptDecisions]):
    """A word length and a fraction length a layer, moved down and up while it trains.

    Source: Kummer et al., AdaPT, arXiv 2107.13490; every rule and constant as in the authors' code
    (lorenz0890/AdaPT), see docs/policies/adapt.md.

    - A layer's weights, inputs and results have (word, frac), (8, 4) at first, all rounded
      stochastically; so has the weights' gradient, which is then divided by its L2 norm. Its bias
      shares the format.
    - Each step, from the sum of a layer's gradients since its last adaptation: diversity
      Ds = count / ||sum||; the lookback, clip(most / Ds), smoothed by `lookback_momentum`; the
      resolution, a bin more at the longest lookback, one less at the shortest.
    - After `lookback` steps: PushDown (`adapt_rules.push_down`) to the shortest format in which the
      histogram of weights does not change, then PushUp (`push_up`) by diversity and strategy.
    - The strategy, one for all: bolder while the loss is not below its mean over the lookback.
      That loss has an L1 term and the penalty mean(word / 32 * share of nonzero weights).

    `reference_quirks` does what the code does where it departs from what it means: only the first
    output's weights are tested, by an expression that is no divergence, the fraction's search
    tests its lower end, and L1 is 1e-4. Without, "unchanged" is a divergence of at most
    `tolerance` nats (ours: the code compares with 0, which a true divergence never reaches).

    `learning_rate_factor` times the workload's rate, because a step of norm 1 a tensor is another
    thing than a gradient (the authors' networks take 0.1).

    Ours: the errors' format, which AdaPT leaves in float32; words beyond 16 bits enter the
    multipliers with 16 and are stored and priced in full; batch norm keeps its words. L2 is the
    workload's weight decay.
    """

    summary: ClassVar[str] = "word and fraction length a layer, by divergence and diversity"
    source: ClassVar[str] = "Kummer et al., arXiv 2107.13490, and the authors' code"
    normalises_gradients: ClassVar[bool] = True

    initial_word: Annotated[int, Field(ge=4, le=rules.MOST_BITS)] = 8
    initial_frac: Annotated[int, Field(ge=0, le=rules.MOST_BITS)] = 4
    buffer_bits: Annotated[int, Field(ge=0, le=16)] = 8
    least_lookback: Count = 25
    most_lookback: Count = 100
    lookback_momentum: Annotated[float, Field(gt=0, le=1)] = 0.9
    least_resolution: Annotated[int, Field(ge=2)] = 50
    most_resolution: Annotated[int, Field(ge=2)] = 150
    strategy: Literal["min", "mean", "max"] = "min"
    l1: Annotated[float, Field(ge=0, le=1)] = 1e-8  # below the last bit of some gradients
    tolerance: Annotated[float, Field(ge=0)] = 0.01
    reference_quirks: bool = False
    word_scale: Literal["bound", "peak"] = "peak"  # static formats leave bounds far from sums
    learning_rate_factor: Annotated[float, Field(gt=0, le=1)] = 1.0
    error: OperandBits = 16
    rounding: RoundingName = Rounding.STOCHASTIC
    accumulator_bits: Annotated[int, Field(ge=16, le=64)] = 48

    @model_validator(mode="after")
    def _ranges(self) -> Adapt:
        for name in ("lookback", "resolution"):
            least, most = getattr(self, f"least_{name}"), getattr(self, f"most_{name}")
            if least > most:
                raise ValueError(f"least_{name} must be at most most_{name} = {most}, not {least}")
        return self

    @property
    def name(self) -> str:
        return "adapt"

    @property
    def rate_factor(self) -> Fraction:
        """Gradients of norm 1 ask for a rate of their own."""
        return Fraction(str(self.learning_rate_factor))

    @property
    def l1_decay(self) -> Fraction:
        """The L1 term's factor."""
        return Fraction(str(CODE_L1 if self.reference_quirks else self.l1))

    def initial_state(self, shapes: Mapping[str, tuple[int, ...]]) -> State:
        fresh = {
            "word": self.initial_word,
            "frac": self.initial_frac,
            "count": 0,
            "lookback": self.least_lookback,
            "resolution": self.least_resolution,
        }
        return {
            "layers": {owner: dict(fresh) for owner in shapes},
            "strategy": rules.STRATEGIES.index(self.strategy),
            "losses": [],
        }

    def decide(
        self, state: State, step_info: StepInfo, feedback: Feedback | None
    ) -> tuple[State, AdaptDecisions]:
        """Announce every layer's format, lookback and resolution."""

        def table_of(part: str) -> dict[LayerId, int]:
            return {LayerId.parse(o): layer[part] for o, layer in state["layers"].items()}

        return state, AdaptDecisions(
            strategy=state["strategy"],
            word=table_of("word"),
            frac=table_of("frac"),
            lookback=table_of("lookback"),
            resolution=table_of("resolution"),
        )

    def operand_format(self, decisions: AdaptDecisions, layer: str, role: Role) -> TensorFormat:
        if role is Role.ERROR:
            return TensorFormat(self.error, rounding=self.error_rounding)
        form = decisions.of(owner_of(layer), self.rounding)
        return form or TensorFormat(self.initial_word, rounding=self.rounding)  # of activations

    def result_format(self, decisions: AdaptDecisions, layer: str) -> TensorFormat | None:
        form = decisions.of(owner_of(layer), self.rounding)
        return None if form is None or form.bits > VECTOR_BITS else form

    def gradient_format(self, decisions: AdaptDecisions, parameter: str) -> TensorFormat:
        form = decisions.of(ParameterId.parse(parameter).owner, self.rounding)
        return form or super().gradient_format(decisions, parameter)

    def after_update(self, state: State, memory: Memory, seen: UpdateInfo) -> tuple[State, Memory]:
        """Add gradients up, adapt lookbacks, strategy and, where it is time, formats."""
        layers, sums, squares = {}, {}, {}
        for owner, layer in state["layers"].items():
            gradient = seen.gradients.get(f"{owner}.weight")
            if gradient is None:  # not reached in this step
                layers[owner] = layer
                continue
            before = memory.get(owner, np.zeros(gradient.shape, np.int64))
            sums[owner] = before + gradient.codes
            squares[owner] = layer["count"] + 1
            layers[owner] = self._looked_back(layer, diversity(sums[owner], layer["count"] + 1))
        loss = seen.loss + self.penalty(layers, seen)
        strategy, losses = self._strategy(state, layers, loss)
        for owner in squares:
            layer = layers[owner]
            if layer["count"] >= layer["lookback"]:
                layers[owner] = self._adapted(owner, layer, strategy, sums[owner], seen)
                sums[owner] = np.zeros_like(sums[owner])
        return {"layers": layers, "strategy": strategy, "losses": losses}, sums

    def _looked_back(self, layer: dict[str, Any], value: float) -> dict[str, Any]:
        least, most = self.least_lookback, self.most_lookback
        lookback = rules.next_lookback(
            layer["lookback"], value, least, most, self.lookback_momentum
        )
        bounds = (least, most, self.least_resolution, self.most_resolution)
        resolution = rules.next_resolution(layer["resolution"], lookback, bounds)
        count = layer["count"] + 1
        return {**layer, "count": count, "lookback": lookback, "resolution": resolution}

    def penalty(self, layers: Mapping[str, dict[str, Any]], seen: UpdateInfo) -> float:
        """L1 of the weights, and the mean of word / 32 * share of nonzero weights."""
        density = total = 0.0
        for owner, layer in layers.items():
            if f"{owner}.weight" not in seen.weights:  # not reached in this step
                continue
            codes = seen.weights[f"{owner}.weight"].codes
            density += layer["word"] / rules.MOST_BITS * np.count_nonzero(codes) / codes.size
            master = seen.masters[f"{owner}.weight"]
            total += int(np.abs(master.codes.astype(np.int64)).sum()) / (1 << master.format.frac)
        return float(self.l1_decay) * total + density / max(len(layers), 1)

    def _strategy(
        self, state: State, layers: Mapping[str, dict[str, Any]], loss: float
    ) -> tuple[int, list[float]]:
        losses = state["losses"]
        strategy = state["strategy"]
        if losses:
            strategy = rules.next_strategy(strategy, losses, loss)
        mean_lookback = sum(layer["lookback"] for layer in layers.values()) // max(len(layers), 1)
        return strategy, [*losses, loss][-max(mean_lookback, 1) :]

    def _adapted(
        self, owner: str, layer: dict[str, Any], strategy: int, total: Any, seen: UpdateInfo
    ) -> dict[str, Any]:
        master: FixedTensor = seen.masters[f"{owner}.weight"]
        limit = 0.0 if self.reference_quirks else self.tolerance

        def loses(word: int, frac: int) -> bool:
            key = stream_key(0, seen.step_info.step, owner, f"push down {word} {frac}")
            loss_of_information = rules.divergence(
                master, word, frac, layer["resolution"], key, self.reference_quirks
            )
            return loss_of_information > limit

        word, frac = rules.push_down(layer["word"], layer["frac"], loses, self.reference_quirks)
        word, frac = rules.push_up(
            diversity(total, layer["count"]), word, frac, strategy, self.buffer_bits
        )
        return {**layer, "word": word, "frac": frac, "count": 0}


def diversity(total: Any, count: int) -> float:
    """count / ||sum|| of gradients of norm 1, whose sum has the momentum's 24 fractional bits."""
    narrow = np.abs(total) >> NARROWED
    norm = isqrt(int((narrow * narrow).sum())) / (1 << (MOMENTUM.frac - NARROWED))
    return count / norm if norm else inf
