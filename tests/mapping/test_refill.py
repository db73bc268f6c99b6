"""Memories with room for one tile: what the array waits for while the next one comes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from machines import machine
from support import ROOT
from test_sliding import level

from fxsim.cost.lockstep import ComputeCycles
from fxsim.cost.products import cycles_and_energy
from fxsim.hardware import accelerator
from fxsim.mapping.mapping import Mapping
from fxsim.mapping.nest import Nest
from fxsim.mapping.problem import Problem, WordBits
from fxsim.mapping.search import OBJECTIVES, best_mapping

ZIGZAG: Path = ROOT / "tests" / "mapping" / "zigzag"
STEPS = 12 * 12 * 9 * 8 * 12  # of the layer below on 32 x 32 units


def test_zigzags_mapping_of_a_layer_waits_as_there():
    """ZigZag 3.9.1: 3 x 3, 256 -> 384, 13 x 13 pixels, weights in 72 of 128 bytes.

    Weights are used in each of 144 turns: the next 9,216 cycles of them hide behind 72.
    """
    on = accelerator.load(ZIGZAG / "tpu_like.yaml")
    nest = Nest((1, 384, 256, 12, 12, 3, 3, 1), image=(13, 13), flattened=frozenset())
    loops = (("C", 256), ("FY", 3), ("FX", 3), ("OY", 12), ("OX", 12), ("K", 384))
    problem = Problem(on, nest, WordBits(8, 8, 16))
    movement, _, cycles, _ = problem.movement(Mapping(loops))
    assert movement.steps == STEPS
    assert cycles == 234_280
    waits = 12 * (9216 - 72)
    assert cycles - STEPS - waits == 128 + 8  # the first step's words, the last one's results


@pytest.mark.parametrize(("slower", "bound_by"), [(1, "array"), (2, "rf_128B")])
def test_the_table_says_what_is_waited_for(slower, bound_by):
    """The same layer, and with half the bits a cycle from off-chip."""
    on = accelerator.load(ZIGZAG / "tpu_like.yaml")
    dram = on.memory[0].model_copy(
        update={"bandwidth_bits_per_cycle": on.memory[0].bandwidth_bits_per_cycle / slower}
    )
    on = on.model_copy(update={"memory": (dram, *on.memory[1:])})
    nest = Nest((1, 384, 256, 12, 12, 3, 3, 1), image=(13, 13), flattened=frozenset())
    loops = (("C", 256), ("FY", 3), ("FX", 3), ("OY", 12), ("OX", 12), ("K", 384))
    problem = Problem(on, nest, WordBits(8, 8, 16))
    movement, _, cycles, _ = problem.movement(Mapping(loops))
    computing = ComputeCycles(np.array([float(STEPS)]), None, None)
    bits, active = np.array([[8.0], [8.0], [16.0]]), np.array([float(STEPS) * 1024])
    columns, _ = cycles_and_energy(problem, movement, bits, computing, active)
    assert columns["cycles"] == [cycles]
    assert columns["stall_cycles"] == [cycles - STEPS]
    assert columns["bound_by"] == [bound_by]


def on_units(capacity, **more):
    """One unit whose memory takes 8 bits a cycle, and gives as many as are asked for."""
    flow = {"kind": "custom", "rows": {"K": 1}, "columns": {"C": 1}, "source": "test"}
    unit = level("unit", capacity, True, per_pe=True, double_buffered=False)
    unit |= {"write_bandwidth_bits_per_cycle": 8, **more}
    memory = [
        level("dram", "unlimited", True),
        level("shared", 1 << 20, True),
        unit | {"holds": ["right"]},
    ]
    on = machine(rows=1, columns=1).model_dump() | {"dataflow": flow, "memory": memory}
    return type(machine()).model_validate(on)


@pytest.mark.parametrize(
    ("capacity", "more", "waits"),
    [
        # four weights of 8 bits fill it; each of 16 rows uses them: they come in the last row's
        # 4 cycles, which is what they take
        (4 * 8, {}, 0),
        # with half a word a cycle they take 8 cycles, four times, and 4 are hidden
        (4 * 8, {"write_bandwidth_bits_per_cycle": 4}, 4 * (8 - 4)),
        # room for the next ones beside them
        (8 * 8, {"write_bandwidth_bits_per_cycle": 4}, 0),
        (8 * 8, {"write_bandwidth_bits_per_cycle": 4, "double_buffered": True}, 0),
    ],
)
def test_waiting_by_hand(capacity, more, waits):
    """16 rows x 16 weights, four at a time, a step each."""
    problem = Problem(on_units(capacity, **more), Nest.matrix(16, 1, 16), WordBits(8, 8, 16))
    mapping = Mapping((("C", 4), ("B", 16), ("C", 16)), inside={"unit": {"right": 2}, "shared": {}})
    movement, _, cycles, _ = problem.movement(mapping)
    hidden = problem.record.copy()
    hidden["refilled"] = 0
    problem.record, with_refills = hidden, problem.record
    assert cycles - problem.movement(mapping)[2] == waits
    assert with_refills["refilled"].sum() == (0 if more.get("double_buffered") else 1)
    assert movement.refill.shape == (len(movement.levels), 3)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_mapper_leaves_room_for_the_next_tile_where_that_is_better(objective):
    """As many weights as fit are waited for; half as many are not."""
    on = on_units(32 * 8, write_bandwidth_bits_per_cycle=2)
    problem = Problem(on, Nest.matrix(16, 1, 64), WordBits(8, 8, 16))
    search = best_mapping(problem, objective)
    *_, cycles, energy_pj = problem.movement(search.mapping)
    assert (cycles, energy_pj) == (search.cycles, search.energy_pj)
    full = Mapping((("C", 32), ("B", 16), ("C", 64)), inside={"unit": {"right": 2}})
    half = Mapping((("C", 16), ("B", 16), ("C", 64)), inside={"unit": {"right": 2}})
    least = min(problem.movement(each)[2] for each in (full, half))
    assert problem.movement(half)[2] < problem.movement(full)[2]
    assert objective != "cycles" or search.cycles <= least


def walked(tiles, words, turns, cycles_a_word):
    """The end of the array's work, word by word: the specification of a refill.

    A word comes when the port is free and the word in its place is being used for the last time.
    The array begins with a tile when all of it is there, and takes its words in order, a step
    each, turn after turn.
    """
    port, array, last_used = 0.0, 0.0, [0.0] * words
    for _ in range(tiles):
        for word in range(words):
            port = max(port, last_used[word]) + cycles_a_word
        array = max(array, port)
        for _ in range(turns):
            for word in range(words):
                last_used[word] = array
                array += 1
    return array


@given(
    tiles=st.integers(1, 9),
    words=st.integers(1, 12),
    turns=st.integers(1, 9),
    bits_a_cycle=st.sampled_from([1, 2, 3, 5, 8, 16]),
)
def test_waiting_is_that_of_a_walk_within_one_tiles_time(tiles, words, turns, bits_a_cycle):
    on = on_units(words * 8, write_bandwidth_bits_per_cycle=bits_a_cycle)
    problem = Problem(on, Nest.matrix(turns, 1, tiles * words), WordBits(8, 8, 16))
    a_tile = [loop for loop in (("C", words), ("B", turns)) if loop[1] > 1]
    outside = [("C", tiles * words)] if tiles > 1 else []
    _, mapping, cycles, _ = problem.movement(Mapping((*a_tile, *outside)))
    assert mapping.inside["unit"]["right"] == len(a_tile)
    its_time = words * 8 / bits_a_cycle + words
    assert abs(cycles - walked(tiles, words, turns, 8 / bits_a_cycle)) <= its_time
