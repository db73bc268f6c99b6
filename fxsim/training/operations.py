"""What layers are made of. Each operation runs on integers and, as its twin, on floats.

A layer describes its forward pass with these operations; the backward pass follows from the tape.
`fxsim.training.integer` executes them on words and operands, `fxsim.training.floats` in floating
point. Tensors are batch first, channels last.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from fxsim.engine.contractions import Contraction
from fxsim.engine.window import Windows
from fxsim.numerics.formats import Rounding
from fxsim.training.tape import Value

T = TypeVar("T")


class Operations(Protocol[T]):
    """The operations; `name` is the layer's, or that of its part, and keys draws and the trace."""

    def product(
        self, name: str, x: Value[T], contraction: Contraction, weight: str, bias: str | None
    ) -> Value[T]:
        """x times the parameter `weight`, plus the parameter `bias` on the last axis."""

    def pairwise(self, name: str, x: Value[T], y: Value[T]) -> Value[T]:
        """(B, M, K) times (B, N, K), matrix by matrix: (B, M, N)."""

    def batch_norm(self, name: str, x: Value[T], relu: bool) -> Value[T]:
        """Over all axes but the last, with gamma and beta; negatives become 0 if asked."""

    def normalise_rows(self, name: str, x: Value[T], centred: bool) -> Value[T]:
        """Each row (last axis) to mean 0, if centred, and variance 1."""

    def scale_shift(self, name: str, x: Value[T]) -> Value[T]:
        """gamma * x + beta on the last axis."""

    def relu(self, name: str, x: Value[T]) -> Value[T]:
        """max(x, 0)."""

    def clip(self, name: str, x: Value[T], most: int) -> Value[T]:
        """x limited to [0, most]."""

    def learned_clip(self, name: str, x: Value[T]) -> Value[T]:
        """x limited to [0, alpha], alpha a parameter."""

    def leaky_relu(self, name: str, x: Value[T], slope: int) -> Value[T]:
        """x, where negative times slope * 2**-15."""

    def function(self, name: str, x: Value[T], kind: str) -> Value[T]:
        """A smooth function, see `fxsim.engine.activation_functions`."""

    def add(self, name: str, x: Value[T], y: Value[T], relu: bool) -> Value[T]:
        """x + y; negatives become 0 if asked."""

    def add_parameter(self, name: str, x: Value[T], parameter: str) -> Value[T]:
        """x plus a parameter of one sample's shape, the same for all samples."""

    def multiply(self, name: str, x: Value[T], y: Value[T]) -> Value[T]:
        """x * y, element by element."""

    def scaled(self, name: str, x: Value[T], factor: int, shift: int) -> Value[T]:
        """x * factor * 2**-shift."""

    def concatenate(self, name: str, parts: Sequence[Value[T]], axis: int) -> Value[T]:
        """Side by side along an axis."""

    def split(self, name: str, x: Value[T], parts: int, axis: int) -> list[Value[T]]:
        """Equal parts along an axis."""

    def slice(self, name: str, x: Value[T], start: int, stop: int | None) -> Value[T]:
        """Part of the axis after the batch."""

    def reshape(self, x: Value[T], *shape: int) -> Value[T]:
        """The same values in another shape; -1 stands for what remains."""

    def transpose(self, x: Value[T], *axes: int) -> Value[T]:
        """The axes in another order."""

    def softmax(self, name: str, x: Value[T], causal: bool) -> Value[T]:
        """Over the last axis; causal: row t of (..., T, T) sees columns 0 to t."""

    def dropout(self, name: str, x: Value[T], threshold: int) -> Value[T]:
        """While training, 0 with probability threshold * 2**-16, else scaled up."""

    def embed(self, name: str, tokens: Value[Any], table: str) -> Value[T]:
        """The rows of the parameter `table` that the tokens name."""

    def max_pool(self, name: str, x: Value[T], windows: Windows) -> Value[T]:
        """The largest of each window."""

    def average_pool(
        self, name: str, x: Value[T], windows: Windows, rounding: Rounding
    ) -> Value[T]:
        """The mean of each window, zeros of the padding included, rounded where integers are."""

    def zeros(self, like: Value[T], *shape: int) -> Value[T]:
        """A constant of zeros, at the scale of another tensor."""
