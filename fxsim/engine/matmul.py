"""Matrix multiplication and convolution in all three passes, exact in the stated accumulator.

Every function returns (result, what was lost). Without an epilogue the result is the
sums in the accumulator's format, int64; with one, it is cast on the fly.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fxsim.engine import depthwise, dispatch, execution, geometry, packing
from fxsim.engine.dispatch import Plan
from fxsim.engine.epilogue import Epilogue
from fxsim.engine.execution import EXACT
from fxsim.engine.geometry import Convolution, Gather
from fxsim.engine.operand import Operand
from fxsim.engine.overflow_statistics import OverflowStatistics
from fxsim.engine.product import Place, Product, arguments
from fxsim.engine.tensor import Codes, FixedTensor, storage
from fxsim.errors import FormatError, ShapeError
from fxsim.numerics.formats import Accumulator, FixedPoint, Overflow, Rounding

LARGEST_RESULT = (1 << 32) - 1  # elements: each has a draw of its own, see `kernels.requantise`


def _empty(operation: str, shape: tuple[int, ...], epilogue: Epilogue | None) -> NDArray[Any]:
    elements = int(np.prod(np.array(shape, object)))
    if elements > LARGEST_RESULT:
        raise ShapeError(
            f"{operation}: a result of {shape} has {elements} elements, the engine takes at most"
            f" {LARGEST_RESULT}"
        )
    return np.empty(shape, np.int64 if epilogue is None else storage(epilogue.format))


def _result(
    codes: NDArray[Any],
    shape: tuple[int, ...],
    plan: Plan,
    epilogue: Epilogue | None,
    overflows: OverflowStatistics,
) -> tuple[FixedTensor, OverflowStatistics]:
    if epilogue is not None and epilogue.target.overflow is Overflow.ERROR and overflows.overflowed:
        raise FormatError(
            f"output: {overflows.overflowed} of {codes.size} results do not fit {epilogue.format}"
        )
    format = plan.register if epilogue is None else epilogue.format
    return FixedTensor.trusted(codes.reshape(shape), format), overflows


def multiply(
    a: FixedTensor,
    b: FixedTensor,
    accumulator: Accumulator,
    epilogue: Epilogue | None = None,
    start: FixedTensor | None = None,
) -> tuple[FixedTensor, OverflowStatistics]:
    """A matrix product, or a batch of them, exactly as an accumulator runs it.

    Parameters
    ----------
    a : (M, K), or a batch (B, M, K)
    b : (N, K), which is transposed; or a batch (B, N, K)
    accumulator : the register, and the order of additions, along K
    epilogue : what becomes of finished sums; None: they stay as they are
    start : (N,) what the accumulator holds first (a preloaded bias), in its own format

    Returns
    -------
    (M, N) or (B, M, N), and how many sums overflowed and what the epilogue lost.

    Raises
    ------
    ShapeError : for shapes that do not fit
    FormatError : for sums that 64 bits cannot hold; with `Overflow.ERROR`, for one that overflows

    Examples
    --------
    >>> a = FixedTensor(np.array([[1, 2], [3, 4]]), FixedPoint(8, 0))
    >>> multiply(a, a, Accumulator(32))[0].codes.tolist()
    [[5, 11], [11, 25]]
    """
    if len(a.shape) not in (2, 3) or len(b.shape) not in (2, len(a.shape)):
        raise ShapeError(f"multiply: needs (M, K) and (N, K), or batches, not {a.shape}, {b.shape}")
    batched = len(b.shape) == 3
    if a.shape[-1] != b.shape[-1] or (batched and a.shape[0] != b.shape[0]):
        raise ShapeError(
            f"multiply: a is {a.shape} and b {b.shape}; their last axes, and their batches, must"
            " be equal"
        )
    left, right = Operand.of(a), Operand.of(b)
    rows, depth, width = a.shape[-2], a.shape[-1], b.shape[-2]
    shape, plan = (*a.shape[:-1], width), dispatch.plan(left, right, depth, accumulator)
    out = _empty("multiply", (int(np.prod(a.shape[:-1])), width), epilogue)
    if not batched:
        gather = geometry.matrix_rows(out.shape[0], depth)
        begin = None if start is None else _begin(start, plan.register, width)
        product = Product(left, gather, right, plan, epilogue)
        return _result(out, shape, plan, epilogue, execution.multiply(product, Place(out), begin))
    if start is not None:
        raise ShapeError("multiply: start serves one b (N, K), not a batch of them")
    overflows, gather = OverflowStatistics(), geometry.matrix_rows(rows, depth)
    for i in range(a.shape[0]):
        one = Product(left.like(a.codes[i]), gather, right.like(b.codes[i]), plan, epilogue)
        place = Place(out[i * rows : (i + 1) * rows], base=i * rows * width)
        overflows += execution.multiply(one, place)
    return _result(out, shape, plan, epilogue, overflows)


def _begin(start: FixedTensor, register: FixedPoint, width: int) -> NDArray[np.int64]:
    if start.shape != (width,) or start.format != register:
        raise ShapeError(
            f"multiply: start must be ({width},) codes of {register}, not {start.shape} of"
            f" {start.format}"
        )
    return start.codes.astype(np.int64)


def linear_forward(
    x: FixedTensor, weight: FixedTensor, accumulator: Accumulator, epilogue: Epilogue | None = None
) -> tuple[FixedTensor, OverflowStatistics]:
    """The forward pass of a linear layer.

    Parameters
    ----------
    x : (N, inputs) activations
    weight : (outputs, inputs)
    accumulator, epilogue : as of `multiply`

    Returns
    -------
    (N, outputs), and what was lost.

    Raises
    ------
    ShapeError, FormatError : as of `multiply`

    Examples
    --------
    >>> x = FixedTensor(np.array([[1, 2]]), FixedPoint(8, 0))
    >>> weight = FixedTensor(np.array([[3, 4], [5, 6], [7, 8]]), FixedPoint(8, 0))
    >>> linear_forward(x, weight, Accumulator(32))[0].codes.tolist()
    [[11, 17, 23]]
    """
    return multiply(x, weight, accumulator, epilogue)


def linear_grad_input(
    error: FixedTensor,
    weight: FixedTensor,
    accumulator: Accumulator,
    epilogue: Epilogue | None = None,
) -> tuple[FixedTensor, OverflowStatistics]:
    """The gradient of a linear layer's input.

    Parameters
    ----------
    error : (N, outputs) errors
    weight : (outputs, inputs)
    accumulator, epilogue : as of `multiply`

    Returns
    -------
    (N, inputs), summed over outputs in order, and what was lost.

    Raises
    ------
    ShapeError, FormatError : as of `multiply`

    Examples
    --------
    >>> error = FixedTensor(np.array([[1, 0, 2]]), FixedPoint(8, 0))
    >>> weight = FixedTensor(np.array([[3, 4], [5, 6], [7, 8]]), FixedPoint(8, 0))
    >>> linear_grad_input(error, weight, Accumulator(32))[0].codes.tolist()
    [[17, 20]]
    """
    return multiply(error, _transposed(weight), accumulator, epilogue)


def linear_grad_weight(
    x: FixedTensor, error: FixedTensor, accumulator: Accumulator, epilogue: Epilogue | None = None
) -> tuple[FixedTensor, OverflowStatistics]:
    """The gradient of a linear layer's weights.

    Parameters
    ----------
    x : (N, inputs) activations
    error : (N, outputs) errors
    accumulator, epilogue : as of `multiply`

    Returns
    -------
    (outputs, inputs), summed over N in order, and what was lost.

    Raises
    ------
    ShapeError : for matrices of different heights
    FormatError : as of `multiply`

    Examples
    --------
    >>> x = FixedTensor(np.array([[1, 2], [3, 4]]), FixedPoint(8, 0))
    >>> error = FixedTensor(np.array([[1], [10]]), FixedPoint(8, 0))
    >>> linear_grad_weight(x, error, Accumulator(32))[0].codes.tolist()
    [[31, 42]]
    """
    if len(x.shape) != 2 or len(error.shape) != 2 or x.shape[0] != error.shape[0]:
        raise ShapeError(
            f"linear grad_weight: activations {x.shape} and errors {error.shape} must be matrices"
            " with one row an example"
        )
    shape = (error.shape[1], x.shape[1])
    left, right = Operand.of(error), Operand.of(x)
    out = _empty("linear grad_weight", shape, epilogue)
    gather = geometry.matrix_rows(x.shape[0], x.shape[1])
    plan, columns = dispatch.plan(left, right, x.shape[0], accumulator), slice(0, shape[0])
    overflows = _over_rows(right, gather, left, columns, plan, epilogue, Place(out))
    return _result(out, shape, plan, epilogue, overflows)


def _transposed(tensor: FixedTensor) -> FixedTensor:
    return FixedTensor.trusted(np.ascontiguousarray(tensor.codes.T), tensor.format)


def _check_image(name: str, tensor: FixedTensor, height: int, width: int, channels: int) -> None:
    if tensor.shape[1:] != (height, width, channels):
        raise ShapeError(
            f"convolution: {name} must be (N, {height}, {width}, {channels}), not {tensor.shape}"
        )


def _check_weight(weight: FixedTensor, g: Convolution) -> None:
    if weight.shape != (g.filters, g.depth):
        raise ShapeError(
            f"convolution: weight must be ({g.filters}, {g.depth}), not {weight.shape}"
        )


def _check_output(epilogue: Epilogue | None, width: int) -> None:
    if epilogue is not None:
        epilogue.check_width(width)


def _check_fits(g: Convolution) -> None:
    if g.out_height < 1 or g.out_width < 1:
        raise ShapeError(
            f"convolution: a kernel over {g.vertical.reach} x {g.horizontal.reach} does not fit an"
            f" input of {g.height} x {g.width} with its padding"
        )


def convolution_forward(
    x: FixedTensor,
    weight: FixedTensor,
    g: Convolution,
    accumulator: Accumulator,
    epilogue: Epilogue | None = None,
) -> tuple[FixedTensor, OverflowStatistics]:
    """The forward pass of a convolution.

    Parameters
    ----------
    x : (N, H, W, C) activations
    weight : (filters, taps * C / groups), taps in rows, columns, channels
    g : the geometry
    accumulator, epilogue : as of `multiply`

    Returns
    -------
    (N, OH, OW, filters), and what was lost. The sum runs over kernel row, kernel column, channel,
    in that order.

    Raises
    ------
    ShapeError : for tensors that are not those of the geometry, or a kernel that does not fit
    FormatError : as of `multiply`

    Examples
    --------
    >>> from fxsim.engine.window import Window
    >>> g = Convolution(2, 2, 1, 1, Window(2), Window(2))
    >>> x = FixedTensor(np.array([1, 2, 3, 4]).reshape(1, 2, 2, 1), FixedPoint(8, 0))
    >>> weight = FixedTensor(np.array([[1, 10, 100, 1000]]), FixedPoint(16, 0))
    >>> convolution_forward(x, weight, g, Accumulator(32))[0].codes.tolist()
    [[[[4321]]]]
    """
    _check_fits(g)
    _check_image("activation", x, g.height, g.width, g.channels)
    _check_weight(weight, g)
    _check_output(epilogue, g.filters)
    images, a, b = x.shape[0], Operand.of(x), Operand.of(weight)
    shape = (images, g.out_height, g.out_width, g.filters)
    plan = dispatch.plan(a, b, g.depth, accumulator)
    out = _empty("convolution", (images * g.out_height * g.out_width, g.filters), epilogue)
    if g.depthwise and depthwise.serves(plan):
        gather = geometry.pixel_rows(geometry.forward_rows(g, images, 0), g.channels)
        overflows = _channels_apart(a, gather, b.codes, plan, epilogue, out)
        return _result(out, shape, plan, epilogue, overflows)
    overflows, filters = OverflowStatistics(), g.filters // g.groups
    for group in range(g.groups):
        mine = slice(group * filters, (group + 1) * filters)
        gather, weights = geometry.forward_rows(g, images, group), b.like(b.codes[mine])
        product = Product(a, gather, weights, plan, _part(epilogue, mine))
        overflows += execution.multiply(product, Place(out, mine.start))
    return _result(out, shape, plan, epilogue, overflows)


def convolution_grad_input(
    error: FixedTensor,
    weight: FixedTensor,
    g: Convolution,
    accumulator: Accumulator,
    epilogue: Epilogue | None = None,
) -> tuple[FixedTensor, OverflowStatistics]:
    """The gradient of a convolution's input.

    The convolution of the errors, spread out by the stride, with the kernels turned by 180
    degrees: the sum runs over their row, column and filter, in that order.

    Parameters
    ----------
    error : (N, OH, OW, filters) errors
    weight : (filters, taps * C / groups)
    g : the geometry
    accumulator, epilogue : as of `multiply`

    Returns
    -------
    (N, H, W, C), and what was lost.

    Raises
    ------
    ShapeError, FormatError : as of `convolution_forward`

    Examples
    --------
    >>> from fxsim.engine.window import Window
    >>> g = Convolution(2, 2, 1, 1, Window(2), Window(2))
    >>> error = FixedTensor(np.array([2]).reshape(1, 1, 1, 1), FixedPoint(8, 0))
    >>> weight = FixedTensor(np.array([[1, 10, 100, 1000]]), FixedPoint(16, 0))
    >>> convolution_grad_input(error, weight, g, Accumulator(32))[0].codes.reshape(-1).tolist()
    [2, 20, 200, 2000]
    """
    _check_fits(g)
    _check_image("error", error, g.out_height, g.out_width, g.filters)
    _check_weight(weight, g)
    _check_output(epilogue, g.channels)
    images, a, b = error.shape[0], Operand.of(error), Operand.of(weight)
    shape = (images, g.height, g.width, g.channels)
    out = _empty("convolution", (images * g.height * g.width, g.channels), epilogue)
    plan = dispatch.plan(a, b, g.taps * g.filters // g.groups, accumulator)
    if g.strided and plan.kernel.sums_exactly and not plan.certify and not g.depthwise:
        overflows = _strided_grad_input(a, b, g, plan, epilogue, out.reshape(shape))
        return _result(out, shape, plan, epilogue, overflows)
    spread = a.like(geometry.spread(a.codes, g))
    if g.depthwise and depthwise.serves(plan):
        gather = geometry.pixel_rows(geometry.backward_rows(g, images, 0), g.channels)
        turned_taps = np.ascontiguousarray(b.codes[:, ::-1])
        overflows = _channels_apart(spread, gather, turned_taps, plan, epilogue, out)
        return _result(out, shape, plan, epilogue, overflows)
    overflows, channels = OverflowStatistics(), g.channels // g.groups
    for group in range(g.groups):
        mine = slice(group * channels, (group + 1) * channels)
        turned = b.like(geometry.turned_weight(b.codes, g, group))
        gather = geometry.backward_rows(g, images, group)
        product = Product(spread, gather, turned, plan, _part(epilogue, mine))
        overflows += execution.multiply(product, Place(out, mine.start))
    return _result(out, shape, plan, epilogue, overflows)


def _strided_grad_input(
    a: Operand,
    b: Operand,
    g: Convolution,
    plan: Plan,
    epilogue: Epilogue | None,
    out: NDArray[Any],
) -> OverflowStatistics:
    """grad_input (N, H, W, C) without the zeros between the errors, where sums are exact.

    Where draws or counts have their places in the whole result, sums come first, then the epilogue.
    """
    ordered = epilogue is None or epilogue.target.rounding is Rounding.STOCHASTIC or plan.wraps
    if not ordered:
        return _by_phases(a, b, g, plan.accumulator, epilogue, out)
    sums = np.empty(out.shape, np.int64)
    _by_phases(a, b, g, EXACT, None, sums)
    flat = out.reshape(-1, g.channels)
    finish = arguments(plan, epilogue, g.channels)
    return execution.apply_epilogue(sums.reshape(flat.shape), finish, Place(flat))


def convolution_grad_weight(
    x: FixedTensor,
    error: FixedTensor,
    g: Convolution,
    accumulator: Accumulator,
    epilogue: Epilogue | None = None,
) -> tuple[FixedTensor, OverflowStatistics]:
    """The gradient of a convolution's weights.

    Parameters
    ----------
    x : (N, H, W, C) activations
    error : (N, OH, OW, filters) errors
    g : the geometry
    accumulator, epilogue : as of `multiply`

    Returns
    -------
    (filters, taps * C / groups), summed over image, output row and column, in order; and what
    was lost.

    Raises
    ------
    ShapeError, FormatError : as of `convolution_forward`

    Examples
    --------
    >>> from fxsim.engine.window import Window
    >>> g = Convolution(2, 2, 1, 1, Window(2), Window(2))
    >>> x = FixedTensor(np.array([1, 2, 3, 4]).reshape(1, 2, 2, 1), FixedPoint(8, 0))
    >>> error = FixedTensor(np.array([2]).reshape(1, 1, 1, 1), FixedPoint(8, 0))
    >>> convolution_grad_weight(x, error, g, Accumulator(32))[0].codes.tolist()
    [[2, 4, 6, 8]]
    """
    _check_fits(g)
    _check_image("activation", x, g.height, g.width, g.channels)
    _check_image("error", error, g.out_height, g.out_width, g.filters)
    if x.shape[0] != error.shape[0]:
        raise ShapeError(f"convolution: {x.shape[0]} activations but {error.shape[0]} errors")
    a, b = Operand.of(x), Operand.of(error)
    out = _empty("convolution", (g.filters, g.depth), epilogue)
    plan = dispatch.plan(b, a, x.shape[0] * g.out_height * g.out_width, accumulator)
    narrow = a.peak * b.peak <= dispatch.INT32_MAX
    if g.depthwise and narrow and plan.kernel.drops_nothing and not plan.certify:
        gather = geometry.pixel_rows(geometry.forward_rows(g, x.shape[0], 0), g.channels)
        sums = depthwise.fold_pixels(a, gather, b, plan)
        finish = arguments(plan, epilogue, g.depth)
        overflows = execution.apply_epilogue(sums, finish, Place(out))
        return _result(out, out.shape, plan, epilogue, overflows)
    overflows, filters = OverflowStatistics(), g.filters // g.groups
    for group in range(g.groups):
        mine = slice(group * filters, (group + 1) * filters)
        gather = geometry.forward_rows(g, x.shape[0], group)
        place = Place(out[mine], base=mine.start * g.depth)
        overflows += _over_rows(a, gather, b, mine, plan, epilogue, place)
    return _result(out, out.shape, plan, epilogue, overflows)


def _channels_apart(
    a: Operand,
    gather: Gather,
    weights: Codes,
    plan: Plan,
    epilogue: Epilogue | None,
    out: NDArray[Any],
) -> OverflowStatistics:
    """A depthwise product, channels side by side."""
    return depthwise.fold(a, gather, weights, plan, arguments(plan, epilogue, out.shape[1]), out)


def _part(epilogue: Epilogue | None, columns: slice) -> Epilogue | None:
    """The epilogue of one group's columns."""
    return None if epilogue is None else epilogue.part(columns)


