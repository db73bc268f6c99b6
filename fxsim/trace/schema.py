"""What a trace holds: its tables, their columns, and the version that they are of.

A trace is a directory of Parquet tables:

- `layers`: what each product of the network is, once: `kind` is linear, conv2d, transposed or
  pairwise, then its geometry (windows as size, stride, zeros before and after, dilation), and the
  operands' owners (a weight may serve several products)
- `products`: a row a step, layer and pass: `repeats` matrix products (groups, or a batch of
  matrices) of (m, n, k), operand roles, and the exact joint histogram of word lengths
  [multiply-accumulates]
- `operands`: a row a step, layer and role: stored bits, metadata, histogram of word lengths,
  saturated and zero codes, and the bits of the words (or masters) that were cast
- `vectors`: a row a step, layer and pass of elementwise work, with what it saturated, and of an
  update the gradients other than zero that rounding kept from moving a weight
- `maps`: full block maps (bits and exponents, zlib-compressed) of every operand, for sampled steps,
  what its words were like (`fxsim.numerics.word_statistics`), and sums of squares of what its cast
  changed (noise) and of what was cast (signal), as floats
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from fxsim.engine.contractions import Convolved, Matrix, Pairwise, Transposed
from fxsim.errors import DataError
from fxsim.identifiers import LAYER, PASS, PROBE_MARK, ROLE, STEP

VERSION = 7  # of the tables; one more with every change of what they hold
_VERSION_KEY = b"fxsim.trace.version"

KINDS: dict[Any, str] = {
    Matrix: "linear",
    Convolved: "conv2d",
    Transposed: "transposed",
    Pairwise: "pairwise",
}
SCHEMAS = {
    "layers": {
        LAYER: pa.string(),
        "kind": pa.string(),
        "height": pa.int64(),
        "width": pa.int64(),
        "channels": pa.int64(),
        "filters": pa.int64(),
        "vertical": pa.list_(pa.int64()),
        "horizontal": pa.list_(pa.int64()),
        "groups": pa.int64(),
        "macs": pa.int64(),
        "weight_of": pa.string(),
        "batch": pa.int64(),
    },
    "products": {
        STEP: pa.int32(),
        LAYER: pa.string(),
        PASS: pa.string(),
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
        STEP: pa.int32(),
        LAYER: pa.string(),
        ROLE: pa.string(),
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
        STEP: pa.int32(),
        LAYER: pa.string(),
        PASS: pa.string(),
        "elements": pa.int64(),
        "adds": pa.int64(),
        "multiplies": pa.int64(),
        "read_bits": pa.int64(),
        "write_bits": pa.int64(),
        "stash_write_bits": pa.int64(),
        "stash_read_bits": pa.int64(),
        "resident_bits": pa.int64(),
        "saturated": pa.int64(),
        "vanished": pa.int64(),
    },
    "maps": {
        STEP: pa.int32(),
        LAYER: pa.string(),
        ROLE: pa.string(),
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


def parquet_schema(table: str) -> pa.Schema:
    """The Arrow schema of a table, which states the version."""
    return pa.schema(list(SCHEMAS[table].items()), {_VERSION_KEY: str(VERSION).encode()})


def check_version(path: Path, metadata: Mapping[bytes, bytes] | None) -> None:
    """Raise DataError unless a table, by its file's metadata, is of this version."""
    text = (metadata or {}).get(_VERSION_KEY, b"").decode()
    if text != str(VERSION):
        stated = f"version {text}" if text else "a version before 5, which stated none"
        raise DataError(
            f"{path}: must be a trace of version {VERSION}, not of {stated}; make the run again"
        )


def without_probes(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the step itself: those of a policy's probes left out."""
    return table[~_probed(table)]


def of_probes(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a policy's probes, which run the network again."""
    return table[_probed(table)]


def _probed(table: pd.DataFrame) -> pd.Series:
    return table[LAYER].str.contains(PROBE_MARK, regex=False)
