"""One training step on random inputs: shapes for pricing, before anything is trained."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from fxsim.engine.kernels import casting
from fxsim.engine.tensor import FixedTensor
from fxsim.numerics.draws import stream_key
from fxsim.trace.reader import Trace
from fxsim.trace.writer import TraceWriter
from fxsim.training import loop
from fxsim.training.context import StepContext
from fxsim.training.data.base import INPUT_WORD
from fxsim.training.model import Model
from fxsim.training.policy import PrecisionPolicy, State, StepInfo
from fxsim.training.settings import TrainingSettings


def one_step(
    model: Model,
    policy: PrecisionPolicy[Any],
    settings: TrainingSettings,
    bit_costs: State | None = None,
) -> Trace:
    """The trace of one training step on a batch of random inputs: shapes, no statistics.

    Parameters
    ----------
    model : the network
    policy : whose formats its operands have
    settings : batch and optimizer
    bit_costs : what a policy that weighs costs begins with, see `fxsim.runs.initial_bit_costs`

    Returns
    -------
    The trace.
    """
    shape = (settings.batch, *model.input_shape)
    flat = np.empty(int(np.prod(shape)), np.int64)
    key = np.uint64(stream_key(0, 0, "estimate", "images"))
    casting.uniform_range(0, flat.size, flat, key, 1 << INPUT_WORD.frac)
    labels = np.arange(settings.batch * int(np.prod(model.label_shape)), dtype=np.int64)
    labels = (labels % model.classes).reshape(settings.batch, *model.label_shape)
    inputs: Any = FixedTensor.trusted(flat.astype(np.int16).reshape(shape), INPUT_WORD)
    if model.reads_tokens:
        inputs = np.abs(flat).reshape(shape) % model.classes
    start = loop.begin(model, policy, 0, bit_costs=bit_costs)
    state, decisions = policy.decide(start.policy_state, StepInfo(), None)
    with tempfile.TemporaryDirectory() as scratch:
        with TraceWriter(Path(scratch), policy.accumulator.bits) as writer:
            writer.begin_step(0, 1)
            context = StepContext(
                0, 0, True, policy, decisions, start.parameters, start.running, {}, writer, state
            )
            loop.training_step(model, context, inputs, labels, settings)
        return Trace.load(Path(scratch))
