"""Matrix multiplication and convolution in all three passes, exact in the stated accumulator."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fxsim.arithmetic.formats import Accumulator, FixedPoint, Overflow
from fxsim.engine import exactness
from fxsim.engine.exactness import Path
from fxsim.engine.kernels import columns, gemm
from fxsim.engine.tensor import Codes, FixedTensor
from fxsim.engine.threads import split
from fxsim.errors import FormatError, ShapeError

PAD = 32  # rows of a GEMM operand are zero-padded to this many codes: whole vectors


@dataclass(frozen=True, slots=True)
class Convolution:
    """The geometry of a 2-D convolution of (N, H, W, C) images, square in kernel and stride."""

    height: int
    width: int
    channels: int
    filters: int
    kernel: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1

    @property
    def out_height(self) -> int:
        """Rows of the result."""
        return self._out(self.height)

    @property
    def out_width(self) -> int:
        """Columns of the result."""
        return self._out(self.width)

    def _out(self, size: int) -> int:
        return (size + 2 * self.padding - self.dilation * (self.kernel - 1) - 1) // self.stride + 1

    @property
    def depth(self) -> int:
        """Products in one output of the forward pass."""
        return self.kernel * self.kernel * self.channels


def gemm_codes(
    a: NDArray[np.int16],
    b: NDArray[np.int16],
    peak_a: int,
    peak_b: int,
    accumulator: Accumulator,
) -> NDArray[np.int64]:
    """a (M, K) times b (N, K) transposed, summed in k order in the accumulator: (M, N) codes.

    peak_a, peak_b : bounds on |codes|, from their formats
    Raises FormatError if an `ERROR` accumulator overflows, and says how often.
    """
    if a.shape[1] != b.shape[1]:
        raise ShapeError(f"gemm: a is {a.shape} and b {b.shape}, their second axes must be equal")
    (rows, depth), width = a.shape, b.shape[0]
    out = np.empty((rows, width), np.int64)
    chosen = exactness.plan(depth, peak_a, peak_b, accumulator)
    if chosen.path is Path.INT32:
        split(gemm.gemm_int32_range, rows, depth * width, a, b, out, chosen.chunk)
    else:
        split(gemm.gemm_int64_range, rows, depth * width, a, b, out)
    if chosen.path is Path.CERTIFIED:
        _run_uncertified(a, b, peak_b, accumulator, out)
    if chosen.wrap_at_end:
        _wrap(out, accumulator.bits)
    return out


def _run_uncertified(
    a: NDArray[np.int16],
    b: NDArray[np.int16],
    peak_b: int,
    accumulator: Accumulator,
    out: NDArray[np.int64],
) -> None:
    """Rerun, addition by addition, the rows whose sum of |a| times peak_b may leave the word."""
    high = (1 << (accumulator.bits - 1)) - 1
    bound = np.abs(a.astype(np.int64)).sum(axis=1) * peak_b
    rows = np.flatnonzero(bound > high)
    work = a.shape[1] * b.shape[0]
    parts = split(gemm.gemm_saturating_range, rows.size, work, rows, a, b, out, -high - 1, high)
    overflowed = sum(parts)
    if overflowed and accumulator.overflow is Overflow.ERROR:
        raise FormatError(
            f"gemm: a {accumulator.bits}-bit accumulator overflowed at {overflowed} additions of"
            f" {a.shape[0]} x {b.shape[0]} sums; widen it, or let it WRAP or SAT"
        )


def _wrap(out: NDArray[np.int64], bits: int) -> None:
    if bits < 64:
        low = np.int64(64 - bits)
        np.left_shift(out, low, out=out)
        np.right_shift(out, low, out=out)


def _product_format(a: FixedTensor, b: FixedTensor, accumulator: Accumulator) -> FixedPoint:
    return FixedPoint(accumulator.bits, a.format.frac + b.format.frac)


def _peak(tensor: FixedTensor) -> int:
    return 1 << (tensor.format.bits - 1)


def _padded(codes: Codes) -> NDArray[np.int16]:
    """Rows zero-padded to whole vectors."""
    rows, depth = codes.shape
    out = np.zeros((rows, -(-depth // PAD) * PAD), np.int16)
    out[:, :depth] = codes
    return out


def multiply(a: FixedTensor, b: FixedTensor, accumulator: Accumulator) -> FixedTensor:
    """a (M, K) times b (N, K) transposed: (M, N) in the accumulator's format."""
    codes = gemm_codes(_padded(a.codes), _padded(b.codes), _peak(a), _peak(b), accumulator)
    return FixedTensor(codes, _product_format(a, b, accumulator))


