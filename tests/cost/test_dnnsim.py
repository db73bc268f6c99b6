"""DNNsim: compute cycles of six machines on its synthetic layers.

Its layers, and its data: activations uniform over the non-negative words of bits - 1 magnitude
bits, weights uniform over all words. Data-independent machines must be equal on every row; of the
others the expectation is compared with its one sample, which for Laconic scatters by 4 %.
"""

from __future__ import annotations

import csv
from functools import cache

import numpy as np
import pytest
from support import ROOT, shared
from windows import square

from fxsim.cost.data_dependent_cycles import all_steps, staggered
from fxsim.cost.tile_cycles import uniform_step_cycles
from fxsim.hardware import accelerator
from fxsim.hardware.step_cycles import Steps, UnitGroup
from fxsim.mapping.nest import Nest
from fxsim.mapping.problem import Problem, WordBits
from fxsim.numerics.word_statistics import WordStatistics

LAYERS = {
    "conv_a": Nest.convolution("forward", square(14, 14, 64, 128, 3, 1, 1), 1),
    "conv_b": Nest.convolution("forward", square(7, 7, 128, 256, 3, 1, 1), 1),
    "conv_c": Nest.convolution("forward", square(14, 14, 64, 128, 1, 2, 0), 1),
    "fc1": Nest.matrix(1, 1000, 512),
}
MACHINES = {
    "DaDianNao": "dadiannao",
    "Stripes": "stripes",
    "ShapeShifter": "shapeshifter",
    "Loom": "loom",
    "BitPragmatic": "pragmatic",
    "Laconic": "laconic",
}
# how far an expectation may be from DNNsim's one sample
WITHIN = {"ShapeShifter": 1e-4, "Loom": 1e-4, "BitPragmatic": 1e-4, "Laconic": 0.03}


@cache
def words(operand, bits):
    """All words of an operand, once each: their statistics are those of the distribution."""
    low = 0 if operand == "left" else -(1 << (bits - 1))
    return WordStatistics.of(np.arange(low, 1 << (bits - 1), dtype=np.int16))


def cycles(machine, nest, bits):
    problem = Problem(machine, nest, WordBits(*bits, 32, bits))
    pe = machine.pe
    if pe.statistic("left"):
        across = problem.spatial
        windows = int(across[0] * across[3] * across[4])
        steps = all_steps(
            pe,
            (words("left", bits[0]), words("right", bits[1])),
            bits,
            nest,
            nest.sizes[2],
            UnitGroup(windows, int(across[1]), int(across[2])),
        )
    else:
        step_cycles = uniform_step_cycles(machine, [bits[0]], [bits[1]])
        assert step_cycles is not None
        steps = Steps.always(step_cycles)
    if machine.pe_array.stagger_columns and nest.gemm()[0] == 1:
        return staggered(problem.steps, steps, machine.pe_array.columns)
    return problem.steps * steps.mean


@pytest.mark.parametrize("arch", MACHINES)
def test_compute_cycles(arch):
    path = shared("golden", "cost", "dnnsim_synthetic_bitserial.csv")
    rows = [row for row in csv.DictReader(path.read_text().splitlines()) if row["arch"] == arch]
    machine = accelerator.load(ROOT / "accelerators" / f"{MACHINES[arch]}.yaml")
    for row in rows:
        bits = int(row["activations precision"]), int(row["weights precision"])
        ours, theirs = cycles(machine, LAYERS[row["Layer"]], bits), int(row["compute_cycles"])
        if arch in WITHIN:
            assert ours == pytest.approx(theirs, rel=WITHIN[arch]), (row["Layer"], bits)
        else:
            assert ours == theirs, (row["Layer"], bits)
    assert len(rows) == 36
