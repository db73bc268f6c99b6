"""A policy's decisions of a step: typed where they are used, a row of integers where recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from numbers import Real
from typing import Any, Final, Self, TypeVar

from fxsim.errors import DataError
from fxsim.identifiers import LayerId, OperandId

_KEY: Final = "key"
_CONSTANT: Final = "constant"


def table(key: Callable[[str], Any] = LayerId.parse, constant: bool = False) -> Any:
    """A field of decisions that is a table of integers.

    Parameters
    ----------
    key : what an entry's recorded name stands for; its `str` is that name
    constant : whether the table holds for the whole run, and is recorded once

    Returns
    -------
    A dataclass field, empty by default.
    """
    return field(default_factory=dict, metadata={_KEY: key, _CONSTANT: constant})


class _Recorded(dict[Any, int]):
    """A recorded table; what it lacks is named by its column."""

    def __init__(self, name: str, said: str) -> None:
        self.name, self.said = name, said

    def __missing__(self, key: object) -> int:
        raise DataError(f"{self.said} must have a column {f'{self.name}.{key}'!r}")


@dataclass(slots=True, kw_only=True)
class Decisions:
    """All that determines a step's bits, with the data; each policy adds its own fields.

    A field is an integer, or a `table` of them. A run records a column for each: the field's name,
    and for a table's entry its key after a dot.

    Attributes
    ----------
    learning_rate : code with `engine.update.RATE_FRAC` fractional bits; the training loop's

    Examples
    --------
    >>> @dataclass(slots=True, kw_only=True)
    ... class ByLayer(Decisions):
    ...     bits: dict[LayerId, int] = table()
    >>> decided = ByLayer(learning_rate=655, bits={LayerId("conv1"): 4})
    >>> decided.columns()
    {'learning_rate': 655, 'bits.conv1': 4}
    >>> ByLayer.from_columns(decided.columns()) == decided
    True
    """

    learning_rate: int = 0

    def columns(self, constant: bool = False) -> dict[str, int]:
        """As they are recorded.

        Parameters
        ----------
        constant : those that hold for the whole run; else those of the step

        Returns
        -------
        {column: integer}.
        """
        row: dict[str, int] = {}
        for entry in fields(self):
            if entry.metadata.get(_CONSTANT, False) is constant:
                value = getattr(self, entry.name)
                if _KEY in entry.metadata:
                    row |= {f"{entry.name}.{key}": code for key, code in value.items()}
                else:
                    row[entry.name] = value
        return row

    @classmethod
    def from_columns(cls, row: Mapping[str, int], where: str = "") -> Self:
        """Recorded decisions.

        Parameters
        ----------
        row : {column: integer}, the run's constants among them
        where : they were read from, for errors

        Raises
        ------
        DataError : for a column that is not theirs, one that is missing, or what is no integer;
            for a table's entry that is missing when it is asked for
        """
        said = f"{where}: decisions".removeprefix(": ")
        own = {entry.name: entry for entry in fields(cls)}
        tables: dict[str, Any] = {
            n: _Recorded(n, said) for n, e in own.items() if _KEY in e.metadata
        }
        integers: dict[str, int] = {}
        for column, code in row.items():
            name, _, key = column.partition(".")
            if not isinstance(code, Real) or code != code or code != int(code):
                raise DataError(f"{said} must be integers; {column!r} has {code!r}")
            if key and name in tables:
                tables[name][own[name].metadata[_KEY](key)] = int(code)
            elif column in own and column not in tables:
                integers[column] = int(code)
            else:
                raise DataError(f"{said} must not have a column {column!r}")
        if missing := own.keys() - tables.keys() - integers.keys():
            raise DataError(f"{said} must have a column {min(missing)!r}")
        return cls(**integers, **tables)


@dataclass(slots=True, kw_only=True)
class GridDecisions(Decisions):
    """Of policies whose weights are kept on a coarse grid, without a wider copy.

    Attributes
    ----------
    grid : fractional bits of a layer's weights
    stored_bits : word length in which they are kept
    """

    grid: dict[LayerId, int] = table()
    stored_bits: int


@dataclass(slots=True, kw_only=True)
class WageDecisions(GridDecisions):
    """WAGE's.

    Attributes
    ----------
    rate : of weights, with `engine.update_rules.RATE_FRAC` fractional bits
    frac : of errors and activations, by `role.layer`
    limit : whether a layer's input is limited to [0, 1]
    """

    rate: int
    frac: dict[OperandId, int] = table(OperandId.parse)
    limit: dict[LayerId, int] = table()


@dataclass(slots=True, kw_only=True)
class NitiDecisions(GridDecisions):
    """NITI's.

    Attributes
    ----------
    gradient_bits : of the weights' update
    """

    gradient_bits: int


D = TypeVar("D", bound=Decisions)
