"""Dataflows: which loops of a nest run across the array, and which operand stays in it.

A dataflow is YAML: `rows` and `columns` list the loops that are unrolled along each axis (letters
of `fxsim.mapping.nest`, of each pass seen as a convolution). A loop takes as many rows as it has
turns, the next one shares what is left, in the order of the list or in another that needs fewer
steps; `{C: 8}` gives a loop a fixed number. `kind`
is short for one of the usual dataflows, whose entries may be overridden one by one; "custom" says
nothing of rows and columns.

Sources: the taxonomy is Chen et al., "Eyeriss", ISCA 2016; cycles of a systolic array are those of
SCALE-Sim v3 (Samajdar et al., arXiv 1811.02883), see `tests/cost/test_scalesim.py`.
"""

from __future__ import annotations

from itertools import permutations
from math import prod
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

LOOPS = ("B", "K", "C", "OY", "OX", "FY", "FX", "G")
LETTER = {"B": "m", "OY": "m", "OX": "m", "K": "n", "C": "k", "FY": "k", "FX": "k", "G": "g"}
Loop = Literal["B", "K", "C", "OY", "OX", "FY", "FX", "G"]
Operand = Literal["left", "right", "output"]


def _axis(value: object) -> object:
    if isinstance(value, str):
        value = [value]
    if isinstance(value, dict):
        return tuple(value.items())
    if isinstance(value, list | tuple):
        return tuple(item if isinstance(item, list | tuple) else (item, None) for item in value)
    return value


Turns = Annotated[int, Field(ge=1)]
Unrolled = tuple[Loop, Turns | None]
WrittenAxis = Loop | dict[Loop, Turns | None] | list[Loop | tuple[Loop, Turns | None]]
Axis = Annotated[
    tuple[Unrolled, ...],
    BeforeValidator(_axis, json_schema_input_type=WrittenAxis),
    Field(min_length=1),
]

KINDS: dict[str, dict[str, Any]] = {
    "weight_stationary": {
        "rows": "C",
        "columns": "K",
        "stationary": "right",
        "flatten": ["m", "k"],
        "fill_and_drain": "systolic",
    },
    "output_stationary": {
        "rows": "B",
        "columns": "K",
        "stationary": "output",
        "flatten": ["m", "k"],
        "fill_and_drain": "systolic",
    },
    "input_stationary": {
        "rows": "C",
        "columns": "B",
        "stationary": "left",
        "flatten": ["m", "k"],
        "fill_and_drain": "systolic",
    },
    "row_stationary": {
        "rows": ["FY", "C"],
        "columns": ["OY", "K"],
        "stationary": None,
        "flatten": [],
        "fill_and_drain": "none",
    },
    "custom": {"stationary": None, "flatten": [], "fill_and_drain": "none"},
}


def _short_kinds(schema: dict[str, Any]) -> None:
    """In JSON Schema: only a custom dataflow must name its rows and columns."""
    schema["required"] = ["kind", "source"]
    schema["if"] = {"properties": {"kind": {"const": "custom"}}}
    schema["then"] = {"required": ["rows", "columns"]}


class Dataflow(BaseModel):
    """How loops lie on the array.

    stationary : the operand whose words stay in the units' registers, None if none does (then
        the units' memories, `per_pe` levels, say what stays)
    flatten : classes of loops merged to one, as im2col does: "m" (B, OY, OX), "k" (C, FY, FX)
    im2col_channels : a convolution of at most so many channels is written out as a matrix first
        (merging "k"), in memory where tiles are whole
    zero_insertion : what becomes of the zeros between the pixels of a spread image (grad_input of
        a convolution of stride 2 or more, conv_transpose2d): "execute" works them off, as an
        array does that is fed plain addresses; "skip" runs a convolution of the image as it is
        for each phase of the outputs
    fill_and_drain : "systolic" arrays pay rows and columns at each new set of stationary words
    tiles : "exact" moves and works off what is there; "whole" moves tiles at the edges, and
        operands padded to the array, in full, and halos with every tile, as programs of fixed
        instructions do (Bit Fusion's)
    """

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra=_short_kinds)

    kind: Literal[
        "weight_stationary", "output_stationary", "input_stationary", "row_stationary", "custom"
    ]
    rows: Axis
    columns: Axis
    stationary: Operand | None
    flatten: frozenset[Literal["m", "k"]]
    im2col_channels: Annotated[int, Field(ge=0)] = 0
    fill_and_drain: Literal["systolic", "none"]
    tiles: Literal["exact", "whole"] = "exact"
    zero_insertion: Literal["execute", "skip"] = "execute"
    source: Annotated[str, Field(min_length=1)]

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(kind := data.get("kind"), str) and kind in KINDS:
            return {**KINDS[kind], **data}
        return data

    @model_validator(mode="after")
    def _skips_in_exact_tiles(self) -> Dataflow:
        if self.zero_insertion == "skip" and self.tiles == "whole":
            raise ValueError(
                "zero_insertion: skip takes tiles: exact; whole tiles move the spread image's zeros"
            )
        return self

    def letter(self, axis: Axis) -> str:
        """The dimension of the matrix product (m, n, k) that an axis cuts."""
        return LETTER[axis[0][0]]

    @property
    def time(self) -> str | None:
        """The dimension of the matrix product that lies along time, if it is one."""
        left = {"m", "n", "k"} - {self.letter(self.rows), self.letter(self.columns)}
        return left.pop() if len(left) == 1 else None

    def overhead(self, rows: int, columns: int) -> int:
        """Cycles of a fold beyond its steps: loading, filling and draining a systolic array."""
        if self.fill_and_drain == "none":
            return 0
        preloads = self.stationary in ("left", "right")
        return (2 if preloads else 1) * rows + columns - 2

    def unrolled(self, sizes: dict[str, int], rows: int, columns: int) -> dict[str, int]:
        """{loop: how many units along it} on an array for a nest of these sizes (in units)."""
        units: dict[str, int] = {}
        for axis, length in ((self.rows, rows), (self.columns, columns)):
            if len(axis) == 1:
                ((loop, fixed),) = axis
                choice = {loop: fixed or length}
            else:
                orders = [_taken(order, sizes, length) for order in permutations(axis)]
                choice = min(
                    orders,
                    key=lambda c: prod(-(-sizes[loop] // taken) for loop, taken in c.items()),
                )
            for loop, taken in choice.items():
                units[loop] = units.get(loop, 1) * taken
        return units


def _taken(
    order: tuple[tuple[Loop, int | None], ...], sizes: dict[str, int], length: int
) -> dict[Loop, int]:
    """{loop: units along an axis}, each taking as many as it has turns, the next what is left."""
    units: dict[Loop, int] = {}
    for loop, fixed in order:
        units[loop] = min(fixed or length, length, max(sizes[loop], 1))
        length //= units[loop]
    return units
