"""What deciding costs: the share of a ResNet-20 training step that each policy takes for itself.

Whole steps at batch 128 on random images, as in `training_step.py`. A policy's own time is that of
its methods (statistics, decisions), of the analysis in block-wise casts (the cast less the rounding
alone, measured on the same tensors), and of probes. The steps are numbered as in the second of five
epochs (`--at`), where APT, which updates at every step at first, has come to do so once an epoch;
`--steps` takes more of them, so that what happens every so often is met.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from side_by_side import Row, parser, report, use

from fxsim.config import resources
from fxsim.engine import block_casts, threads
from fxsim.engine.allocator import keep_freed
from fxsim.engine.kernels import cost_aware_blocks
from fxsim.engine.tensor import FixedTensor
from fxsim.engine.vector_int16 import to_int16
from fxsim.numerics.operand_formats import BlockFormat
from fxsim.policies.base import IntegerPolicy
from fxsim.policies.registry import POLICIES
from fxsim.runs import initial_bit_costs
from fxsim.trace.writer import TraceWriter
from fxsim.training import context as contexts
from fxsim.training import loop, workload
from fxsim.training.context import StepContext
from fxsim.training.data.base import INPUT_WORD
from fxsim.training.policy import StepInfo

BATCH, STEPS, WARM = 128, 1950, 4
METHODS = ("decide", "on_operand", "on_gradient", "after_update")
TARGET = 0.15


class Clock:
    """Time spent in calls, and time to be left out."""

    def __init__(self) -> None:
        self.own = self.left_out = 0.0

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, its time added to `own`."""

        def run(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                self.own += time.perf_counter() - start

        return run


class Watched:
    """A policy whose methods are timed."""

    def __init__(self, policy: IntegerPolicy[Any], clock: Clock) -> None:
        self._policy = policy
        for name in METHODS:
            setattr(self, name, clock.timed(getattr(policy, name)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._policy, name)


def rounding_alone(tensor: FixedTensor, result: FixedTensor, form: BlockFormat, key: int) -> None:
    """What a block-wise cast does once every tile's bits and exponent are options."""
    small = to_int16(tensor)
    x = np.ascontiguousarray(small.matrix(), np.int16)
    blocks = result.blocks
    assert blocks is not None
    base = small.format.frac - result.format.frac
    exponents = np.where(blocks.bits > 0, blocks.shifts + base, -1).astype(np.int8)[None]
    index = np.zeros(blocks.bits.shape, np.int8)
    codes = np.empty(x.shape, result.codes.dtype)
    threads.split(
        cost_aware_blocks.encode_given_range,
        blocks.bits.shape[0],
        4 * form.rows * x.shape[1],
        x,
        form.rows,
        form.columns,
        exponents,
        index,
        base,
        int(form.rounding),
        np.uint64(key),
        codes,
    )


def measured(policy: IntegerPolicy[Any], first: int, steps: int) -> tuple[float, float]:
    """(the policy's share of a step, the step's time in seconds)."""
    described, model = workload.load(resources.find("workloads", "resnet20"))
    settings, rng = described.training.settings(), np.random.default_rng(0)
    codes = rng.integers(-(2**12), 2**12, (BATCH, *model.input_shape)).astype(np.int16)
    images, labels = FixedTensor(codes, INPUT_WORD), rng.integers(0, 10, BATCH)
    clock = Clock()
    watched: Any = Watched(policy, clock)
    now = loop.begin(
        model, watched, 0, None, initial_bit_costs.of(model, policy.bit_cost_request, settings)
    )
    writer = TraceWriter(Path(tempfile.mkdtemp()), policy.accumulator.bits)
    plain, probe = block_casts.quantise_blocks, loop._probe

    def cast(tensor: FixedTensor, form: BlockFormat, gain: Any, key: int) -> Any:
        start = time.perf_counter()
        result = plain(tensor, form, gain, key)
        middle = time.perf_counter()
        rounding_alone(tensor, result[0], form, key)
        alone = time.perf_counter() - middle
        clock.own += max(middle - start - alone, 0.0)
        clock.left_out += alone
        return result

    contexts.block_casts.quantise_blocks, loop._probe = cast, clock.timed(probe)
    begin = 0.0
    try:
        for step in range(first, first + WARM + steps):
            if step == first + WARM:
                clock.own = clock.left_out = 0.0
                begin = time.perf_counter()
            step_info = StepInfo(step, STEPS, STEPS // 5)
            now.policy_state, decisions = watched.decide(now.policy_state, step_info, now.feedback)
            decisions.learning_rate = 1 << 14
            writer.begin_step(step, STEPS)
            around = StepContext(
                0,
                step,
                True,
                watched,
                decisions,
                now.parameters,
                now.running,
                now.gains,
                writer,
                dict(now.policy_state),
                step_info,
            )
            probability = loop.training_step(model, around, images, labels, settings)
            loss = loop.integer_metrics(probability, labels)["loss"]
            now.feedback = loop.Feedback(step, loss, loop._perturbation(around), around.probed)
            loop._after_update(now, around, loss)
    finally:
        contexts.block_casts.quantise_blocks, loop._probe = plain, probe
    whole = time.perf_counter() - begin - clock.left_out
    return clock.own / whole, whole / steps


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--steps", type=int, default=12, help="steps that are measured")
    options.add_argument("--at", type=int, default=400, help="number of the first step")
    options.add_argument("--policy", choices=[k for k, p in POLICIES.items() if p.integer])
    arguments: argparse.Namespace = options.parse_args()
    use(arguments)
    keep_freed()
    rows: list[Row] = []
    for kind, policy in POLICIES.items():
        if not issubclass(policy, IntegerPolicy) or arguments.policy not in (None, kind):
            continue
        share, seconds = measured(policy(), arguments.at, arguments.steps)
        print(f"{kind}: {seconds * 1e3:.0f} ms a step", file=sys.stderr)
        rows.append((f"ResNet-20, own share of a step, {kind}", share, TARGET))
    report(rows, arguments.json, least=False)


if __name__ == "__main__":
    main()
