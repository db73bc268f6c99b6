"""What a mapping moves: against the walked loop nest, and by hand."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from machines import machine
from mapping.walk import LOOPS, walk

from fxsim.engine.geometry import Convolution
from fxsim.engine.window import Window
from fxsim.errors import ConfigError
from fxsim.mapping.mapping import Mapping
from fxsim.mapping.nest import Nest
from fxsim.mapping.problem import Problem, WordBits

PASSES = ("forward", "grad_input", "grad_weight")


def level(name, holds, capacity, **more):
    return {
        "name": name,
        "holds": holds,
        "capacity_bits": capacity,
        "bandwidth_bits_per_cycle": 64,
        "read_energy_pj_per_bit": 1,
        "write_energy_pj_per_bit": 1,
        "source": "test",
        **more,
    }


def three_levels(outer, inner):
    """Off-chip memory, one shared buffer, and units with memories of their own."""
    every = ["left", "right", "output"]
    return [
        level("dram", every, "unlimited"),
        level("shared", every, outer),
        level("unit", every, inner, per_pe=True, double_buffered=False),
    ]


KERNELS = [(1, 1), (3, 1), (3, 2), (1, 2), (2, 2)]  # size, stride


@st.composite
def nests(draw):
    if draw(st.booleans()):
        sizes = [draw(st.integers(1, 9)) for _ in range(3)]
        return Nest.matrix(*sizes, repeats=draw(st.integers(1, 2)))
    groups = draw(st.sampled_from([1, 2]))
    down, across = (
        Window(size, stride, draw(st.integers(0, size - 1)), draw(st.integers(0, size - 1)))
        for size, stride in (draw(st.sampled_from(KERNELS)) for _ in range(2))
    )
    g = Convolution(
        draw(st.integers(down.size, 6)),
        draw(st.integers(across.size, 6)),
        2 * draw(st.integers(1, 2)),
        2 * draw(st.integers(1, 2)),
        down,
        across,
        groups,
    )
    return Nest.convolution(draw(st.sampled_from(PASSES)), g, draw(st.integers(1, 2)))


@st.composite
def mappings(draw, problem):
    """Random loops in a random order, each cut once or not at all; taps stay whole."""
    loops = []
    for d, size, spatial in zip(LOOPS, problem.nest.sizes, problem.spatial, strict=True):
        size, base = int(size), min(int(spatial), int(size))
        if d not in ("FY", "FX") and base < size and draw(st.booleans()):
            middle = draw(st.sampled_from([base * i for i in range(1, -(-size // base))]))
            if middle > base:
                loops.append((d, middle))
        if base < size:
            loops.append((d, size))
    order = draw(st.permutations(range(len(loops))))
    shuffled = [loops[i] for i in order]
    ordered, used = [], dict.fromkeys(LOOPS, 0)
    for d, _ in shuffled:  # a loop's own turns stay in their order
        own = [loop for loop in loops if loop[0] == d]
        ordered.append(own[used[d]])
        used[d] += 1
    return Mapping(tuple(ordered))


def has_padding(nest):
    """Whether its first or last windows reach beyond the image."""
    beyond = False
    for axis, (outputs, taps) in enumerate(((3, 5), (4, 6))):
        last = (nest.sizes[outputs] - 1) * nest.stride[axis] - nest.padding[axis]
        last += (nest.sizes[taps] - 1) * nest.dilation[axis]
        beyond |= nest.padding[axis] > 0 or last >= nest.image[axis]
    return beyond


def ragged(problem, mapping):
    """Whether a loop's last tile is smaller than the others."""
    reached = {
        d: min(int(s), int(n))
        for d, s, n in zip(LOOPS, problem.spatial, problem.sizes, strict=True)
    }
    cut = False
    for d, extent in mapping.loops:
        cut |= extent % reached[d] != 0
        reached[d] = extent
    return cut


@settings(max_examples=150)
@given(
    nest=nests(),
    flow=st.sampled_from(["weight_stationary", "output_stationary", "row_stationary"]),
    flat=st.booleans(),
    outer=st.sampled_from([300, 2000, 1 << 20]),
    inner=st.sampled_from([48, 200, 4000]),
    data=st.data(),
)
def test_words_moved_are_those_of_the_walked_nest(nest, flow, flat, outer, inner, data):
    dataflow = {"kind": flow, "flatten": ["m", "k"] if flat else [], "source": "test"}
    on = machine(rows=2, columns=2, dataflow=flow, memory=three_levels(outer, inner)).model_copy()
    on = type(on).model_validate({**on.model_dump(), "dataflow": dataflow})
    problem = Problem(on, nest, WordBits(8, 8, 16))
    mapping = data.draw(mappings(problem))
    try:
        movement, found, _, _ = problem.movement(mapping)
    except ConfigError:
        assume(False)
    walked = walk(problem, found)
    level_of = {name: i for i, name in enumerate(movement.levels)}
    unique, results = problem.nest.unique, problem.nest.matrix_words("output")
    for (name, operand), (words, _, largest) in walked.items():
        o = ("left", "right", "output").index(operand)
        at = level_of[name]
        per_pe = name in ("unit", "registers")
        copies = int(problem.record["copies"][at, o])
        share = unique if operand == "left" and not per_pe else 1.0
        parent = next(i for i in range(at + 1, len(level_of)) if problem.holds[i, o])
        padded = nest.spread or has_padding(nest)
        spread = operand == "left" and padded and not flat
        if spread or ragged(problem, mapping):
            # never too few: padding and pixels that a stride has spread are counted up to some a
            # tile too many; so are tiles that stay only because a loop's last turn is cut short
            counted = movement.moved[at, o, 1]
            if operand == "output":
                counted = (movement.moved[parent, o, 0] + results) * copies
            assert counted >= words * share * copies * (1 - 1e-12)
        elif operand != "output":
            assert movement.moved[at, o, 1] == pytest.approx(words * share * copies, rel=1e-12)
        else:  # what comes back was worked on before
            own_reads = movement.moved[parent, o, 0]
            if parent == len(level_of) - 1:
                assert own_reads == words - results
        bits = float(problem.record["bits"][o])
        if not per_pe and not (operand == "left" and nest.spread):
            assert largest * share * bits <= problem.record["capacity"][at]
    assert movement.steps == problem.steps


