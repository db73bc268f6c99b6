"""Prices by hand, conservation, and additivity."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import tiny
from machines import machine
from support import ROOT

from fxsim.cost import breakdown, lockstep
from fxsim.cost.model import CYCLES, ENERGIES, evaluate_cost, reevaluate_cost
from fxsim.cost.trace_arrays import Operand
from fxsim.errors import DataError
from fxsim.hardware import accelerator
from fxsim.hardware.memory import Packing
from fxsim.numerics.block_map import BlockMap
from fxsim.policies.dynasty import Dynasty
from fxsim.policies.uniform import Uniform
from fxsim.runs import synthetic_trace
from fxsim.trace.reader import Trace
from fxsim.trace.writer import TraceWriter
from fxsim.training import loop
from fxsim.training.layers.linear import Linear
from fxsim.training.model import Model
from fxsim.training.settings import TrainingSettings


def linear_trace() -> Trace:
    """One step of a single 6 -> 4 linear layer without bias, batch 2, uniform 8 bits."""
    layer = Linear(name="fc", inputs=("input",), in_shapes=((6,),), features=4, bias=False)
    settings = TrainingSettings(1, 2, Fraction("0.1"))
    return synthetic_trace.one_step(Model((layer,), (6,), 4), Uniform(), settings)


def row(priced, **where):
    table = priced.table
    for column, value in where.items():
        table = table[table[column] == value]
    assert len(table) == 1
    return table.iloc[0]


def test_a_tiny_layer_by_hand():
    """Forward of (2 x 6) by (6 x 4) on 2x2 fixed 8-bit units, output stationary."""
    on = machine("bit_parallel", 2, 2, "output_stationary", dram_bandwidth=64)
    forward = row(
        evaluate_cost(linear_trace(), on), layer="fc", **{"pass": "forward"}, operation="product"
    )
    m, n, k, word, accumulator = 2, 4, 6, 8, 32
    folds = (m // 2) * (n // 2)
    array_cycles = folds * (2 + 2 - 2 + k) - 1
    assert forward["array_cycles"] == array_cycles
    left, right = m * k * word, k * n * word
    dram_bits = left + right  # everything fits: each operand is fetched once
    assert forward["dram_bits"] == dram_bits
    # the array starts with the words of its first step: two of each operand
    first_load = np.ceil((2 + 2) * word / 64)
    assert forward["cycles"] == array_cycles + first_load
    assert forward[list(CYCLES)].sum() == forward["cycles"]
    assert forward["macs"] == m * n * k
    assert forward["array_pj"] == m * n * k * 1000.0
    assert forward["dram_pj"] == dram_bits * 10.0
    results = m * n * accumulator
    assert forward["buffer_pj"] == pytest.approx(  # a sum of decimal fractions
        (left + left * (n // 2)) * 0.1  # filled once, read for each of the column folds
        + (right + right * (m // 2)) * 0.01
        + results * 0.001,  # written once by the array; the vector unit's reads are its own
        rel=1e-12,
    )
    leakage_w = 4 * 1e-6
    assert forward["leakage_pj"] == pytest.approx(
        forward["cycles"] * 1e-9 * leakage_w * 1e12, rel=1e-12
    )


def test_the_update_and_the_cast_by_hand():
    priced = evaluate_cost(linear_trace(), machine())
    weights, master, momentum, gradient = 24, 32, 32, 16
    update = row(priced, layer="fc", **{"pass": "update"})
    moved = 2 * weights * (master + momentum + gradient)
    assert update["dram_bits"] == moved
    assert update["vector_pj"] == weights * (4 * 1.0 + 3 * 2.0)
    assert update["cycles"] == np.ceil(max(weights * 7 / 4, moved / 64))
    casts = priced.table[(priced.table["operation"] == "cast")]
    assert sorted(casts["dram_bits"]) == sorted([2 * 6 * 8, 4 * 6 * (32 + 8), 2 * 4 * 8])
    error = casts[casts["pass"] == "backward"].iloc[0]
    assert error["vector_pj"] == 2 * 4 * 1.0


def test_without_double_buffering_times_add():
    one, two = (
        row(
            evaluate_cost(linear_trace(), machine(double_buffered=flag)),
            layer="fc",
            **{"pass": "forward"},
            operation="product",
        )
        for flag in (True, False)
    )
    on = machine()
    first = (2 + 2) * 8  # the words of the first step come before it
    times = [(two["dram_bits"] - first) / on.dram.bandwidth_bits_per_cycle]
    left, right, sums = 2 * 6 * 8, 6 * 4 * 8, 2 * 4 * 32
    times += [x / 1e6 for x in (left * (1 + 2), right * (1 + 1), sums)]
    assert two["cycles"] == np.ceil(two["array_cycles"] + sum(times)) + np.ceil(first / 64)
    assert two["cycles"] > one["cycles"]


@pytest.fixture(scope="module")
def traces(tmp_path_factory):
    found = {}
    for policy in (Uniform(), Dynasty(warmup=1, initial_lambda=0.3)):
        place = tmp_path_factory.mktemp(policy.name)
        settings = TrainingSettings(6, tiny.BATCH, Fraction("0.1"))
        with TraceWriter(place, policy.accumulator.bits, samples=2) as writer:
            loop.train(tiny.model(), tiny.data(), policy, settings, 0, writer)
        found[policy.name] = Trace.load(place)
    return found


@pytest.mark.parametrize("pe", ["bit_parallel", "composable"])
@pytest.mark.parametrize("policy", ["uniform", "dynasty"])
def test_conservation(traces, policy, pe):
    trace, on = traces[policy], machine(pe, 2, 2, tile=2)
    priced = evaluate_cost(trace, on)
    products = priced.table[priced.table["operation"] == "product"]
    # each MAC is done once, in every pass
    expected = trace.products[["m", "n", "k", "repeats"]].prod(axis=1).sum()
    assert products["macs"].sum() == expected
    # never above peak: the array is never faster than its perfectly elastic self
    assert (products["array_cycles"] >= np.floor(products["elastic_cycles"])).all()
    assert (products["cycles"] >= products["array_cycles"]).all()
    assert (products["cycles"] >= products["dram_bits"] / 64).all()
    # totals are the sums of their parts
    by_pass = breakdown.breakdown(evaluate_cost(trace, on), ["pass"])
    components = by_pass[list(ENERGIES)].iloc[:-1].to_numpy()
    assert priced.energy_pj == pytest.approx(components.sum())
    by_layer = breakdown.breakdown(evaluate_cost(trace, on), ["layer"])
    for column in ("cycles", "energy_pj", "macs"):
        total = by_pass[column].iloc[-1]
        assert total == pytest.approx(by_layer[column].iloc[-1])
        assert total == pytest.approx(by_pass[column].iloc[:-1].sum())


def test_blocks_save_on_a_flexible_array_and_not_on_a_fixed_one(traces):
    flexible, fixed = machine("composable", tile=2), machine("bit_parallel", tile=2)

    def array(name, on):
        table = evaluate_cost(traces[name], on).table
        return table[["array_cycles", "array_pj"]].sum()

    assert (array("dynasty", flexible) < array("uniform", flexible)).all()
    assert (array("dynasty", fixed) == array("uniform", fixed)).all()


def test_pricing_says_where_lockstep_came_from(traces):
    table = evaluate_cost(traces["dynasty"], machine("composable", tile=2)).table
    products = table[table["operation"] == "product"]
    assert set(products[products["step"].isin([0, 5])]["maps"]) == {"exact"}
    assert "nearest" in set(products[~products["step"].isin([0, 5])]["maps"])


def test_bandwidth_never_costs_cycles(traces):
    cycles = [
        evaluate_cost(traces["dynasty"], machine(dram_bandwidth=b)).cycles for b in (8, 64, 512)
    ]
    assert cycles == sorted(cycles, reverse=True)


def test_the_trace_counts_what_it_says(traces):
    operands = traces["dynasty"].operands
    for found in operands.itertuples():
        assert sum(found.elements_by_bits) == found.rows * found.columns
        words = sum(b * c for b, c in zip(found.bits, found.elements_by_bits, strict=True))
        assert words == found.word_bits
    maps = traces["dynasty"].block_maps(5)
    rows = operands[operands["step"] == 5].set_index(["layer", "role"])
    for key, found in maps.items():
        assert found.stored_bits() == rows.loc[key, "word_bits"] + rows.loc[key, "metadata_bits"]


def test_a_probe_between_samples_is_priced_without_lockstep():
    """Its products have maps at no sampled step; those of layers that were sampled are used."""
    trace = linear_trace()
    products = trace.products.copy()
    products["layer"] = products["layer"].replace("fc", "fc@weight")
    layers = trace.layers.assign(layer="fc@weight", weight_of="fc@weight")
    operands = trace.operands.assign(layer="fc@weight")
    products["left_bits"] = [np.array([0, 8])] * len(products)
    macs = products["m"] * products["n"] * products["k"]
    halves = [(n // 2, n - n // 2) for n in macs]
    products["joint_macs"] = [
        np.array([0, one, 0, other]) if len(right) == 2 else np.array([one, other])
        for (one, other), right in zip(halves, products["right_bits"], strict=True)
    ]
    probed = replace(trace, layers=layers, products=products, operands=operands)
    found = evaluate_cost(probed, machine("composable", 2, 2)).table
    origins = found[found["operation"] == "product"].set_index("pass")["maps"]
    assert origins["forward"] == "elastic"  # its left operand mixes word lengths


def test_words_that_are_zero_take_no_time_where_units_skip_them():
    """On units of one beat and of several: cycles of steps fall by the share that is skipped."""
    trace = linear_trace()
    operands = trace.operands.assign(zeros=trace.operands["rows"] * trace.operands["columns"] // 4)
    zeros = replace(trace, operands=operands)
    for pe in ("bit_parallel", "composable"):
        plain, skipping = machine(pe, 2, 2), machine(pe, 2, 2)
        skipping = skipping.model_copy(
            update={"pe": skipping.pe.model_copy(update={"skip_zero_words": {"left"}})}
        )
        one, other = (
            row(evaluate_cost(zeros, on), layer="fc", **{"pass": "forward"}, operation="product")
            for on in (plain, skipping)
        )
        steps = one["array_cycles"] - one["fill_cycles"]
        assert other["array_cycles"] - other["fill_cycles"] == pytest.approx(0.75 * steps)
        assert other["elastic_cycles"] == pytest.approx(0.75 * one["elastic_cycles"])
        assert other["lockstep_cycles"] == pytest.approx(0.75 * one["lockstep_cycles"])


def test_an_all_8_bit_block_map_costs_what_uniform_8_bits_cost():
    """Repricing all operands of a step with blocks of 8 bits, no metadata, changes nothing."""
    settings = TrainingSettings(1, tiny.BATCH, Fraction("0.1"))
    trace = synthetic_trace.one_step(tiny.model(), Uniform(), settings)
    on = machine("composable", 2, 2, tile=2)
    plain = evaluate_cost(trace, on)
    maps = plain.arrays.block_maps(0)
    blocks = {}
    for key, whole in maps.items():
        grid = (-(-whole.rows // 4), -(-whole.columns // 4))
        bits = np.full(grid, 8, np.uint8)
        shape = whole.rows, whole.columns, 4, 4
        blocks[key] = BlockMap(bits, np.zeros_like(bits), *shape, 0)
    again = reevaluate_cost(plain, blocks)
    assert again.cycles == plain.cycles
    assert again.energy_pj == pytest.approx(plain.energy_pj, rel=1e-12)
    wider = {
        key: BlockMap(m.bits * 2, m.shifts, m.rows, m.columns, 4, 4, 0) for key, m in blocks.items()
    }
    assert reevaluate_cost(plain, wider).cycles > plain.cycles
    assert reevaluate_cost(reevaluate_cost(plain, wider), blocks).cycles == plain.cycles
    one, other, *_ = wider
    apart = reevaluate_cost(reevaluate_cost(plain, {one: wider[one]}), {other: wider[other]})
    together = reevaluate_cost(plain, {one: wider[one], other: wider[other]})
    assert apart.cycles == together.cycles > plain.cycles
    assert len(apart.table) == len(plain.table)


def test_data_dependent_units_follow_each_steps_own_word_lengths():
    """Loom at 8 and then 4 bits of weights: the second step takes half the first one's time."""
    layer = Linear(name="fc", inputs=("input",), in_shapes=((64,),), features=64, bias=False)
    settings = TrainingSettings(1, 32, Fraction("0.1"))
    loom = accelerator.load(ROOT / "accelerators" / "loom.yaml")
    first, second = (
        synthetic_trace.one_step(Model((layer,), (64,), 64), Uniform(weight=bits), settings)
        for bits in (8, 4)
    )

    def joined(name):
        one, other = getattr(first, name), getattr(second, name)
        return pd.concat([one, other.assign(step=other["step"] + 1)], ignore_index=True)

    both = replace(first, **{name: joined(name) for name in ("products", "operands", "vectors")})
    table = evaluate_cost(both, loom).table
    products = table[(table["operation"] == "product") & (table["pass"] == "forward")]
    one, other = products.sort_values("step")["array_cycles"]
    alone = row(evaluate_cost(second, loom), layer="fc", **{"pass": "forward"}, operation="product")
    assert one == 2 * other
    assert other == alone["array_cycles"]


