"""What the sections of the accelerator's YAML share: a source, and numbers with units.

A number's unit is metadata of its field. It stands in the JSON Schema, and it says whether moving
to another technology scales the number; a field whose name claims a unit that it does not have is
refused when its class is made.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Text = Annotated[str, Field(min_length=1)]
Positive = Annotated[int, Field(ge=1, le=1 << 60)]
Scales = Literal["energy", "area"]


class Unit(Enum):
    """A unit: the end of the names of its fields, its symbol, and how technology scales it."""

    PJ = ("_pj", "pJ", "energy")
    PJ_PER_BIT = ("_pj_per_bit", "pJ/bit", "energy")
    PJ_PER_UNIT_CYCLE = ("_pj_per_unit_cycle", "pJ a unit and cycle", "energy")
    MW = ("_mw", "mW", "energy")
    UW_PER_UNIT = ("_uw_per_unit", "uW a unit", "energy")
    MM2 = ("_mm2", "mm2", "area")
    UM2_PER_UNIT = ("_um2_per_unit", "um2 a unit", "area")
    HZ = ("_hz", "Hz", None)
    NM = ("_nm", "nm", None)
    V = ("_v", "V", None)
    BITS_PER_CYCLE = ("_bits_per_cycle", "bit/cycle", None)

    def __init__(self, suffix: str, symbol: str, scales: Scales | None) -> None:
        self.suffix, self.symbol, self.scales = suffix, symbol, scales


def quantity(unit: Unit, **constraints: Any) -> Any:
    """A field's unit and constraints, as pydantic's Field takes them.

    Examples
    --------
    >>> from fxsim.hardware.memory import MemoryLevel
    >>> unit_of(MemoryLevel, "read_energy_pj_per_bit").symbol
    'pJ/bit'
    """
    return Field(json_schema_extra={"unit": unit.symbol}, **constraints)


def unit_of(section: type[BaseModel], field: str) -> Unit | None:
    """The unit of a section's field, if it has one."""
    extra = section.model_fields[field].json_schema_extra
    symbol = extra.get("unit") if isinstance(extra, dict) else None
    return next((unit for unit in Unit if unit.symbol == symbol), None)


class Section(BaseModel):
    """A part of the YAML; each carries the source of its numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    source: Text

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """Refuse a field whose name ends like a unit's and that has another, or none."""
        for name in cls.model_fields:
            claimed = max(
                (unit for unit in Unit if name.endswith(unit.suffix)),
                key=lambda unit: len(unit.suffix),
                default=None,
            )
            if unit_of(cls, name) is not claimed:
                raise TypeError(
                    f"{cls.__name__}.{name} must have the unit that its name claims,"
                    f" quantity({claimed}), not {unit_of(cls, name)}"
                )


EnergyPj = Annotated[float, quantity(Unit.PJ, ge=0)]
EnergyPjPerBit = Annotated[float, quantity(Unit.PJ_PER_BIT, ge=0)]
AreaMm2 = Annotated[float, quantity(Unit.MM2, ge=0)]
BitsPerCycle = Annotated[float, quantity(Unit.BITS_PER_CYCLE, gt=0)]
