"""Technology scaling by the tables of Stillmaker and Baas."""

from __future__ import annotations

import pytest
from support import ROOT

from fxsim.errors import ConfigError
from fxsim.hardware import accelerator, scaling


def test_the_authors_example():
    """Their page: 32 nm at 0.9 V against 65 nm at 1.3 V takes 0.4571 / 2.604 = 0.1755."""
    assert scaling.energy_at(32, 0.9) == pytest.approx(0.4571, abs=6e-4)
    assert scaling.energy_at(65, 1.3) == pytest.approx(2.604, abs=1e-3)
    ratio = scaling.energy_at(32, 0.9) / scaling.energy_at(65, 1.3)
    assert ratio == pytest.approx(0.1755, abs=1e-4)


def test_area_goes_by_the_matrix():
    assert scaling.area_ratio(45, 7) == pytest.approx(0.059)
    assert scaling.area_ratio(45, 45) == pytest.approx(1)
    assert 0.21 < scaling.area_ratio(45, 28) < 0.46  # between 20 and 32 nm


def test_a_scaled_machine_has_smaller_numbers_and_says_so():
    machine = accelerator.load(ROOT / "accelerators" / "dynasty.yaml")
    small = scaling.scaled(machine, 7)
    energy = scaling.energy_at(7, None) / scaling.energy_at(45, machine.technology.supply_v)
    assert small.pe.energy_pj_per_unit_cycle == pytest.approx(
        machine.pe.energy_pj_per_unit_cycle * energy
    )
    assert small.array_area_mm2 == pytest.approx(machine.array_area_mm2 * 0.059)
    assert small.memory[0] == machine.memory[0]  # off-chip memory is not scaled
    assert small.pe_array == machine.pe_array
    assert small.technology.clock_hz == machine.technology.clock_hz
    assert "scaled from 45 to 7 nm" in small.pe.source
    assert scaling.scaled(machine, 45, machine.technology.supply_v).pe.area_um2_per_unit == (
        pytest.approx(machine.pe.area_um2_per_unit)
    )


def test_a_node_outside_the_tables_is_refused():
    machine = accelerator.load(ROOT / "accelerators" / "dynasty.yaml")
    with pytest.raises(ConfigError, match="must be from 7 to 180 nm, not 5"):
        scaling.scaled(machine, 5)