def test_repricing_maps_again_where_units_pack_narrow_words():
    """Bit Fusion at 8 bits, then a layer's weights at 2: four times the channels a cycle."""
    layer = Linear(name="fc", inputs=("input",), in_shapes=((2048,),), features=64, bias=False)
    settings = TrainingSettings(1, 32, Fraction("0.1"))
    on = accelerator.load(ROOT / "accelerators" / "bitfusion.yaml")
    plain = evaluate_cost(
        synthetic_trace.one_step(Model((layer,), (2048,), 64), Uniform(), settings), on
    )
    narrow = {("fc", "weight"): BlockMap.whole(64, 2048, 2)}
    forward = {"layer": "fc", "pass": "forward", "operation": "product"}
    one, other = row(plain, **forward), row(reevaluate_cost(plain, narrow), **forward)
    assert one["array_cycles"] == 4 * other["array_cycles"]


@pytest.mark.parametrize(
    ("packing", "weight_bits"),
    [
        ({"words": "dense"}, 5),
        ({"container_bits": 8}, 8),
        ({"container_bits": 3}, 6),
        ({"words": "power_of_two"}, 8),
    ],
)
def test_packed_words_move_and_are_stored_as_wide_as_their_containers(packing, weight_bits):
    layer = Linear(name="fc", inputs=("input",), in_shapes=((6,),), features=4, bias=False)
    settings = TrainingSettings(1, 2, Fraction("0.1"))
    trace = synthetic_trace.one_step(Model((layer,), (6,), 4), Uniform(weight=5), settings)
    on = machine("bit_parallel", 2, 2, packing={**packing, "source": "test"})
    priced = evaluate_cost(trace, on)
    moved = priced.traffic.set_index(["pass", "operation", "level", "operand"])["read_bits"]
    assert moved["forward", "product", "dram", "right"] == 24 * weight_bits
    casts = priced.table[priced.table["operation"] == "cast"]
    assert 24 * 32 + 24 * weight_bits in set(casts["dram_bits"])  # the master, and the words


