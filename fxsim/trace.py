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
  and what its words were like (`fxsim.arithmetic.essential_bits`)
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from fxsim.arithmetic.blocks import BlockMap
from fxsim.arithmetic.essential_bits import WordStatistics
from fxsim.engine.contractions import Contraction, Convolved, Matrix, Pairwise, Transposed
from fxsim.engine.geometry import Convolution
from fxsim.engine.joint import elements_by_bits, gemm_shape, geometry_of, joint_histogram
from fxsim.engine.losses import Losses
from fxsim.engine.tensor import FixedTensor
from fxsim.errors import DataError
from fxsim.files import atomic_file
from fxsim.training.context import VectorWork
from fxsim.training.policy import Role

KINDS: dict[Any, str] = {
    Matrix: "linear", Convolved: "conv2d", Transposed: "transposed", Pairwise: "pairwise"
}  # fmt: skip
_KEPT_MAPS = 64  # that stay unpacked
SAMPLES = 16  # steps whose full block maps are kept
_FLUSH_ROWS = 20_000

_SCHEMAS = {
    "layers": {
        "layer": pa.string(), "kind": pa.string(), "height": pa.int64(), "width": pa.int64(),
        "channels": pa.int64(), "filters": pa.int64(), "kernel": pa.int64(),
        "stride": pa.int64(), "padding": pa.int64(), "dilation": pa.int64(), "groups": pa.int64(),
        "macs": pa.int64(), "weight_of": pa.string(), "batch": pa.int64(),
    },
    "products": {
        "step": pa.int32(), "layer": pa.string(), "pass": pa.string(),
        "m": pa.int64(), "n": pa.int64(), "k": pa.int64(), "repeats": pa.int64(),
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
        "source_bits": pa.int32(),
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
        "signed": pa.bool_(), "top_bits": pa.list_(pa.int64()), "ones": pa.list_(pa.int64()),
        "booth": pa.list_(pa.int64()), "positions": pa.list_(pa.int64()),
        "booth_positions": pa.list_(pa.int64()),
    },
}  # fmt: skip


_WORD_COLUMNS = ("top_bits", "ones", "booth", "positions", "booth_positions")


def _word_columns(words: WordStatistics) -> dict[str, Any]:
    return {"signed": words.signed, **{name: getattr(words, name) for name in _WORD_COLUMNS}}


class _Table:
    """Rows of one table, written in parts: `<name>-<step>.parquet` holds steps before `step`."""

    def __init__(self, directory: Path, name: str, schema: dict[str, pa.DataType]) -> None:
        self._directory, self._name = directory, name
        self._schema = pa.schema(list(schema.items()))
        self._rows: list[dict[str, Any]] = []

    def add(self, row: dict[str, Any]) -> None:
        self._rows.append(row)

    def __len__(self) -> int:
        return len(self._rows)

    def parts(self) -> list[Path]:
        return sorted(self._directory.glob(f"{self._name}-*.parquet"))

    def flush(self, step: int) -> None:
        if not self._rows:
            return
        table = pa.Table.from_pylist(self._rows, schema=self._schema)
        with atomic_file(self._directory / f"{self._name}-{step:08d}.parquet") as fresh:
            pq.write_table(table, fresh, compression="zstd")
        self._rows.clear()

    def cut(self, step: int) -> None:
        """Remove what was written for this step and later ones."""
        for part in self.parts():
            if int(part.stem.rpartition("-")[2]) > step:
                part.unlink()

    def join(self, directory: Path) -> None:
        """All parts in one file of a directory."""
        with (
            atomic_file(directory / f"{self._name}.parquet") as fresh,
            pq.ParquetWriter(fresh, self._schema, compression="zstd") as writer,
        ):
            for part in self.parts():
                writer.write_table(pq.read_table(part))


