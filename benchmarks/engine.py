"""The engine against NumPy's float32 BLAS, PyTorch and other fixed-point tools, in one run.

A ratio is the other's time over ours, at the same thread count: above 1, ours is faster. Without
PyTorch, APyTypes or QPyTorch installed their rows are left out, and said to be. `--path` forces
the instructions of all rows but those that name one.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from side_by_side import Row, arguments, ratio, report
from threadpoolctl import threadpool_limits

from fxsim.engine import block_casts, casts, instruction_set, matmul
from fxsim.engine.epilogue import Epilogue
from fxsim.engine.geometry import Convolution
from fxsim.engine.instruction_set import InstructionSet
from fxsim.engine.tensor import FixedTensor, storage
from fxsim.engine.window import Window
from fxsim.numerics.block_map import BlockMap
from fxsim.numerics.formats import Accumulator, Cast, FixedPoint, Overflow, Rounding

SHAPES = [(512, 512, 4608), (8192, 64, 576)]
WIDE = Accumulator(48, Overflow.SAT)
INT8 = FixedPoint(8, 4)
Work = Callable[[], Any]

# height and width, channels, filters, kernel, stride, padding, groups; target; batch 128
LAYERS = {
    "3x3 16->16@32": (32, 16, 16, 3, 1, 1, 1),
    "3x3 32->32@16": (16, 32, 32, 3, 1, 1, 1),
    "3x3 64->64@8": (8, 64, 64, 3, 1, 1, 1),
    "3x3 stride 2 16->32@32": (32, 16, 32, 3, 2, 1, 1),
    "1x1 64->64@16": (16, 64, 64, 1, 1, 0, 1),
    "1x1 stride 2 32->64@16": (16, 32, 64, 1, 2, 0, 1),
    "first layer 3x3 3->16@32": (32, 3, 16, 3, 1, 1, 1),
    "depthwise 3x3 64@16": (16, 64, 64, 3, 1, 1, 64),
    "depthwise 3x3 stride 2 64@16": (16, 64, 64, 3, 2, 1, 64),
}
NAMED = 3  # layers that have a target of their own; the others must not be slower than PyTorch


def codes(rng: np.random.Generator, shape: tuple[int, ...], bits: int = 8) -> FixedTensor:
    """Uniform codes of the whole range."""
    word = FixedPoint(bits, 4)
    found = rng.integers(word.min_code, word.max_code, shape, endpoint=True)
    return FixedTensor(found.astype(storage(word)), word)


def gaussian(rng: np.random.Generator, shape: tuple[int, ...]) -> FixedTensor:
    """8-bit codes of deviation 28, clipped at four and a half deviations."""
    found = np.clip(np.rint(rng.normal(0, 28, shape)), -127, 127)
    return FixedTensor(found.astype(np.int8), INT8)


def against_sgemm(a: FixedTensor, b: FixedTensor, accumulator: Accumulator) -> float:
    """Our product with the sums stored, over NumPy's of the same shape."""
    x, y = (t.codes.astype(np.float32) for t in (a, b))
    output = Epilogue(FixedPoint(32, 8))
    if accumulator.frac is not None:
        output = Epilogue(FixedPoint(32, accumulator.frac))
    out = np.empty((x.shape[0], y.shape[0]), np.float32)
    return ratio(
        lambda: matmul.multiply(a, b, accumulator, output), lambda: np.matmul(x, y.T, out=out)
    )


