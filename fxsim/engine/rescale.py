"""Multiplication by a scale that is no power of two, rounded once, or twice as gemmlowp does."""

from __future__ import annotations

import numpy as np

from fxsim.engine import casts
from fxsim.engine.epilogue import Epilogue, epilogue_arguments
from fxsim.engine.kernels import casting
from fxsim.engine.kernels import epilogue as epilogue_kernels
from fxsim.engine.overflow_statistics import OverflowStatistics
from fxsim.engine.tensor import FixedTensor, storage
from fxsim.engine.threads import split
from fxsim.errors import FormatError
from fxsim.numerics.formats import Cast, FixedPoint, Overflow, Rounding
from fxsim.numerics.scale import MULTIPLIER_BITS, Scale


def rescale(
    tensor: FixedTensor,
    scale: Scale | tuple[Scale, ...],
    to: Cast | FixedPoint,
    key: int = 0,
) -> tuple[FixedTensor, OverflowStatistics]:
    """code * multiplier * 2**-shift, rounded once ("single rounding").

    Parameters
    ----------
    tensor : codes, whose own fraction does not count
    scale : one, or one a channel of the last axis
    to : the result's format, and how it is rounded and limited; a format alone means TFLite's
        TFLITE_SINGLE_ROUNDING: to nearest, ties up, saturating
    key : the stream of draws of STOCHASTIC

    Returns
    -------
    The tensor, and how many codes dropped a bit and left the format.

    Raises
    ------
    FormatError : with `Overflow.ERROR`, if a code does not fit; for what 64 bits cannot hold

    Examples
    --------
    >>> x = FixedTensor(np.array([[100, 100]]), FixedPoint(16, 0))
    >>> rescale(x, (Scale(3, 2), Scale(1, 0)), FixedPoint(16, 0))[0].codes.tolist()
    [[75, 100]]
    """
    to = to if isinstance(to, Cast) else Cast(to, Rounding.RND)
    codes = np.ascontiguousarray(tensor.matrix().astype(np.int64))
    epilogue, width = Epilogue(to, scale=scale, key=key), codes.shape[1]
    out = np.empty(codes.shape, storage(to.format))
    bound = 1 << tensor.format.bits
    arguments = epilogue_arguments(epilogue, tensor.format, False, width, bound)
    parts = split(
        epilogue_kernels.epilogue_range,
        codes.shape[0],
        4 * width,
        codes,
        out,
        0,
        *arguments.arguments,
    )
    overflows = arguments.overflows(parts)
    if to.overflow is Overflow.ERROR and overflows.overflowed:
        raise FormatError(
            f"rescale: {overflows.overflowed} of {out.size} codes do not fit {to.format}"
        )
    return FixedTensor.trusted(out.reshape(tensor.shape), to.format), overflows


def rescale_double(
    tensor: FixedTensor, scale: Scale, target: FixedPoint
) -> tuple[FixedTensor, OverflowStatistics]:
    """code * multiplier * 2**-shift, rounded twice, as gemmlowp and TFLite do on int32.

    First the high half of 2 * code * multiplier, to nearest, ties up; then by the remaining bits,
    ties away from zero; at last saturated to `target`. A shift below 31 multiplies the code by a
    power of two before, in 32 bits that wrap.

    Parameters
    ----------
    tensor : codes of at most 32 bits
    scale : of all elements
    target : the result's format

    Returns
    -------
    The tensor, and how many codes left the format.

    Raises
    ------
    FormatError : for wider codes

    Examples
    --------
    >>> x = FixedTensor(np.array([100]), FixedPoint(32, 0))
    >>> rescale_double(x, Scale.nearest(0.75), FixedPoint(8, 0))[0].codes.tolist()
    [75]

    Notes
    -----
    Source: gemmlowp `fixedpoint.h`, SaturatingRoundingDoublingHighMul and RoundingDivideByPOT;
    TensorFlow Lite, MultiplyByQuantizedMultiplier.
    """
    if tensor.format.bits + (not tensor.format.signed) > 32:
        raise FormatError(f"rescale_double: codes must be int32, not {tensor.format.bits} bits")
    after = scale.shift - MULTIPLIER_BITS
    x = np.ascontiguousarray(tensor.codes.astype(np.int64)).reshape(-1)
    out = np.empty(x.size, np.int64)
    split(casting.double_range, x.size, 4, x, out, scale.multiplier, after)
    wide = FixedTensor.trusted(out.reshape(tensor.shape), FixedPoint(32, target.frac))
    return casts.cast(wide, target, dtype=storage(target))
