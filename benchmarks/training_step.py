"""Bit-exact training steps of ResNet-20 against PyTorch's float32 step, in one run.

Whole steps at batch 128: forward, backward, update, all casts, block maps and the recording of the
trace at its default rate, on random images; PyTorch in channels_last, on as many threads. A ratio
is PyTorch's time over ours: above 1, ours is faster. `--path` forces one engine path, `--paths`
measures uniform 8 bits on each that this processor has, `--profile` says where our time goes, by
operation. Without PyTorch installed (the extra "torch") there is nothing to compare with.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from side_by_side import Row, parser, ratio, report, use

from fxsim.config import resources
from fxsim.engine import instruction_set
from fxsim.engine.allocator import keep_freed
from fxsim.engine.instruction_set import InstructionSet
from fxsim.engine.tensor import FixedTensor
from fxsim.numerics.formats import Accumulator, Overflow
from fxsim.policies.base import IntegerPolicy
from fxsim.policies.dynasty import Dynasty
from fxsim.policies.uniform import Uniform
from fxsim.trace.writer import TraceWriter
from fxsim.training import loop, workload
from fxsim.training.context import StepContext
from fxsim.training.data.base import INPUT_WORD
from fxsim.training.policy import StepInfo

BATCH, STEPS = 128, 1000  # steps of a run, so that maps are sampled as in one


class Wrapping(Uniform):
    """Uniform 8 bits with an accumulator that wraps at 32 bits."""

    @property
    def accumulator(self) -> Accumulator:
        return Accumulator(self.accumulator_bits, Overflow.WRAP)


# policy and target, as a ratio of PyTorch's time over ours
WORKS: dict[str, tuple[IntegerPolicy[Any], float]] = {
    "uniform 8 bits, wrapping accumulator": (Wrapping(), 2.0),
    "uniform 8 bits, 48-bit accumulator": (Uniform(accumulator_bits=48), 2.0),
    "dynasty blocks, 4x4": (Dynasty(warmup=0, initial_lambda=0.1), 1 / 0.8),
    "uniform 8 bits, 24-bit saturating accumulators": (Uniform(accumulator_bits=24), 1.0),
    "int16 errors, 32-bit saturating accumulators": (Uniform(error=16), 1.0),
    "int16 errors at exact word scales": (Uniform(error=16, word_scale="peak"), 1.0),
}


def our_step(policy: IntegerPolicy[Any]) -> Callable[[], Any]:
    """A function that makes one training step after another."""
    described, model = workload.load(resources.find("workloads", "resnet20"))
    settings, rng = described.training.settings(), np.random.default_rng(0)
    codes = rng.integers(-(2**12), 2**12, (BATCH, *model.input_shape)).astype(np.int16)
    images, labels = FixedTensor(codes, INPUT_WORD), rng.integers(0, 10, BATCH)
    now = loop.begin(model, policy, 0)
    writer = TraceWriter(Path(tempfile.mkdtemp()), policy.accumulator.bits)
    keep_freed()

    def step() -> None:
        now.policy_state, decisions = policy.decide(
            now.policy_state, StepInfo(now.step, STEPS, 390), now.feedback
        )
        decisions.learning_rate = 1 << 14
        writer.begin_step(now.step, STEPS)
        context = StepContext(
            0, now.step, True, policy, decisions, now.parameters, now.running, now.gains, writer
        )
        probability = loop.training_step(model, context, images, labels, settings)
        metrics = loop.integer_metrics(probability, labels)
        now.feedback = loop.Feedback(now.step, metrics["loss"], loop._perturbation(context))
        now.step += 1

    return step


def torch_step(threads: int) -> Callable[[], Any]:
    """The same network and optimizer in PyTorch, float32, channels_last."""
    import torch
    from torch import nn
    from torch.nn import functional as f

    torch.set_num_threads(threads)

    class Block(nn.Module):
        def __init__(self, channels: int, filters: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(channels, filters, 3, stride, 1, bias=False)
            self.conv2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
            self.norm1, self.norm2 = nn.BatchNorm2d(filters), nn.BatchNorm2d(filters)
            self.extra, self.stride = (filters - channels) // 2, stride

        def forward(self, x: Any) -> Any:
            y = self.norm2(self.conv2(f.relu(self.norm1(self.conv1(x)), inplace=True)))
            if self.stride > 1:
                x = f.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.extra, self.extra))
            return f.relu(y + x, inplace=True)

    parts: list[Any] = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(True)]
    channels = 16
    for filters in (16, 32, 64):
        for number in range(3):
            parts.append(Block(channels, filters, 2 if filters > 16 and number == 0 else 1))
            channels = filters
    parts += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)]
    net = nn.Sequential(*parts).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
    images = torch.randn(BATCH, 3, 32, 32).to(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (BATCH,))

    def step() -> None:
        optimizer.zero_grad()
        f.cross_entropy(net(images), labels).backward()
        optimizer.step()

    return step


def profile(policy: IntegerPolicy[Any]) -> None:
    """Where the time of three steps goes, the largest first."""
    step = our_step(policy)
    step()
    watched = cProfile.Profile()
    watched.enable()
    for _ in range(3):
        step()
    watched.disable()
    pstats.Stats(watched, stream=sys.stderr).sort_stats("tottime").print_stats(20)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--path", choices=[machine.value for machine in InstructionSet])
    options.add_argument("--paths", action="store_true", help="uniform 8 bits on each engine path")
    options.add_argument("--profile", action="store_true", help="our time by operation")
    given: argparse.Namespace = options.parse_args()
    use(given)
    if given.path:
        instruction_set.force(InstructionSet(given.path))
    if given.profile:
        for name, (policy, _) in WORKS.items():
            print(name, file=sys.stderr)
            profile(policy)
    theirs = torch_step(given.threads)
    rows: list[Row] = []
    for name, (policy, target) in WORKS.items():
        rows.append((f"ResNet-20, {name}", ratio(our_step(policy), theirs, 6), target))
    if given.paths:
        for machine in instruction_set.available():
            instruction_set.force(machine)
            work = f"ResNet-20, uniform 8 bits, {machine.value}"
            rows.append((work, ratio(our_step(Wrapping()), theirs, 3), 0.0))
    names = ", ".join(machine.value for machine in instruction_set.available())
    print(f"{given.threads} thread(s); paths: {names}", file=sys.stderr)
    report(rows, given.json)


if __name__ == "__main__":
    main()
