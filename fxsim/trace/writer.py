"""Recording a training run as a trace, see `fxsim.trace.schema`."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fxsim.engine.bit_pair_histogram import (
    bit_pair_histogram,
    elements_by_bits,
    gemm_shape,
    geometry_of,
)
from fxsim.engine.contractions import Contraction, Pairwise, Transposed
from fxsim.engine.geometry import Convolution
from fxsim.engine.overflow_statistics import OverflowStatistics
from fxsim.engine.tensor import FixedTensor
from fxsim.engine.window import Window
from fxsim.identifiers import LAYER, PASS, ROLE, STEP, Pass, Role
from fxsim.numerics.block_map import BlockMap
from fxsim.numerics.word_statistics import WordStatistics
from fxsim.persistence.atomic import atomic_file
from fxsim.trace.schema import KINDS, SCHEMAS, WORD_COLUMNS, parquet_schema
from fxsim.training.context import VectorWork

SAMPLES = 16  # steps whose full block maps are kept
_FLUSH_ROWS = 20_000


def _word_columns(words: WordStatistics) -> dict[str, Any]:
    return {"signed": words.signed, **{name: getattr(words, name) for name in WORD_COLUMNS}}


def _powers(tensor: FixedTensor, source: FixedTensor) -> tuple[float, float]:
    """(sum of squares of what a cast changed, of its source); metrics, so floats will do."""
    values = source.to_float().reshape(-1)
    changed = tensor.to_float().reshape(-1) - values
    return float((changed * changed).sum()), float((values * values).sum())


class _Table:
    """Rows of one table, written in parts: `<name>-<step>.parquet` holds steps before `step`."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory, self._name = directory, name
        self._schema = parquet_schema(name)
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
    """Records a training run; implements `fxsim.training.loop.StepTracer`. Use it in `with`."""

    def __init__(self, directory: Path, accumulator_bits: int, samples: int = SAMPLES) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._tables = {name: _Table(directory, name) for name in SCHEMAS}
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
            self._known |= set(pq.read_table(part)[LAYER].to_pylist())

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
        self,
        layer: str,
        role: Role,
        tensor: FixedTensor,
        source: FixedTensor,
        saturated: int,
        analysed: int,
        source_bits: int,
    ) -> None:
        """Record a cast to operand format."""
        blocks = tensor.blocks
        assert blocks is not None
        self._maps[layer, role] = blocks, tensor.shape[0]
        counts = elements_by_bits(blocks)
        self._tables["operands"].add(
            {
                STEP: self._step,
                LAYER: layer,
                ROLE: role,
                "rows": blocks.rows,
                "columns": blocks.columns,
                "blocks": blocks.blocks,
                "word_bits": sum(bits * n for bits, n in counts.items()),
                "metadata_bits": blocks.metadata_bits * blocks.blocks,
                "bits": list(counts),
                "elements_by_bits": list(counts.values()),
                "saturated": saturated,
                "zeros": tensor.codes.size - int(np.count_nonzero(tensor.codes)),
                "analysed": analysed,
                "source_bits": source_bits,
            }
        )
        if self._sampled:
            noise, signal = _powers(tensor, source)
            self._tables["maps"].add(
                {
                    STEP: self._step,
                    LAYER: layer,
                    ROLE: role,
                    "rows": blocks.rows,
                    "columns": blocks.columns,
                    "block_rows": blocks.block_rows,
                    "block_columns": blocks.block_columns,
                    "metadata_bits": blocks.metadata_bits,
                    "bits": zlib.compress(blocks.bits.tobytes()),
                    "shifts": zlib.compress(blocks.shifts.tobytes()),
                    **_word_columns(WordStatistics.of(tensor.codes)),
                    "noise": noise,
                    "signal": signal,
                }
            )

    def product(
        self,
        layer: str,
        pass_: Pass,
        contraction: Contraction,
        overflows: OverflowStatistics,
        operands: Sequence[tuple[str, Role]],
    ) -> None:
        """Record a product of two operands seen in this step.

        A transposed convolution's grad_weight has error and activation the other way round, as
        the convolution that it reverses has them.
        """
        if isinstance(contraction, Transposed) and pass_ == Pass.GRAD_WEIGHT:
            operands = operands[::-1]
        (left, first), (right, _) = (self._maps[operand] for operand in operands)
        batch = first if isinstance(contraction, Pairwise) else 1
        if layer not in self._known:
            self._describe(layer, contraction, batch, left, right, operands[1][0], first)
        bits_left, bits_right, joint = bit_pair_histogram(pass_, left, right, contraction, batch)
        m, n, k, repeats = gemm_shape(pass_, left, right, contraction, batch)
        self._tables["products"].add(
            {
                STEP: self._step,
                LAYER: layer,
                PASS: pass_,
                "m": m,
                "n": n,
                "k": k,
                "repeats": repeats,
                "left": operands[0][1],
                "right": operands[1][1],
                "left_bits": bits_left.tolist(),
                "right_bits": bits_right.tolist(),
                "joint_macs": joint.reshape(-1).tolist(),
                "accumulator_bits": self._accumulator_bits,
                "sums_altered": overflows.altered,
                "first_altered": overflows.first,
            }
        )

    def _describe(
        self,
        layer: str,
        contraction: Contraction,
        batch: int,
        left: BlockMap,
        right: BlockMap,
        owner: str,
        images: int,
    ) -> None:
        """The layer's row, at its first product, which is the forward one."""
        self._known.add(layer)
        g = geometry_of(contraction) or Convolution(
            1, 1, left.columns, right.rows, Window(1), Window(1)
        )
        shape = gemm_shape(Pass.FORWARD, left, right, contraction, batch)
        self._tables["layers"].add(
            {
                LAYER: layer,
                "kind": KINDS[type(contraction)],
                **asdict(g),
                "vertical": list(astuple(g.vertical)),
                "horizontal": list(astuple(g.horizontal)),
                "macs": int(np.prod(shape)),
                "weight_of": owner,
                "batch": images,
            }
        )

    def vector(self, layer: str, pass_: Pass, work: VectorWork) -> None:
        """Record elementwise work."""
        row = {name: getattr(work, name) for name in VectorWork.__dataclass_fields__}
        row |= {STEP: self._step, LAYER: layer, PASS: pass_}
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
    """Evenly spaced steps, the first and the last among them.

    Parameters
    ----------
    steps : of the run
    samples : how many, at most

    Returns
    -------
    Their numbers.

    Examples
    --------
    >>> sorted(sampled_steps(100, 3))
    [0, 49, 99]
    """
    if samples <= 1:
        return {steps - 1}
    return {i * (steps - 1) // (samples - 1) for i in range(samples)}
