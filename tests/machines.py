"""Small accelerators for tests of cost, with round numbers."""

from __future__ import annotations

from typing import Any

from fxsim.hardware.accelerator import Accelerator

PE: dict[str, dict[str, Any]] = {
    "bit_parallel": {"kind": "bit_parallel", "width_bits": 8},
    "composable": {"kind": "composable", "brick_bits": 2, "bricks": 16, "skip_zero_blocks": True},
}


def machine(
    pe: str = "bit_parallel",
    rows: int = 2,
    columns: int = 2,
    dataflow: str = "output_stationary",
    tile: int = 1,
    sync: tuple[int, int] | None = None,
    dram_bandwidth: float = 64,
    buffer_bits: int = 1 << 20,
    double_buffered: bool = True,
    **sections: Any,
) -> Accelerator:
    """A machine whose energies are distinct powers of ten [pJ]; `sections` replace its parts."""

    def level(name: str, holds: list[str], capacity: object, bandwidth: float, energy: float):
        return {
            "name": name,
            "holds": holds,
            "capacity_bits": capacity,
            "source": "test",
            "bandwidth_bits_per_cycle": bandwidth,
            "read_energy_pj_per_bit": energy,
            "write_energy_pj_per_bit": energy,
            "double_buffered": double_buffered,
        }

    every = ["left", "right", "output"]
    return Accelerator.model_validate(
        {
            "name": "test",
            "source": "test",
            "technology": {"node_nm": 45, "clock_hz": 1e9, "source": "test"},
            "pe_array": {"rows": rows, "columns": columns, "source": "test"},
            "pe": {
                **PE[pe],
                "tile": tile,
                "energy_pj_per_unit_cycle": 1000.0,
                "leakage_uw_per_unit": 1.0,
                "area_um2_per_unit": 1.0,
                "source": "test",
            },
            "dataflow": {"kind": dataflow, "source": "test"},
            "sync": {
                "rows": (sync or (rows, columns))[0],
                "columns": (sync or (rows, columns))[1],
                "source": "test",
            },
            "memory": [
                level("dram", every, "unlimited", dram_bandwidth, 10.0),
                level("left_buffer", ["left"], buffer_bits, 1e6, 0.1),
                level("right_buffer", ["right"], buffer_bits, 1e6, 0.01),
                level("output_buffer", ["output"], buffer_bits, 1e6, 0.001),
            ],
            "packing": {"container_bits": 0, "source": "test"},
            "vector_unit": {
                "lanes": 4,
                "add_energy_pj": 1.0,
                "multiply_energy_pj": 2.0,
                "source": "test",
            },
            **sections,
        }
    )
