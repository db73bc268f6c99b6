"""The trace: what every operation of every step did. The only bridge from training to cost.

A trace is a directory of Parquet tables:

- `layers`: what each product of the network is, once: `kind` is linear, conv2d, transposed or
  pairwise, then its geometry, and the operands' owners (a weight may serve several products)
- `products`: a row a step, layer and pass: `repeats` matrix products (groups, or a batch of
  matrices) of (m, n, k), operand roles, and the exact joint histogram of word lengths
  [multiply-accumulates]
- `operands`: a row a step, layer and role: stored bits, metadata, histogram of word lengths,
  saturated and zero codes, and the bits of the words (or masters) that were cast
- `vectors`: a row a step, layer and pass of elementwise work, with what it saturated
- `maps`: full block maps (bits and exponents, zlib-compressed) of every operand, for sampled steps,
  what its words were like (`fxsim.numerics.word_statistics`), and sums of squares of what its cast
  changed (noise) and of what was cast (signal), as floats
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from fxsim.engine.contractions import Contraction, Convolved, Matrix, Pairwise, Transposed
from fxsim.engine.geometry import Convolution
from fxsim.errors import DataError
from fxsim.identifiers import Role
from fxsim.numerics.block_map import BlockMap
from fxsim.numerics.word_statistics import WordStatistics

KINDS: dict[Any, str] = {
    Matrix: "linear",
    Convolved: "conv2d",
    Transposed: "transposed",
    Pairwise: "pairwise",
}
_KEPT_MAPS = 64  # that stay unpacked

SCHEMAS = {
    "layers": {
        "layer": pa.string(),
        "kind": pa.string(),
        "height": pa.int64(),
        "width": pa.int64(),
        "channels": pa.int64(),
        "filters": pa.int64(),
        "kernel": pa.int64(),
        "stride": pa.int64(),
        "padding": pa.int64(),
        "dilation": pa.int64(),
        "groups": pa.int64(),
        "macs": pa.int64(),
        "weight_of": pa.string(),
        "batch": pa.int64(),
    },
    "products": {
        "step": pa.int32(),
        "layer": pa.string(),
        "pass": pa.string(),
        "m": pa.int64(),
        "n": pa.int64(),
        "k": pa.int64(),
        "repeats": pa.int64(),
        "left": pa.string(),
        "right": pa.string(),
        "left_bits": pa.list_(pa.int64()),
        "right_bits": pa.list_(pa.int64()),
        "joint_macs": pa.list_(pa.int64()),
        "accumulator_bits": pa.int32(),
        "sums_altered": pa.int64(),
        "first_altered": pa.int64(),
    },
    "operands": {
        "step": pa.int32(),
        "layer": pa.string(),
        "role": pa.string(),
        "rows": pa.int64(),
        "columns": pa.int64(),
        "blocks": pa.int64(),
        "word_bits": pa.int64(),
        "metadata_bits": pa.int64(),
        "bits": pa.list_(pa.int64()),
        "elements_by_bits": pa.list_(pa.int64()),
        "saturated": pa.int64(),
        "zeros": pa.int64(),
        "analysed": pa.int32(),
        "source_bits": pa.int32(),
    },
    "vectors": {
        "step": pa.int32(),
        "layer": pa.string(),
        "pass": pa.string(),
        "elements": pa.int64(),
        "adds": pa.int64(),
        "multiplies": pa.int64(),
        "read_bits": pa.int64(),
        "write_bits": pa.int64(),
        "stash_write_bits": pa.int64(),
        "stash_read_bits": pa.int64(),
        "resident_bits": pa.int64(),
        "saturated": pa.int64(),
    },
    "maps": {
        "step": pa.int32(),
        "layer": pa.string(),
        "role": pa.string(),
        "rows": pa.int64(),
        "columns": pa.int64(),
        "block_rows": pa.int64(),
        "block_columns": pa.int64(),
        "metadata_bits": pa.int64(),
        "bits": pa.binary(),
        "shifts": pa.binary(),
        "signed": pa.bool_(),
        "top_bits": pa.list_(pa.int64()),
        "ones": pa.list_(pa.int64()),
        "booth": pa.list_(pa.int64()),
        "positions": pa.list_(pa.int64()),
        "booth_positions": pa.list_(pa.int64()),
        "noise": pa.float64(),
        "signal": pa.float64(),
    },
}


POWERS = ["noise", "signal"]
# what a sampled operand's words were like, beside whether they are signed
WORD_COLUMNS = ("top_bits", "ones", "booth", "positions", "booth_positions")


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Trace:
    """A recorded run, as tables; see the module's docstring."""

    layers: pd.DataFrame
    products: pd.DataFrame
    operands: pd.DataFrame
    vectors: pd.DataFrame
    maps: pd.DataFrame

    @classmethod
    def load(cls, directory: Path) -> Trace:
        """Read a trace."""
        tables = {}
        for name, schema in SCHEMAS.items():
            path = directory / f"{name}.parquet"
            try:
                tables[name] = pq.read_table(path).to_pandas()
            except (OSError, pa.ArrowException) as problem:
                raise DataError(
                    f"{path}: must be a trace's {name} table: {str(problem).splitlines()[0]}"
                ) from None
            if name == "operands" and "source_bits" not in tables[name].columns:
                weights = tables[name]["role"] == Role.WEIGHT  # before version 2 of the table
                tables[name]["source_bits"] = np.where(weights, 32, 16)
            if name == "maps" and "signed" not in tables[name].columns:  # before version 3
                tables[name] = tables[name].assign(signed=None, **dict.fromkeys(WORD_COLUMNS))
            if name == "maps" and "noise" not in tables[name].columns:  # before version 4
                tables[name] = tables[name].assign(noise=np.nan, signal=np.nan)
            missing = [column for column in schema if column not in tables[name].columns]
            if missing:
                raise DataError(
                    f"{path}: must have the column {missing[0]!r}, which an earlier version did not"
                    " record; make the run again"
                )
        return cls(**tables)

    def contraction(self, layer: str) -> Contraction:
        """What a layer's product is."""
        row = self.layers[self.layers["layer"] == layer].iloc[0]
        kinds: dict[str, Any] = {name: kind for kind, name in KINDS.items()}
        kind = str(row["kind"])
        if kind in (KINDS[Matrix], KINDS[Pairwise]):
            plain: Contraction = kinds[kind]()
            return plain
        fields = Convolution.__dataclass_fields__
        found: Contraction = kinds[kind](Convolution(**{name: int(row[name]) for name in fields}))
        return found

    def owner(self, layer: str, role: str) -> str:
        """The layer whose cast made an operand: a weight may serve several products."""
        if role != Role.WEIGHT:
            return layer
        return str(self.layers.set_index("layer").loc[layer, "weight_of"])

    def accumulator_overflows(self) -> pd.DataFrame:
        """A row a layer and pass whose accumulator overflowed: how often, and where first.

        Columns: layer, pass, accumulator_bits, altered [sums that differ from the exact ones],
        sums, steps [that had any], first_step, first_sum [number in the result].
        """
        p = self.products
        products = p.assign(sums=p["m"] * p["n"] * p["repeats"])
        rows = []
        for (layer, pass_), all_steps in products.groupby(["layer", "pass"], sort=False):
            hit = all_steps[all_steps["sums_altered"] > 0]
            if len(hit):
                first = hit.iloc[0]
                rows.append(
                    {
                        "layer": layer,
                        "pass": pass_,
                        "accumulator_bits": int(first["accumulator_bits"]),
                        "altered": int(hit["sums_altered"].sum()),
                        "sums": int(all_steps["sums"].sum()),
                        "steps": len(hit),
                        "first_step": int(first["step"]),
                        "first_sum": int(first["first_altered"]),
                    }
                )
        return pd.DataFrame(rows)

    def sampled(self) -> list[int]:
        """The steps with full maps."""
        return sorted(int(step) for step in self.maps["step"].unique())

    def block_maps(self, step: int) -> Mapping[tuple[str, str], BlockMap]:
        """{(layer, role): full map} of a sampled step; unpacked as they are asked for."""
        return _Maps(self.maps[self.maps["step"] == step])

    def word_statistics(self, step: int) -> dict[tuple[str, str], WordStatistics]:
        """{(layer, role): what the operand's words were like} of a sampled step.

        Empty for traces of earlier versions, which did not record it.
        """
        rows = self.maps[self.maps["step"] == step]
        found = {}
        for r in rows.itertuples():
            if r.signed is not None:
                counts = (np.asarray(getattr(r, name), np.int64) for name in WORD_COLUMNS)
                words = int(r.rows * r.columns)
                found[str(r.layer), str(r.role)] = WordStatistics(words, bool(r.signed), *counts)
        return found


class _Maps(Mapping[tuple[str, str], BlockMap]):
    """Maps of a step, of which the last few that were unpacked are kept."""

    def __init__(self, rows: pd.DataFrame) -> None:
        self._rows = {(str(r.layer), str(r.role)): r for r in rows.itertuples()}
        self._kept: dict[tuple[str, str], BlockMap] = {}

    def __getitem__(self, key: tuple[str, str]) -> BlockMap:
        if key not in self._kept:
            while len(self._kept) >= _KEPT_MAPS:
                self._kept.pop(next(iter(self._kept)))
            self._kept[key] = _block_map(self._rows[key])
        return self._kept[key]

    def __contains__(self, key: object) -> bool:
        return key in self._rows

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


def _block_map(row: Any) -> BlockMap:
    grid = (-(-row.rows // row.block_rows), -(-row.columns // row.block_columns))
    bits, shifts = (
        np.frombuffer(zlib.decompress(packed), np.uint8).reshape(grid)
        for packed in (row.bits, row.shifts)
    )
    return BlockMap(
        bits,
        shifts,
        int(row.rows),
        int(row.columns),
        int(row.block_rows),
        int(row.block_columns),
        int(row.metadata_bits),
    )
