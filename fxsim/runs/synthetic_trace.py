"""One training step, or one forward pass, on random inputs: shapes for pricing, before training."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fxsim.engine.kernels import casting
from fxsim.engine.tensor import FixedTensor
from fxsim.numerics.draws import stream_key
from fxsim.policies.base import IntegerPolicy
from fxsim.trace.reader import Trace
from fxsim.trace.writer import TraceWriter
from fxsim.training import folding, loop
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
    start = loop.begin(model, policy, 0, bit_costs=bit_costs)
    state, decisions = policy.decide(start.policy_state, StepInfo(), None)
    inputs = random_inputs(model, settings.batch)
    labels = np.arange(settings.batch * int(np.prod(model.label_shape)), dtype=np.int64)
    labels = (labels % model.classes).reshape(settings.batch, *model.label_shape)
    with traced(policy) as traces:
        context = StepContext(
            0,
            0,
            True,
            policy,
            decisions,
            start.parameters,
            start.running,
            {},
            traces.writer,
            state,
        )
        loop.training_step(model, context, inputs, labels, settings)
    return traces.trace


def inference(
    model: Model,
    policy: IntegerPolicy[Any],
    batch: int,
    bit_costs: State | None = None,
    fold: bool = False,
) -> Trace:
    """The trace of one forward pass of a trained network, on random inputs and weights.

    Weights are stored as operands: they are fetched at their bits, and not cast again. Nothing is
    kept for a backward pass.

    Parameters
    ----------
    model : the network
    policy : whose formats its operands have before the first step
    batch : samples
    bit_costs : as of `one_step`
    fold : take batch norms into the layers before them

    Returns
    -------
    The trace.
    """
    start = loop.begin(model, policy, 0, bit_costs=bit_costs)
    state, decisions = policy.decide(start.policy_state, StepInfo(), None)
    inputs, parameters, running = random_inputs(model, batch), start.parameters, start.running
    if fold:
        model, parameters = folding.fold(model, parameters, running)
    before = StepContext(0, 0, True, policy, decisions, parameters, running, {}, None, state)
    model.forward(before, inputs)  # what a policy finds when it first sees a tensor
    with traced(policy) as traces:
        context = StepContext(
            0, 0, False, policy, decisions, parameters, running, {}, traces.writer
        )
        model.forward(context, inputs)
    return traces.trace


def random_inputs(model: Model, batch: int) -> FixedTensor | NDArray[np.int64]:
    """A batch of random words, or of tokens.

    Parameters
    ----------
    model : the network
    batch : samples

    Returns
    -------
    (batch, *input shape).
    """
    shape = (batch, *model.input_shape)
    flat = np.empty(int(np.prod(shape)), np.int64)
    key = np.uint64(stream_key(0, 0, "estimate", "images"))
    casting.uniform_range(0, flat.size, flat, key, 1 << INPUT_WORD.frac)
    if model.reads_tokens:
        return np.abs(flat).reshape(shape) % model.classes
    return FixedTensor.trusted(flat.astype(np.int16).reshape(shape), INPUT_WORD)


@dataclass(slots=True)
class Traced:
    """A trace that is being written, and then read."""

    writer: TraceWriter
    trace: Trace = field(init=False)


@contextmanager
def traced(policy: PrecisionPolicy[Any]) -> Iterator[Traced]:
    """A trace of one step, in no lasting file.

    Parameters
    ----------
    policy : whose accumulator the trace names
    """
    with tempfile.TemporaryDirectory() as scratch:
        with TraceWriter(Path(scratch), policy.accumulator.bits) as writer:
            writer.begin_step(0, 1)
            traces = Traced(writer)
            yield traces
        traces.trace = Trace.load(Path(scratch))