def linear_forward(x: FixedTensor, weight: FixedTensor, accumulator: Accumulator) -> FixedTensor:
    """(N, inputs) activations, (outputs, inputs) weights: (N, outputs)."""
    return multiply(x, weight, accumulator)


def linear_grad_input(
    error: FixedTensor, weight: FixedTensor, accumulator: Accumulator
) -> FixedTensor:
    """(N, outputs) errors, (outputs, inputs) weights: (N, inputs)."""
    return multiply(error, _transposed(weight), accumulator)


def linear_grad_weight(x: FixedTensor, error: FixedTensor, accumulator: Accumulator) -> FixedTensor:
    """(N, inputs) activations, (N, outputs) errors: (outputs, inputs), summed over N in order."""
    return multiply(_transposed(error), _transposed(x), accumulator)


def _transposed(tensor: FixedTensor) -> FixedTensor:
    return FixedTensor(np.ascontiguousarray(tensor.codes.T), tensor.format)


def _check_image(name: str, tensor: FixedTensor, height: int, width: int, channels: int) -> None:
    if tensor.shape[1:] != (height, width, channels):
        raise ShapeError(
            f"convolution: {name} must be (N, {height}, {width}, {channels}), not {tensor.shape}"
        )


def image_columns(codes: Codes, g: Convolution) -> NDArray[np.int16]:
    """The (N * out_height * out_width, padded depth) matrix of the forward pass."""
    rows = codes.shape[0] * g.out_height * g.out_width
    out = np.empty((rows, -(-g.depth // PAD) * PAD), np.int16)
    split(
        columns.columns_range,
        rows,
        g.depth,
        codes,
        out,
        g.out_height,
        g.out_width,
        g.kernel,
        g.kernel,
        g.stride,
        g.padding,
        g.dilation,
    )
    return out


def error_columns(codes: Codes, g: Convolution) -> NDArray[np.int16]:
    """The (N * height * width, padded kernel**2 * filters) matrix of the grad_input pass."""
    rows = codes.shape[0] * g.height * g.width
    depth = g.kernel * g.kernel * g.filters
    out = np.empty((rows, -(-depth // PAD) * PAD), np.int16)
    split(
        columns.columns_back_range,
        rows,
        depth,
        codes,
        out,
        g.height,
        g.width,
        g.kernel,
        g.kernel,
        g.stride,
        g.padding,
        g.dilation,
    )
    return out


def turned_weight(codes: Codes, g: Convolution) -> Codes:
    """(filters, kernel**2 * channels) weights as (channels, kernel**2 * filters)."""
    taps = codes.reshape(g.filters, g.kernel * g.kernel, g.channels)
    return np.ascontiguousarray(taps.transpose(2, 1, 0)).reshape(g.channels, -1)


def convolution_forward(
    x: FixedTensor, weight: FixedTensor, g: Convolution, accumulator: Accumulator
) -> FixedTensor:
    """(N, H, W, C) activations, (filters, kernel**2 * C) weights: (N, OH, OW, filters).

    The sum runs over kernel row, kernel column, channel, in that order.
    """
    _check_image("activation", x, g.height, g.width, g.channels)
    codes = gemm_codes(
        image_columns(x.codes, g), _padded(weight.codes), _peak(x), _peak(weight), accumulator
    )
    shape = (x.shape[0], g.out_height, g.out_width, g.filters)
    return FixedTensor(codes.reshape(shape), _product_format(x, weight, accumulator))


def convolution_grad_input(
    error: FixedTensor, weight: FixedTensor, g: Convolution, accumulator: Accumulator
) -> FixedTensor:
    """(N, OH, OW, filters) errors: (N, H, W, C), summed over kernel row, column and filter."""
    _check_image("error", error, g.out_height, g.out_width, g.filters)
    codes = gemm_codes(
        error_columns(error.codes, g),
        _padded(turned_weight(weight.codes, g)),
        _peak(error),
        _peak(weight),
        accumulator,
    )
    shape = (error.shape[0], g.height, g.width, g.channels)
    return FixedTensor(codes.reshape(shape), _product_format(error, weight, accumulator))


def convolution_grad_weight(
    x: FixedTensor, error: FixedTensor, g: Convolution, accumulator: Accumulator
) -> FixedTensor:
    """(filters, kernel**2 * C), summed over image, output row and output column, in order."""
    _check_image("activation", x, g.height, g.width, g.channels)
    _check_image("error", error, g.out_height, g.out_width, g.filters)
    fields = np.ascontiguousarray(image_columns(x.codes, g)[:, : g.depth].T)
    errors = np.ascontiguousarray(error.matrix().T)
    codes = gemm_codes(errors, fields, _peak(error), _peak(x), accumulator)
    return FixedTensor(codes, _product_format(x, error, accumulator))
