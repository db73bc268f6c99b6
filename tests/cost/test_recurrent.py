"""Recurrent layers: steps follow each other, and their weights stay on chip where they fit."""

from __future__ import annotations

import fxsim as package
from fxsim.cost.model import ENERGIES

NATIVE = "{name: l, kind: lstm, units: 64}"
IMPORTED = """\
{name: l_in, kind: opaque, operator: "LSTM 'l', input", out: [30, 256],
     product: {rows: 30, depth: 40, features: 256}}
  - {name: l, kind: opaque, operator: "LSTM 'l', recurrent", out: [30, 64],
     product: {rows: 1, depth: 64, features: 256, steps: 30}}"""
NETWORK = """\
kind: workload
name: lstm
source: test
dataset: npz:x.npz
input: [30, 40]
classes: 10
training: {{epochs: 1, batch: 4, learning_rate: 0.05}}
layers:
  - {layers}
  - {{name: fl, kind: flatten}}
  - {{name: fc, kind: linear, features: 10}}
"""


def steps(tmp_path, layers, machine="int8_systolic"):
    """The forward rows of the recurrent products, in order of steps; and the whole cost."""
    path = tmp_path / "lstm.yaml"
    path.write_text(NETWORK.format(layers=layers))
    cost = package.estimate(path, machine, batch=1, mode="inference")
    table = cost.table[cost.table["operation"] == "product"].set_index("layer")
    rows = [name for name in table.index if name.rpartition(".")[2].isdigit()]
    return table.loc[sorted(rows, key=lambda name: int(name.rpartition(".")[2]))], cost


def test_recurrent_weights_are_fetched_once(tmp_path):
    rows, _ = steps(tmp_path, NATIVE)
    assert len(rows) == 29  # the first step's state is zero
    weights, state = 64 * 256 * 8, 64 * 8
    assert rows["dram_bits"].tolist() == [weights + state, *[state] * 28]
    assert rows["cycles"].is_monotonic_decreasing
    assert rows["cycles"].iloc[0] > rows["cycles"].iloc[1] == rows["cycles"].iloc[28]


def test_weights_that_do_not_fit_are_fetched_each_step(tmp_path):
    small = package.machine("int8_systolic", {"memory.right_buffer.capacity_bits": 65536})
    rows, _ = steps(tmp_path, NATIVE, small)
    assert (rows["dram_bits"] >= 64 * 256 * 8).all()


def test_an_imported_layer_costs_what_the_native_one_does(tmp_path):
    native, whole = steps(tmp_path, NATIVE)
    imported, other = steps(tmp_path, IMPORTED)
    assert len(imported) == 30  # ONNX's operator multiplies the first, zero state as well
    for name in ("cycles", "dram_bits", *ENERGIES):
        assert imported[name].iloc[:29].tolist() == native[name].tolist()
    one = native["cycles"].iloc[-1]
    assert other.cycles - whole.cycles < one  # whose gates' own work the imported one lacks
