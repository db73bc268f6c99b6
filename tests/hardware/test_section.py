"""Units are metadata of fields: what a name claims holds, and all of them are scaled."""

from __future__ import annotations

from typing import Annotated, get_args

import pytest
from support import ROOT

from fxsim.hardware import accelerator, drawing, scaling
from fxsim.hardware.memory import MemoryLevel
from fxsim.hardware.pe import PE
from fxsim.hardware.section import Section, Unit, quantity, unit_of


def test_a_field_has_the_unit_that_its_name_claims():
    with pytest.raises(TypeError, match=r"Cache.tag_energy_pj must have the unit .* not None"):

        class Cache(Section):
            tag_energy_pj: float

    with pytest.raises(TypeError, match=r"Lines.width_um must have the unit .*None.*not Unit.MM2"):

        class Lines(Section):
            width_um: Annotated[float, quantity(Unit.MM2)]

    assert unit_of(MemoryLevel, "area_mm2") is Unit.MM2
    assert unit_of(MemoryLevel, "name") is None


@pytest.mark.parametrize("name", ["dynasty", "eyeriss", "tpu_v1_like"])
def test_every_on_chip_energy_and_area_is_scaled(name):
    machine = accelerator.load(ROOT / "accelerators" / f"{name}.yaml")
    small = scaling.scaled(machine, 14)
    energy = scaling.energy_at(14, None) / scaling.energy_at(
        machine.technology.node_nm, machine.technology.supply_v
    )
    factors = {"energy": energy, "area": scaling.area_ratio(machine.technology.node_nm, 14)}
    pairs = [(getattr(machine, s), getattr(small, s)) for s in type(machine).model_fields]
    pairs += list(zip(machine.memory[1:], small.memory[1:], strict=True))
    scaled = 0
    for before, after in pairs:
        for field in type(before).model_fields if isinstance(before, Section) else ():
            if field.endswith(("_pj", "_pj_per_bit", "_pj_per_unit_cycle", "_mw", "_uw_per_unit")):
                factor = factors["energy"]
            elif field.endswith(("_mm2", "_um2_per_unit")):
                factor = factors["area"]
            else:
                continue
            assert getattr(after, field) == pytest.approx(getattr(before, field) * factor)
            scaled += 1
    assert scaled >= 10
    assert small.dram == machine.dram


@pytest.mark.parametrize("kind", get_args(get_args(PE)[0]), ids=lambda kind: kind.__name__)
def test_every_kind_of_unit_describes_itself(kind):
    machine = accelerator.load(ROOT / "accelerators" / "int8_systolic.yaml")
    own = {"brick_bits": 2, "bricks": 16, "format": "bf16", "width_bits": 8}
    fields = {name: own[name] for name in own if name in kind.model_fields}
    name = get_args(kind.model_fields["kind"].annotation)[0]
    unit = kind(
        kind=name,
        energy_pj_per_unit_cycle=1.0,
        leakage_uw_per_unit=1.0,
        area_um2_per_unit=1.0,
        source="test",
        **fields,
    )
    drawn = drawing.text(machine.model_copy(update={"pe": unit}))
    assert f"{name} units" in drawn
    assert kind.describes in drawn
