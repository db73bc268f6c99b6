"""Pooling."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fxsim.engine import pooling
from fxsim.engine.tensor import FixedTensor
from fxsim.errors import ShapeError
from fxsim.training.context import StepContext, VectorWork
from fxsim.training.layers.base import WIDE_WORD_BITS, Layer, Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pool(Layer):
    """Square windows without padding; windows that do not fit whole are dropped."""

    def __post_init__(self) -> None:
        shape = self.in_shapes[0]
        if len(shape) != 3:
            raise ShapeError(f"pooling needs an input of (height, width, channels), not {shape}")
        window, _ = self.window
        if window > min(shape[:2]):
            raise ShapeError(f"a window of {window} does not fit an input of {shape}")

    @property
    @abstractmethod
    def window(self) -> tuple[int, int]:
        """(size, stride)."""

    @property
    def out_shape(self) -> Shape:
        height, width, channels = self.in_shapes[0]
        pooled = (pooling.pooled(side, *self.window) for side in (height, width))
        return (*pooled, channels)

    def _work(self, batch: int, pass_: str, stash_bits: int) -> VectorWork:
        size, _stride = self.window
        outputs = batch * self.elements
        inputs = batch * int(np.prod(self.in_shapes[0]))
        read, written = (inputs, outputs) if pass_ == "forward" else (outputs, inputs)
        forward = pass_ == "forward"
        return VectorWork(
            elements=outputs, adds=size * size - 1, multiplies=0,
            read_bits=WIDE_WORD_BITS * read, write_bits=WIDE_WORD_BITS * written,
            stash_write_bits=stash_bits * outputs * forward,
            stash_read_bits=stash_bits * outputs * (not forward),
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxPool(_Pool):
    """The largest code of each window; the backward pass routes to the first of equals."""

    size: int
    stride: int | None = None

    @property
    def window(self) -> tuple[int, int]:
        return self.size, self.stride or self.size

    def forward(self, context: StepContext, inputs: Sequence[FixedTensor]) -> FixedTensor:
        out, choice = pooling.max_pool(inputs[0], *self.window)
        context.stash[self.name] = (choice, inputs[0].shape)
        work = self._work(out.shape[0], "forward", (self.size**2 - 1).bit_length())
        context.vector(self.name, "forward", work)
        return out

    def backward(self, context: StepContext, error: FixedTensor) -> list[FixedTensor | None]:
        choice, shape = context.stash.pop(self.name)
        work = self._work(shape[0], "backward", (self.size**2 - 1).bit_length())
        context.vector(self.name, "backward", work)
        return [pooling.max_pool_backward(error, choice, *self.window, shape)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _AveragingPool(_Pool):
    def forward(self, context: StepContext, inputs: Sequence[FixedTensor]) -> FixedTensor:
        context.stash[self.name] = inputs[0].shape
        out = pooling.average_pool(inputs[0], *self.window)
        context.vector(self.name, "forward", self._work(out.shape[0], "forward", 0))
        return out

    def backward(self, context: StepContext, error: FixedTensor) -> list[FixedTensor | None]:
        shape = context.stash.pop(self.name)
        context.vector(self.name, "backward", self._work(shape[0], "backward", 0))
        return [pooling.average_pool_backward(error, *self.window, shape)]


@dataclass(frozen=True, slots=True, kw_only=True)
class AveragePool(_AveragingPool):
    """The mean of each window, rounded half up."""

    size: int
    stride: int | None = None

    @property
    def window(self) -> tuple[int, int]:
        return self.size, self.stride or self.size


@dataclass(frozen=True, slots=True, kw_only=True)
class GlobalAveragePool(_AveragingPool):
    """The mean over all positions of a square image: (H, H, C) to (1, 1, C)."""

    @property
    def window(self) -> tuple[int, int]:
        height, width, _ = self.in_shapes[0]
        if height != width:
            raise ShapeError(f"global average pooling needs a square image, not {height}x{width}")
        return height, height
