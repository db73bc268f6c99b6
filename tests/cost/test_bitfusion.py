"""Bit Fusion's simulator: cycles, stalls and traffic equal on every row, energies, and our mapper.

Its tiling and loop order are given to our evaluation of its machine, `accelerators/bitfusion.yaml`.
"""

from __future__ import annotations

import csv

import numpy as np
import pytest
from support import ROOT, shared

from fxsim.hardware import accelerator
from fxsim.mapping.mapping import Mapping
from fxsim.mapping.nest import DIMENSIONS, Nest
from fxsim.mapping.problem import Problem, WordBits
from fxsim.mapping.search import best_mapping

FILES = ("bitfusion_public_alexnet_resnet18.csv", "bitfusion_public_resnet18_bitsweep.csv")
LOOP = {"B/b": "B", "OW/ow": "OX", "OH/oh": "OY", "IC/ic": "C", "OC/oc": "K"}


def rows(name):
    path = shared("golden", "cost", name)
    return [
        {key: _number(value) for key, value in row.items()}
        for row in csv.DictReader(path.read_text().splitlines())
    ]


def _number(text):
    try:
        return int(text)
    except ValueError:
        try:
            return float(text)
        except ValueError:
            return text


def problem_of(row, machine):
    size = (row["O"] - 1) * row["S"] + row["K"]  # padding is in its image
    nest = Nest(
        (row["B"], row["OC"], row["IC"], row["O"], row["O"], row["K"], row["K"], 1),
        (row["S"],) * 2,
        image=(size, size),
        flattened=frozenset(),
    )
    bits = WordBits(row["iprec"], row["wprec"], 32, (row["iprec"], row["wprec"]))
    return Problem(machine, nest, bits, row["layer"])


def its_mapping(row, problem):
    """The tile, kernel innermost, then the loops over tiles in the order of its optimiser."""
    full = dict(zip(DIMENSIONS, map(int, problem.sizes), strict=True))
    inside = {
        "FX": row["K"],
        "FY": row["K"],
        "C": row["tile_ic"],
        "OX": row["tile_ow"],
        "OY": row["tile_oh"],
        "B": row["tile_b"],
        "K": row["tile_oc"],
    }
    if row["im2col"]:
        inside |= {"C": row["tile_ic"] * row["K"] ** 2, "FX": 1, "FY": 1}
    reached = {d: min(int(s), full[d]) for d, s in zip(DIMENSIONS, problem.spatial, strict=True)}
    loops = []
    for d, tile in inside.items():
        if tile > reached[d]:
            loops.append((d, tile))
            reached[d] = tile
    first = len(loops)
    outer = [LOOP[name] for name in reversed(row["order"].split(">"))]
    loops += [(d, full[d]) for d in outer if full[d] > reached[d]]
    return Mapping(tuple(loops), first)


@pytest.mark.parametrize("name", FILES)
def test_every_row_is_equal_and_our_mapper_is_no_worse(name):
    machine = accelerator.load(ROOT / "accelerators" / "bitfusion.yaml")
    found = rows(name)
    for row in found:
        problem = problem_of(row, machine)
        assert bool(problem.nest.flattened) == bool(row["im2col"])
        movement, _, cycles, energy_pj = problem.movement(its_mapping(row, problem))
        bits = np.array([row["iprec"], row["wprec"], 32])
        moved = dict(
            zip(movement.levels, (movement.moved * bits[None, :, None]).sum(axis=1), strict=True)
        )
        counted = {
            "cycles": cycles,
            "compute_cycles": movement.steps,
            "mem_stall_cycles": cycles - movement.steps,
            "ibuf_rd_bits": moved["input_buffer"][0],
            "ibuf_wr_bits": moved["input_buffer"][1],
            "wbuf_rd_bits": moved["weight_buffer"][0],
            "wbuf_wr_bits": moved["weight_buffer"][1],
            "obuf_rd_bits": moved["output_buffer"][0],
            "obuf_wr_bits": moved["output_buffer"][1],
            "dram_rd_bits": moved["dram"][0],
            "dram_wr_bits": moved["dram"][1],
        }
        for column, value in counted.items():
            assert value == row[column], (row["network"], row["layer"], column)
        # its energies: of the core, of buffers, of off-chip memory [nJ]
        core = movement.steps * machine.units * machine.pe.energy_pj_per_unit_cycle / 1e3
        off_chip = 15 * sum(moved["dram"]) / 1e3
        assert core == pytest.approx(row["e_core_nJ"], rel=1e-9)
        assert off_chip == pytest.approx(row["e_dram_nJ"], rel=1e-9)
        assert energy_pj / 1e3 - core - off_chip == pytest.approx(row["e_sram_nJ"], rel=1e-9)
        assert best_mapping(problem).cycles <= 1.01 * row["cycles"]
    assert len(found) >= 60


def test_its_area():
    path = shared("golden", "cost", "bitfusion_energy_constants.csv")
    row = next(csv.DictReader(path.read_text().splitlines()))
    areas = [float(row[name]) for name in ("area_core_mm2", "area_wbuf", "area_ibuf", "area_obuf")]
    machine = accelerator.load(ROOT / "accelerators" / "bitfusion.yaml")
    assert machine.area_mm2 == pytest.approx(sum(areas), rel=1e-5)
