"""The mapper: against exhaustive search, its bound, and what must hold on any machine."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from machines import machine
from mapping.test_movement import nests, three_levels
from windows import square

from fxsim.errors import ConfigError
from fxsim.hardware.dataflow import Dataflow
from fxsim.mapping import mapping as stored
from fxsim.mapping.bound import lower_bound
from fxsim.mapping.mapping import Mapping
from fxsim.mapping.nest import DIMENSIONS, Nest
from fxsim.mapping.problem import Problem, WordBits
from fxsim.mapping.search import OBJECTIVES, best_mapping

FLOWS = ["weight_stationary", "output_stationary", "input_stationary", "row_stationary"]
BITS = WordBits(8, 4, 32)


def every_mapping(problem):
    """All tiles (multiples of what the array covers) with all orders inside and outside them."""
    choices = []
    for d, size, spatial in zip(DIMENSIONS, problem.sizes, problem.spatial, strict=True):
        base = min(int(spatial), int(size))
        tiles = sorted({min(base * i, int(size)) for i in range(1, -(-int(size) // base) + 1)})
        choices.append([(d, base, tile, int(size)) for tile in tiles])
    for chosen in product(*choices):
        inner = [(d, tile) for d, base, tile, _ in chosen if tile > base]
        outer = [(d, size) for d, _, tile, size in chosen if size > tile]
        for inside in permutations(inner):
            for outside in permutations(outer):
                yield Mapping((*inside, *outside))


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.tuples(*[st.integers(1, 9)] * 3),
    flow=st.sampled_from(FLOWS[:3]),
    buffer_bits=st.sampled_from([256, 512, 2000, 1 << 20]),
    bandwidth=st.sampled_from([4, 64]),
    objective=st.sampled_from(OBJECTIVES),
)
def test_no_mapping_at_all_beats_the_bound_and_few_the_found(
    sizes, flow, buffer_bits, bandwidth, objective
):
    on = machine(
        rows=2, columns=2, dataflow=flow, buffer_bits=buffer_bits, dram_bandwidth=bandwidth
    )
    problem = Problem(on, Nest.matrix(*sizes), BITS)
    try:
        found = best_mapping(problem, objective)
    except ConfigError:
        assume(False)

    def cost(cycles, energy):
        return {"cycles": cycles, "energy": energy, "edp": cycles * energy}[objective]

    best = np.inf
    for mapping in every_mapping(problem):
        _, _, cycles, energy = problem.movement(mapping)
        best = min(best, cost(cycles, energy))
        assert cycles >= found.bound_cycles * (1 - 1e-12)
        assert energy >= found.bound_energy_pj * (1 - 1e-12)
    ours = cost(found.cycles, found.energy_pj)
    assert ours <= best * found.bound(objective) * (1 + 1e-12)
    # of so few turns all tiles are candidates
    assert found.complete
    assert ours <= best * (1 + 1e-12)


@settings(max_examples=30, deadline=None)
@given(nest=nests(), objective=st.sampled_from(OBJECTIVES))
def test_several_stages_stay_near_exhaustive_search_of_their_permutations(nest, objective):
    on = machine(rows=2, columns=2, dataflow="output_stationary", memory=three_levels(4000, 600))
    problem = Problem(on, nest, BITS)
    try:
        found = best_mapping(problem, objective)
    except ConfigError:
        assume(False)
    assert found.bound(objective) >= 1 - 1e-12
    loops = [
        (d, int(n))
        for d, n, s in zip(DIMENSIONS, problem.sizes, problem.spatial, strict=True)
        if n > s
    ]
    assume(len(loops) <= 5)
    for order in permutations(loops):  # uncut loops in any order are among the candidates
        _, _, cycles, energy = problem.movement(Mapping(tuple(order)))
        theirs = {"cycles": cycles, "energy": energy, "edp": cycles * energy}[objective]
        ours = {
            "cycles": found.cycles,
            "energy": found.energy_pj,
            "edp": found.cycles * found.energy_pj,
        }[objective]
        assert ours <= theirs * 1.1


@pytest.mark.parametrize("flow", FLOWS)
def test_unlimited_buffers_reach_the_compulsory_traffic(flow):
    on = machine(rows=2, columns=2, dataflow=flow, buffer_bits=1 << 40)
    found = best_mapping(Problem(on, Nest.matrix(100, 50, 70), BITS), "energy")
    assert found.movement.moved[-1].tolist() == [[100 * 70, 0], [70 * 50, 0], [0, 0]]


@settings(max_examples=40, deadline=None)
@given(nest=nests(), flow=st.sampled_from(FLOWS))
def test_capacity_and_bandwidth_never_cost_cycles_nor_fewer_bits_more(nest, flow):
    def cycles(bits=BITS, **parts):
        on = machine(rows=2, columns=2, dataflow=flow, **{"dram_bandwidth": 16, **parts})
        return best_mapping(Problem(on, nest, bits), "cycles").cycles

    try:
        small = cycles(buffer_bits=600)
    except ConfigError:
        small = np.inf
    assert cycles(buffer_bits=1 << 24) <= small
    assert cycles(dram_bandwidth=64) <= cycles()
    assert cycles(WordBits(4, 4, 32)) <= cycles()


@settings(max_examples=40, deadline=None)
@given(nest=nests(), flow=st.sampled_from(FLOWS))
def test_nothing_is_faster_than_the_roofline(nest, flow):
    on = machine(rows=2, columns=2, dataflow=flow, dram_bandwidth=8)
    problem = Problem(on, nest, BITS)
    found = best_mapping(problem)
    assert found.cycles >= nest.macs / on.units - 1  # a systolic array starts at cycle 0
    # every operand is fetched at least once
    left = nest.flatten(frozenset({"m", "k"})).left_words
    words = left * BITS.left + nest.matrix_words("right") * BITS.right
    assert found.cycles >= words / 8 - 1e-9
    assert found.movement.moved[-1, 0, 0] >= left - 1e-9
    assert lower_bound(problem)[0] <= found.cycles


def test_depthwise_layers_use_columns_that_take_groups():
    """Sixteen groups of one channel: a column each where G may lie across, else one column."""
    g = square(8, 8, 16, 16, 3, 1, 1, 1, 16)
    nest = Nest.convolution("forward", g, 1)
    flow = {"kind": "custom", "rows": ["OY"], "source": "test"}
    taken = {}
    for columns in (["K"], ["K", "G"]):
        on = machine(rows=8, columns=16, dataflow="output_stationary")
        dataflow = Dataflow.model_validate({**flow, "columns": columns})
        problem = Problem(on.model_copy(update={"dataflow": dataflow}), nest, BITS)
        taken[len(columns)] = best_mapping(problem).movement.steps
    assert taken == {1: 16 * 8 * 9, 2: 8 * 9}


def test_the_same_input_gives_the_same_mapping():
    on = machine(rows=2, columns=4, buffer_bits=5000)
    found = [best_mapping(Problem(on, Nest.matrix(33, 65, 47), BITS), "edp") for _ in range(3)]
    assert len({str(f.mapping) for f in found}) == 1
    assert found[0].cycles == found[1].cycles == found[2].cycles


def test_a_mapping_is_printed_stored_and_read_back(tmp_path):
    on = machine(rows=2, columns=4, buffer_bits=5000)
    problem = Problem(on, Nest.matrix(33, 65, 47), BITS, "fc, forward")
    found = best_mapping(problem).mapping
    text = str(found)
    assert text.count("for ") == len(found.loops)
    assert "left_buffer keeps left" in text
    stored.save(tmp_path / "m.yaml", "test", {stored.ProductId("fc", "forward"): found})
    again = stored.load(tmp_path / "m.yaml")[stored.ProductId("fc", "forward")]
    assert again == found
    assert problem.movement(again)[2] == best_mapping(problem).cycles


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("B: 33", "Z: 33", r"m.yaml:\d+:\d+: mappings.0.loops"),
        ("pass: forward", "pass: forwards", r"m.yaml:\d+:\d+: mappings.0.pass"),
        ("B: 33", "B: 0", r"m.yaml:\d+:\d+: mappings.0.loops"),
    ],
)
def test_a_stored_mapping_is_checked_line_by_line(tmp_path, old, new, complaint):
    on = machine(rows=2, columns=4, buffer_bits=5000)
    found = best_mapping(Problem(on, Nest.matrix(33, 65, 47), BITS)).mapping
    stored.save(tmp_path / "m.yaml", "test", {stored.ProductId("fc", "forward"): found})
    text = (tmp_path / "m.yaml").read_text()
    assert old in text
    (tmp_path / "m.yaml").write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError, match=complaint):
        stored.load(tmp_path / "m.yaml")


def test_the_bound_of_a_product_is_the_product_of_its_bounds():
    on = machine(rows=2, columns=2)
    found = best_mapping(Problem(on, Nest.matrix(4, 4, 4), BITS))
    apart = replace(found, cycles=6.0, bound_cycles=2.0, energy_pj=10.0, bound_energy_pj=4.0)
    assert {o: apart.bound(o) for o in OBJECTIVES} == {"cycles": 3.0, "energy": 2.5, "edp": 7.5}


@pytest.mark.parametrize("dram_bandwidth", [1, 64])
def test_the_lower_bound_by_hand(dram_bandwidth):
    """(6 x 4) by (4 x 2) on 2 x 2 output-stationary units: the array, or the words that must move.

    Every word passes every level once, however large the buffers are; sums leave once.
    """
    on = machine(rows=2, columns=2, dram_bandwidth=dram_bandwidth)
    problem = Problem(on, Nest.matrix(6, 2, 4), BITS)
    left, right = 6 * 4 * 8, 4 * 2 * 4
    cycles, energy = lower_bound(problem)
    assert cycles == max(3 * (2 + 2 - 2 + 4) - 1, (left + right) / dram_bandwidth)
    moved = (left + right) * 10.0 + 2 * left * 0.1 + right * (1 + 3) * 0.01
    work = 6 * 2 * 4 * 1000.0 + cycles * 4 * 1.0 * 1e-6 / 1e9 * 1e12  # four units leak 1 uW each
    assert energy <= work + moved + 6 * 2 * 32 * 0.001 + 1e-9
    assert energy >= work + (left + right) * 10.0 + 2 * left * 0.1 + 2 * right * 0.01


def test_results_that_are_stored_are_in_the_lower_bound():
    """Each of the 6 x 2 results leaves once, at 16 bits, over the port that the operands take."""
    stored = {"results": {"stored_bits": 16, "source": "test"}}
    plain, storing = (
        lower_bound(Problem(machine(rows=2, columns=2, dram_bandwidth=1, **p), nest, BITS))
        for nest in (Nest.matrix(6, 2, 4),)
        for p in ({}, stored)
    )
    assert storing[0] - plain[0] == 6 * 2 * 16
    # stored off-chip, and read as sums of 32 bits from the output buffer before
    leaked = (storing[0] - plain[0]) * 4e-3  # four units, 1 uW each, a cycle of 1 ns
    moved = 6 * 2 * 16 * 10.0 + 6 * 2 * 32 * 0.001
    assert storing[1] - plain[1] == pytest.approx(moved + leaked)
