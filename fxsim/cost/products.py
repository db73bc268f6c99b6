"""Products on the array: their mapping, cycles and energy, for all steps at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fxsim.cost.lockstep import ComputeCycles, Lockstep
from fxsim.cost.trace_arrays import Product, TraceArrays
from fxsim.errors import ConfigError, DataError
from fxsim.hardware.accelerator import Accelerator
from fxsim.hardware.dataflow import Operand
from fxsim.hardware.memory import OPERANDS
from fxsim.identifiers import Pass
from fxsim.mapping.kernels import evaluation, layout
from fxsim.mapping.mapping import Mapping, ProductId
from fxsim.mapping.nest import DIMENSIONS, RELEVANT
from fxsim.mapping.problem import Movement, Problem, WordBits
from fxsim.mapping.search import Objective, SearchResult, best_mapping

Floats = NDArray[np.float64]
FLOAT_SUM_BITS = 32  # what floating-point units add up in

Teller = Callable[[int], Callable[[str], None]]


@dataclass(frozen=True, slots=True, eq=False)
class ProductCost:
    """One layer and pass on a machine, a row a step.

    columns : the numbers of `fxsim.cost.model.TraceCost.table`
    moved_bits : (steps, levels, operands, read and written), levels from off-chip inwards
    search : the mapper's answer, None where the mapping was stored
    mode : the word lengths that units run as, where these are wider than the words
    """

    product: Product
    mapping: Mapping
    search: SearchResult | None
    columns: dict[str, Any]
    moved_bits: Floats
    mode: tuple[int, int] | None = None


class ProductCosts:
    """The costs of the products of one trace on one machine.

    mappings : that are to be used as they are
    """

    def __init__(
        self,
        arrays: TraceArrays,
        machine: Accelerator,
        objective: Objective = "edp",
        mappings: dict[ProductId, Mapping] | None = None,
    ) -> None:
        self.arrays, self.machine, self.objective = arrays, machine, objective
        self._stored_mappings = dict(mappings or {})
        self._lockstep = Lockstep(arrays, machine)
        self._searched: dict[tuple[object, ...], SearchResult] = {}
        names = {
            part.id
            for product in (arrays.products if self._stored_mappings else ())
            for part in (product, *self._parts(product))
        }
        for name, mapping in self._stored_mappings.items():
            if name._replace(words=None) not in names:
                where = f"{mapping.where}: ".removeprefix(": ")
                raise ConfigError(f"{where}mapping of {name}: the trace has no such product")

    def costs(
        self, products: list[Product] | None = None, tell: Teller | None = None
    ) -> list[ProductCost]:
        """Of these products; of every layer and pass if None.

        tell : asked with the number of products for who hears of each as it begins
        """
        chosen = self.arrays.products if products is None else products
        announce = tell(len(chosen)) if tell else lambda what: None
        costs: list[ProductCost] = []
        before: list[ProductCost] = []
        for product in chosen:
            announce(str(product.id))
            stays = before and self._keeps_weights(before, product)
            before = self._evaluated(product, ("right",) if stays else ())
            costs += before
        announce("")
        return costs

    def _keeps_weights(self, before: list[ProductCost], product: Product) -> bool:
        """Whether the weights of a product are on chip from the one before it: recurrent steps."""
        last = before[-1].product
        same = last.right == product.right and last.pass_ == product.pass_ == Pass.FORWARD
        return same and all(_keeps(self.machine, "right", cost.mapping) for cost in before)

    def _parts(self, product: Product) -> list[Product]:
        """A product without the zeros of its spread image, in several nests; none if it has none.

        Of the multiply-accumulates with a left word of 0 bits, so many stay as the nests have more
        than the others: what padding and blocks of 0 bits there is.
        """
        if self.machine.dataflow.zero_insertion == "execute" or not product.nest.spread:
            return []
        nests = product.nest.without_zeros()
        macs, joint = sum(nest.macs for nest in nests), product.joint.astype(np.float64)
        zeros = product.left_levels == 0
        others = joint[:, ~zeros].sum(axis=(1, 2))
        before = joint[:, zeros].sum(axis=(1, 2))
        stay = np.clip(macs - others, 0, before) / np.maximum(before, 1)
        joint[:, zeros] *= stay[:, None, None]
        less = replace(product, joint=joint)
        left = self._work(less, None) / np.maximum(self._work(product, None), 1)
        return [
            replace(product, nest=nest, part=i, share=left * nest.macs / macs)
            for i, nest in enumerate(nests, 1)
        ]

    def _evaluated(self, product: Product, stay: tuple[Operand, ...]) -> list[ProductCost]:
        """One product, some operands of which are on chip already.

        A spread image's zeros are worked off where skipping them costs more.
        """
        parts = self._parts(product)
        stored = {name.part for name in self._stored_mappings if name[:2] == product.id[:2]}
        ways = []
        if 0 in stored or not parts or not stored:
            ways.append(self._by_words(product, stay))
        if parts and 0 not in stored:
            ways.append(self._one_after_another(parts))
        return min(ways, key=self._objective_of)

    def _one_after_another(self, parts: list[Product]) -> list[ProductCost]:
        """The parts of a product; an image that a part keeps whole on chip stays for the next."""
        costs: list[ProductCost] = []
        for part in parts:
            stays = bool(costs) and _keeps(self.machine, "left", costs[-1].mapping)
            costs += self._by_words(part, ("left",) if stays else ())
        return costs

    def _objective_of(self, costs: list[ProductCost]) -> float:
        """What is minimised, over all steps."""
        cycles = sum(float(cost.columns["cycles"].sum()) for cost in costs)
        energy = cycles * self.machine.leakage_pj_per_cycle + sum(
            float(np.sum(cost.columns[name]))
            for cost in costs
            for name in ("array_pj", "buffer_pj", "dram_pj")
        )
        return {"cycles": cycles, "energy": energy, "edp": cycles * energy}[self.objective]

    def _by_words(self, product: Product, stay: tuple[Operand, ...]) -> list[ProductCost]:
        """A nest; where units pack narrow words, apart for each pair of word lengths."""
        pairs = self._pairs(product)
        if pairs is None:
            return [self._one(product, stay)]
        share = np.broadcast_to(product.share, len(product.steps))
        return [
            self._one(
                replace(
                    product,
                    steps=product.steps[rows],
                    joint=product.joint[rows],
                    share=share[rows],
                    words=words,
                ),
                stay,
            )
            for words, rows in pairs
        ]

    def _pairs(self, product: Product) -> list[tuple[tuple[int, int], NDArray[np.bool_]]] | None:
        """((left, right) lengths, steps) if each step has one length a side; None if blocks mix."""
        pe = self.machine.pe
        if pe.word_bits is not None or not pe.packed(8, 8):
            return None
        lengths = []
        for side in (product.left, product.right):
            operand = self.arrays.operands[side]
            words = operand.words[operand.at(product.steps)] > 0
            if (words.sum(axis=1) > 1).any():
                return None
            lengths.append(operand.levels[words.argmax(axis=1)])
        pairs = sorted({(int(a), int(b)) for a, b in zip(*lengths, strict=True)})
        return [(p, (lengths[0] == p[0]) & (lengths[1] == p[1])) for p in pairs]

    def _stored(self, product: Product) -> Mapping | None:
        """The mapping that was given for a product's word lengths, or for any."""
        stored = self._stored_mappings
        return stored.get(product.id) or stored.get(product.id._replace(words=None))

    def _one(self, product: Product, stay: tuple[Operand, ...]) -> ProductCost:
        machine = self.machine
        self._check_widths(product)
        left, right, sums = self._word_bits(product)
        skipped = self._skipped(product)
        stored = self._stored(product)
        modes = self._modes(product, stored)
        ways = []
        for mode in modes:
            work = self._work(product, mode) * (1 - skipped)
            largest = WordBits(float(left.max()), float(right.max()), sums, mode)
            average = WordBits(_rounded(left.mean()), _rounded(right.mean()), sums, mode)
            problem = Problem(machine, product.nest, average, str(product.id), largest)
            computing = self._lockstep.computing(product, problem, work, skipped)
            ways.append((problem, work, computing, *self._mapped(problem, computing, stored)))
        chosen = 0
        if len(ways) > 1:
            costs = [search.cost(self.objective) for *_, search, _, _ in ways if search]
            chosen = costs.index(min(costs))
        problem, work, computing, search, movement, mapping = ways[chosen]
        wider = modes[chosen] if modes[chosen] != product.words else None
        if wider:
            mapping = replace(mapping, mode=wider)
        for operand in stay:
            if _keeps(machine, operand, mapping):
                movement = _without(machine, operand, movement)
        if movement.steps != problem.steps:  # tiles at the edges are worked off whole
            whole = computing.cycles * (movement.steps / problem.steps)
            computing = replace(computing, cycles=whole)
        bits = np.stack([left, right, np.full(len(left), sums)])
        active = (
            work * product.share / machine.pe.sub_operations_per_cycle
            if computing.active is None
            else computing.active
        )
        columns, moved = cycles_and_energy(problem, movement, bits, computing, active)
        return ProductCost(product, mapping, search, columns, moved, wider)

    def _modes(self, product: Product, stored: Mapping | None) -> list[tuple[int, int] | None]:
        """The word lengths that units may run as; None: as each word is."""
        mode, pair = stored.mode if stored else None, product.words
        if stored and mode and (pair is None or mode[0] < pair[0] or mode[1] < pair[1]):
            lengths = (
                "words as they are" if pair is None else f"at least {pair[0]} x {pair[1]} bits"
            )
            raise ConfigError(
                f"{stored.where}: mapping of {product.id}: {self.machine.name} runs it with"
                f" {lengths}, not as {mode[0]} x {mode[1]} bits (mode)"
            )
        if pair is None:
            return [None]
        return [mode or pair] if stored else [*self.machine.pe.modes(*pair)]

    def _check_widths(self, product: Product) -> None:
        most = self.machine.pe.max_bits
        widest = max(int(product.left_levels.max()), int(product.right_levels.max()))
        if widest > most and self.machine.pe.word_bits is None:
            raise DataError(
                f"{product.id}: {self.machine.name}'s units take operands of at most {most} bits,"
                f" not {widest} (pe.max_bits)"
            )

    def _word_bits(self, product: Product) -> tuple[Floats, Floats, float]:
        """Average stored bits of a word of both operands by step, and of a sum."""
        if (bits := self.machine.pe.word_bits) is not None:
            whole = np.full(len(product.steps), float(bits))
            return whole, whole, float(FLOAT_SUM_BITS)
        averages = []
        for side in (product.left, product.right):
            operand = self.arrays.operands[side]
            stored = operand.stored_bits(self.machine.packing)[operand.at(product.steps)]
            averages.append(stored / operand.size)
        return averages[0], averages[1], float(product.accumulator_bits)

    def _work(self, product: Product, mode: tuple[int, int] | None) -> Floats:
        """Pieces of work by step, of words as they are or as wide as a mode takes them."""
        pe = self.machine.pe
        widest = mode or (0, 0)
        left, right = (
            [max(int(bits), least) if bits else 0 for bits in levels]
            for levels, least in zip(
                (product.left_levels, product.right_levels), widest, strict=True
            )
        )
        table = np.array([[pe.sub_operations(a, b) for b in right] for a in left])
        work: Floats = (product.joint * table).sum(axis=(1, 2)).astype(np.float64)
        return work

    def _skipped(self, product: Product) -> Floats:
        """The share of work by step that words take off which are zero and skipped."""
        pe, share = self.machine.pe, np.ones(len(product.steps))
        for side, key in (("left", product.left), ("right", product.right)):
            if side in pe.skip_zero_words:
                operand = self.arrays.operands[key]
                share *= 1 - operand.zeros[operand.at(product.steps)] / operand.size
        return 1 - share

    def _mapped(
        self, problem: Problem, computing: ComputeCycles, stored: Mapping | None
    ) -> tuple[SearchResult | None, Movement, Mapping]:
        step_cycles = float(f"{computing.cycles.mean() / problem.steps:.3g}")
        problem.record["step_cycles"] = step_cycles
        if stored is not None:
            movement, mapping, *_ = problem.movement(stored)
            return None, movement, mapping
        key = (problem.nest, problem.record.tobytes(), self.objective)
        if key not in self._searched:
            self._searched[key] = best_mapping(problem, self.objective)
        search = self._searched[key]
        return search, search.movement, search.mapping


