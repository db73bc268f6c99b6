"""Array cycles: SCALE-Sim's on fixed arrays, brute force on mixed blocks."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from machines import machine
from support import shared

from fxsim.accelerator.dataflow import DATAFLOWS
from fxsim.cost.array import Folds, beat, lockstep_compute, uniform_beat

FLOWS = {"ws": "weight_stationary", "os": "output_stationary", "is": "input_stationary"}


def test_scalesim_cycles_are_equal_on_every_row():
    path = shared("golden", "cost", "scalesim_public_resnet18_alexnet.csv")
    rows = list(csv.DictReader(path.read_text().splitlines()))
    for row in rows:
        on = machine("bit_parallel", int(row["R"]), int(row["C"]), FLOWS[row["dataflow"]])
        m, n, k = (int(row[name]) for name in ("M_or_E", "N", "K"))
        folds = Folds.of(on, m, n, k)
        constant = uniform_beat(on, [8], [8])
        assert constant == 1
        assert folds.cycles(folds.count * folds.steps * constant) == int(row["total_cycles"]), row
    assert len(rows) > 100


def brute_force(on, a, b):
    """Walk folds, groups and steps; max over a group's units at each step."""
    flow, tile = on.flow, on.pe.tile
    m, k, n = -(-a.shape[0] // tile), -(-a.shape[1] // tile), -(-b.shape[1] // tile)
    sizes = {"m": m, "n": n, "k": k}

    def tile_bits(x, i, j):
        return int(x[i * tile : (i + 1) * tile, j * tile : (j + 1) * tile].max())

    def unit(row, column, step):
        at = {flow.rows: row, flow.columns: column, flow.time: step}
        if any(at[d] >= sizes[d] for d in at):
            return 0
        return beat(on, tile_bits(a, at["m"], at["k"]), tile_bits(b, at["k"], at["n"]))

    rows, columns = on.pe_array.rows, on.pe_array.columns
    gr, gc = on.sync.rows, on.sync.columns
    total = 0
    for fold_row in range(0, sizes[flow.rows], rows):
        for fold_column in range(0, sizes[flow.columns], columns):
            groups = [
                sum(
                    max(
                        unit(fold_row + r, fold_column + c, step)
                        for r in range(top, top + gr)
                        for c in range(left, left + gc)
                    )
                    for step in range(sizes[flow.time])
                )
                for top in range(0, rows, gr)
                for left in range(0, columns, gc)
            ]
            total += max(groups)
    return total


@pytest.mark.parametrize("dataflow", list(DATAFLOWS))
@given(
    m=st.integers(1, 10), n=st.integers(1, 10), k=st.integers(1, 10), tile=st.integers(1, 3),
    sync=st.sampled_from([(1, 1), (2, 1), (2, 2), (1, 4), (2, 4)]),
    pe=st.sampled_from(["bit_parallel", "composable"]), seed=st.integers(0, 99),
)  # fmt: skip
def test_lockstep_equals_brute_force(dataflow, m, n, k, tile, sync, pe, seed):
    on = machine(pe, 2, 4, dataflow, tile, sync)
    rng = np.random.default_rng(seed)
    a, b = (rng.choice([0, 2, 4, 8, 12], s).astype(np.uint8) for s in ((m, k), (k, n)))
    assert lockstep_compute(on, a, b) == brute_force(on, a, b)


@given(m=st.integers(1, 30), n=st.integers(1, 30), k=st.integers(1, 30), tile=st.integers(1, 4))
def test_an_all_8_bit_map_costs_what_uniform_8_bits_cost(m, n, k, tile):
    on = machine("composable", tile=tile)
    folds = Folds.of(on, m, n, k)
    constant = uniform_beat(on, [8], [8])
    eights = (np.full(s, 8, np.uint8) for s in ((m, k), (k, n)))
    assert lockstep_compute(on, *eights) == folds.count * folds.steps * constant


@given(seed=st.integers(0, 99))
def test_more_bits_never_cost_fewer_cycles_and_less_sync_never_more(seed):
    rng = np.random.default_rng(seed)
    a, b = (rng.choice([0, 2, 4], (12, 12)).astype(np.uint8) for _ in range(2))
    on = machine("composable", 2, 2, sync=(2, 2))
    assert lockstep_compute(on, a, b) <= lockstep_compute(on, a + 2, b)
    assert lockstep_compute(machine("composable", 2, 2, sync=(1, 1)), a, b) <= lockstep_compute(
        on, a, b
    )


def test_bit_fusion_products_in_a_unit_and_cycle():
    """16 / (ceil(a/2) ceil(b/2)) products, Bit Fusion's figure 2: 16, 4 and 1."""
    pe = machine("composable").pe
    products = {(a, b): pe.capacity / pe.work(a, b) for a in (2, 4, 8) for b in (2, 4, 8)}
    assert products[2, 2] == 16
    assert products[4, 4] == products[8, 2] == products[2, 8] == 4
    assert products[8, 8] == 1
    assert (pe.work(16, 16), pe.work(0, 8), pe.work(3, 8)) == (64, 0, 8)


def test_a_fixed_multiplier_takes_passes_and_wastes():
    pe = machine("bit_parallel").pe
    assert [pe.work(a, b) for a, b in ((2, 2), (8, 8), (9, 8), (16, 16), (0, 8))] == [1, 1, 2, 4, 1]