def gemm_rows(rng: np.random.Generator, skipped: list[str]) -> Iterator[Row]:
    targets = {InstructionSet.AMX: 7.0, InstructionSet.VNNI: 3.3, InstructionSet.PORTABLE: 0.6}
    for machine, target in targets.items():
        for m, n, k in SHAPES:
            work = f"int8 GEMM {m}x{n}x{k}, wide, {machine.value}"
            if machine not in instruction_set.available():
                skipped.append(f"{work}: not on this processor")
                continue
            instruction_set.force(machine)
            yield work, against_sgemm(codes(rng, (m, k)), codes(rng, (n, k)), WIDE), target
            instruction_set.force(None)
    m, n, k = SHAPES[1]
    left, right = codes(rng, (m, k)), codes(rng, (n, k))
    for m, n, k in SHAPES:
        a, b = codes(rng, (m, k), 16), codes(rng, (n, k), 8)
        yield f"int16 x int8 {m}x{n}x{k}, exact", against_sgemm(a, b, WIDE), 1.8
        b = codes(rng, (n, k), 16)
        yield f"int16 x int16 {m}x{n}x{k}, exact", against_sgemm(a, b, WIDE), 1.8
    wrapping = Accumulator(16, Overflow.WRAP)
    yield "int8, 16-bit wrapping", against_sgemm(left, right, wrapping), 3.3
    a, b = gaussian(rng, (m := 8192, k := 576)), gaussian(rng, (64, k))
    for bits, target in ((24, 2.5), (19, 0.9), (16, 0.9)):
        work = f"int8 Gaussian {m}x64x{k}, {bits}-bit saturating per step"
        yield work, against_sgemm(a, b, Accumulator(bits, Overflow.SAT)), target
    for mode in (Rounding.RND, Rounding.TRN):
        rounded = Accumulator(32, Overflow.SAT, 4, product_rounding=mode)
        yield f"int8, each product rounded by {mode.name}", against_sgemm(a, b, rounded), 0.9