def test_blocks_are_padded_to_their_alignment():
    packing = Packing(words="aligned_blocks", container_bits=64, source="test")
    assert packing.block_bits(2, 16) == 64  # 32 bits of words
    assert packing.block_bits(8, 16) == 128
    assert packing.block_bits(0, 16) == 0
    blocks = Operand(*(np.array(x) for x in ([0], [2, 8], [[32, 16]], [6], [3], [0])))
    assert blocks.stored_bits(packing).tolist() == [2 * 64 + 128 + 6]


@pytest.mark.parametrize(
    ("burst_bits", "left", "right"),
    [(1, 96, 192), (64, 128, 192), (128, 128, 256), (256, 256, 256)],
)
def test_bursts_round_every_run_of_neighbouring_words_up(burst_bits, left, right):
    """All fits: the 12 left words lie side by side, and the 24 right ones, of 8 bits each."""
    on = machine("bit_parallel", 2, 2)
    dram = on.memory[0].model_copy(update={"burst_bits": burst_bits})
    on = on.model_copy(update={"memory": (dram, *on.memory[1:])})
    forward = {"layer": "fc", "pass": "forward", "operation": "product"}
    product = row(evaluate_cost(linear_trace(), on), **forward)
    assert product["dram_bits"] == left + right
    assert product["dram_pj"] == (left + right) * 10.0