def _over_rows(
    a: Operand,
    gather: Gather,
    errors: Operand,
    columns: slice,
    plan: Plan,
    epilogue: Epilogue | None,
    place: Place,
) -> OverflowStatistics:
    """(filters, depth) = some columns of the errors, transposed, times the gather.

    An epilogue's bias and scales are one a column of the result (products of `depth`).
    """
    flat = errors.like(errors.codes.reshape(gather.rows, errors.codes.shape[-1]))
    sums, certain = None, not plan.certify
    if plan.kernel.sums_exactly:
        sums, reach = packing.fold_pixels(a, gather, flat, columns, plan, track=plan.certify)
        certain = certain or reach <= dispatch.largest_safe(plan.accumulator)
    if sums is not None and certain:
        finish = arguments(plan.certified(), epilogue, gather.depth, place.base)
        overflows = execution.apply_epilogue(np.ascontiguousarray(sums.T), finish, place)
        return overflows.placed(gather.depth, gather.depth, place.base)
    fields = geometry.written_out(a.codes, gather)
    turned = errors.like(np.ascontiguousarray(flat.codes[:, columns].T))
    rows = geometry.matrix_rows(turned.codes.shape[0], gather.rows)
    right = a.like(np.ascontiguousarray(fields.T))
    return execution.multiply(Product(turned, rows, right, plan, epilogue), place)


