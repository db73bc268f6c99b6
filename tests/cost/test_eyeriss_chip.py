"""Eyeriss as built: AlexNet's convolutions on the chip and on `eyeriss`.

Source: Chen et al., "Eyeriss", JSSC 2017, table V: four images at 200 MHz, processing latency and
power of each layer.
"""

from __future__ import annotations

import pytest
from windows import square

from fxsim.hardware import library
from fxsim.mapping.nest import Nest
from fxsim.mapping.problem import Problem, WordBits
from fxsim.mapping.search import best_mapping

CHIP = {  # (geometry, milliseconds, milliwatts)
    "conv1": (square(227, 227, 3, 96, 11, 4), 16.5, 332),
    "conv2": (square(27, 27, 96, 256, 5, 1, 2, 1, 2), 39.2, 288),
    "conv3": (square(13, 13, 256, 384, 3, 1, 1), 21.8, 266),
    "conv4": (square(13, 13, 384, 384, 3, 1, 1, 1, 2), 16.0, 235),
    "conv5": (square(13, 13, 384, 256, 3, 1, 1, 1, 2), 10.0, 236),
}
CLOCK_HZ, IMAGES = 200e6, 4


@pytest.mark.parametrize("layer", CHIP)
def test_alexnet_on_the_chip(layer):
    geometry, milliseconds, milliwatts = CHIP[layer]
    nest = Nest.convolution("forward", geometry, IMAGES)
    problem = Problem(library.machine("eyeriss"), nest, WordBits(16, 16, 16))
    search = best_mapping(problem, "edp")
    assert 0.7 < search.cycles / (milliseconds / 1e3 * CLOCK_HZ) < 1
    off_chip = (search.movement.moved[-1] * problem.record["bits"][:, None]).sum(axis=0)
    dram = len(problem.names) - 1
    prices = (float(problem.record[f"{way}_pj"][dram]) for way in ("read", "write"))
    on_chip_pj = search.energy_pj - sum(a * b for a, b in zip(off_chip, prices, strict=True))
    measured_pj = milliwatts * milliseconds * 1e6
    assert 0.6 < on_chip_pj / measured_pj < 1.1