def test_idle_units_leakage_power_and_area_by_hand():
    """Two of four units have columns to work on; idle ones draw half."""
    on = machine("bit_parallel", 2, 2)
    pe = on.pe.model_copy(update={"idle_energy": 0.5, "leakage_uw_per_unit": 3.0})
    level = on.memory[1].model_copy(update={"leakage_mw": 2.0, "area_mm2": 0.25})
    on = on.model_copy(update={"pe": pe, "memory": (on.memory[0], level, *on.memory[2:])})
    layer = Linear(name="fc", inputs=("input",), in_shapes=((6,),), features=2, bias=False)
    settings = TrainingSettings(1, 1, Fraction("0.1"))
    priced = evaluate_cost(
        synthetic_trace.one_step(Model((layer,), (6,), 2), Uniform(), settings), on
    )
    forward = row(priced, layer="fc", **{"pass": "forward", "operation": "product"})
    assert forward["array_pj"] == (12 + 0.5 * 12) * 1000.0  # 12 products in 24 unit-cycles
    leakage_w = 4 * 3e-6 + 2e-3
    assert on.leakage_w == pytest.approx(leakage_w, rel=1e-12)
    assert forward["leakage_pj"] == pytest.approx(forward["cycles"] * 1e-9 * leakage_w * 1e12)
    assert on.area_mm2 == pytest.approx(4e-6 + 0.25, rel=1e-12)
    assert priced.average_power_w == pytest.approx(
        priced.energy_pj * 1e-12 / (priced.cycles * 1e-9), rel=1e-12
    )
    # units, every port's bits at its energy, the vector unit's multiplies, leakage
    ports = 64 * 10.0 + 1e6 * (0.1 + 0.01 + 0.001)
    peak = (4 * 1000.0 + ports + 4 * 2.0) * 1e-12 * 1e9 + leakage_w
    assert on.peak_power_w() == pytest.approx(peak, rel=1e-12)


