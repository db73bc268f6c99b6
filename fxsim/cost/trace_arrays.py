"""A trace as arrays: a block for each layer and pass, and for each operand, over all steps."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fxsim.engine.bit_pair_histogram import bit_pair_histogram, elements_by_bits
from fxsim.engine.contractions import Contraction, Pairwise
from fxsim.errors import DataError
from fxsim.hardware.memory import Packing
from fxsim.identifiers import LAYER, PASS, ROLE, STEP, Pass, Role
from fxsim.mapping.mapping import ProductId
from fxsim.mapping.nest import Nest
from fxsim.numerics.block_map import BlockMap
from fxsim.numerics.word_statistics import WordStatistics
from fxsim.trace.reader import Trace

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def _dense(levels: pd.Series, counts: pd.Series) -> tuple[Ints, Ints]:
    """(all word lengths, (rows, word lengths) counts) of rows that list their own word lengths."""
    first = np.asarray(levels.iloc[0], np.int64)
    if all(len(row) == len(first) and (row == first).all() for row in levels):
        return first, np.stack([np.asarray(row, np.int64) for row in counts])
    lengths = np.unique(np.concatenate([np.asarray(row, np.int64) for row in levels]))
    table = np.zeros((len(levels), len(lengths)), np.int64)
    for i, (row, count) in enumerate(zip(levels, counts, strict=True)):
        table[i, np.searchsorted(lengths, row)] = count
    return lengths, table


@dataclass(frozen=True, slots=True, eq=False)
class Operand:
    """The casts of one operand, a row a step: (steps, levels) words of each length."""

    steps: Ints
    levels: Ints
    words: Ints
    metadata_bits: Ints
    blocks: Ints
    zeros: Ints

    def at(self, steps: Ints) -> Ints:
        """The rows of these steps."""
        rows: Ints = np.minimum(np.searchsorted(self.steps, steps), len(self.steps) - 1)
        if (lacking := np.flatnonzero(self.steps[rows] != steps)).size:
            raise DataError(f"trace: an operand's cast lacks at step {steps[lacking[0]]}")
        return rows

    @property
    def size(self) -> int:
        """Words of the operand."""
        return int(self.words[0].sum())

    def stored_bits(self, packing: Packing) -> Floats:
        """Bits in memory, metadata included, by step."""
        size = self.words.sum(axis=1)
        if packing.words == "aligned_blocks":
            each = size / self.blocks
            block = np.array([[packing.block_bits(int(b), e) for b in self.levels] for e in each])
            bits = (self.words / each[:, None] * block).sum(axis=1)
        else:
            table = np.array([packing.stored_bits(int(b)) for b in self.levels])
            bits = (self.words * table).sum(axis=1)
        total: Floats = bits.astype(np.float64) + self.metadata_bits
        return total


@dataclass(frozen=True, slots=True, eq=False)
class Product:
    """One layer and pass, a row a step.

    joint : (steps, left lengths, right lengths) multiply-accumulates
    left, right : the (layer, role) of the operands' casts
    words : (left, right) word lengths, where units pack words by them
    part : its number, where a product is worked off in nests that leave zeros out; 0: the whole
    share : of the whole product's work that it does, by step
    """

    layer: str
    pass_: Pass
    contraction: Contraction
    nest: Nest
    gemm: tuple[int, int, int, int]
    left: tuple[str, str]
    right: tuple[str, str]
    accumulator_bits: int
    steps: Ints
    left_levels: Ints
    right_levels: Ints
    joint: Ints | Floats
    words: tuple[int, int] | None = None
    part: int = 0
    share: Floats | float = 1.0

    @property
    def id(self) -> ProductId:
        """As mappings are named."""
        return ProductId(self.layer, str(self.pass_), self.part, self.words)


class TraceArrays:
    """All of a trace.

    **parts : what need not be read from the trace: products, operands, or sampled
    """

    def __init__(self, trace: Trace, **parts: Any) -> None:
        self.trace = trace
        self.__dict__ |= parts  # as the cached properties below keep them

    @classmethod
    def of(cls, trace: Trace) -> TraceArrays:
        """The arrays of a trace, made once."""
        if trace not in _KNOWN:
            _KNOWN[trace] = cls(trace)
        return _KNOWN[trace]

    @cached_property
    def operands(self) -> dict[tuple[str, str], Operand]:
        """{(layer, role): casts}."""
        operands = {}
        for (layer, role), rows in self.trace.operands.groupby([LAYER, ROLE], sort=False):
            rows = rows.sort_values(STEP, kind="stable")
            levels, words = _dense(rows["bits"], rows["elements_by_bits"])
            columns = (
                rows[name].to_numpy(np.int64) for name in ("metadata_bits", "blocks", "zeros")
            )
            operands[str(layer), str(role)] = Operand(
                rows[STEP].to_numpy(np.int64), levels, words, *columns
            )
        return operands

    @cached_property
    def products(self) -> list[Product]:
        """Every layer and pass, in the order of the first step."""
        owners = self.trace.layers.set_index(LAYER)["weight_of"]
        products = []
        for (layer, pass_), rows in self.trace.products.groupby([LAYER, PASS], sort=False):
            one = rows.iloc[0]
            m, n, k, repeats = (int(one[name]) for name in ("m", "n", "k", "repeats"))
            shape = [len(one["left_bits"]), len(one["right_bits"])]
            left, right, joint = self._joint(rows, shape)
            macs = m * n * k * repeats
            wrong = np.flatnonzero(joint.sum(axis=(1, 2)) != macs)
            if len(wrong):
                raise DataError(
                    f"trace: step {rows['step'].iloc[wrong[0]]}, layer {layer}: the joint histogram"
                    f" must count {macs} MACs, not {joint[wrong[0]].sum()}"
                )
            contraction, which = self.trace.contraction(str(layer)), Pass(str(pass_))
            owner = str(owners[layer]) if one["right"] == Role.WEIGHT else str(layer)
            products.append(
                Product(
                    str(layer),
                    which,
                    contraction,
                    Nest.of(which, contraction, m, n, k, repeats),
                    (m, n, k, repeats),
                    (str(layer), str(one["left"])),
                    (owner, str(one["right"])),
                    int(one["accumulator_bits"]),
                    rows[STEP].to_numpy(np.int64),
                    left,
                    right,
                    joint,
                )
            )
        return products

    @staticmethod
    def _joint(rows: pd.DataFrame, shape: list[int]) -> tuple[Ints, Ints, Ints]:
        lefts, rights = rows["left_bits"], rows["right_bits"]
        left, right = (np.asarray(side.iloc[0], np.int64) for side in (lefts, rights))
        same = all(
            len(a) == len(left)
            and len(b) == len(right)
            and (a == left).all()
            and (b == right).all()
            for a, b in zip(lefts, rights, strict=True)
        )
        if same:
            flat = np.stack([np.asarray(row, np.int64) for row in rows["joint_macs"]])
            return left, right, flat.reshape(-1, *shape)
        left = np.unique(np.concatenate([np.asarray(row, np.int64) for row in lefts]))
        right = np.unique(np.concatenate([np.asarray(row, np.int64) for row in rights]))
        joint = np.zeros((len(rows), len(left), len(right)), np.int64)
        for i, (a, b, macs) in enumerate(zip(lefts, rights, rows["joint_macs"], strict=True)):
            at = np.ix_(np.searchsorted(left, a), np.searchsorted(right, b))
            joint[i][at] = np.asarray(macs).reshape(len(a), len(b))
        return left, right, joint

    def changed(self, maps: dict[tuple[str, str], BlockMap]) -> tuple[TraceArrays, list[Product]]:
        """(the same one step with other block maps of some operands, the products that have them).

        Products keep their shapes; their histograms are counted anew.
        """
        (step,) = self.sampled.tolist()
        block_maps = ChainMap(dict(maps), self.block_maps(step))  # type: ignore[arg-type]
        products, touched = [], []
        for p in self.products:
            if p.left in maps or p.right in maps:
                batch = p.gemm[3] if isinstance(p.contraction, Pairwise) else 1
                left, right, joint = bit_pair_histogram(
                    p.pass_, block_maps[p.left], block_maps[p.right], p.contraction, batch
                )
                p = replace(p, left_levels=left, right_levels=right, joint=joint[None].copy())
                touched.append(p)
            products.append(p)
        table, operands = self.trace.operands.copy(), dict(self.operands)
        columns = ["word_bits", "metadata_bits", "blocks"]
        numbers = table[columns].to_numpy(copy=True)
        names = list(zip(table[LAYER].astype(str), table[ROLE].astype(str), strict=True))
        rows = {name: i for i, name in enumerate(names)}
        for key, m in maps.items():
            counts, metadata = elements_by_bits(m), m.metadata_bits * m.blocks
            words = sum(bits * n for bits, n in counts.items())
            numbers[rows[key]] = words, metadata, m.blocks
            operands[key] = replace(
                operands[key],
                levels=np.array(list(counts)),
                words=np.array([list(counts.values())]),
                metadata_bits=np.array([metadata]),
                blocks=np.array([m.blocks]),
            )
        table[columns] = numbers
        other = TraceArrays(
            replace(self.trace, operands=table),
            products=products,
            operands=operands,
            sampled=self.sampled,
            _maps={step: block_maps},
            _statistics=self._statistics,
        )
        return other, touched

    def block_maps(self, step: int) -> Mapping[tuple[str, str], BlockMap]:
        """{(layer, role): full map} of a sampled step."""
        if step not in self._maps:
            self._maps[step] = self.trace.block_maps(step)
        return self._maps[step]

    @cached_property
    def _maps(self) -> dict[int, Mapping[tuple[str, str], BlockMap]]:
        return {}

    @cached_property
    def sampled(self) -> Ints:
        """The steps with full maps."""
        return np.array(self.trace.sampled(), np.int64)

    def statistics(self, step: int) -> dict[tuple[str, str], WordStatistics]:
        """{(layer, role): what its words were like} of a sampled step."""
        if step not in self._statistics:
            self._statistics[step] = self.trace.word_statistics(step)
        return self._statistics[step]

    @cached_property
    def _statistics(self) -> dict[int, dict[tuple[str, str], WordStatistics]]:
        return {}


_KNOWN: WeakKeyDictionary[Trace, TraceArrays] = WeakKeyDictionary()
