"""What the sections of the accelerator's YAML share: a source, and numbers with units.

A number's unit is metadata of its field. It stands in the JSON Schema, and it says whether moving
to another technology scales the number; a field whose name claims a unit that it does not have is
refused when its class is made.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

Text = Annotated[str, Field(min_length=1)]
Positive = Annotated[int, Field(ge=1, le=1 << 60)]
Scales = Literal["energy", "area"]


UNLIMITED = 1e12  # bits a cycle


class Unit(Enum):
    """A unit: the end of the names of its fields, its symbol, and how technology scales it.

    usual : what machines have; beyond it a value is doubted. possible : beyond it nothing real
        lies, and a value is refused. Both are ours: one to three orders of magnitude around the
        machines that are shipped, and wide around anything published
    """

    PJ = ("_pj", "pJ", "energy", (1e-4, 1e3), (1e-9, 1e6))
    PJ_PER_BIT = ("_pj_per_bit", "pJ/bit", "energy", (1e-5, 1e3), (1e-9, 1e6))
    PJ_PER_UNIT_CYCLE = (
        "_pj_per_unit_cycle",
        "pJ a unit and cycle",
        "energy",
        (1e-4, 1e4),
        (1e-9, 1e7),
    )
    MW = ("_mw", "mW", "energy", (1e-7, 1e5), (1e-12, 1e8))
    UW_PER_UNIT = ("_uw_per_unit", "uW a unit", "energy", (1e-6, 1e6), (1e-12, 1e9))
    MM2 = ("_mm2", "mm2", "area", (1e-6, 5e3), (1e-12, 1e6))
    UM2_PER_UNIT = ("_um2_per_unit", "um2 a unit", "area", (1.0, 1e8), (1e-3, 1e12))
    HZ = ("_hz", "Hz", None, (1e7, 1e10), (1e5, 1e12))
    NM = ("_nm", "nm", None, (2.0, 350.0), (0.5, 1e4))
    V = ("_v", "V", None, (0.3, 3.3), (0.05, 10.0))
    # from 1e12 on it means unlimited
    BITS_PER_CYCLE = ("_bits_per_cycle", "bit/cycle", None, (1e-2, 1e7), (1e-6, 1e15))

    def __init__(
        self,
        suffix: str,
        symbol: str,
        scales: Scales | None,
        usual: tuple[float, float],
        possible: tuple[float, float],
    ) -> None:
        self.suffix, self.symbol, self.scales = suffix, symbol, scales
        self.usual, self.possible = usual, possible


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

    @field_validator("*")
    @classmethod
    def _is_possible(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse what no machine has: most often another unit was meant."""
        unit = unit_of(cls, info.field_name or "")
        if unit and value:
            least, most = unit.possible
            if not least <= value <= most:
                raise ValueError(f"must be {least:g} to {most:g} {unit.symbol}, not {value:g}")
        return value

    def doubts(self) -> Iterator[tuple[str, str]]:
        """(field, why) of its numbers that machines hardly have."""
        for name in type(self).model_fields:
            unit, value = unit_of(type(self), name), getattr(self, name)
            if unit is None or not value or (unit is Unit.BITS_PER_CYCLE and value >= UNLIMITED):
                continue
            least, most = unit.usual
            if not least <= value <= most:
                yield name, f"{value:g} {unit.symbol}; {least:g} to {most:g} is usual"

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
