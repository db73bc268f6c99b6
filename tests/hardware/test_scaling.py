"""Technology scaling by the tables of Stillmaker and Baas."""

from __future__ import annotations

from math import log, sqrt

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


def test_nodes_between_two_of_the_table_are_interpolated_geometrically():
    """At the geometric mean of two nodes: the geometric mean of their areas and energies."""
    for larger, smaller in ((45, 32), (20, 16), (10, 7)):
        middle = sqrt(larger * smaller)
        from_45 = [scaling.area_ratio(45, node) for node in (larger, smaller)]
        assert scaling.area_ratio(45, middle) == pytest.approx(sqrt(from_45[0] * from_45[1]))
        to_7 = [scaling.area_ratio(node, 7) for node in (larger, smaller)]
        assert scaling.area_ratio(middle, 7) == pytest.approx(sqrt(to_7[0] * to_7[1]))
        energies = [scaling.energy_at(node, 0.9) for node in (larger, smaller)]
        assert scaling.energy_at(middle, 0.9) == pytest.approx(sqrt(energies[0] * energies[1]))
    # nearer to one end, nearer to its value: 28 nm is 28 % of the way from 32 to 20
    share = log(32 / 28) / log(32 / 20)
    assert scaling.area_ratio(45, 28) == pytest.approx(0.46 ** (1 - share) * 0.21**share)
    assert scaling.area_ratio(28, 7) == pytest.approx(0.13 ** (1 - share) * 0.28**share)
    usual = scaling.energy_at(32, 0.9), scaling.energy_at(20, 0.9)
    assert scaling.energy_at(28, None) == pytest.approx(usual[0] ** (1 - share) * usual[1] ** share)


def test_the_ends_of_the_table_are_nodes_and_a_supply_must_fit_it():
    assert scaling.area_ratio(180, 180) == pytest.approx(1)
    assert scaling.area_ratio(180, 7) == pytest.approx(0.0032)
    assert scaling.energy_at(130, None) == pytest.approx(7.171 * 1.69 - 6.709 * 1.3 + 2.904)
    with pytest.raises(ConfigError, match=r"0.5 V is outside what the equations for 180 nm"):
        scaling.energy_at(180, 0.5)


def test_the_tables_agree_with_themselves():
    """There and back is 1 within two digits; a smaller node has less area, energy and supply."""
    for i, one in enumerate(scaling.NODES):
        for other in scaling.NODES[i + 1 :]:
            there, back = scaling.area_ratio(one, other), scaling.area_ratio(other, one)
            assert there < 1 < back
            assert there * back == pytest.approx(1, rel=0.1)
            middle = scaling.area_ratio(one, 45) * scaling.area_ratio(45, other)
            assert middle == pytest.approx(there, rel=0.15)
        smaller = scaling.NODES[i + 1 :]
        assert all(scaling.SUPPLY[one] >= scaling.SUPPLY[n] for n in smaller)
        assert all(scaling.energy_at(one, None) > scaling.energy_at(n, None) for n in smaller)