def test_lockstep_of_a_large_batch_looks_at_some_images_and_says_so(monkeypatch):
    settings = TrainingSettings(1, tiny.BATCH, Fraction("0.1"))
    policy = Dynasty(warmup=0, initial_lambda=0.3)
    trace = synthetic_trace.one_step(tiny.model(), policy, settings)
    on = machine("composable", 2, 2, tile=2)
    exact = evaluate_cost(trace, on).table
    monkeypatch.setattr(lockstep, "LOOKUPS", 0)
    monkeypatch.setattr(lockstep, "LEAST_LOOKUPS", 200)
    some = evaluate_cost(trace, on).table
    products = some["operation"] == "product"
    assert "sampled" in set(some.loc[products, "maps"])
    assert "sampled" not in set(exact["maps"])
    ratio = some.loc[products, "array_cycles"].sum() / exact.loc[products, "array_cycles"].sum()
    assert 0.8 < ratio < 1.25  # random images are much alike


def test_a_trace_without_word_counts_is_refused_by_units_that_need_them():
    trace = linear_trace()
    old = replace(trace, maps=trace.maps.iloc[:0])
    loom = accelerator.load(ROOT / "accelerators" / "loom.yaml")
    with pytest.raises(DataError, match="fc, forward: loom's units follow the data itself"):
        evaluate_cost(old, loom)
    late = replace(trace, operands=trace.operands.assign(step=trace.operands["step"] + 1))
    with pytest.raises(DataError, match="cast lacks at step 0"):
        evaluate_cost(late, machine())


def with_ports(on, write_rate, **levels):
    """The machine, each memory's writes on a port of their own; `levels` change memories."""
    memory = tuple(
        level.model_copy(
            update={"write_bandwidth_bits_per_cycle": write_rate, **levels.get(level.name, {})}
        )
        for level in on.memory
    )
    return on.model_copy(update={"memory": memory})