def test_a_layer_by_hand():
    """4 x 6 by 6 x 5 on 2 x 2 weight-stationary units; sums go to their buffer at every step.

    Loops, inner first: C up to 6 (3 folds), B up to 4 (time), K up to 5 (3 column folds).
    """
    on = machine(rows=2, columns=2, dataflow="weight_stationary")
    problem = Problem(on, Nest.matrix(4, 5, 6), WordBits(8, 8, 32))
    movement, mapping, _, _ = problem.movement(Mapping((("B", 4), ("C", 6), ("K", 5))))
    assert mapping.inside["registers"] == {"right": 1}
    moved = dict(zip(movement.levels, movement.moved, strict=True))
    assert movement.steps == 4 * 3 * 3
    assert movement.folds == 3 * 3
    assert moved["right_buffer"][1].tolist() == [30, 30]  # each weight enters and leaves once
    assert moved["left_buffer"][0].tolist() == [24 * 3, 24]  # read for each of three column folds
    sums = 4 * 5 * 3  # a partial sum for each fold of C; the first has nothing to add to
    assert moved["output_buffer"][2].tolist() == [sums - 20, sums]
    assert moved["dram"][:, 0].tolist() == [24, 30, 0]


def test_moving_time_inside_the_folds_loads_weights_again():
    on = machine(rows=2, columns=2, dataflow="weight_stationary")
    problem = Problem(on, Nest.matrix(4, 5, 6), WordBits(8, 8, 32))
    movement, *_ = problem.movement(Mapping((("C", 6), ("K", 5), ("B", 4))))
    assert movement.folds == 3 * 3 * 4
    assert movement.moved[movement.levels.index("right_buffer"), 1, 0] == 30 * 4


@pytest.mark.parametrize(
    ("loops", "complaint"),
    [
        ((("B", 4), ("C", 6)), "K must reach all of its 5 turns, not 2"),
        ((("B", 5), ("C", 6), ("K", 5)), "B must reach from 1 turns .* to at most 4, not 5"),
        ((("C", 3), ("C", 6), ("B", 4), ("K", 5)), "C must reach a multiple of the 2 turns"),
    ],
)
def test_a_mapping_that_does_not_cover_the_nest_is_refused(loops, complaint):
    on = machine(rows=2, columns=2, dataflow="weight_stationary")
    problem = Problem(on, Nest.matrix(4, 5, 6), WordBits(8, 8, 32), "fc, forward")
    with pytest.raises(ConfigError, match=f"mapping of fc, forward: {complaint}"):
        problem.movement(Mapping(loops))


def test_words_that_are_not_multicast_are_read_for_each_unit():
    """Both rows of a 2 x 2 array need the same right word: read once, or once for each."""
    every = ["left", "right", "output"]
    read = {}
    for multicast in (True, False):
        memory = [
            level("dram", every, "unlimited"),
            level("shared", every, 1 << 20, multicast=multicast),
            level("unit", ["right"], 64, per_pe=True, double_buffered=False),
        ]
        on = machine(rows=2, columns=2, dataflow="output_stationary", memory=memory)
        problem = Problem(on, Nest.matrix(2, 2, 4), WordBits(8, 8, 16))
        movement, *_ = problem.movement(Mapping((("C", 4),)))
        shared = movement.moved[movement.levels.index("shared")]
        read[multicast] = shared[0, 0], shared[1, 0]
    assert read[True] == (2 * 4, 2 * 4)
    assert read[False] == (2 * 4 * 2, 2 * 4 * 2)


@pytest.mark.parametrize("first_tile", [-1, 2, 10**8])
def test_a_first_tile_beyond_the_loops_is_refused(first_tile):
    problem = Problem(machine(rows=2, columns=2), Nest.matrix(2, 2, 4), WordBits(8, 8, 32), "fc")
    with pytest.raises(ConfigError, match=r"mapping of fc: .* first_tile at most so many"):
        problem.movement(Mapping((("C", 4),), first_tile))


def test_an_unknown_level_is_named_with_those_there_are():
    problem = Problem(machine(rows=2, columns=2), Nest.matrix(2, 2, 2), WordBits(8, 8, 32), "fc")
    inside = {"left_bufer": {"left": 0}}
    with pytest.raises(ConfigError, match="no memory level 'left_bufer', but registers, output"):
        problem.movement(Mapping((("C", 2),), inside=inside))


def test_what_does_not_fit_says_which_level_lacks_how_much():
    problem = Problem(
        machine(buffer_bits=100), Nest.matrix(9, 9, 9), WordBits(8, 8, 32), "fc, forward"
    )
    with pytest.raises(
        ConfigError,
        match=r"fc, forward does not fit test: .* 128 bits in output_buffer, which has"
        " 50 usable; 78 bits are lacking",
    ):
        problem.check_fits()
