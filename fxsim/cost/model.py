"""The cost model: every row of a trace on a machine, as action counts, cycles and energy.

Assumptions of ours, which the report repeats:

- Off-chip bursts are counted for products' operands, whose neighbouring words are those of their
  tiles.
- Lockstep is that of the matrix product behind a pass, cut by the first loop of each axis, at the
  steps that the nest has.
- Zeros between the pixels of a spread image (grad_input of strided convolutions) are worked off,
  or skipped, as the machine's `dataflow.zero_insertion` says; lockstep is then that of the spread
  matrix, by the steps that remain.
- A product's results go from the array to the vector unit; only casts write tensors off-chip, and
  a weight's cast fetches its master: 32 bits, or what the policy keeps. At inference weights are
  stored as operands, and not cast.
- A product takes the longest of its array time and each memory's traffic over its bandwidth, where
  buffers are double (the sum where they are not). The array starts with the words of its first
  step; that a buffer's first filling may hold it up beyond the whole traffic's time is not counted.
- Products that follow each other with the same weights, as the steps of a recurrent layer do, fetch
  them once where the buffer holds all of them; in the forward pass alone.
- Elementwise work, casts and updates follow the products; they do not overlap with them. A unit
  lane does one add or multiply a cycle.
- Halos of convolution tiles are fetched with each tile, but for nests that a dataflow flattens to
  matrices (im2col), whose words leave off-chip memory once per load. A residual addition's waiting
  operand stays on chip. One mapping serves all steps of a layer and pass; tiles fit at the most
  bits that any step has.
- Words of a block-wise operand are spread evenly: a tile has the tensor's average bits. Padding is
  read from buffers like other words.
- Units whose time follows the data (essential bits, longest word of a group) take what is expected
  of words drawn independently from the operand's recorded counts. Zero words that are skipped
  leave no gaps.
- A floating-point machine runs the same products with every operand in its format, adds in 32 bits,
  and casts nothing.
- Between sampled steps, lockstep loss is that of the nearest sampled step, applied to the step's
  own exact joint histogram.
- A block-wise policy's analytics cost two adds an element (largest and summed magnitude) and one a
  tile and candidate (compare): on the analytics unit, beside the cast, or else on the vector unit.
- Charged of policies: analytics of blocks, metadata of maps, AdaQAT's probes. Not charged: the
  statistics of apt, muppet and adapt, which AdaPT's own model counts (see the papers' counts).
- Where a tensor must be whole before its results (batch norm's statistics) and does not fit the
  output buffer, it goes off-chip and comes back; that copy then serves the backward pass.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fxsim.cost import vector_unit
from fxsim.cost.products import ProductCost, ProductCosts, Teller
from fxsim.cost.trace_arrays import TraceArrays
from fxsim.display import Displayed
from fxsim.errors import DataError
from fxsim.hardware.accelerator import Accelerator
from fxsim.hardware.memory import OPERANDS
from fxsim.identifiers import LAYER, OPERATION, PASS, STEP, Operation
from fxsim.mapping.mapping import Mapping, ProductId
from fxsim.mapping.search import Objective, SearchResult
from fxsim.numerics.block_map import BlockMap
from fxsim.trace.reader import Trace

ENERGIES = ("array_pj", "buffer_pj", "dram_pj", "vector_pj", "analytics_pj", "leakage_pj")
CYCLES = (
    "elastic_cycles",
    "ragged_cycles",
    "lockstep_cycles",
    "fill_cycles",
    "vector_cycles",
    "stall_cycles",
)
KEYS = (STEP, LAYER, PASS, OPERATION)


class Totals:
    """What follows from the cycles and the energy of something evaluated on a machine."""

    __slots__ = ()
    machine: Accelerator

    @property
    @abstractmethod
    def cycles(self) -> float:
        """All cycles."""

    @property
    @abstractmethod
    def energy_pj(self) -> float:
        """All energy [pJ]."""

    @property
    def seconds(self) -> float:
        """All time [s]."""
        return self.cycles / self.machine.technology.clock_hz

    @property
    def edp_js(self) -> float:
        """Energy times delay [J s]."""
        return self.energy_pj * 1e-12 * self.seconds

    @property
    def average_power_w(self) -> float:
        """Energy over time [W]."""
        return self.energy_pj * 1e-12 / self.seconds


@dataclass(frozen=True, eq=False)
class TraceCost(Totals, Displayed):
    """A trace's cost on one machine.

    Attributes
    ----------
    machine : the accelerator
    objective : what the mapper minimised
    table : a row a step, layer, pass and operation ("product", "vector", "cast"), with

        - cycles, and the parts whose sum they are: elastic (a perfectly elastic array), ragged
          (units without work at edges), lockstep (waiting for the slowest block), fill (filling
          and draining the array), vector (the vector unit), stall (waiting for memory)
        - array_cycles (elastic, ragged, lockstep and fill), memory_cycles
        - energies by component [pJ], whose sum is the total; macs; dram_bits and buffer_bits moved
        - bound_by, what the row's time is that of: "array", "vector unit", or a memory level (whose
          port, or whose refill, takes longer than the array)
        - maps, whether a product's lockstep is "exact" (from the step's own map, or independent of
          maps), "nearest" (from the nearest sampled step's), "sampled" (that of some of a batch's
          images), "spread" (from the matrix with the zeros that are skipped), or "elastic" (none
          was recorded: a policy's probe that ran between samples)
    products : what stands behind the products' rows, see `traffic` and `mappings`
    arrays : the trace

    Examples
    --------
    >>> import fxsim
    >>> cost = fxsim.estimate("lenet5", "dynasty", batch=2)
    >>> bool(cost.cycles == cost.table["cycles"].sum())
    True
    """

    machine: Accelerator
    objective: Objective
    table: pd.DataFrame
    products: tuple[ProductCost, ...]
    arrays: TraceArrays

    @property
    def cycles(self) -> float:
        """All cycles."""
        return float(self.table["cycles"].sum())

    @property
    def energy_pj(self) -> float:
        """All energy [pJ]."""
        return float(self.table[list(ENERGIES)].to_numpy().sum())

    @property
    def components(self) -> tuple[str, ...]:
        """What energy is spent by: array, buffer, dram, vector, analytics, leakage."""
        return tuple(name.removesuffix("_pj") for name in ENERGIES)

    @property
    def mappings(self) -> dict[ProductId, Mapping]:
        """Every product's, by part and word lengths where it has several."""
        return {cost.product.id: cost.mapping for cost in self.products}

    @property
    def searches(self) -> list[tuple[str, SearchResult]]:
        """(layer and pass, the mapper's answer) of every mapping that was searched."""
        return [(str(cost.product.id), cost.search) for cost in self.products if cost.search]

    @cached_property
    def traffic(self) -> pd.DataFrame:
        """Bits that each memory level reads and writes of each operand, and their energy [pJ].

        A row a step, layer, pass, operation, level and operand ("left", "right", "output"; of
        elementwise work "vector"). Energies sum to `buffer_pj` and `dram_pj` of the table.
        """
        levels = self.machine.memory
        parts = []
        for cost in self.products:
            moved = cost.moved_bits
            for i, level in enumerate(levels):
                for j, operand in enumerate(OPERANDS):
                    read, written = moved[:, i, j, 0], moved[:, i, j, 1]
                    if not (read.any() or written.any()):
                        continue
                    parts.append(
                        pd.DataFrame(
                            {
                                STEP: cost.product.steps,
                                LAYER: cost.product.layer,
                                PASS: str(cost.product.pass_),
                                OPERATION: Operation.PRODUCT.value,
                                "level": level.name,
                                "operand": operand,
                                "read_bits": read,
                                "written_bits": written,
                            }
                        )
                    )
        beside = self.table[self.table[OPERATION] != Operation.PRODUCT]
        for level, reads, writes in (
            (self.machine.dram, "fetched_bits", "stored_bits"),
            (self.machine.buffer("output"), "read_bits", "write_bits"),
        ):
            bits = beside[[*KEYS, reads, writes]]
            bits = bits.rename(columns={reads: "read_bits", writes: "written_bits"})
            parts.append(bits.assign(level=level.name, operand="vector"))
        table = pd.concat(parts, ignore_index=True)
        costs = {level.name: level for level in levels}
        read = table["level"].map({n: c.read_energy_pj_per_bit for n, c in costs.items()})
        write = table["level"].map({n: c.write_energy_pj_per_bit for n, c in costs.items()})
        table["read_pj"] = table["read_bits"] * read
        table["write_pj"] = table["written_bits"] * write
        return table

    def energy(self, by: Sequence[str]) -> pd.DataFrame:
        """Energy taken apart.

        Parameters
        ----------
        by : any of step, layer, pass, operation, component (array, buffer, dram, vector, analytics,
            leakage), level, operand

        Returns
        -------
        A row a group; `energy_pj` always sums to the total [pJ]. Level and operand are "-" where
        there is none.

        Examples
        --------
        >>> import fxsim
        >>> cost = fxsim.estimate("lenet5", "dynasty", batch=2)
        >>> bool(abs(cost.energy(["level"])["energy_pj"].sum() / cost.energy_pj - 1) < 1e-9)
        True
        """
        moved = self.traffic
        memories = moved.assign(
            component=np.where(moved["level"] == self.machine.dram.name, "dram", "buffer"),
            energy_pj=moved["read_pj"] + moved["write_pj"],
        )
        parts = [memories]
        for name in ENERGIES:
            component = name.removesuffix("_pj")
            if component not in ("buffer", "dram"):
                rows = self.table[[*KEYS]].assign(
                    component=component, level="-", operand="-", energy_pj=self.table[name]
                )
                parts.append(rows)
        joined = pd.concat(parts, ignore_index=True)
        return joined.groupby(list(by), sort=False)["energy_pj"].sum().reset_index()

    def cycles_by(self, by: Sequence[str]) -> pd.DataFrame:
        """Cycles taken apart.

        Parameters
        ----------
        by : any of step, layer, pass, operation, component (elastic, ragged, lockstep, fill,
            vector, stall)

        Returns
        -------
        A row a group; `cycles` sums to the total.

        Examples
        --------
        >>> import fxsim
        >>> cost = fxsim.estimate("lenet5", "dynasty", batch=2)
        >>> list(cost.cycles_by(["component"])["component"])
        ['elastic', 'ragged', 'lockstep', 'fill', 'vector', 'stall']
        """
        parts = [
            self.table[list(KEYS)].assign(
                component=name.removesuffix("_cycles"), cycles=self.table[name]
            )
            for name in CYCLES
        ]
        long = pd.concat(parts, ignore_index=True)
        return long.groupby(list(by), sort=False)["cycles"].sum().reset_index()

    @cached_property
    def roofline(self) -> pd.DataFrame:
        """A row a layer and pass, over all steps: where it stands under the machine's roofline.

        intensity : multiply-accumulates a bit of off-chip traffic; achieved : multiply-accumulates
        a cycle; attainable : the least of the elastic array's peak at its word lengths and of
        intensity x bandwidth; utilisation : achieved by the elastic peak; bandwidth_use : off-chip
        bits by what the port could move; bound_by : what most of its time is that of
        """
        table = self.table[self.table[OPERATION] == Operation.PRODUCT]
        grouped = table.groupby([LAYER, PASS], sort=False)
        sums = grouped[["macs", "cycles", "elastic_cycles", "dram_bits"]].sum().reset_index()
        longest = table.groupby([LAYER, PASS, "bound_by"], sort=False)["cycles"].sum()
        bound = (
            longest.reset_index()
            .sort_values("cycles", kind="stable")
            .groupby([LAYER, PASS], sort=False)["bound_by"]
            .last()
        )
        dram = self.machine.dram
        rate = dram.bandwidth_bits_per_cycle + (dram.write_bandwidth_bits_per_cycle or 0)
        sums["intensity"] = sums["macs"] / sums["dram_bits"]
        sums["achieved"] = sums["macs"] / sums["cycles"]
        peak = sums["macs"] / sums["elastic_cycles"]
        sums["attainable"] = np.minimum(peak, sums["intensity"] * rate)
        sums["utilisation"] = sums["achieved"] / peak
        sums["bandwidth_use"] = sums["dram_bits"] / (rate * sums["cycles"])
        keys = pd.MultiIndex.from_frame(sums[[LAYER, PASS]])
        sums["bound_by"] = bound.reindex(keys).to_numpy()
        return sums


def evaluate_cost(
    trace: Trace,
    machine: Accelerator,
    objective: Objective = "edp",
    mappings: dict[ProductId, Mapping] | None = None,
    tell: Teller | None = None,
) -> TraceCost:
    """Cycles and energy of every recorded step of a trace on a machine.

    Parameters
    ----------
    trace : of a run, or a synthetic one
    machine : the accelerator
    objective : what the mapper minimises: "cycles", "energy" or "edp", their product, which costs
        hardly a cycle where the array is the limit, and saves much traffic
    mappings : that are used as they are, see `fxsim.mapping.mapping.load`
    tell : hears of each product, see `ProductCosts.costs`

    Returns
    -------
    The cost, which can be taken apart.

    Raises
    ------
    DataError : for a trace that lacks what the machine's units need
    ConfigError : for a machine whose buffers hold not even the smallest tile

    Examples
    --------
    >>> import fxsim
    >>> trace = fxsim.estimate("lenet5", "dynasty", batch=2).arrays.trace
    >>> fixed, flexible = (
    ...     evaluate_cost(trace, fxsim.machine(name)) for name in ("int8_systolic", "dynasty")
    ... )
    >>> bool(fixed.cycles > 0 and flexible.energy_pj > 0)
    True
    """
    arrays = TraceArrays.of(trace)
    costs = tuple(ProductCosts(arrays, machine, objective, mappings).costs(tell=tell))
    products = [_rows(costs)] if costs else []
    parts = [*products, vector_unit.vectors(trace, machine), vector_unit.casts(arrays, machine)]
    return TraceCost(machine, objective, _table(parts, machine), costs, arrays)


def reevaluate_cost(step_cost: TraceCost, maps: dict[tuple[str, str], BlockMap]) -> TraceCost:
    """An evaluated step with other block maps of some operands, on the same mappings.

    Only the products and casts of these operands are evaluated again. Where units pack narrow
    words, the word lengths decide what the array covers, so these products are mapped again, too.

    Parameters
    ----------
    step_cost : of a trace of one step
    maps : {(layer, role): block map}; weights under the layer that owns them

    Returns
    -------
    The cost of the changed step.

    Raises
    ------
    DataError : if the trace has more than one step, or no such operand

    Examples
    --------
    >>> import fxsim
    >>> cost = fxsim.estimate("lenet5", "dynasty", batch=2)
    >>> four = BlockMap.whole(6, 25, 4)
    >>> bool(reevaluate_cost(cost, {("conv1", "weight"): four}).cycles <= cost.cycles)
    True
    """
    steps = step_cost.arrays.trace.operands[STEP].nunique()
    if steps != 1 or len(step_cost.arrays.sampled) != 1:
        raise DataError(f"reevaluation takes a trace of one step with its maps, not of {steps}")
    for key in maps:
        if key not in step_cost.arrays.operands:
            raise DataError(
                f"reevaluation: the trace has no operand {key[1]!r} of layer {key[0]!r}"
            )
    arrays, touched = step_cost.arrays.changed(maps)
    names = {(product.layer, str(product.pass_)) for product in touched}
    packs = bool(step_cost.machine.pe.packed(8, 8))
    mappings = {
        product: mapping
        for product, mapping in step_cost.mappings.items()
        if not packs and product[:2] in names
    }
    evaluation = ProductCosts(arrays, step_cost.machine, step_cost.objective, mappings)
    costs = evaluation.costs(touched)
    again: dict[tuple[str, str], list[ProductCost]] = {}
    for cost in costs:
        again.setdefault(cost.product.id[:2], []).append(cost)
    products: list[ProductCost] = []
    for cost in step_cost.products:
        name = cost.product.id[:2]
        products += again.pop(name, []) if name in names else [cost]
    # casts stand in the order of the trace: all of a changed layer are evaluated again
    layers = {layer for layer, _ in maps}
    table, operands = step_cost.table, arrays.trace.operands
    product = table[OPERATION] == Operation.PRODUCT
    cast = (table[OPERATION] == Operation.CAST) & table[LAYER].isin(layers)
    named = [name in names for name in zip(table[LAYER], table[PASS], strict=True)]
    stale = cast | (product & pd.Series(named, table.index))
    some = replace(arrays.trace, operands=operands[operands[LAYER].isin(layers)])
    casting = vector_unit.casts(TraceArrays(some, operands=arrays.operands), step_cost.machine)
    fresh = _table([_rows(costs), casting], step_cost.machine)
    joined = pd.concat([table[~stale], fresh], ignore_index=True)
    ordered = joined.sort_values(list(KEYS), kind="stable", ignore_index=True)
    return replace(step_cost, table=ordered, products=tuple(products), arrays=arrays)


def _table(parts: list[pd.DataFrame], machine: Accelerator) -> pd.DataFrame:
    """The rows of all parts in order, with leakage."""
    table = pd.concat(parts, ignore_index=True)
    table[["fetched_bits", "stored_bits", "read_bits", "write_bits"]] = table[
        ["fetched_bits", "stored_bits", "read_bits", "write_bits"]
    ].fillna(0.0)
    table["leakage_pj"] = table["cycles"] * machine.leakage_pj_per_cycle
    return table.sort_values(list(KEYS), kind="stable", ignore_index=True)


def _rows(costs: Sequence[ProductCost]) -> pd.DataFrame:
    """The products' rows of the table."""
    counts = [len(cost.product.steps) for cost in costs]

    def column(values: list[NDArray[np.generic] | float]) -> NDArray[np.generic]:
        return np.concatenate(
            [np.broadcast_to(v, count) for v, count in zip(values, counts, strict=True)]
        )

    names = {
        STEP: column([cost.product.steps for cost in costs]),
        LAYER: np.repeat(np.array([cost.product.layer for cost in costs], object), counts),
        PASS: np.repeat(np.array([str(cost.product.pass_) for cost in costs], object), counts),
        OPERATION: Operation.PRODUCT.value,
    }
    numbers = {name: column([cost.columns[name] for cost in costs]) for name in costs[0].columns}
    rows = pd.DataFrame({**names, **numbers})
    return _whole(rows) if any(cost.product.part for cost in costs) else rows


def _whole(rows: pd.DataFrame) -> pd.DataFrame:
    """A row a product: the sums of its parts, and what is said of the longest."""
    groups = rows.groupby(list(KEYS), sort=False)
    words = ["maps", "bound_by"]
    longest = rows.loc[groups["cycles"].idxmax()].set_index(list(KEYS))[words]
    sums = groups[[name for name in rows if name not in (*KEYS, *words)]].sum()
    return sums.join(longest).reset_index()[list(rows)]
