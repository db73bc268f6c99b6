"""Zeros between the pixels of a spread image: worked off, or skipped, as the machine says."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machines import machine
from support import ROOT, fxsim
from windows import windows

import fxsim as package
from fxsim.cost.model import ENERGIES, reevaluate_cost
from fxsim.engine.geometry import Convolution
from fxsim.errors import ConfigError
from fxsim.hardware import accelerator, drawing
from fxsim.mapping.nest import Nest
from fxsim.mapping.search import OBJECTIVES

NETWORK = """\
kind: workload
name: strided
source: test
dataset: digits
input: [16, 16, 16]
classes: 10
training: {epochs: 1, batch: 4, learning_rate: 0.05}
layers:
  - {name: a, kind: conv2d, filters: 16, kernel: 1}
  - {name: c, kind: conv2d, filters: 32, kernel: 3, stride: 4, padding: 1}
  - {name: p, kind: global_average_pool}
  - {name: fl, kind: flatten}
  - {name: fc, kind: linear, features: 10}
"""


def skipping(name: str, zero_insertion: str = "skip"):
    on = accelerator.load(ROOT / "accelerators" / f"{name}.yaml")
    flow = on.dataflow.model_copy(update={"zero_insertion": zero_insertion})
    return on.model_copy(update={"dataflow": flow})


def meetings(nest: Nest) -> list[int]:
    """How often a tap meets a pixel that is there, by axis: outputs walked one by one."""
    counts = []
    for axis, (outputs, taps) in enumerate(((3, 5), (4, 6))):
        count = 0
        for output in range(nest.sizes[outputs]):
            for tap in range(nest.sizes[taps]):
                at = output * nest.stride[axis] - nest.padding[axis] + tap * nest.dilation[axis]
                pixel, rest = divmod(at, nest.upsampling[axis])
                count += rest == 0 and 0 <= pixel < nest.image[axis]
        counts.append(count)
    return counts


@given(
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    down=windows(5, 4, 4, 3),
    across=windows(5, 4, 4, 3),
)
def test_the_phases_meet_every_pixel_that_the_spread_image_has(height, width, down, across):
    g = Convolution(height, width, 4, 8, down, across, 2)
    if min(g.out_height, g.out_width) < 1:
        return
    spread = Nest.convolution("grad_input", g, 3)
    parts = spread.without_zeros()
    assert not any(part.spread for part in parts)
    assert all(part.sizes[:3] == spread.sizes[:3] for part in parts)
    high, wide = meetings(spread)
    ours = [meetings(part) for part in parts]
    assert sum(a * b for a, b in ours) == high * wide
    assert sum(part.macs for part in parts) <= spread.macs
    if not g.strided:
        assert parts == [spread]


def test_a_strided_gradient_costs_its_forward_pass_or_sixteen_times_that(tmp_path):
    (tmp_path / "strided.yaml").write_text(NETWORK)
    macs, cycles = {}, {}
    for how in ("execute", "skip"):
        cost = package.estimate(tmp_path / "strided.yaml", skipping("edge_tpu_like", how), batch=1)
        products = cost.table[cost.table["operation"] == "product"]
        rows = products[products["layer"] == "c"].set_index("pass")
        assert rows.index.is_unique
        macs[how] = rows["macs"].to_dict()
        cycles[how] = rows["cycles"].to_dict()
        assert (products["elastic_cycles"] <= products["array_cycles"] + 1e-6).all()
        moved = cost.traffic
        energy = cost.energy(["level"])["energy_pj"].sum()
        assert energy == pytest.approx(cost.energy_pj)
        assert set(moved.loc[moved["layer"] == "c", "pass"]) >= {"forward", "grad_input"}
    forward = 4 * 4 * 32 * 9 * 16
    assert macs["execute"] == {
        "forward": forward,
        "grad_input": 16 * forward,
        "grad_weight": forward,
    }
    assert macs["skip"] == dict.fromkeys(macs["execute"], forward)
    assert cycles["skip"]["grad_input"] < cycles["execute"]["grad_input"]
    for other in ("forward", "grad_weight"):
        assert cycles["skip"][other] == cycles["execute"][other]


@pytest.mark.parametrize("name", ["eyeriss", "dynasty", "stripes", "laconic", "int8_systolic"])
def test_skipping_is_never_slower_than_a_perfect_array(name, tmp_path):
    (tmp_path / "strided.yaml").write_text(NETWORK)
    for policy in ("uniform", "dynasty"):
        executes, skips = (
            package.estimate(tmp_path / "strided.yaml", skipping(name, how), batch=2, policy=policy)
            for how in ("execute", "skip")
        )
        table = skips.table
        assert (table["elastic_cycles"] <= table["array_cycles"] + 1e-6).all()
        assert skips.cycles < executes.cycles


def test_mappings_of_the_phases_are_stored_and_used_again(tmp_path):
    (tmp_path / "strided.yaml").write_text(NETWORK)
    text = (ROOT / "accelerators" / "edge_tpu_like.yaml").read_text()
    assert "dataflow:\n" in text
    text = text.replace("dataflow:\n", "dataflow:\n  zero_insertion: skip\n", 1)
    (tmp_path / "skips.yaml").write_text(text)
    estimate = ("estimate", "strided.yaml", "-a", "skips.yaml", "--batch", 1, "--json")
    found = fxsim(*estimate, "--save-mapping", "m.yaml", at=tmp_path).stdout
    assert "part: 2" in (tmp_path / "m.yaml").read_text()
    again = fxsim(*estimate, "--mapping", "m.yaml", at=tmp_path).stdout
    assert json.loads(again) == json.loads(found)


def test_whole_tiles_cannot_skip():
    bitfusion = accelerator.load(ROOT / "accelerators" / "bitfusion.yaml")
    flow = {**bitfusion.dataflow.model_dump(), "zero_insertion": "skip"}
    with pytest.raises(ValueError, match="zero_insertion: skip takes tiles: exact"):
        type(bitfusion.dataflow).model_validate(flow)
    with pytest.raises(ConfigError, match="zero_insertion: skip takes tiles: exact"):
        package.machine("bitfusion", {"dataflow.zero_insertion": "skip"})


def test_a_machine_says_what_it_does():
    on = machine()
    assert "zeros between pixels of spread images: worked off" in drawing.text(on)
    flow = on.dataflow.model_copy(update={"zero_insertion": "skip"})
    assert "spread images: skipped" in drawing.text(on.model_copy(update={"dataflow": flow}))


def test_a_spread_of_one_has_no_zeros():
    nest = Nest.matrix(4, 5, 6)
    assert nest.without_zeros() == [nest]
    assert replace(nest, upsampling=(1, 1)).without_zeros() == [nest]


def test_other_maps_keep_the_mappings_of_all_phases(tmp_path):
    (tmp_path / "strided.yaml").write_text(NETWORK)
    cost = package.estimate(tmp_path / "strided.yaml", skipping("dynasty"), batch=1)
    error = cost.arrays.block_maps(int(cost.arrays.sampled[0]))["c", "error"]
    again = reevaluate_cost(cost, {("c", "error"): error})
    assert again.mappings == cost.mappings
    assert max(product.part for product in again.mappings) == 9
    assert again.cycles == cost.cycles
    assert [c.product.id for c in again.products] == [c.product.id for c in cost.products]


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize(
    ("network", "name"),
    [("resnet20", "dynasty"), ("resnet20", "int8_systolic"), ("mobilenet_v2", "int8_systolic")],
)
def test_what_may_skip_never_costs_more(network, name, objective):
    """Phases that fetch the image again can cost more than zeros: then these are worked off."""
    executes, skips = (
        package.estimate(network, skipping(name, how), batch=1, objective=objective)
        for how in ("execute", "skip")
    )

    def costs(cost):
        table = cost.table[cost.table["operation"] == "product"].set_index(["layer", "pass"])
        energy = table[list(ENERGIES)].sum(axis=1)
        by = {"cycles": table["cycles"], "energy": energy, "edp": table["cycles"] * energy}
        return by[objective]

    assert (costs(skips) <= costs(executes) * (1 + 1e-9)).all()
    assert costs(skips).sum() < costs(executes).sum() or network == "mobilenet_v2"


def test_an_image_that_stays_on_chip_is_fetched_once():
    """Buffers that hold all: the phases of a gradient read its errors off-chip once, of 8 bits."""
    on = skipping("edge_tpu_like")
    memory = [
        level.model_copy(
            update={"capacity_bits": level.capacity_bits and level.capacity_bits << 10}
        )
        for level in on.memory
    ]
    on = on.model_copy(update={"memory": tuple(memory)})
    cost = package.estimate("resnet20", on, batch=1)
    moved = cost.traffic.set_index(["layer", "pass", "operation", "level", "operand"])["read_bits"]
    assert moved["s2b1_conv1", "grad_input", "product", "dram", "left"] == 16 * 16 * 32 * 8