def test_the_roofline_by_hand_with_one_port_and_with_two():
    """Attainable is intensity x what the off-chip ports move in a cycle, reads and writes."""
    for on, rate in ((machine(dram_bandwidth=2), 2), (with_ports(machine(dram_bandwidth=2), 3), 5)):
        priced = evaluate_cost(linear_trace(), on)
        forward = row(priced, layer="fc", **{"pass": "forward", "operation": "product"})
        line = priced.roofline.set_index("pass").loc["forward"]
        intensity = 48 / forward["dram_bits"]
        peak = 48 / forward["elastic_cycles"]
        assert line["intensity"] == pytest.approx(intensity)
        assert line["attainable"] == pytest.approx(min(peak, intensity * rate))
        assert intensity * rate < peak  # the roof's slope, not its flat
        assert line["achieved"] == pytest.approx(48 / forward["cycles"])
        assert line["utilisation"] == pytest.approx(forward["elastic_cycles"] / forward["cycles"])
        moved = rate * forward["cycles"]
        assert line["bandwidth_use"] == pytest.approx(forward["dram_bits"] / moved)
        assert line["bound_by"] == "dram"


def test_peak_power_takes_the_dearer_side_of_one_port_and_both_of_two():
    rates = {"read_energy_pj_per_bit": 1.0, "write_energy_pj_per_bit": 7.0}
    on = machine(dram_bandwidth=64)
    dearer = on.memory[0].model_copy(update=rates)
    on = on.model_copy(update={"memory": (dearer, *on.memory[1:])})
    rest = 4 * 1000.0 + 4 * 2.0
    buffers = 1e6 * (0.1 + 0.01 + 0.001)
    watt = 1e-12 * 1e9
    assert on.peak_power_w() == pytest.approx((rest + buffers + 64 * 7) * watt + on.leakage_w)
    two = with_ports(on, 10)
    both = 64 * 1 + 10 * 7 + buffers + 10 * (0.1 + 0.01 + 0.001)
    assert two.peak_power_w() == pytest.approx((rest + both) * watt + on.leakage_w)


def blocks_trace() -> Trace:
    """One step of a 6 -> 4 linear layer without bias, batch 2, block by block."""
    layer = Linear(name="fc", inputs=("input",), in_shapes=((6,),), features=4, bias=False)
    settings = TrainingSettings(1, 2, Fraction("0.1"))
    return synthetic_trace.one_step(Model((layer,), (6,), 4), Dynasty(), settings)


def test_analytics_take_their_unit_or_the_vector_unit_by_hand():
    """Two adds an element, one a tile and candidate; one lane casts an element a cycle."""
    trace = blocks_trace()
    operands = trace.operands
    elements = operands["rows"] * operands["columns"]
    adds = 2 * elements + operands["blocks"] * operands["analysed"]
    assert (operands["analysed"] > 0).all()
    fast = machine(dram_bandwidth=1e9)

    def casts(on):
        table = evaluate_cost(trace, on).table
        return table[table["operation"] == "cast"].sort_values(["layer", "pass", "macs"])

    on_lanes = casts(fast)
    assert sorted(on_lanes["vector_cycles"]) == sorted((elements + adds) / 4)
    assert sorted(on_lanes["analytics_pj"]) == sorted(adds * 1.0)
    for adders in (1, 1000):  # slower than the cast, and hidden beside it
        unit = {"adders": adders, "add_energy_pj": 0.5, "source": "test"}
        beside = casts(machine(dram_bandwidth=1e9, analytics_unit=unit))
        expected = np.maximum(elements / 4, adds / adders)
        assert sorted(beside["vector_cycles"]) == pytest.approx(sorted(expected))
        assert sorted(beside["analytics_pj"]) == sorted(adds * 0.5)
        assert sorted(beside["cycles"]) == sorted(np.ceil(expected))


