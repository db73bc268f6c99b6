"""Dataflows: which dimension of a product lies along the rows, the columns, and time.

A product is m x k times k x n. Tiles of the array's size (folds) are worked off one by one.
Source of cycles: SCALE-Sim v3 (Samajdar et al., arXiv 1811.02883), whose cycles they equal
(`tests/cost/test_array.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Dataflow:
    """rows, columns, time : each one of "m", "n", "k"; the operand without `time` is stationary."""

    rows: Literal["m", "n", "k"]
    columns: Literal["m", "n", "k"]
    time: Literal["m", "n", "k"]

    @property
    def preloads(self) -> bool:
        """Whether an operand is loaded into the array before the fold starts."""
        return self.time != "k"

    def overhead(self, rows: int, columns: int) -> int:
        """Cycles of a fold beyond its steps: loading, filling and draining the array."""
        return (2 if self.preloads else 1) * rows + columns - 2

    @property
    def left_stationary(self) -> bool:
        """Whether the left (m x k) operand stays in the array."""
        return self.time == "n"

    @property
    def right_stationary(self) -> bool:
        """Whether the right (k x n) operand stays in the array."""
        return self.time == "m"


DATAFLOWS: dict[str, Dataflow] = {
    "weight_stationary": Dataflow(rows="k", columns="n", time="m"),
    "output_stationary": Dataflow(rows="m", columns="n", time="k"),
    "input_stationary": Dataflow(rows="k", columns="m", time="n"),
}
