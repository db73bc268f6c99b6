"""Batch normalisation as a layer; the arithmetic is `fxsim.engine.normalisation`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fxsim.engine import normalisation
from fxsim.engine.normalisation import RunningStatistics
from fxsim.engine.tensor import FixedTensor
from fxsim.training.context import Parameter, StepContext, VectorWork
from fxsim.training.layers.base import WIDE_WORD_BITS, Layer, Shape, constant_parameter

WORD = normalisation.WORD_BITS


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchNorm(Layer):
    """Per-channel normalisation over the batch and all positions, with gamma and beta."""

    @property
    def out_shape(self) -> Shape:
        return self.in_shapes[0]

    @property
    def trains(self) -> bool:
        return True

    @property
    def channels(self) -> int:
        """Size of the last axis."""
        return self.in_shapes[0][-1]

    def initial_parameters(self, seed: int) -> dict[str, Parameter]:
        shape = (self.channels,)
        return {
            f"{self.name}.gamma": constant_parameter(shape, 1),
            f"{self.name}.beta": constant_parameter(shape, 0),
        }

    def initial_running(self) -> RunningStatistics:
        """Mean 0, variance 1."""
        one = np.full(self.channels, 1 << normalisation.RUNNING_VARIANCE.frac, np.int64)
        return RunningStatistics(np.zeros(self.channels, np.int64), one)

    def forward(self, context: StepContext, inputs: Sequence[FixedTensor]) -> FixedTensor:
        x = normalisation.words(inputs[0], normalisation.MAX_INPUT_FRAC)
        running = context.running[self.name]
        if context.training:
            mean, variance = normalisation.batch_moments(x)
            context.running[self.name] = normalisation.advance(
                running, mean, variance, x.format.frac
            )
        else:
            mean, variance = normalisation.running_moments(running, x.format.frac)
        gamma = context.working_copy(f"{self.name}.gamma", normalisation.GAMMA)
        beta = context.working_copy(f"{self.name}.beta", normalisation.BETA)
        out, stash, saturated = normalisation.forward(x, mean, variance, gamma, beta)
        context.stash[self.name] = (stash, gamma)
        size = x.codes.size
        # sum; centre, square, sum; then scale, gamma, beta
        context.vector(
            self.name,
            "forward",
            VectorWork(
                elements=size, adds=4, multiplies=3, read_bits=2 * WORD * size,
                write_bits=(WORD + WIDE_WORD_BITS) * size, stash_write_bits=WORD * size,
                resident_bits=WORD * size, saturated=saturated,
            ),
        )  # fmt: skip
        return out.reshape(*inputs[0].shape)

    def backward(self, context: StepContext, error: FixedTensor) -> list[FixedTensor | None]:
        stash, gamma = context.stash.pop(self.name)
        e = normalisation.words(error)
        back, grad_gamma, grad_beta = normalisation.backward(e, stash, gamma)
        context.gradient(f"{self.name}.gamma", grad_gamma)
        context.gradient(f"{self.name}.beta", grad_beta)
        size = e.codes.size
        # two sums, one of products; then subtract mean and slope * normal, scale
        context.vector(
            self.name,
            "backward",
            VectorWork(
                elements=size, adds=4, multiplies=3, read_bits=4 * WORD * size,
                write_bits=(WORD + WIDE_WORD_BITS) * size, stash_read_bits=WORD * size,
                resident_bits=WORD * size,
            ),
        )  # fmt: skip
        return [back.reshape(*error.shape)]