def test_a_tensor_that_must_be_whole_and_does_not_fit_goes_off_chip_and_back():
    """Batch norm's statistics come before its results: what does not fit is stored and fetched."""
    trace = linear_trace()
    whole = 4000
    vectors = trace.vectors.assign(resident_bits=0)
    vectors.loc[vectors.index[0], "resident_bits"] = whole
    trace = replace(trace, vectors=vectors)

    def first(buffer_bits):
        table = evaluate_cost(trace, machine(buffer_bits=buffer_bits)).table
        of = vectors.iloc[0]
        same = (table["layer"] == of["layer"]) & (table["pass"] == of["pass"])
        return table[same & (table["operation"] == "vector")].iloc[0]

    fits, spills = first(2 * whole), first(2 * whole - 2)  # half a double buffer holds a tile
    stash = vectors.iloc[0]["stash_write_bits"]
    assert fits["stored_bits"] == stash
    assert spills["stored_bits"] == max(stash, whole)
    assert spills["fetched_bits"] - fits["fetched_bits"] == whole
    moved = spills["dram_bits"] - fits["dram_bits"]
    assert moved == whole + max(stash, whole) - stash
    assert spills["dram_pj"] - fits["dram_pj"] == pytest.approx(moved * 10.0)


def test_writes_of_the_vector_unit_wait_for_their_own_port():
    """A port of their own: the longer of reads and writes; one port: their sum."""
    trace = linear_trace()
    update = {"layer": "fc", "pass": "update", "operation": "vector"}
    one = row(evaluate_cost(trace, machine(dram_bandwidth=16)), **update)
    read, written = one["fetched_bits"], one["stored_bits"]
    assert one["memory_cycles"] == (read + written) / 16
    two = row(evaluate_cost(trace, with_ports(machine(dram_bandwidth=16), 2)), **update)
    assert two["memory_cycles"] == max(read / 16, written / 2) == written / 2
    assert two["bound_by"] == "dram"


def floating_machine(pe):
    fields = machine().model_dump(mode="json")
    return accelerator.Accelerator.model_validate({**fields, "pe": pe})


def test_a_float_machine_stores_words_of_its_format_where_others_cast():
    pe = {
        "kind": "floating_point",
        "format": "bf16",
        "energy_pj_per_unit_cycle": 1.0,
        "leakage_uw_per_unit": 0.0,
        "area_um2_per_unit": 1.0,
        "source": "test",
    }
    table = evaluate_cost(linear_trace(), floating_machine(pe)).table
    casts = table[table["operation"] == "cast"]
    # activations and errors are stored, a weight is its master
    assert sorted(casts["stored_bits"]) == [0, 2 * 4 * 16, 2 * 6 * 16]
    assert (casts[["fetched_bits", "read_bits", "vector_pj"]] == 0).all(axis=None)


def dear_writes(on):
    """The machine, its writes three times as dear as its reads."""
    memory = tuple(
        level.model_copy(update={"write_energy_pj_per_bit": 3 * level.read_energy_pj_per_bit})
        for level in on.memory
    )
    return on.model_copy(update={"memory": memory})


def test_every_account_of_a_cost_adds_up():
    on = dear_writes(machine(buffer_bits=512))
    priced = evaluate_cost(linear_trace(), on)
    energies = {name: priced.table[f"{name}_pj"].sum() for name in priced.components}
    assert priced.energy_pj == pytest.approx(sum(energies.values()))
    by_component = priced.energy(["component"]).set_index("component")["energy_pj"]
    assert by_component.to_dict() == pytest.approx(energies)
    moved = priced.traffic
    for level in on.memory:
        of_level = moved[moved["level"] == level.name]
        read, written = of_level["read_bits"].sum(), of_level["written_bits"].sum()
        assert of_level["read_pj"].sum() == pytest.approx(read * level.read_energy_pj_per_bit)
        assert of_level["write_pj"].sum() == pytest.approx(written * level.write_energy_pj_per_bit)
    off_chip = moved[moved["level"] == "dram"]
    assert (off_chip["read_pj"] + off_chip["write_pj"]).sum() == pytest.approx(energies["dram"])
    for by in (["level"], ["operand"], ["layer", "pass"], ["operation"], ["step"]):
        assert priced.energy(by)["energy_pj"].sum() == pytest.approx(priced.energy_pj)
        if by not in (["level"], ["operand"]):
            assert priced.cycles_by(by)["cycles"].sum() == pytest.approx(priced.cycles)
    assert priced.seconds == priced.cycles / 1e9
    assert priced.edp_js == pytest.approx(priced.energy_pj * 1e-12 * priced.cycles / 1e9)
    leakage_w = on.leakage_w
    assert energies["leakage"] == pytest.approx(priced.cycles * leakage_w * 1e3)


