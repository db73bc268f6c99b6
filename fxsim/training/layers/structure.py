"""Layers that connect: additions, concatenations, shuffles, shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from fxsim.engine.window import Window
from fxsim.errors import ShapeError
from fxsim.training.context import Parameter
from fxsim.training.layers.base import Layer, Shape, T, constant_parameter, shown, uniform_parameter
from fxsim.training.operations import Operations
from fxsim.training.tape import Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Add(Layer):
    """The sum of two tensors of equal shape, at the coarser of their scales.

    relu : whether the ReLU that follows is executed in the same pass (the scale may be finer)
    """

    relu: bool = False

    def __post_init__(self) -> None:
        if len(self.in_shapes) != 2 or self.in_shapes[0] != self.in_shapes[1]:
            shapes = " and ".join(shown(shape) for shape in self.in_shapes)
            raise ShapeError(f"add needs two inputs of equal shape, not {shapes}")

    def forward(self, ops: Operations[T], inputs: Sequence[Value[T]]) -> Value[T]:
        return ops.add(self.name, inputs[0], inputs[1], self.relu)


@dataclass(frozen=True, slots=True, kw_only=True)
class Multiply(Layer):
    """The product of two tensors, element by element; (1, 1, C) gates are not broadcast."""

    def __post_init__(self) -> None:
        if len(self.in_shapes) != 2 or self.in_shapes[0] != self.in_shapes[1]:
            shapes = " and ".join(shown(shape) for shape in self.in_shapes)
            raise ShapeError(f"multiply needs two inputs of equal shape, not {shapes}")

    def forward(self, ops: Operations[T], inputs: Sequence[Value[T]]) -> Value[T]:
        return ops.multiply(self.name, inputs[0], inputs[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Concat(Layer):
    """Side by side along the last axis (channels), at the coarsest of the scales."""

    def __post_init__(self) -> None:
        if len({shape[:-1] for shape in self.in_shapes}) != 1:
            shapes = " and ".join(shown(shape) for shape in self.in_shapes)
            raise ShapeError(
                f"concat needs inputs that differ in their last axis only, not {shapes}"
            )

    @property
    def out_shape(self) -> Shape:
        return (*self.in_shapes[0][:-1], sum(shape[-1] for shape in self.in_shapes))

    def forward(self, ops: Operations[T], inputs: Sequence[Value[T]]) -> Value[T]:
        return ops.concatenate(self.name, inputs, len(self.out_shape))


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelShuffle(Layer):
    """Channel i of group g becomes channel g of group i. Source: ShuffleNet, arXiv 1707.01083."""

    groups: int

    def __post_init__(self) -> None:
        if self.in_shapes[0][-1] % self.groups:
            raise ShapeError(
                f"groups must divide {self.in_shapes[0][-1]} channels, not be {self.groups}"
            )

    def forward(self, ops: Operations[T], inputs: Sequence[Value[T]]) -> Value[T]:
        x, each = inputs[0], self.in_shapes[0][-1] // self.groups
        grouped = ops.reshape(x, -1, self.groups, each)
        return ops.reshape(ops.transpose(grouped, 0, 2, 1), *x.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortcut(Layer):
    """Every stride-th row and column, zero channels on both sides: ResNet's option A.

    Source: He et al., arXiv 1512.03385, section 4.2.
    """

    filters: int
    stride: int = 1

    def __post_init__(self) -> None:
        self._need(3, "height x width x channels")
        if self.filters < self.in_shapes[0][2]:
            raise ShapeError(
                f"filters must be at least {self.in_shapes[0][2]} channels, not {self.filters}"
            )

    @property
    def out_shape(self) -> Shape:
        height, width, _ = self.in_shapes[0]
        return (-(-height // self.stride), -(-width // self.stride), self.filters)

    def forward(self, ops: Operations[T], inputs: Sequence[Value[T]]) -> Value[T]:
        x, extra = inputs[0], self.filters - self.in_shapes[0][2]
        if self.stride > 1:
            x = ops.max_pool(self.name, x, (Window(1, self.stride),) * 2)
        if not extra:
            return x
        shape = (x.shape[0], *self.out_shape[:2])
        sides = [ops.zeros(x, *shape, n) for n in (extra // 2, extra - extra // 2)]
        return ops.concatenate(self.name, [sides[0], x, sides[1]], 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flatten(Layer):
    """All axes in one, in their order."""

    @property
    def out_shape(self) -> Shape:
        return (prod(self.in_shapes[0]),)

    def forward(self, ops: Operations[T], inputs: Sequence[Value[T]]) -> Value[T]:
        return ops.reshape(inputs[0], inputs[0].shape[0], *self.out_shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Positions(Layer):
    """(H, W, C) to (H * W, C): an image as a sequence."""

    def __post_init__(self) -> None:
        self._need(3, "height x width x channels")

    @property
    def out_shape(self) -> Shape:
        height, width, channels = self.in_shapes[0]
        return (height * width, channels)

    def forward(self, ops: Operations[T], inputs: Sequence[Value[T]]) -> Value[T]:
        return ops.reshape(inputs[0], inputs[0].shape[0], *self.out_shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice(Layer):
    """Part of the first axis: from `start` up to `stop`, which may count from the end."""

    start: int = 0
    stop: int | None = None

    def __post_init__(self) -> None:
        if self.out_shape[0] < 1:
            raise ShapeError(f"nothing of {shown(self.in_shapes[0])} is left")

    @property
    def out_shape(self) -> Shape:
        length, *rest = self.in_shapes[0]
        return (len(range(length)[self.start : self.stop]), *rest)

    def forward(self, ops: Operations[T], inputs: Sequence[Value[T]]) -> Value[T]:
        return ops.slice(self.name, inputs[0], self.start, self.stop)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassToken(Layer):
    """One learned position before the others. Source: ViT, arXiv 2010.11929, equation 1."""

    def __post_init__(self) -> None:
        self._need(2, "positions x channels")

    @property
    def out_shape(self) -> Shape:
        length, channels = self.in_shapes[0]
        return (length + 1, channels)

    def initial_parameters(self, seed: int) -> dict[str, Parameter]:
        return {f"{self.name}.token": constant_parameter((1, self.in_shapes[0][1]), 0)}

    def forward(self, ops: Operations[T], inputs: Sequence[Value[T]]) -> Value[T]:
        x = inputs[0]
        zeros = ops.zeros(x, x.shape[0], 1, x.shape[2])
        token = ops.add_parameter(self.name, zeros, f"{self.name}.token")
        return ops.concatenate(self.name, [token, x], 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionEmbedding(Layer):
    """A learned tensor of one sample's shape, added to every sample."""

    def initial_parameters(self, seed: int) -> dict[str, Parameter]:
        name = f"{self.name}.position"
        return {name: uniform_parameter(seed, name, self.in_shapes[0], 2500, 3)}  # deviation 0.02

    def forward(self, ops: Operations[T], inputs: Sequence[Value[T]]) -> Value[T]:
        return ops.add_parameter(self.name, inputs[0], f"{self.name}.position")