def block_rows(rng: np.random.Generator) -> Iterator[Row]:
    """A given 4x4 map of 0, 2, 4 and 8 bits, casts included, over our uniform 8 bits."""
    wide = [
        FixedTensor(rng.integers(-(2**20), 2**20, s), FixedPoint(22, 16))
        for s in ((8192, 576), (64, 576))
    ]
    maps = []
    for tensor in wide:
        rows, columns = tensor.shape
        grid = (rows // 4, columns // 4)
        bits = rng.choice(np.array([0, 2, 4, 8], np.uint8), grid)
        maps.append(BlockMap.shared_scale(bits, rows, columns, 4, 4, 8))
    target = FixedPoint(8, 3)

    def mixed() -> None:
        a, b = (block_casts.quantise_map(t, m, target)[0] for t, m in zip(wide, maps, strict=True))
        matmul.multiply(a, b, WIDE, Epilogue(FixedPoint(32, 6)))

    def uniform() -> None:
        a, b = (casts.cast(t, target, dtype=np.int8)[0] for t in wide)
        matmul.multiply(a, b, WIDE, Epilogue(FixedPoint(32, 6)))

    yield "4x4 blocks of 0/2/4/8 bits, casts included, vs our uniform 8", ratio(mixed, uniform), 0.7


def cast_rows(rng: np.random.Generator, skipped: list[str]) -> Iterator[Row]:
    size = 8 << 20
    x = FixedTensor(rng.integers(-(2**15), 2**15, size).astype(np.int32), FixedPoint(30, 8))
    source = np.zeros(size * 5 // 8, np.int32)  # reads and writes as many bytes as the cast
    target = np.empty_like(source)
    for mode, least in ((Rounding.RND_CONV, 0.6), (Rounding.STOCHASTIC, 0.3)):
        yield (
            f"requantise int32 -> int8, {mode.name}, vs np.copyto",
            ratio(
                lambda mode=mode: casts.cast(x, Cast(FixedPoint(8, 0), mode), dtype=np.int8),
                lambda: np.copyto(target, source),
            ),
            least,
        )
    words = FixedTensor(
        rng.integers(-(2**15), 2**15, 1_000_000).astype(np.int16), FixedPoint(16, 8)
    )

    def ours() -> None:
        casts.cast(words, FixedPoint(8, 2), dtype=np.int8)

    if importlib.util.find_spec("apytypes"):
        import apytypes

        theirs = apytypes.APyFixedArray(words.codes.tolist(), int_bits=8, frac_bits=8)
        modes = (apytypes.QuantizationMode.RND_CONV, apytypes.OverflowMode.SAT)
        other = ratio(ours, lambda: theirs.cast(6, 2, *modes), 3)
        yield "cast of 1e6 elements 16 -> 8 bits, vs APyTypes", other, 15
    else:
        skipped.append("cast against APyTypes: not installed")
    if importlib.util.find_spec("torch") and importlib.util.find_spec("qtorch"):
        try:
            import torch
            from qtorch.quant import fixed_point_quantize
        except (ImportError, OSError, RuntimeError) as problem:
            skipped.append(f"cast against QPyTorch: {str(problem).splitlines()[0]}")
            return
        floats = torch.from_numpy(words.to_float().astype(np.float32))
        other = ratio(ours, lambda: fixed_point_quantize(floats, 8, 2, rounding="nearest"), 3)
        yield "cast of 1e6 elements 16 -> 8 bits, vs QPyTorch", other, 15
    else:
        skipped.append("cast against QPyTorch: not installed")


def limited_rows(rng: np.random.Generator, skipped: list[str]) -> Iterator[Row]:
    """256^3 with a 16-bit accumulator; APyTypes' context saturates the products only."""
    if not importlib.util.find_spec("apytypes"):
        skipped.append("limited accumulator against APyTypes: not installed")
        return
    import apytypes

    a, b = codes(rng, (256, 256)), codes(rng, (256, 256))
    x, y = (apytypes.APyFixedArray(t.codes.tolist(), int_bits=4, frac_bits=4) for t in (a, b))
    limited = apytypes.APyFixedAccumulatorContext(
        int_bits=8, frac_bits=8, overflow=apytypes.OverflowMode.SAT
    )

    def theirs() -> None:
        with limited:
            x @ y

    register = Accumulator(16, Overflow.SAT)
    found = ratio(lambda: matmul.multiply(a, b, register), theirs, 3)
    yield "256^3 int8, 16-bit saturating per step, vs APyTypes", found, 500


def layer_rows(rng: np.random.Generator, threads: int, skipped: list[str]) -> Iterator[Row]:
    """Forward, grad_input and grad_weight with casts, over PyTorch's forward plus backward."""
    if not importlib.util.find_spec("torch"):
        skipped.append("convolution layers against PyTorch: not installed")
        return
    import torch

    torch.set_num_threads(threads)
    for number, (name, layer) in enumerate(LAYERS.items()):
        size, channels, filters, kernel, stride, padding, groups = layer
        window = Window(kernel, stride, padding, padding)
        g = Convolution(size, size, channels, filters, window, window, groups)
        x, w = codes(rng, (128, size, size, channels)), codes(rng, (filters, g.depth))
        e = codes(rng, (128, g.out_height, g.out_width, filters))
        narrow, gradient = Epilogue(FixedPoint(8, 0)), Epilogue(FixedPoint(16, 0))

        def ours(x=x, w=w, e=e, g=g, narrow=narrow, gradient=gradient) -> None:
            matmul.convolution_forward(x, w, g, WIDE, narrow)
            matmul.convolution_grad_input(e, w, g, WIDE, narrow)
            matmul.convolution_grad_weight(x, e, g, WIDE, gradient)

        def last(*shape: int) -> Any:
            return torch.randn(*shape).to(memory_format=torch.channels_last)

        image = last(128, channels, size, size).requires_grad_(True)
        weight = last(filters, channels // groups, kernel, kernel).requires_grad_(True)
        error = last(128, filters, g.out_height, g.out_width)

        def theirs(
            image=image, weight=weight, error=error, shape=(stride, padding, 1, groups)
        ) -> None:
            torch.nn.functional.conv2d(image, weight, None, *shape).backward(error)
            image.grad = weight.grad = None

        target = 1 / 0.3 if number < NAMED else 1.0
        yield f"conv {name}, three passes, vs PyTorch", ratio(ours, theirs, 5), target


def main() -> None:
    given = arguments(__doc__)
    rng, skipped = np.random.default_rng(0), []
    with threadpool_limits(given.threads, user_api="blas"):
        rows = [*gemm_rows(rng, skipped), *block_rows(rng), *cast_rows(rng, skipped)]
        rows += [*limited_rows(rng, skipped), *layer_rows(rng, given.threads, skipped)]
    names = ", ".join(machine.value for machine in instruction_set.available())
    print(f"{given.threads} thread(s); paths: {names}", file=sys.stderr)
    for line in skipped:
        print(f"left out: {line}", file=sys.stderr)
    report(rows, given.json)


if __name__ == "__main__":
    main()
