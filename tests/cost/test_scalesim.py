"""SCALE-Sim v3: cycles, mapping efficiency and SRAM accesses, equal on every row."""

from __future__ import annotations

import csv
import json

import numpy as np
from support import ROOT, fxsim, shared

from fxsim.config import yaml_document
from fxsim.hardware.accelerator import Accelerator
from fxsim.mapping.mapping import Mapping
from fxsim.mapping.nest import Nest
from fxsim.mapping.problem import Problem, WordBits

FLOWS = {"ws": "weight_stationary", "os": "output_stationary", "is": "input_stationary"}
# the loop that streams through each fold, inner; SCALE-Sim walks folds one by one
ORDERS = {"ws": "BCK", "os": "CBK", "is": "KCB"}


def array(rows: int, columns: int, flow: str) -> Accelerator:
    """The shipped SCALE-Sim machine at another size and dataflow."""
    document = yaml_document.read(ROOT / "accelerators" / "scalesim_ws.yaml")
    data = {key: value for key, value in document.data.items() if key != "kind"}
    size = {"rows": rows, "columns": columns, "source": "test"}
    memory = [{**level, "bandwidth_bits_per_cycle": 1e12} for level in data["memory"]]
    for level in memory[1:]:
        level["capacity_bits"] = 1 << 50
    data |= {"memory": memory}  # its compute cycles: nothing waits, and nothing spills
    data |= {"pe_array": size, "sync": size, "dataflow": {"kind": FLOWS[flow], "source": "test"}}
    return Accelerator.model_validate(data)


def whole_nest(problem: Problem, order: str) -> Mapping:
    """Every loop uncut, in this order from the inside."""
    sizes = dict(zip("BKC", problem.sizes, strict=False))
    covered = dict(zip("BKC", problem.spatial, strict=False))
    return Mapping(tuple((d, int(sizes[d])) for d in order if sizes[d] > covered[d]))


def counted(row):
    """(cycles, mapping efficiency [%], words read and written by operand) of a row."""
    m, n, k = (int(row[name]) for name in ("M_or_E", "N", "K"))
    flow = row["dataflow"]
    on = array(int(row["R"]), int(row["C"]), flow)
    problem = Problem(on, Nest.matrix(m, n, k), WordBits(8, 8, 8))
    movement, _, cycles, _ = problem.movement(whole_nest(problem, ORDERS[flow]))
    first_load = np.ceil(movement.loaded @ [8, 8, 8] / on.dram.bandwidth_bits_per_cycle)
    moved = dict(zip(movement.levels, movement.moved, strict=True))
    rows, columns = {"ws": (k, n), "os": (m, n), "is": (k, m)}[flow]
    folds = movement.folds
    efficiency = 100 * rows * columns / (folds * on.pe_array.rows * on.pe_array.columns)
    written = moved["ofmap_sram"][2, 1]
    if flow == "os":  # the tool counts an array's drain as writes
        written += folds * (on.pe_array.rows + on.pe_array.columns)
    reads = moved["ifmap_sram"][0, 0], moved["filter_sram"][1, 0]
    return cycles - first_load, efficiency, *reads, written


def test_every_row_is_equal():
    path = shared("golden", "cost", "scalesim_public_resnet18_alexnet.csv")
    rows = list(csv.DictReader(path.read_text().splitlines()))
    for row in rows:
        cycles, efficiency, ifmap, filters, ofmap = counted(row)
        assert cycles == int(row["total_cycles"]), row
        assert abs(efficiency - float(row["mapping_eff_pct"])) < 1e-9, row  # printed as a float
        assert ifmap == int(row["sram_ifmap_count"]), row
        assert filters == int(row["sram_filter_count"]), row
        assert ofmap == int(row["sram_ofmap_count"]), row
    assert len(rows) > 100


def test_the_unlimited_machine_gives_its_numbers_from_the_command_line(tmp_path):
    """SCALE-Sim's total cycles of ResNet-18, one sample, weight stationary, 32 x 32."""
    arguments = ("resnet18", "-a", "scalesim_ws_unlimited", "--batch", 1, "--mode", "inference")
    done = fxsim("estimate", *arguments, "--by", "operation", "--json", at=tmp_path)
    rows = {row["operation"]: row for row in json.loads(done.stdout)["scalesim_ws_unlimited"]}
    assert rows["product"]["array_cycles"] == 2_855_031
