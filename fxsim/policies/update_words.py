"""The words of a weight update as a policy's parameters."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from fxsim.errors import FormatError
from fxsim.numerics.formats import MAX_FRAC, FixedPoint, Overflow, Rounding
from fxsim.numerics.state_formats import (
    MASTER,
    MAX_MOMENT_BITS,
    MAX_MOMENTUM_BITS,
    StateFormat,
    UpdateFormats,
)
from fxsim.training.enum_fields import OverflowName, RoundingName

StaticFrac = Annotated[int, Field(ge=-MAX_FRAC, le=MAX_FRAC)] | None


OVERFLOW_NEEDS_FRAC = (
    "overflow is of a static scale, and there is none: give frac as well, or leave overflow out"
)


class _Words(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MasterWords(_Words):
    """Master weights: bits, fractional bits, and how a step is rounded.

    rounding : None is `update_rounding`
    """

    bits: Annotated[int, Field(ge=2, le=MASTER.bits)] = MASTER.bits
    frac: Annotated[int, Field(ge=0, le=MASTER.frac)] = MASTER.frac
    rounding: RoundingName | None = None

    @model_validator(mode="after")
    def _held(self) -> MasterWords:
        try:
            UpdateFormats(self.format)
        except FormatError as problem:
            raise ValueError(str(problem)) from None
        return self

    @property
    def format(self) -> FixedPoint:
        """The words."""
        return FixedPoint(self.bits, self.frac)


class StateWords(_Words):
    """What an optimiser keeps: bits, fractional bits (none: a dynamic scale), and modes."""

    bits: Annotated[int, Field(ge=2, le=MAX_MOMENT_BITS)]
    frac: StaticFrac = None
    rounding: RoundingName = Rounding.TRN_ZERO
    overflow: OverflowName = Overflow.SAT

    @model_validator(mode="after")
    def _static(self) -> StateWords:
        if self.frac is None and self.overflow is not Overflow.SAT:
            raise ValueError(OVERFLOW_NEEDS_FRAC)
        return self

    @property
    def format(self) -> StateFormat:
        """The words."""
        return StateFormat(self.bits, self.frac, self.rounding, self.overflow)


class FirstMomentWords(StateWords):
    """Adam's first moment."""

    bits: Annotated[int, Field(ge=2, le=MAX_MOMENT_BITS)] = 40


class SecondMomentWords(StateWords):
    """Adam's second moment."""

    bits: Annotated[int, Field(ge=2, le=MAX_MOMENT_BITS)] = 62


class MomentumWords(StateWords):
    """SGD's momentum."""

    bits: Annotated[int, Field(ge=2, le=MAX_MOMENTUM_BITS)] = MAX_MOMENTUM_BITS