def test_results_that_are_stored_leave_the_chip():
    """Each of the forward pass's 2 x 4 results once, at 16 bits."""
    forward = {"layer": "fc", "pass": "forward", "operation": "product"}
    consumed = row(evaluate_cost(linear_trace(), machine()), **forward)
    stores = machine(results={"stored_bits": 16, "source": "test"})
    stored = row(evaluate_cost(linear_trace(), stores), **forward)
    assert stored["dram_bits"] - consumed["dram_bits"] == 2 * 4 * 16
    assert stored["dram_pj"] - consumed["dram_pj"] == pytest.approx(2 * 4 * 16 * 10.0)


def test_a_float_machine_keeps_words_of_its_width_for_the_backward_pass():
    trace = linear_trace()
    vectors = trace.vectors.assign(resident_bits=0, stash_read_bits=0, stash_write_bits=0)
    first = vectors.index[vectors["pass"] != "update"][0]
    vectors.loc[first, ["stash_read_bits", "stash_write_bits"]] = (160, 320)
    trace = replace(trace, vectors=vectors)
    of = vectors.loc[first]
    for name, width in (("fp32", 2), ("bf16", 1)):
        pe = {**machine().pe.model_dump(mode="json"), "kind": "floating_point", "format": name}
        pe = {key: value for key, value in pe.items() if key in FLOAT_FIELDS}
        table = evaluate_cost(trace, floating_machine(pe)).table
        here = table[(table["layer"] == of["layer"]) & (table["pass"] == of["pass"])]
        (vector,) = here[here["operation"] == "vector"].itertuples()
        assert (vector.fetched_bits, vector.stored_bits) == (160 * width, 320 * width)


FLOAT_FIELDS = (
    "kind",
    "format",
    "energy_pj_per_unit_cycle",
    "leakage_uw_per_unit",
    "area_um2_per_unit",
    "source",
)


@pytest.mark.parametrize("samples", [1, 2])
def test_repricing_takes_one_step_with_its_maps(tmp_path, samples):
    settings = TrainingSettings(2, tiny.BATCH, Fraction("0.1"))
    with TraceWriter(tmp_path, Uniform().accumulator.bits, samples=samples) as writer:
        loop.train(tiny.model(), tiny.data(), Uniform(), settings, 0, writer)
    priced = evaluate_cost(Trace.load(tmp_path), machine())
    with pytest.raises(DataError, match="takes a trace of one step with its maps, not of"):
        reevaluate_cost(priced, {})


def test_a_fully_connected_layer_skews_columns_where_they_are_staggered():
    """One example, so one window: the columns take its 8-bit steps in turn, a cycle apart."""
    layer = Linear(name="fc", inputs=("input",), in_shapes=((6,),), features=4, bias=False)
    settings = TrainingSettings(1, 1, Fraction("0.1"))
    trace = synthetic_trace.one_step(Model((layer,), (6,), 4), Uniform(), settings)
    pe = {
        "kind": "serial",
        "energy_pj_per_unit_cycle": 1.0,
        "leakage_uw_per_unit": 0.0,
        "area_um2_per_unit": 1.0,
        "source": "test",
    }
    flow = {"kind": "custom", "rows": ["K"], "columns": ["B"], "source": "test"}
    forward = {"layer": "fc", "pass": "forward", "operation": "product"}
    taken = {}
    for stagger in (False, True):
        fields = machine(dataflow="output_stationary").model_dump(mode="json")
        fields["pe_array"]["stagger_columns"] = stagger
        on = accelerator.Accelerator.model_validate({**fields, "pe": pe, "dataflow": flow})
        taken[stagger] = row(evaluate_cost(trace, on), **forward)["array_cycles"]
    steps = 2 * 6  # two rows of filters, six inputs
    assert taken[False] == steps * 8
    # step i starts a cycle after the last one, and when its column of two is free
    assert taken[True] == (steps / 2) * 8 + 1
