"""What a workload's YAML may hold in its fields: exact decimals, counts, names."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field


class Part(BaseModel):
    """A mapping whose keys are all known."""

    model_config = ConfigDict(frozen=True, extra="forbid")


_MOST_PLACES = 60  # of a number, before and behind the point


def _decimal(value: Any) -> Any:
    text = str(value)
    try:
        if "/" not in text and abs(Decimal(text).adjusted()) > _MOST_PLACES and Decimal(text):
            raise ValueError(f"must be 0, or between 1e-{_MOST_PLACES} and 1e{_MOST_PLACES}")
        exact = Fraction(text)
    except (ValueError, ZeroDivisionError, ArithmeticError) as problem:
        if str(problem).startswith("must"):
            raise
        raise ValueError(f"must be a number, not {text[:_MOST_PLACES]!r}") from None
    if abs(exact) > 1 << 64:
        raise ValueError(f"must be a number of a usual size, not {text!r}")
    return exact


_LEAST_RATE = Fraction(1, 10**9)  # held to 0.1 % by the 40 fractional bits of a step's rate


def _rate(value: Fraction) -> Fraction:
    if not _LEAST_RATE <= value <= 1000:
        raise ValueError(f"must be between 1e-9 and 1000, not {float(value)}")
    return value


def _weight_decay(value: Fraction) -> Fraction:
    if value and not Fraction(1, 10**12) <= value < 1:
        raise ValueError(f"must be 0, or between 1e-12 and 1, not {float(value)}")
    return value


def _fraction(value: Fraction) -> Fraction:
    if not 0 <= value < 1:
        raise ValueError(f"must be at least 0 and below 1, not {float(value)}")
    return value


def _positive(value: Fraction) -> Fraction:
    if value <= 0:
        raise ValueError(f"must be above 0, not {float(value)}")
    return value


def _small(value: Fraction) -> Fraction:
    if not 0 < value <= 1:
        raise ValueError(f"must be above 0 and at most 1, not {float(value)}")
    return value


def _fading(value: Fraction) -> Fraction:
    if not 0 <= value <= 1 - Fraction(1, 1 << 20):
        raise ValueError(f"must be at least 0 and at most 1 - 2**-20, not {float(value)}")
    return value


ExactDecimal = Annotated[Fraction, BeforeValidator(_decimal, json_schema_input_type=float | str)]
Share = Annotated[ExactDecimal, AfterValidator(_fraction)]
Beta = Annotated[ExactDecimal, AfterValidator(_fading)]
WeightDecay = Annotated[ExactDecimal, AfterValidator(_weight_decay)]
Rate = Annotated[ExactDecimal, AfterValidator(_rate)]
AboveZero = Annotated[ExactDecimal, AfterValidator(_positive)]
Small = Annotated[ExactDecimal, AfterValidator(_small)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
LARGEST = (1 << 31) - 1
Positive = Annotated[int, Field(ge=1, le=LARGEST)]
Natural = Annotated[int, Field(ge=0, le=LARGEST)]
Text = Annotated[str, Field(min_length=1)]
