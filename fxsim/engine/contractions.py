"""Products as layers have them: a left operand, a right one, three passes, and their bounds.

The left operand is the layer's activation (..., K), the right one its weight matrix, or, in a
`Pairwise` product, another activation. Bounds are on the magnitude of any sum, from the right
operand's norms and the left's word: they choose the scale of the result before it is computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from fxsim.engine import matmul
from fxsim.engine.epilogue import Epilogue
from fxsim.engine.geometry import Convolution
from fxsim.engine.operand import Operand
from fxsim.engine.overflow_statistics import OverflowStatistics
from fxsim.engine.tensor import FixedTensor
from fxsim.numerics.formats import Accumulator

Product = tuple[FixedTensor, OverflowStatistics]


class Contraction(Protocol):
    """Three passes around one right operand; see `fxsim.engine.matmul` for the orders of sums."""

    def forward(
        self, x: FixedTensor, w: FixedTensor, accumulator: Accumulator, epilogue: Epilogue | None
    ) -> Product:
        """The product."""

    def grad_input(
        self,
        error: FixedTensor,
        w: FixedTensor,
        accumulator: Accumulator,
        epilogue: Epilogue | None,
    ) -> Product:
        """The gradient of the left operand."""

    def grad_weight(
        self,
        x: FixedTensor,
        error: FixedTensor,
        accumulator: Accumulator,
        epilogue: Epilogue | None,
    ) -> Product:
        """The gradient of the right operand."""

    def forward_bound(self, x: FixedTensor, w: FixedTensor) -> int:
        """On every |sum| of the forward pass."""

    def backward_bound(self, error: FixedTensor, w: FixedTensor) -> int:
        """On every |sum| of grad_input."""


def _largest_norm(codes: np.ndarray[Any, Any], axes: tuple[int, ...] | int) -> int:
    """The largest sum of magnitudes along some axes."""
    return int(np.abs(codes.astype(np.int32)).sum(axis=axes, dtype=np.int64).max(initial=0))


@dataclass(frozen=True, slots=True)
class Matrix:
    """(..., K) times a weight (N, K) transposed: (..., N)."""

    def forward(
        self, x: FixedTensor, w: FixedTensor, accumulator: Accumulator, epilogue: Epilogue | None
    ) -> Product:
        out, overflows = matmul.linear_forward(flat(x), w, accumulator, epilogue)
        return out.reshape(*x.shape[:-1], w.shape[0]), overflows

    def grad_input(
        self,
        error: FixedTensor,
        w: FixedTensor,
        accumulator: Accumulator,
        epilogue: Epilogue | None,
    ) -> Product:
        out, overflows = matmul.linear_grad_input(flat(error), w, accumulator, epilogue)
        return out.reshape(*error.shape[:-1], w.shape[1]), overflows

    def grad_weight(
        self,
        x: FixedTensor,
        error: FixedTensor,
        accumulator: Accumulator,
        epilogue: Epilogue | None,
    ) -> Product:
        return matmul.linear_grad_weight(flat(x), flat(error), accumulator, epilogue)

    def forward_bound(self, x: FixedTensor, w: FixedTensor) -> int:
        return Operand.of(x).peak * _largest_norm(w.codes, 1)

    def backward_bound(self, error: FixedTensor, w: FixedTensor) -> int:
        return Operand.of(error).peak * _largest_norm(w.codes, 0)


@dataclass(frozen=True, slots=True)
class Convolved:
    """(N, H, W, C) images convolved with weights (filters, taps * C / groups)."""

    geometry: Convolution

    def forward(
        self, x: FixedTensor, w: FixedTensor, accumulator: Accumulator, epilogue: Epilogue | None
    ) -> Product:
        return matmul.convolution_forward(x, w, self.geometry, accumulator, epilogue)

    def grad_input(
        self,
        error: FixedTensor,
        w: FixedTensor,
        accumulator: Accumulator,
        epilogue: Epilogue | None,
    ) -> Product:
        return matmul.convolution_grad_input(error, w, self.geometry, accumulator, epilogue)

    def grad_weight(
        self,
        x: FixedTensor,
        error: FixedTensor,
        accumulator: Accumulator,
        epilogue: Epilogue | None,
    ) -> Product:
        return matmul.convolution_grad_weight(x, error, self.geometry, accumulator, epilogue)

    def forward_bound(self, x: FixedTensor, w: FixedTensor) -> int:
        return Operand.of(x).peak * _largest_norm(w.codes, 1)

    def backward_bound(self, error: FixedTensor, w: FixedTensor) -> int:
        g = self.geometry
        shape = (g.groups, g.filters // g.groups, g.taps, g.channels // g.groups)
        return Operand.of(error).peak * _largest_norm(w.codes.reshape(shape), (1, 2))


@dataclass(frozen=True, slots=True)
class Transposed:
    """The transposed convolution: forward is grad_input of `geometry`, whose input is our result.

    Weights are those of that convolution: (our channels, taps * our filters / groups).
    """

    geometry: Convolution

    def forward(
        self, x: FixedTensor, w: FixedTensor, accumulator: Accumulator, epilogue: Epilogue | None
    ) -> Product:
        return matmul.convolution_grad_input(x, w, self.geometry, accumulator, epilogue)

    def grad_input(
        self,
        error: FixedTensor,
        w: FixedTensor,
        accumulator: Accumulator,
        epilogue: Epilogue | None,
    ) -> Product:
        return matmul.convolution_forward(error, w, self.geometry, accumulator, epilogue)

    def grad_weight(
        self,
        x: FixedTensor,
        error: FixedTensor,
        accumulator: Accumulator,
        epilogue: Epilogue | None,
    ) -> Product:
        return matmul.convolution_grad_weight(error, x, self.geometry, accumulator, epilogue)

    def forward_bound(self, x: FixedTensor, w: FixedTensor) -> int:
        return Convolved(self.geometry).backward_bound(x, w)

    def backward_bound(self, error: FixedTensor, w: FixedTensor) -> int:
        return Convolved(self.geometry).forward_bound(error, w)


@dataclass(frozen=True, slots=True)
class Pairwise:
    """(B, M, K) times (B, N, K), matrix by matrix: (B, M, N)."""

    def forward(
        self, x: FixedTensor, w: FixedTensor, accumulator: Accumulator, epilogue: Epilogue | None
    ) -> Product:
        return matmul.multiply(x, w, accumulator, epilogue)

    def grad_input(
        self,
        error: FixedTensor,
        w: FixedTensor,
        accumulator: Accumulator,
        epilogue: Epilogue | None,
    ) -> Product:
        return matmul.multiply(error, _turned(w), accumulator, epilogue)

    def grad_weight(
        self,
        x: FixedTensor,
        error: FixedTensor,
        accumulator: Accumulator,
        epilogue: Epilogue | None,
    ) -> Product:
        return matmul.multiply(_turned(error), _turned(x), accumulator, epilogue)

    def forward_bound(self, x: FixedTensor, w: FixedTensor) -> int:
        return Operand.of(x).peak * _largest_norm(w.codes, 2)

    def backward_bound(self, error: FixedTensor, w: FixedTensor) -> int:
        return Operand.of(error).peak * _largest_norm(w.codes, 1)


def flat(tensor: FixedTensor) -> FixedTensor:
    """An operand as a matrix, all axes but the last in one."""
    return FixedTensor.trusted(tensor.matrix(), tensor.format)


def _turned(tensor: FixedTensor) -> FixedTensor:
    """(B, M, K) to (B, K, M)."""
    turned = np.ascontiguousarray(tensor.codes.transpose(0, 2, 1))
    return FixedTensor.trusted(turned, tensor.format)
