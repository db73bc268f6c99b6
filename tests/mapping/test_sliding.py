"""Windows that slide: what successive tiles share stays, counted by hand and by MAESTRO."""

from __future__ import annotations

import pytest
from machines import machine
from windows import square

from fxsim.mapping.mapping import Mapping
from fxsim.mapping.nest import Nest
from fxsim.mapping.problem import Problem, WordBits

EVERY = ["left", "right", "output"]


def level(name, capacity, keeps_halo, **more):
    return {
        "name": name,
        "holds": EVERY,
        "capacity_bits": capacity,
        "source": "test",
        "bandwidth_bits_per_cycle": 1e6,
        "read_energy_pj_per_bit": 1,
        "write_energy_pj_per_bit": 1,
        "keeps_halo": keeps_halo,
        **more,
    }


def read_from(on, nest, mapping, name):
    """Words of the image that are read from a level."""
    movement, *_ = Problem(on, nest, WordBits(8, 8, 16)).movement(mapping)
    return movement.moved[movement.levels.index(name), 0, 0]


@pytest.mark.parametrize(("keeps_halo", "words"), [(True, 9_547_776), (False, 28_387_584)])
def test_vgg16_conv2_fetches_a_column_a_step(keeps_halo, words):
    """MAESTRO's count: 3 rows x 224 columns x 64 channels for each of 222 rows of results.

    4 x 64 units, a 3x3 window in each; without what stays, 9 words for each of 222 x 222 x 64.
    """
    flow = {"kind": "custom", "rows": {"K": 4}, "columns": {"C": 64}, "source": "test"}
    unit = level("l1", 18 * 8 + 16, keeps_halo, per_pe=True, double_buffered=False)
    memory = [level("dram", "unlimited", True), level("l2", 1 << 24, True), unit]
    on = machine(rows=4, columns=64).model_dump() | {"dataflow": flow, "memory": memory}
    on = type(machine()).model_validate(on)
    nest = Nest.convolution("forward", square(224, 224, 64, 64, 3), 1)
    loops = (("FX", 3), ("FY", 3), ("K", 64), ("OX", 222), ("OY", 222))
    assert read_from(on, nest, Mapping(loops), "l2") == words


@pytest.mark.parametrize(
    ("capacity", "loops", "words"),
    [
        # three rows of 8 pixels, then one more for each of the six rows of results
        (64 * 8, (("OX", 6), ("OY", 6)), 8 * 8),
        # one column of three pixels a step, eight for each of six rows; then each row anew
        (10 * 8, (("OX", 6), ("OY", 6)), 6 * 8 * 3),
        # down first: the same by columns
        (10 * 8, (("OY", 6), ("OX", 6)), 6 * 8 * 3),
    ],
)
def test_a_small_image_by_hand(capacity, loops, words):
    """8 x 8 pixels, 3 x 3 taps, 6 x 6 results, one channel."""
    flow = {"kind": "custom", "rows": {"K": 1}, "columns": {"C": 1}, "source": "test"}
    buffer = level("buffer", capacity, True, double_buffered=False)
    memory = [level("dram", "unlimited", True), buffer | {"holds": ["left"]}]
    rest = level("rest", 1 << 20, True) | {"holds": ["right", "output"]}
    on = machine(rows=1, columns=1).model_dump() | {"dataflow": flow, "memory": [*memory, rest]}
    on = type(machine()).model_validate(on)
    nest = Nest.convolution("forward", square(8, 8, 1, 1, 3), 1)
    mapping = Mapping((("FX", 3), ("FY", 3), *loops))
    assert read_from(on, nest, mapping, "dram") == words
