"""Enumerated strings at the border: a rounding mode by its name."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer

from fxsim.arithmetic.formats import Rounding
from fxsim.errors import hint


def _rounding(value: Any) -> Any:
    if isinstance(value, Rounding):
        return value
    names = [mode.name for mode in Rounding]
    if value not in names:
        raise ValueError(
            f"must be one of {', '.join(names)}, not {value!r}{hint(str(value), names)}"
        )
    return Rounding[value]


RoundingName = Annotated[Rounding, BeforeValidator(_rounding), PlainSerializer(lambda m: m.name)]