class TraceWriter:
    """Records a training run; implements `fxsim.training.loop.StepRecorder`. Use it in `with`."""

    def __init__(self, directory: Path, accumulator_bits: int, samples: int = SAMPLES) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._tables = {name: _Table(directory, name, schema) for name, schema in _SCHEMAS.items()}
        self._directory = directory
        self._accumulator_bits = accumulator_bits
        self._samples = samples
        self._step = 0
        self._sampled = False
        self._maps: dict[tuple[str, Role], tuple[BlockMap, int]] = {}
        self._known: set[str] = set()

    def resume(self, step: int) -> None:
        """Go on before this step: what was written of it and later ones is removed."""
        for table in self._tables.values():
            table.cut(step)
        for part in self._tables["layers"].parts():
            self._known |= set(pq.read_table(part)["layer"].to_pylist())

    def flush(self, step: int) -> None:
        """Write all rows, which are of steps before `step`."""
        for table in self._tables.values():
            table.flush(step)

    def begin_step(self, step: int, steps: int) -> None:
        """A step begins; whether its maps are kept is a function of step and steps alone."""
        if max(map(len, self._tables.values())) > _FLUSH_ROWS:
            self.flush(step)
        self._step = step
        self._sampled = step in sampled_steps(steps, self._samples)
        self._maps.clear()

    def operand(
        self, layer: str, role: Role, tensor: FixedTensor, saturated: int, analysed: int,
        source_bits: int,
    ) -> None:  # fmt: skip
        """Record a cast to operand format."""
        blocks = tensor.blocks
        assert blocks is not None
        self._maps[layer, role] = blocks, tensor.shape[0]
        counts = elements_by_bits(blocks)
        self._tables["operands"].add(
            {
                "step": self._step, "layer": layer, "role": role,
                "rows": blocks.rows, "columns": blocks.columns, "blocks": blocks.blocks,
                "word_bits": sum(bits * n for bits, n in counts.items()),
                "metadata_bits": blocks.metadata_bits * blocks.blocks,
                "bits": list(counts), "elements_by_bits": list(counts.values()),
                "saturated": saturated,
                "zeros": tensor.codes.size - int(np.count_nonzero(tensor.codes)),
                "analysed": analysed, "source_bits": source_bits,
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
                    **_word_columns(WordStatistics.of(tensor.codes)),
                }
            )  # fmt: skip

    def product(
        self,
        layer: str,
        pass_: str,
        contraction: Contraction,
        losses: Losses,
        operands: Sequence[tuple[str, Role]],
    ) -> None:
        """Record a product of two operands seen in this step.

        A transposed convolution's grad_weight has error and activation the other way round, as
        the convolution that it reverses has them.
        """
        if isinstance(contraction, Transposed) and pass_ == "grad_weight":
            operands = operands[::-1]
        (left, first), (right, _) = (self._maps[operand] for operand in operands)
        batch = first if isinstance(contraction, Pairwise) else 1
        if layer not in self._known:
            self._describe(layer, contraction, batch, left, right, operands[1][0], first)
        bits_left, bits_right, joint = joint_histogram(pass_, left, right, contraction, batch)
        m, n, k, repeats = gemm_shape(pass_, left, right, contraction, batch)
        self._tables["products"].add(
            {
                "step": self._step, "layer": layer, "pass": pass_, "m": m, "n": n, "k": k,
                "repeats": repeats, "left": operands[0][1], "right": operands[1][1],
                "left_bits": bits_left.tolist(), "right_bits": bits_right.tolist(),
                "joint_macs": joint.reshape(-1).tolist(),
                "accumulator_bits": self._accumulator_bits,
                "sums_altered": losses.altered, "first_altered": losses.first,
            }
        )  # fmt: skip

    def _describe(
        self, layer: str, contraction: Contraction, batch: int, left: BlockMap, right: BlockMap,
        owner: str, images: int,
    ) -> None:  # fmt: skip
        """The layer's row, at its first product, which is the forward one."""
        self._known.add(layer)
        g = geometry_of(contraction) or Convolution(1, 1, left.columns, right.rows, 1)
        shape = gemm_shape("forward", left, right, contraction, batch)
        self._tables["layers"].add(
            {
                "layer": layer, "kind": KINDS[type(contraction)], **asdict(g),
                "macs": int(np.prod(shape)), "weight_of": owner, "batch": images,
            }
        )  # fmt: skip

    def vector(self, layer: str, pass_: str, work: VectorWork) -> None:
        """Record elementwise work."""
        row = {name: getattr(work, name) for name in VectorWork.__dataclass_fields__}
        row |= {"step": self._step, "layer": layer, "pass": pass_}
        self._tables["vectors"].add(row)

    def __enter__(self) -> TraceWriter:
        return self

    def __exit__(self, *_: object) -> None:
        """Write what is left, and leave one file a table."""
        self.flush(self._step + 1)
        self.join(self._directory)
        for table in self._tables.values():
            for part in table.parts():
                part.unlink()

    def join(self, directory: Path) -> None:
        """The whole trace, one file a table, in a directory; the parts stay where they are."""
        directory.mkdir(parents=True, exist_ok=True)
        for table in self._tables.values():
            table.join(directory)


def sampled_steps(steps: int, samples: int) -> set[int]:
    """Evenly spaced steps, the first and the last among them."""
    if samples <= 1:
        return {steps - 1}
    return {i * (steps - 1) // (samples - 1) for i in range(samples)}


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
        for name, schema in _SCHEMAS.items():
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
                tables[name] = tables[name].assign(signed=None, **dict.fromkeys(_WORD_COLUMNS))
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
                counts = (np.asarray(getattr(r, name), np.int64) for name in _WORD_COLUMNS)
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
        bits, shifts, int(row.rows), int(row.columns), int(row.block_rows),
        int(row.block_columns), int(row.metadata_bits),
    )  # fmt: skip
