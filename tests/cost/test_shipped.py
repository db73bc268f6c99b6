"""Every shipped accelerator: its peak, its area, and a training step on it whose parts sum up."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import tiny
from support import ROOT

from fxsim.config import yaml_document
from fxsim.cost.model import CYCLES, ENERGIES, evaluate_cost
from fxsim.hardware import accelerator
from fxsim.mapping.problem import Problem, WordBits
from fxsim.policies.dynasty import Dynasty
from fxsim.policies.uniform import Uniform
from fxsim.runs import synthetic_trace
from fxsim.training.settings import TrainingSettings

FILES = sorted((ROOT / "accelerators").glob("*.yaml"))
# multiply-accumulates a cycle at 8 x 8 bits, and what the source says of it
PEAK = {
    "ascend_like": 8192,
    "bf16_array": 75,
    "bitfusion": 512,
    "cpu_avx512_vnni": 128,
    "dadiannao": 4096,
    "dynasty": 256,
    "edge_tpu_like": 1024,
    "eyeriss": 168,
    "fp32_array": 32,
    "int8_systolic": 256,
    "laconic": 4096 / 49,
    "loom": 64,
    "pragmatic": 4096 / 7,
    "scalesim_is": 1024,
    "scalesim_os": 1024,
    "scalesim_ws": 1024,
    "scalesim_ws_unlimited": 1024,
    "shapeshifter": 512,
    "stripes": 512,
    "tpu_v1_like": 65536,
}


@pytest.fixture(scope="module")
def traces():
    settings = TrainingSettings(1, tiny.BATCH, Fraction("0.1"))
    return {
        policy.name: synthetic_trace.one_step(tiny.model(), policy, settings)
        for policy in (Uniform(), Dynasty(warmup=0, initial_lambda=0.3))
    }


def test_all_are_listed():
    assert {path.stem for path in FILES} == set(PEAK)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_its_name_sources_peak_and_area(path):
    machine = accelerator.load(path)
    assert machine.name == path.stem
    assert machine.peak_macs(8, 8) == pytest.approx(PEAK[path.stem])
    assert machine.area_mm2 > 0
    assert machine.peak_power_w() > 0
    document = yaml_document.read(path)
    names = ("technology", "pe_array", "pe", "dataflow", "sync")
    sections = [document.data[name] for name in names]
    for section in [*sections, *document.data["memory"]]:
        assert len(section["source"]) > 10


@pytest.mark.parametrize("policy", ["uniform", "dynasty"])
@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_a_step_on_it_conserves_and_sums(path, policy, traces):
    machine, trace = accelerator.load(path), traces[policy]
    priced = evaluate_cost(trace, machine)
    table = priced.table
    products = table[table["operation"] == "product"]
    macs = trace.products[["m", "n", "k", "repeats"]].prod(axis=1).sum()
    assert products["macs"].sum() == macs
    # parts sum to the whole
    assert table[list(CYCLES)].to_numpy().sum() == pytest.approx(priced.cycles, rel=1e-9)
    assert table[list(ENERGIES)].to_numpy().sum() == pytest.approx(priced.energy_pj, rel=1e-12)
    for by in (["component"], ["level", "operand"], ["layer", "pass"], ["step", "operation"]):
        assert priced.energy(by)["energy_pj"].sum() == pytest.approx(priced.energy_pj, rel=1e-9)
    assert priced.cycles_by(["layer", "component"])["cycles"].sum() == pytest.approx(priced.cycles)
    # nothing beats the elastic array, the off-chip port, or the mapper's bound
    slack = 1 + 1e-9
    assert (products["cycles"] * slack + 1 >= products["elastic_cycles"]).all()
    rate = machine.dram.bandwidth_bits_per_cycle
    if machine.dram.burst_bits == 1 and machine.dram.write_bandwidth_bits_per_cycle is None:
        assert (products["cycles"] * slack + 1 >= products["dram_bits"] / rate).all()
    for what, found in priced.searches:
        assert found.bound("cycles") >= 1 - 1e-9, what
        assert found.bound("energy") >= 1 - 1e-9, what
    roofline = priced.roofline
    assert (roofline["utilisation"] <= 1 + 1e-6).all()
    assert (roofline["achieved"] <= roofline["attainable"] * (1 + 1e-6) + 1).all()
    # every operand is fetched at least once
    moved = priced.traffic
    dram = moved[(moved["level"] == machine.dram.name) & (moved["operation"] == "product")]
    assert set(dram["operand"]) >= {"left", "right"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_the_mappers_kernel_and_the_prices_agree(path, traces):
    """The kernel's cycles and energy of a mapping, and those of pricing it for many steps."""
    machine = accelerator.load(path)
    trace = traces["uniform"]
    priced = evaluate_cost(trace, machine)
    for cost in priced.products:
        bits = [float(np.ptp(cost.columns["cycles"]))]
        assert bits == [0.0]  # one step
        product = cost.product
        word = machine.pe.word_bits
        stored = [float(word or machine.packing.stored_bits(8))] * 2
        sums = 32.0 if word else float(product.accumulator_bits)
        pair = (8, 8) if machine.pe.packed(8, 8) else None
        computing = cost.columns["array_cycles"][0] - cost.columns["fill_cycles"][0]
        problem = Problem(machine, product.nest, WordBits(*stored, sums, pair))
        movement, _, _, _ = problem.movement(cost.mapping)
        problem.record["step_cycles"] = computing / movement.steps
        _, _, cycles, energy = problem.movement(cost.mapping)
        assert cost.columns["cycles"][0] == pytest.approx(cycles, abs=1.01)
        memories = cost.columns["buffer_pj"][0] + cost.columns["dram_pj"][0]
        leakage = cost.columns["cycles"][0] * machine.leakage_pj_per_cycle
        # all units' work at 8 bits; padding that is skipped costs the prices less
        units = problem.record["work_pj"] + problem.record["idle_pj"] * computing
        assert memories + leakage == pytest.approx(energy - units, rel=1e-6)
        assert cost.columns["array_pj"][0] <= units * (1 + 1e-9)
