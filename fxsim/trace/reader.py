"""Reading a trace; see `fxsim.trace.schema` for what its tables hold."""

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

from fxsim.engine.contractions import Contraction, Matrix, Pairwise
from fxsim.engine.geometry import Convolution
from fxsim.engine.window import Window
from fxsim.errors import DataError
from fxsim.identifiers import LAYER, PASS, ROLE, STEP, Pass, Role
from fxsim.numerics.block_map import BlockMap
from fxsim.numerics.word_statistics import WordStatistics
from fxsim.trace.schema import KINDS, SCHEMAS, WORD_COLUMNS, check_version

SATURATED_SHARE, SATURATED_WORDS = 0.5, 4  # from which on an operand is largely lost; ours
VANISHED_SHARE = 0.9  # of gradients, from which on an update moves hardly any weight; ours
_KEPT_MAPS = 64  # that stay unpacked


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Trace:
    """A recorded run, as tables; `fxsim.trace.schema` has their columns.

    Attributes
    ----------
    layers : a row a product of the network: its geometry
    products : a row a step, layer and pass: shape, bit-pair histogram, overflows
    operands : a row a step, layer and role: stored bits, words by length, saturated and zero words
    vectors : a row a step, layer and pass: elementwise work, words moved and kept
    maps : a row a sampled step, layer and role: the full block map, what its words were like

    Examples
    --------
    >>> import fxsim
    >>> trace = fxsim.estimate("lenet5", "dynasty", batch=2).arrays.trace
    >>> sorted(trace.operands["role"].unique())
    ['activation', 'error', 'weight']
    """

    layers: pd.DataFrame
    products: pd.DataFrame
    operands: pd.DataFrame
    vectors: pd.DataFrame
    maps: pd.DataFrame

    @classmethod
    def load(cls, directory: Path) -> Trace:
        """Read a trace.

        Parameters
        ----------
        directory : `trace` of a run's directory

        Returns
        -------
        The trace.

        Raises
        ------
        DataError : for a file that is none of its tables, or of another version
        """
        tables = {}
        for name, schema in SCHEMAS.items():
            path = directory / f"{name}.parquet"
            if not path.is_file():
                raise DataError(f"{path}: must be a trace's {name} table; it is missing")
            try:
                table = pq.read_table(path)
            except (OSError, pa.ArrowException) as problem:
                raise DataError(
                    f"{path}: must be a trace's {name} table: {str(problem).splitlines()[0]}"
                ) from None
            check_version(path, table.schema.metadata)
            tables[name] = table.to_pandas()
            missing = [column for column in schema if column not in tables[name].columns]
            if missing:
                raise DataError(f"{path}: must have the column {missing[0]!r}; make the run again")
        return cls(**tables)

    def contraction(self, layer: str) -> Contraction:
        """What a layer's product is.

        Parameters
        ----------
        layer : its name

        Returns
        -------
        A matrix product, or a convolution with its geometry.

        Examples
        --------
        >>> import fxsim
        >>> trace = fxsim.estimate("lenet5", "dynasty", batch=2).arrays.trace
        >>> trace.contraction("conv1").geometry.vertical.size
        5
        """
        row = self.layers[self.layers[LAYER] == layer].iloc[0]
        kinds: dict[str, Any] = {name: kind for kind, name in KINDS.items()}
        kind = str(row["kind"])
        if kind in (KINDS[Matrix], KINDS[Pairwise]):
            plain: Contraction = kinds[kind]()
            return plain
        height, width, channels, filters, groups = (
            int(row[name]) for name in ("height", "width", "channels", "filters", "groups")
        )
        down, across = (Window(*map(int, row[axis])) for axis in ("vertical", "horizontal"))
        geometry = Convolution(height, width, channels, filters, down, across, groups)
        convolution: Contraction = kinds[kind](geometry)
        return convolution

    def owner(self, layer: str, role: str) -> str:
        """The layer whose cast made an operand: a weight may serve several products.

        Parameters
        ----------
        layer : that multiplies
        role : of the operand

        Returns
        -------
        The layer's own name, or that of the layer that owns the weight.

        Examples
        --------
        >>> import fxsim
        >>> trace = fxsim.estimate("lenet5", "dynasty", batch=2).arrays.trace
        >>> trace.owner("conv1", "weight")
        'conv1'
        """
        if role != Role.WEIGHT:
            return layer
        return str(self.layers.set_index(LAYER).loc[layer, "weight_of"])

    def accumulator_overflows(self) -> pd.DataFrame:
        """Where accumulators overflowed, how often, and where first.

        Returns
        -------
        A row a layer and pass that did: layer, pass, accumulator_bits, altered [sums that differ
        from the exact ones], sums, steps [that had any], first_step, first_sum [number in the
        result].

        Examples
        --------
        >>> import fxsim
        >>> fxsim.estimate("lenet5", "dynasty", batch=2).arrays.trace.accumulator_overflows().empty
        True
        """
        p = self.products
        products = p.assign(sums=p["m"] * p["n"] * p["repeats"])
        rows = []
        for (layer, pass_), all_steps in products.groupby([LAYER, PASS], sort=False):
            hit = all_steps[all_steps["sums_altered"] > 0]
            if len(hit):
                first = hit.iloc[0]
                rows.append(
                    {
                        LAYER: layer,
                        PASS: pass_,
                        "accumulator_bits": int(first["accumulator_bits"]),
                        "altered": int(hit["sums_altered"].sum()),
                        "sums": int(all_steps["sums"].sum()),
                        "steps": len(hit),
                        "first_step": int(first[STEP]),
                        "first_sum": int(first["first_altered"]),
                    }
                )
        return pd.DataFrame(rows)

    def operand_losses(self) -> pd.DataFrame:
        """Operands whose words are largely lost at the last step: saturated, or all zero.

        Returns
        -------
        A row an operand: layer, role, loss ["saturated" or "zero"], words [lost in the last step],
        elements, since [the first step from which on it has been so].

        Examples
        --------
        >>> import fxsim
        >>> fxsim.estimate("lenet5", "dynasty", batch=2).arrays.trace.operand_losses().empty
        True
        """
        o = self.operands
        elements = o["rows"] * o["columns"]
        lost = {
            "saturated": o["saturated"].clip(lower=0)
            >= (SATURATED_SHARE * elements).clip(lower=SATURATED_WORDS),
            "zero": (o["zeros"] == elements) & (o["word_bits"] > 0),
        }
        rows = []
        for loss, share in lost.items():
            for (layer, role), one in o.assign(lost=share, elements=elements).groupby(
                [LAYER, ROLE], sort=False
            ):
                one = one.sort_values(STEP, kind="stable")
                kept = np.flatnonzero(~one["lost"].to_numpy())
                begins = kept[-1] + 1 if kept.size else 0
                if begins < len(one) and len(one) > 1:
                    last = one.iloc[-1]
                    rows.append(
                        {
                            LAYER: layer,
                            ROLE: role,
                            "loss": loss,
                            "words": int(last["zeros" if loss == "zero" else loss]),
                            "elements": int(last["elements"]),
                            "since": int(one[STEP].iloc[begins]),
                        }
                    )
        return pd.DataFrame(rows)

    def update_losses(self) -> pd.DataFrame:
        """Layers whose weight update clips words, or moves hardly any weight.

        Returns
        -------
        A row a layer and loss: layer, loss ["saturated" or "vanished"], words [of all steps],
        elements [of all steps], steps [that had it], since [the first of them]. Vanished: where
        rounding took 90 % of the gradients' steps in at least half of the updates.

        Examples
        --------
        >>> import fxsim
        >>> fxsim.estimate("lenet5", "dynasty", batch=2).arrays.trace.update_losses().empty
        True
        """
        updates = self.vectors[self.vectors[PASS] == Pass.UPDATE]
        totals = updates.groupby([LAYER, STEP], sort=False)[
            ["elements", "saturated", "vanished"]
        ].sum()
        rows = []
        for layer, one in totals.groupby(LAYER, sort=False):
            stalled = one["vanished"] >= VANISHED_SHARE * one["elements"]
            hits = {
                "saturated": one["saturated"] > 0,
                "vanished": stalled & (2 * stalled.sum() >= len(one)),
            }
            for loss, hit in hits.items():
                if hit.any():
                    steps = one.index.get_level_values(STEP)[hit]
                    rows.append(
                        {
                            LAYER: layer,
                            "loss": loss,
                            "words": int(one.loc[hit, loss].sum()),
                            "elements": int(one.loc[hit, "elements"].sum()),
                            "steps": len(steps),
                            "since": int(steps.min()),
                        }
                    )
        return pd.DataFrame(rows)

    def sampled(self) -> list[int]:
        """The steps with full maps.

        Returns
        -------
        Their numbers, ascending.

        Examples
        --------
        >>> import fxsim
        >>> fxsim.estimate("lenet5", "dynasty", batch=2).arrays.trace.sampled()
        [0]
        """
        return sorted(int(step) for step in self.maps[STEP].unique())

    def block_maps(self, step: int) -> Mapping[tuple[str, str], BlockMap]:
        """The full block maps of a sampled step.

        Parameters
        ----------
        step : one of `sampled()`

        Returns
        -------
        {(layer, role): map}; they are unpacked as they are asked for.

        Examples
        --------
        >>> import fxsim
        >>> trace = fxsim.estimate("lenet5", "dynasty", batch=2).arrays.trace
        >>> trace.block_maps(0)["conv1", "weight"].elements_by_bits()
        {8: 150}
        """
        return _Maps(self.maps[self.maps[STEP] == step])

    def word_statistics(self, step: int) -> dict[tuple[str, str], WordStatistics]:
        """What the words of a sampled step's operands were like.

        Parameters
        ----------
        step : one of `sampled()`

        Returns
        -------
        {(layer, role): counts of words by their highest bit, of ones, of Booth digits}.

        Examples
        --------
        >>> import fxsim
        >>> trace = fxsim.estimate("lenet5", "dynasty", batch=2).arrays.trace
        >>> trace.word_statistics(0)["conv1", "weight"].words
        150
        """
        rows = self.maps[self.maps[STEP] == step]
        statistics = {}
        for r in rows.itertuples():
            counts = (np.asarray(getattr(r, name), np.int64) for name in WORD_COLUMNS)
            words = int(r.rows * r.columns)
            statistics[str(r.layer), str(r.role)] = WordStatistics(words, bool(r.signed), *counts)
        return statistics


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
