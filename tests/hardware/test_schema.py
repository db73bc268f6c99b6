"""Accelerators that are inconsistent are refused with file, line, what and why."""

from __future__ import annotations

import pytest
import yaml
from support import ROOT

from fxsim.errors import ConfigError
from fxsim.hardware import accelerator


def nine_levels(machine):
    spare = machine["memory"][1]
    machine["memory"] += [{**spare, "name": f"spare{i}"} for i in range(6)]


def put(*path, value):
    def change(machine):
        for part in path[:-1]:
            machine = machine[part]
        machine[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "line_of", "complaint"),
    [
        (
            put("memory", 1, "capacity_bits", value=8),
            "capacity_bits: 8",
            "has 4 usable bits, one unit's step takes 8",
        ),
        (
            put("memory", 1, "bandwidth_bits_per_cycle", value=0),
            "bandwidth_bits_per_cycle: 0",
            "must be more than 0, not 0",
        ),
        (
            put("memory", 1, "read_energy_pj_per_bit", value=-1),
            "read_energy_pj_per_bit: -1",
            "must be at least 0, not -1",
        ),
        (
            put("memory", 1, "holds", value=["right"]),
            "memory:",
            "must hold 'left'; none does, so it has no home",
        ),
        (
            put("memory", 1, "holds", value=["left", "left"]),
            "holds:",
            "must name each operand once",
        ),
        (
            put("memory", 3, "per_pe", value=True),
            "memory:",
            "buffer that the array shares must hold 'output'",
        ),
        (
            put("memory", 1, "per_pe", value=True),
            "name: right_buffer",
            "must stand before the units' own",
        ),
        (put("memory", 1, "name", value="registers"), "name: registers", "must not be 'registers'"),
        (put("memory", 1, "name", value="dram"), "name: dram", "'dram' is given twice"),
        (put("memory", 0, "capacity_bits", value=64), "capacity_bits: 64", "must be 'unlimited'"),
        (
            put("memory", 2, "capacity_bits", value="unlimited"),
            "capacity_bits: unlimited",
            "must be a number",
        ),
        (nine_levels, "name: spare3", "memory must have at most 7 levels, not 10"),
        (
            put("dataflow", "tiles", value="whole"),
            "dataflow:",
            "must be null where tiles are whole",
        ),
        (put("dataflow", "rows", value={"C": 64}), "rows:", "unrolls 64 turns; pe_array.rows = 16"),
        (put("dataflow", "rows", value=["C", "C"]), "rows:", "must name each loop once"),
        (
            put("dataflow", "rows", value="Z"),
            "rows: Z",
            "must be one of B, K, C, OY, OX, FY, FX, G, not 'Z'",
        ),
        (
            put("pe_array", "stagger_columns", value=True),
            "stagger_columns: true",
            "unroll no loop of the windows",
        ),
        (put("sync", "rows", value=5), "rows: 5", "must divide pe_array.rows = 16, not be 5"),
        (put("pe", "kind", value="serail"), "kind: serail", "did you mean 'serial'"),
    ],
)
def test_inconsistent(tmp_path, change, line_of, complaint):
    machine = yaml.safe_load((ROOT / "accelerators" / "int8_systolic.yaml").read_text())
    change(machine)
    path = tmp_path / "bad.yaml"
    text = yaml.safe_dump(machine, sort_keys=False)
    path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        accelerator.load(path)
    message = str(refused.value)
    assert complaint in message
    line = int(message.removeprefix(f"{path}:").split(":")[0])
    assert "\n" not in message
    lines = text.splitlines()
    near = [i for i, found in enumerate(lines, 1) if line_of in found]
    assert min(abs(line - i) for i in near) <= 1, (line, near)
