"""One training step on random inputs: shapes for pricing, before anything is trained."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from fxsim import shipped
from fxsim.accelerator import schema
from fxsim.arithmetic.draws import stream_key
from fxsim.arithmetic.formats import PRICE_FRAC
from fxsim.cost import marginal
from fxsim.engine.kernels import casting
from fxsim.engine.tensor import FixedTensor
from fxsim.precision.cost_aware import CostAware
from fxsim.precision.uniform import Uniform
from fxsim.recorder import TraceWriter
from fxsim.trace import Trace
from fxsim.training import loop
from fxsim.training.context import StepContext
from fxsim.training.data.base import INPUT_WORD
from fxsim.training.model import Model
from fxsim.training.policy import Moment, PrecisionPolicy, State
from fxsim.training.settings import TrainingSettings
from fxsim.yaml_reader import Document


def one_step(model: Model, policy: PrecisionPolicy, settings: TrainingSettings) -> Trace:
    """The trace of one training step on a batch of random inputs: shapes, no statistics."""
    shape = (settings.batch, *model.input_shape)
    flat = np.empty(int(np.prod(shape)), np.int64)
    key = np.uint64(stream_key(0, 0, "estimate", "images"))
    casting.uniform_range(0, flat.size, flat, key, 1 << INPUT_WORD.frac)
    labels = np.arange(settings.batch * int(np.prod(model.label_shape)), dtype=np.int64)
    labels = (labels % model.classes).reshape(settings.batch, *model.label_shape)
    inputs: Any = FixedTensor.trusted(flat.astype(np.int16).reshape(shape), INPUT_WORD)
    if model.reads_tokens:
        inputs = np.abs(flat).reshape(shape) % model.classes
    prices = market(model, policy, settings)
    start = loop.begin(model, policy, 0, prices=prices)
    state, decisions = policy.decide(start.policy_state, Moment(), None)
    decisions = {**policy.constants(state), **decisions, loop.RATE: 0}
    with tempfile.TemporaryDirectory() as scratch:
        with TraceWriter(Path(scratch), policy.accumulator.bits) as writer:
            writer.begin_step(0, 1)
            context = StepContext(
                0, 0, True, policy, decisions, start.parameters, start.running, {}, writer, state
            )
            loop.training_step(model, context, inputs, labels, settings)
        return Trace.load(Path(scratch))


def market(
    model: Model, policy: Any, settings: TrainingSettings, accelerator: Document | None = None
) -> State:
    """The prices that a cost-aware policy starts from, as integers; nothing for any other.

    accelerator : the machine; None: the policy's, by its name
    """
    if not isinstance(policy, CostAware):
        return {}
    machine = schema.load(accelerator or shipped.find("accelerators", policy.accelerator))
    plain = one_step(model, Uniform(), settings)
    reference = policy.reference_bits
    found = marginal.prices(plain, machine, policy.candidates, policy.objective, reference)
    block = (policy.block_rows, policy.block_columns)
    return {
        "work": marginal.work(machine, policy.candidates, reference),
        "groups": {role: list(marginal.groups(machine, role, block)) for role in marginal.ROLES},
        "prices": {
            _operand_name(role, layer): {
                part: [round(share * (1 << PRICE_FRAC)) for share in getattr(prices, part)]
                for part in ("fixed", "by_row", "by_column")
            }
            for (role, layer), prices in found.items()
        },
    }


def _operand_name(role: str, layer: str) -> str:
    """Role and layer as formats are asked for: a partner's as an activation of a part."""
    return f"activation.{layer}.partner" if role == "partner" else f"{role}.{layer}"
