"""The trace: what every operation of every step did. The only bridge from training to cost.

A trace is a directory of Parquet tables:

- `layers`: the geometry of each layer that multiplies, once
- `products`: a row a step, layer and pass: GEMM dimensions, operand roles, and the exact joint
  histogram of word lengths [multiply-accumulates]
- `operands`: a row a step, layer and role: stored bits, metadata, histogram of word lengths,
  saturated and zero codes
- `vectors`: a row a step, layer and pass of elementwise work, with what it saturated
- `maps`: full block maps (bits and exponents, zlib-compressed) of every operand, for sampled steps
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from fxsim.arithmetic.blocks import BlockMap
from fxsim.engine.geometry import Convolution
from fxsim.engine.joint import joint_histogram
from fxsim.engine.losses import Losses
from fxsim.engine.tensor import FixedTensor
from fxsim.errors import DataError
from fxsim.training.context import VectorWork
from fxsim.training.model import Model
from fxsim.training.policy import Role

SAMPLES = 16  # steps whose full block maps are kept
_FLUSH_ROWS = 20_000

_SCHEMAS = {
    "layers": {
        "layer": pa.string(), "kind": pa.string(), "height": pa.int64(), "width": pa.int64(),
        "channels": pa.int64(), "filters": pa.int64(), "kernel": pa.int64(),
        "stride": pa.int64(), "padding": pa.int64(), "dilation": pa.int64(), "groups": pa.int64(),
        "macs": pa.int64(),
    },
    "products": {
        "step": pa.int32(), "layer": pa.string(), "pass": pa.string(),
        "m": pa.int64(), "n": pa.int64(), "k": pa.int64(),
        "left": pa.string(), "right": pa.string(),
        "left_bits": pa.list_(pa.int64()), "right_bits": pa.list_(pa.int64()),
        "joint_macs": pa.list_(pa.int64()), "accumulator_bits": pa.int32(),
        "sums_altered": pa.int64(), "first_altered": pa.int64(),
    },
    "operands": {
        "step": pa.int32(), "layer": pa.string(), "role": pa.string(),
        "rows": pa.int64(), "columns": pa.int64(), "blocks": pa.int64(),
        "word_bits": pa.int64(), "metadata_bits": pa.int64(),
        "bits": pa.list_(pa.int64()), "elements_by_bits": pa.list_(pa.int64()),
        "saturated": pa.int64(), "zeros": pa.int64(), "analysed": pa.int32(),
    },
    "vectors": {
        "step": pa.int32(), "layer": pa.string(), "pass": pa.string(),
        "elements": pa.int64(), "adds": pa.int64(), "multiplies": pa.int64(),
        "read_bits": pa.int64(), "write_bits": pa.int64(), "stash_write_bits": pa.int64(),
        "stash_read_bits": pa.int64(), "resident_bits": pa.int64(), "saturated": pa.int64(),
    },
    "maps": {
        "step": pa.int32(), "layer": pa.string(), "role": pa.string(),
        "rows": pa.int64(), "columns": pa.int64(), "block_rows": pa.int64(),
        "block_columns": pa.int64(), "metadata_bits": pa.int64(),
        "bits": pa.binary(), "shifts": pa.binary(),
    },
}  # fmt: skip


class _Table:
    """Rows buffered and appended to one Parquet file."""

    def __init__(self, path: Path, schema: dict[str, pa.DataType]) -> None:
        self._schema = pa.schema(list(schema.items()))
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._rows: list[dict[str, Any]] = []

    def add(self, row: dict[str, Any]) -> None:
        self._rows.append(row)
        if len(self._rows) >= _FLUSH_ROWS:
            self._flush()

    def _flush(self) -> None:
        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
        self._rows.clear()

    def close(self) -> None:
        if self._rows:
            self._flush()
        self._writer.close()


class TraceWriter:
    """Records a training run; implements `fxsim.training.loop.StepRecorder`. Use it in `with`."""

    def __init__(
        self, directory: Path, model: Model, accumulator_bits: int, samples: int = SAMPLES
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._tables = {
            name: _Table(directory / f"{name}.parquet", schema) for name, schema in _SCHEMAS.items()
        }
        self._accumulator_bits = accumulator_bits
        self._samples = samples
        self._step = 0
        self._sampled = False
        self._maps: dict[tuple[str, Role], BlockMap] = {}
        for layer in model.weighted():
            outputs, depth = layer.weight_shape
            g = layer.geometry or Convolution(1, 1, depth, outputs, 1)
            kind = "linear" if layer.geometry is None else "conv2d"
            self._tables["layers"].add(
                {"layer": layer.name, "kind": kind, "macs": layer.macs, **asdict(g)}
            )

    def begin_step(self, step: int, steps: int) -> None:
        """A step begins; whether its maps are kept is a function of step and steps alone."""
        self._step = step
        self._sampled = step in sampled_steps(steps, self._samples)
        self._maps.clear()

    def operand(
        self, layer: str, role: Role, tensor: FixedTensor, saturated: int, analysed: int
    ) -> None:
        """Record a cast to operand format."""
        blocks = tensor.blocks
        assert blocks is not None
        self._maps[layer, role] = blocks
        counts = blocks.elements_by_bits()
        self._tables["operands"].add(
            {
                "step": self._step, "layer": layer, "role": role,
                "rows": blocks.rows, "columns": blocks.columns, "blocks": blocks.blocks,
                "word_bits": sum(bits * n for bits, n in counts.items()),
                "metadata_bits": blocks.metadata_bits * blocks.blocks,
                "bits": list(counts), "elements_by_bits": list(counts.values()),
                "saturated": saturated,
                "zeros": tensor.codes.size - int(np.count_nonzero(tensor.codes)),
                "analysed": analysed,
            }
        )  # fmt: skip
        if self._sampled:
            self._tables["maps"].add(
                {
                    "step": self._step, "layer": layer, "role": role,
                    "rows": blocks.rows, "columns": blocks.columns,
                    "block_rows": blocks.block_rows, "block_columns": blocks.block_columns,
                    "metadata_bits": blocks.metadata_bits,
                    "bits": zlib.compress(blocks.bits.tobytes()),
                    "shifts": zlib.compress(blocks.shifts.tobytes()),
                }
            )  # fmt: skip

    def product(
        self,
        layer: str,
        pass_: str,
        geometry: Convolution | None,
        losses: Losses,
        roles: Sequence[Role],
    ) -> None:
        """Record a product of two operands seen in this step."""
        left, right = (self._maps[layer, role] for role in roles)
        bits_left, bits_right, joint = joint_histogram(pass_, left, right, geometry)
        m, n, k = gemm_shape(pass_, left, right, geometry)
        self._tables["products"].add(
            {
                "step": self._step, "layer": layer, "pass": pass_, "m": m, "n": n, "k": k,
                "left": roles[0], "right": roles[1],
                "left_bits": bits_left.tolist(), "right_bits": bits_right.tolist(),
                "joint_macs": joint.reshape(-1).tolist(),
                "accumulator_bits": self._accumulator_bits,
                "sums_altered": losses.altered, "first_altered": losses.first,
            }
        )  # fmt: skip

    def vector(self, layer: str, pass_: str, work: VectorWork) -> None:
        """Record elementwise work."""
        row = {"step": self._step, "layer": layer, "pass": pass_, **asdict(work)}
        self._tables["vectors"].add(row)

    def __enter__(self) -> TraceWriter:
        return self

    def __exit__(self, *_: object) -> None:
        """Finish the files."""
        for table in self._tables.values():
            table.close()


def sampled_steps(steps: int, samples: int) -> set[int]:
    """Evenly spaced steps, the first and the last among them."""
    if samples <= 1:
        return {steps - 1}
    return {i * (steps - 1) // (samples - 1) for i in range(samples)}


def gemm_shape(
    pass_: str, left: BlockMap, right: BlockMap, g: Convolution | None
) -> tuple[int, int, int]:
    """(m, n, k) of a pass as a matrix product: m * n results of k products each."""
    if g is None:
        if pass_ == "grad_input":
            return left.rows, right.columns, left.columns
        if pass_ == "grad_weight":
            return left.columns, right.columns, left.rows
        return left.rows, right.rows, left.columns
    positions, outputs = g.height * g.width, g.out_height * g.out_width
    if pass_ == "forward":
        return left.rows // positions * outputs, g.filters, g.depth
    if pass_ == "grad_input":
        return left.rows // outputs * positions, g.channels, g.kernel * g.kernel * g.filters
    return g.depth, g.filters, right.rows


@dataclass(frozen=True, slots=True, eq=False)
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
        for name, schema in _SCHEMAS.items():
            path = directory / f"{name}.parquet"
            try:
                tables[name] = pq.read_table(path).to_pandas()
            except (OSError, pa.ArrowException) as problem:
                raise DataError(
                    f"{path}: must be a trace's {name} table: {str(problem).splitlines()[0]}"
                ) from None
            missing = [column for column in schema if column not in tables[name].columns]
            if missing:
                raise DataError(
                    f"{path}: must have the column {missing[0]!r}, which an earlier version did not"
                    " record; make the run again"
                )
        return cls(**tables)

    def geometry(self, layer: str) -> Convolution | None:
        """A layer's convolution, None for a plain matrix."""
        row = self.layers[self.layers["layer"] == layer].iloc[0]
        if row["kind"] == "linear":
            return None
        fields = Convolution.__dataclass_fields__
        return Convolution(**{name: int(row[name]) for name in fields})

    def accumulator_overflows(self) -> pd.DataFrame:
        """A row a layer and pass whose accumulator overflowed: how often, and where first.

        Columns: layer, pass, accumulator_bits, altered [sums that differ from the exact ones],
        sums, steps [that had any], first_step, first_sum [number in the result].
        """
        products = self.products.assign(sums=self.products["m"] * self.products["n"])
        rows = []
        for (layer, pass_), all_steps in products.groupby(["layer", "pass"], sort=False):
            hit = all_steps[all_steps["sums_altered"] > 0]
            if len(hit):
                first = hit.iloc[0]
                rows.append(
                    {
                        "layer": layer, "pass": pass_,
                        "accumulator_bits": int(first["accumulator_bits"]),
                        "altered": int(hit["sums_altered"].sum()),
                        "sums": int(all_steps["sums"].sum()), "steps": len(hit),
                        "first_step": int(first["step"]),
                        "first_sum": int(first["first_altered"]),
                    }
                )  # fmt: skip
        return pd.DataFrame(rows)

    def sampled(self) -> list[int]:
        """The steps with full maps."""
        return sorted(int(step) for step in self.maps["step"].unique())

    def block_maps(self, step: int) -> dict[tuple[str, str], BlockMap]:
        """{(layer, role): full map} of a sampled step."""
        rows = self.maps[self.maps["step"] == step]
        return {(str(r.layer), str(r.role)): _block_map(r) for r in rows.itertuples()}


def _block_map(row: Any) -> BlockMap:
    grid = (-(-row.rows // row.block_rows), -(-row.columns // row.block_columns))
    bits, shifts = (
        np.frombuffer(zlib.decompress(packed), np.uint8).reshape(grid)
        for packed in (row.bits, row.shifts)
    )
    return BlockMap(
        bits, shifts, int(row.rows), int(row.columns), int(row.block_rows),
        int(row.block_columns), int(row.metadata_bits),
    )  # fmt: skip
