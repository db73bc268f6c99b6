"""Training one run: what decides its bits, and nothing else.

The hash of this module's code, and of all that it imports, is part of what a run is known by.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fxsim.runs import initial_weights
from fxsim.trace.writer import TraceWriter
from fxsim.training import float32, loop
from fxsim.training.decisions import Decisions
from fxsim.training.loop import Progress, TrainedNetwork
from fxsim.training.policy import PrecisionPolicy, State
from fxsim.training.settings import Watcher

if TYPE_CHECKING:
    from fxsim.runs.inputs import RunInputs


def train(  # noqa: PLR0913
    inputs: RunInputs,
    policy: PrecisionPolicy[Any],
    writer: TraceWriter,
    watcher: Watcher | None = None,
    recorded: Callable[[int], Decisions] | None = None,
    progress: Progress | None = None,
    after: Callable[[Progress, bool], None] | None = None,
    bit_costs: State | None = None,
) -> TrainedNetwork:
    """Train in integers and write the trace.

    It takes more than seven parameters: those of `fxsim.training.loop.train`, from a run's inputs.

    Parameters
    ----------
    inputs : what is trained, and on what
    policy : the inputs' policy, which trains in integers
    writer : takes the trace
    watcher : hears of each step
    recorded : a step's decisions in an earlier run: the policy then decides nothing
    progress : the state to go on from; None: begin
    after : called with the state after each step, and whether the step was the last of an epoch
    bit_costs : what a cost-aware policy begins with, see `fxsim.runs.initial_bit_costs`
    """
    settings = inputs.workload.training.settings(inputs.epochs)
    if progress is not None:
        writer.resume(progress.step)
    else:
        place = inputs.initial
        weights = None if place is None else initial_weights.load(place, inputs.model)
        progress = loop.begin(inputs.model, policy, inputs.seed, weights, bit_costs)
    network = loop.train(
        inputs.model,
        inputs.dataset,
        policy,
        settings,
        inputs.seed,
        writer,
        watcher,
        recorded,
        progress,
        after,
    )
    writer.flush(network.step)
    return network


def train_float32(inputs: RunInputs, watcher: Watcher | None = None) -> TrainedNetwork:
    """Train the float baseline; its weights, rounded to an integer run's formats."""
    settings = inputs.workload.training.settings(inputs.epochs)
    trained = float32.train(inputs.model, inputs.dataset, settings, inputs.seed, watcher)
    return trained.rounded()
