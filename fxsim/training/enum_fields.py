"""Enumerated strings at the border: a rounding or overflow mode by its name."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer

from fxsim.errors import hint
from fxsim.numerics.formats import Overflow, Rounding


def _named(kind: type[IntEnum]) -> Callable[[Any], Any]:
    def member(value: Any) -> Any:
        if isinstance(value, kind):
            return value
        names = [mode.name for mode in kind]
        if value not in names:
            raise ValueError(
                f"must be one of {', '.join(names)}, not {value!r}{hint(str(value), names)}"
            )
        return kind[value]

    return member


def _names(kind: type[IntEnum]) -> Any:
    return Annotated[str, Field(json_schema_extra={"enum": [mode.name for mode in kind]})]


RoundingName = Annotated[
    Rounding,
    BeforeValidator(_named(Rounding), json_schema_input_type=_names(Rounding)),
    PlainSerializer(lambda mode: mode.name),
]
OverflowName = Annotated[
    Overflow,
    BeforeValidator(_named(Overflow), json_schema_input_type=_names(Overflow)),
    PlainSerializer(lambda mode: mode.name),
]