def _by_phases(
    a: Operand,
    b: Operand,
    g: Convolution,
    accumulator: Accumulator,
    epilogue: Epilogue | None,
    out: NDArray[Any],
) -> OverflowStatistics:
    """grad_input of a strided convolution without its zeros: a product for each input phase.

    Only where the order of additions is proven not to matter, and no draw or count its place.
    """
    channels, filters = g.channels // g.groups, g.filters // g.groups
    down, across, overflows = g.vertical, g.horizontal, OverflowStatistics()
    for group in range(g.groups):
        mine = slice(group * channels, (group + 1) * channels)
        turned = geometry.turned_weight(b.codes, g, group)
        taps = turned.reshape(channels, down.size, across.size, filters)
        for row in range(min(down.stride, g.height)):
            for column in range(min(across.stride, g.width)):
                gather, chosen = geometry.phase_rows(g, out.shape[0], group, row, column)
                phase_taps = np.ascontiguousarray(taps[:, chosen[0], chosen[1]])
                weights = b.like(phase_taps.reshape(channels, gather.depth))
                plan = dispatch.plan(a, b, gather.depth, accumulator)
                part = np.empty((gather.rows, channels), out.dtype)
                product = Product(a, gather, weights, plan, _part(epilogue, mine))
                overflows += execution.multiply(product, Place(part))
                view = out[:, row :: down.stride, column :: across.stride, mine]
                view[...] = part.reshape(view.shape)
    return overflows
