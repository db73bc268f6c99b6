"""Passes as loop nests: which pixel each turn of the loops reads, from the convolution itself."""

from __future__ import annotations

from fractions import Fraction

import pytest
from windows import square

from fxsim.engine.contractions import Convolved, Matrix, Transposed
from fxsim.engine.geometry import Convolution
from fxsim.engine.window import Window
from fxsim.identifiers import Pass
from fxsim.mapping.nest import DIMENSIONS, Nest

GEOMETRIES = [
    square(6, 5, 4, 6, 3, 1, 1, 1, 2),
    square(7, 6, 2, 3, 3, 2, 0, 1, 1),
    square(9, 8, 3, 3, 3, 2, 2, 2, 3),
    square(5, 5, 2, 4, 1, 2, 0, 1, 1),
    Convolution(10, 4, 1, 2, Window(5, 2, 1, 2), Window(2, 1, 0, 1)),
    Convolution(9, 1, 2, 2, Window(3, 1, 4, 0, 2), Window(1)),
    square(8, 7, 1, 2, 2, 3, 1, 1, 1),
]
IMAGES = 2


def pixel(nest, turn, tap, axis=0):
    """The pixel along an axis that an output's turn and a tap's turn read, if there is one."""
    place = turn * nest.stride[axis] + tap * nest.dilation[axis] - nest.padding[axis]
    at = Fraction(place, nest.upsampling[axis])
    return int(at) if at.denominator == 1 else None


@pytest.mark.parametrize("g", GEOMETRIES)
def test_each_pass_reads_what_the_convolution_reads(g):
    forward, back, weight = (
        Nest.convolution(p, g, IMAGES) for p in (Pass.FORWARD, Pass.GRAD_INPUT, Pass.GRAD_WEIGHT)
    )
    axes = ((g.vertical, g.height), (g.horizontal, g.width))
    for axis, (window, length) in enumerate(axes):
        for tap in range(window.size):
            for out in range(window.outputs(length)):
                y = out * window.stride - window.before + tap * window.dilation
                assert pixel(forward, out, tap, axis) == y
                assert pixel(weight, tap, out, axis) == y  # the taps are its outputs
            for y in range(length):  # the kernel is turned
                place = y + window.before - (window.size - 1 - tap) * window.dilation
                out = Fraction(place, window.stride)
                reads = int(out) if out.denominator == 1 else None
                assert pixel(back, y, tap, axis) == reads
    assert forward.image == weight.image == (g.height, g.width)
    assert back.image == (g.out_height, g.out_width)


@pytest.mark.parametrize("g", GEOMETRIES)
def test_each_pass_has_the_loops_of_its_product(g):
    channels, filters = g.channels // g.groups, g.filters // g.groups
    outputs, taps = g.out_height * g.out_width, g.vertical.size * g.horizontal.size
    shapes = {
        Pass.FORWARD: (IMAGES * outputs, filters, channels * taps),
        Pass.GRAD_INPUT: (IMAGES * g.height * g.width, channels, filters * taps),
        Pass.GRAD_WEIGHT: (channels * taps, filters, IMAGES * outputs),
    }
    for pass_, (m, n, k) in shapes.items():
        nest = Nest.convolution(pass_, g, IMAGES)
        assert nest.gemm() == (m, n, k)
        assert nest.macs == m * n * k * g.groups
        assert Nest.of(pass_, Convolved(g), m, n, k, g.groups) == nest
        assert nest.matrix_words("right") == n * k * g.groups
        assert nest.matrix_words("output") == m * n * g.groups
    # a transposed convolution's passes are those of its convolution, the other way round
    m, n, k = shapes[Pass.GRAD_INPUT]
    turned = Nest.of(Pass.FORWARD, Transposed(g), m, n, k, g.groups)
    assert turned == Nest.convolution(Pass.GRAD_INPUT, g, IMAGES)
    assert Nest.of(Pass.FORWARD, Matrix(), 3, 4, 5, 6) == Nest.matrix(3, 4, 5, 6)


@pytest.mark.parametrize("g", GEOMETRIES)
@pytest.mark.parametrize("pass_", [Pass.FORWARD, Pass.GRAD_INPUT, Pass.GRAD_WEIGHT])
def test_the_words_that_are_needed_are_counted_once(g, pass_):
    nest = Nest.convolution(pass_, g, IMAGES)
    sizes = dict(zip(DIMENSIONS, nest.sizes, strict=True))
    needed = sizes["B"] * sizes["C"] * sizes["G"]
    for axis, (outputs, taps) in enumerate((("OY", "FY"), ("OX", "FX"))):
        pixels = nest.image[axis]
        read = {
            pixel(nest, turn, tap, axis)
            for turn in range(sizes[outputs])
            for tap in range(sizes[taps])
        }
        needed *= len({p for p in read if p is not None and 0 <= p < pixels})
    assert nest.left_words >= needed
    windows = g.vertical, g.horizontal
    gaps = any(w.stride > w.reach or w.dilation > 1 for w in windows)
    if not gaps and pass_ is not Pass.GRAD_WEIGHT and not any(w.before + w.after for w in windows):
        assert nest.left_words == needed


def test_flattening_keeps_what_is_needed():
    nest = Nest.convolution(Pass.FORWARD, GEOMETRIES[0], IMAGES)
    one = nest.flatten(frozenset({"k"}))
    both = one.flatten(frozenset({"m"}))
    assert (nest.flattened, one.flattened, both.flattened) == (set(), {"k"}, {"m", "k"})
    assert both.gemm() == one.gemm() == nest.gemm()
    assert both.left_words == one.left_words == nest.left_words
    assert both.sizes[4:7] == (1, 1, 1)
    assert both.flatten(frozenset({"m"})) is both
    assert Nest.matrix(3, 4, 5, 2).left_words == 3 * 5 * 2