def _keeps(machine: Accelerator, operand: Operand, mapping: Mapping) -> bool:
    """Whether the outermost level on chip that holds an operand holds all of it."""
    inside = mapping.inside[machine.buffer(operand).name][operand]
    relevant = {DIMENSIONS[d] for d in RELEVANT[operand]}
    return all(loop not in relevant for loop, _ in mapping.loops[inside:])


def _without(machine: Accelerator, operand: Operand, movement: Movement) -> Movement:
    """What moves where an operand is on chip already."""
    moved, loaded, o = movement.moved.copy(), movement.loaded.copy(), OPERANDS.index(operand)
    level = movement.levels.index(machine.buffer(operand).name)
    moved[-1, o] = moved[level, o, 1] = loaded[o] = 0
    return replace(movement, moved=moved, loaded=loaded)


def _rounded(bits: float) -> float:
    """Average word lengths to an eighth of a bit, upwards: like products share a mapping."""
    return float(np.ceil(bits * 8 - 1e-9) / 8)


def cycles_and_energy(
    problem: Problem, movement: Movement, bits: Floats, computing: ComputeCycles, active: Floats
) -> tuple[dict[str, Any], Floats]:
    """(columns of the table, (steps, levels, operands, 2) bits moved, off-chip first).

    bits : (operands, steps) average bits of a word; active : unit-cycles at work. Cycles and
    energies are the mapper's own (`kernels.evaluation`), for many steps at once.
    """
    machine, pe = problem.machine, problem.machine.pe
    moved = movement.moved[None] * bits.T[:, None, :, None]
    top = len(movement.levels) - 1
    load = (movement.loaded * bits.T).sum(axis=1)
    store = (movement.stored * bits.T).sum(axis=1)
    if movement.results:
        results_bits = float(machine.results.stored_bits or 0)
        moved[:, top, 2, 1] += movement.results * results_bits
        store = np.full(len(store), float(movement.stored.sum()) * results_bits)
    compute = computing.cycles
    fill = float(evaluation.fold_cycles(movement.folds, problem.record))
    array = compute + fill
    _whole_bursts(problem, movement, bits, moved)
    times, energy = np.zeros((len(compute), top + 1)), np.zeros((len(compute), top + 1))
    results, state = np.zeros((len(compute), layout.ENERGY)), layout.state()
    state["refill"][: top + 1], state["window"][: top + 1] = movement.refill, movement.window
    each = np.ascontiguousarray(bits.T)
    evaluation.evaluate_steps(
        moved, each, load, store, array, problem.record, state, times, energy, results
    )
    cycles = results[:, layout.CYCLES]
    names = np.array([*movement.levels], object)
    busiest = names[times.argmax(axis=1)]
    waits = each[:, None] * movement.refill - array[:, None, None] * movement.window
    waits = np.maximum(waits, 0).sum(axis=2)  # of each level's refills
    waited = waits.sum(axis=1)
    slowest = np.where(waited > array, names[waits.argmax(axis=1)], "array")
    elastic = active / machine.units
    steps_done = float(movement.steps)
    average = active / max(problem.nest.macs, 1) * float(np.prod(problem.unit)) * steps_done
    average = np.clip(average, np.minimum(elastic, compute), compute)
    idle = np.maximum(machine.units * compute - active, 0) * pe.idle_energy
    columns = {
        "macs": problem.nest.macs,
        "cycles": cycles,
        "array_cycles": array,
        "elastic_cycles": elastic,
        "ragged_cycles": average - elastic,
        "lockstep_cycles": compute - average,
        "fill_cycles": np.full(len(compute), fill),
        "stall_cycles": cycles - array,
        "memory_cycles": results[:, layout.MEMORY_CYCLES],
        "vector_cycles": 0.0,
        "array_pj": (active + idle) * pe.energy_pj_per_unit_cycle,
        "buffer_pj": energy[:, :top].sum(axis=1),
        "dram_pj": energy[:, top],
        "vector_pj": 0.0,
        "analytics_pj": 0.0,
        "dram_bits": moved[:, top].sum(axis=(1, 2)),
        "buffer_bits": moved[:, :top].sum(axis=(1, 2, 3)),
        "maps": computing.origin,
        "bound_by": np.where(results[:, layout.BUSY_CYCLES] > array + waited, busiest, slowest),
    }
    return columns, moved[:, ::-1]


def _whole_bursts(problem: Problem, movement: Movement, bits: Floats, moved: Floats) -> None:
    """Off-chip traffic in whole bursts: every run of neighbouring words takes so many."""
    burst = problem.machine.dram.burst_bits
    if burst == 1:
        return
    for o in range(len(OPERANDS)):
        run = movement.runs[o] * bits[o]
        whole = np.ceil(np.maximum(run, 1e-9) / burst) * burst
        moved[:, -1, o] *= np.where(run > 0, whole / np.maximum(run, 1e-9), 1.0)[:, None]
