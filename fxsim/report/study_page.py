"""A study's report: the answer first, then what stands behind it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from fxsim.config import resources
from fxsim.identifiers import LAYER, PASS, ROLE, Phase
from fxsim.report import bit_maps, cost_figures, curves, sources, tables
from fxsim.report.page import Film, Page, Section
from fxsim.report.style import colours, unit
from fxsim.runs.directory import Run
from fxsim.runs.execute import machine_facts, versions
from fxsim.studies import results
from fxsim.studies.study import StudyResult
from fxsim.trace.schema import without_probes

SIGNIFICANT = 0.05


def page(result: StudyResult, averages: pd.DataFrame, data: dict[str, pd.DataFrame]) -> Page:
    """The report of a study.

    averages : see `fxsim.studies.results.averages`
    data : its other tables by name, see `tables_of`
    """
    spec, study = result.study.spec, result.study
    first = next(iter(result.runs.values()))
    epochs = first.manifest["epochs"]
    sentences = answers(result, averages)
    example = next((run for run in result.runs.values() if run.integer), first)
    return Page(
        title=spec.title,
        lead=(
            f"{first.manifest['workload']} on {first.manifest['dataset']}, {epochs} epoch"
            f"{'s' * (epochs > 1)}, seed{'s' * (len(spec.seeds) > 1)}"
            f" {', '.join(map(str, spec.seeds))}. Baseline: {spec.baseline} on"
            f" {spec.baseline_accelerator or 'the same accelerator'}."
            + ("" if spec.node_nm is None else f" All machines are scaled to {spec.node_nm:g} nm.")
        ),
        answer=headline(result, averages),
        answers=sentences,
        table=tables.readable(averages),
        below=(
            "Means over seeds; \u00b1 is one standard deviation over seeds, p the chance of such a"
            " difference of accuracies if there were none. Cycles and energy are those of"
            f" {spec.what}. Bits are mean word lengths of the multiplier array's operands: weights,"
            " activations, errors. Float policies do not execute on integer arrays, so they have no"
            " cycles. The area is that of the array alone; arrays of unequal area are no rivals at"
            " equal cost."
        ),
        sections=[
            section
            for name in spec.report.sections
            if (section := _SECTIONS[name](result, averages, data)) is not None
        ],
        assumptions=sources.assumptions(),
        policies=sources.of_policies((name, kind) for name, (kind, _) in study.policies.items()),
        machines=[sources.of_machine(machine) for machine in study.machines.values()],
        commands=[
            f"fxsim run {_argument(result)}",
            f"fxsim run {(result.directory / 'inputs' / 'study.yaml').as_posix()}",
            f"fxsim replay {example.directory.as_posix()}",
        ],
        manifest=manifest(result),
        inputs=study.inputs,
    )


def tables_of(result: StudyResult) -> dict[str, pd.DataFrame]:
    """All tables of a study by the names of their files."""
    per_seed = results.summary(result)
    data = {
        "summary": results.averages(result),
        "summary_by_seed": per_seed,
        "accuracy": results.accuracy_table(result),
    }
    if result.costs:
        costs = results.cost_table(result)
        data |= {
            "costs": costs,
            "memory": results.memory_table(result),
            "roofline": results.roofline_table(result),
            "array_utilisation": tables.lockstep(costs),
            "bits": results.bits_table(result),
            "numbers": results.numbers_table(result),
            "paper_metrics": results.paper_metrics_table(result),
        }
    return data


def manifest(result: StudyResult) -> dict[str, object]:
    """Versions, machine, hashes: what the study was made with, and what it gave."""
    return {
        "study": result.study.spec.name,
        "baseline": result.study.spec.baseline,
        "objective": result.study.spec.objective,
        **versions(),
        **machine_facts(),
        "runs": {
            f"{name}-seed{seed}": {
                key: run.manifest[key]
                for key in ("inputs_sha256", "dataset_sha256", "weights_sha256", "test_accuracy")
            }
            for (name, seed), run in result.runs.items()
        },
    }


def _argument(result: StudyResult) -> str:
    """What `fxsim run` takes for a study: a shipped one's name, else its path."""
    path = result.study.path
    name = path.stem if path in resources.names("reports").values() else path.as_posix()
    return f"{name}{result.study.options}"


def answers(result: StudyResult, averages: pd.DataFrame) -> list[str]:
    """One sentence for every policy and accelerator that is compared with the baseline."""
    return [_sentence(result, row) for row in _compared(result, averages).itertuples()]


def headline(result: StudyResult, averages: pd.DataFrame) -> str:
    """The sentence of the policy and accelerator that save the most energy times delay."""
    compared = _compared(result, averages)
    if compared.empty:
        best = averages.loc[averages["test_accuracy"].idxmax()]
        return f"{best.policy} reaches {100 * best.test_accuracy:.2f} % test accuracy."
    gains = compared["speedup"] * compared["energy_saving"]
    (best,) = compared.loc[[gains.idxmax()]].itertuples()
    return _sentence(result, best)


def _compared(result: StudyResult, averages: pd.DataFrame) -> pd.DataFrame:
    spec = result.study.spec
    base = averages["policy"] == spec.baseline
    if spec.baseline_accelerator:
        base &= averages["accelerator"] == spec.baseline_accelerator
    return averages[~base & averages["speedup"].notna()]


def _sentence(result: StudyResult, row: Any) -> str:
    spec = result.study.spec
    on = f" on {spec.baseline_accelerator}" if spec.baseline_accelerator else ""
    chance = ""
    nodes = {machine.technology.node_nm for machine in result.study.machines.values()}
    node = f" ({row.node_nm:g} nm)" if len(nodes) > 1 else ""
    if row.p_value == row.p_value:
        verdict = "significant" if row.p_value < SIGNIFICANT else "not significant"
        chance = f"; {verdict} over {row.seeds} seeds, p = {row.p_value:.2g}"
    verb = "trains" if spec.phase is Phase.TRAINING else "infers"
    return (
        f"On the {row.accelerator} accelerator{node}, the {row.policy} policy {verb}"
        f" {_times(row.speedup, 'faster', 'slower')} than {spec.baseline}{on}, with"
        f" {_times(row.energy_saving, 'less', 'more')} energy and"
        f" {row.accuracy_change:+.2f} points of test accuracy ({100 * row.test_accuracy:.2f}"
        f" %{chance})."
    )


def _times(ratio: float, better: str, worse: str) -> str:
    return f"{ratio:.2f}x {better}" if ratio >= 1 else f"{1 / ratio:.2f}x {worse}"


# --- sections ------------------------------------------------------------------------------------

Tables = dict[str, pd.DataFrame]


def _accuracy(result: StudyResult, averages: pd.DataFrame, data: Tables) -> Section:
    return Section("accuracy", "Accuracy and loss", plots=curves.accuracy_and_loss(result))


def _bits(result: StudyResult, averages: pd.DataFrame, data: Tables) -> Section | None:
    if "bits" not in data:
        return None
    plots = bit_maps.distribution(data["bits"])
    for name, run, _ in adaptive(result):
        plots += bit_maps.heat_maps(run, name)
    return Section(
        "bits",
        "Word lengths",
        "Which words have which length, and, of every policy that moves them, the mean word length"
        " by layer and step (first seed). Every step is recorded.",
        plots,
    )


def _blocks(result: StudyResult, averages: pd.DataFrame, data: Tables) -> Section | None:
    plots, films = [], []
    for name, run, block_wise in adaptive(result):
        if block_wise:
            trace = run.trace()
            layers = bit_maps.largest_layers(trace, result.study.spec.report.layers)
            plots.append(bit_maps.block_maps(trace, name, layers[0]))
            films += [Film(f"{name}, {layer}", bit_maps.film(trace, layer)) for layer in layers]
    if not plots:
        return None
    return Section(
        "blocks",
        "Inside a layer",
        f"Word length of each block, at sampled steps; at most {bit_maps.CORNER} blocks in each"
        " direction are shown. The layers are those with the most multiply-accumulates.",
        plots,
        films,
    )


def _cost(result: StudyResult, averages: pd.DataFrame, data: Tables) -> Section | None:
    if "costs" not in data:
        return None
    costs, memory = data["costs"], data["memory"]
    cycles, energy = tables.stacks(costs)
    priced = result.study.spec.what
    mean = f"{priced[0].upper()}{priced[1:]}, mean over seeds."
    levels, hues = tables.by_level(memory, costs), colours(result.study.policies)
    plots = [
        cost_figures.stacked(table, kind, f"{kind}_by_{what}", f"{words} by {what}. {mean}")
        for table, kind, what, words in (
            (cycles["component"], "cycles", "component", "Cycles"),
            (energy["component"], "energy", "component", "Energy"),
            (cycles[PASS], "cycles", PASS, "Cycles"),
            (energy[PASS], "energy", PASS, "Energy"),
            (levels["energy"], "energy", "level", "Energy of memories"),
            (levels["bits"], "bits", "level", "Bits read and written"),
        )
    ]
    plots += cost_figures.by_layer(costs, "cycles", "cycles", hues)
    totals = costs.assign(energy_pj=tables.energy_of(costs))
    plots += cost_figures.by_layer(totals, "energy_pj", "energy", hues)
    return Section("cost", "Cycles and energy", plots=plots)


def _roofline(result: StudyResult, averages: pd.DataFrame, data: Tables) -> Section | None:
    if "roofline" not in data:
        return None
    table = data["roofline"]
    first = table[table["seed"] == table["seed"].iloc[0]]
    first = without_probes(first)
    hues = colours(result.study.policies)
    plots = [
        cost_figures.roofline(first[first["accelerator"] == machine.name], machine, hues)
        for machine in result.study.machines.values()
    ]
    bound = tables.bounds(first)
    caption = "What bounds the time of products: share of their cycles."
    return Section("roofline", "Rooflines", plots=plots, tables=[(caption, bound)])


def _utilisation(result: StudyResult, averages: pd.DataFrame, data: Tables) -> Section | None:
    if "costs" not in data:
        return None
    return Section(
        "utilisation",
        "Array utilisation and lockstep",
        "Elastic cycles are those of an array whose every multiplier is always busy at the exact"
        " word lengths of every product; the rest is lost to lockstep of mixed blocks, folds that"
        " do not fill the array, and filling and draining it.",
        cost_figures.utilisation(data["costs"], colours(result.study.policies)),
        tables=[("All layers and passes.", tables.utilisation(data["array_utilisation"]))],
    )


def _numbers(result: StudyResult, averages: pd.DataFrame, data: Tables) -> Section | None:
    if "numbers" not in data:
        return None
    plots = bit_maps.numbers(data["numbers"], colours(result.study.policies))
    return Section(
        "numbers",
        "Saturation and rounding error",
        "What casting to operands cost in accuracy of the numbers, means over seeds: the energy of"
        " what it changed over that of the tensor, at sampled steps, and the share of words that"
        " saturated, over all steps"
        + ("." if any(p.name.startswith("saturated") for p in plots) else " (none did)."),
        plots,
    )


def _pareto(result: StudyResult, averages: pd.DataFrame, data: Tables) -> Section | None:
    table = averages.dropna(subset=["cycles"])
    if len(table) < 2:
        return None
    scales = {
        "cycles": unit("cycles", table["cycles"].max()),
        "energy": unit("energy", table["energy_uj"].max() * 1e6),
    }
    table = table.assign(
        accuracy=100 * table["test_accuracy"],
        accuracy_sd=100 * table["test_accuracy_sd"],
        cycles=table["cycles"] / scales["cycles"][0],
        energy=table["energy_uj"] * 1e6 / scales["energy"][0],
    )
    senses = {"accuracy": 1, "cycles": -1, "energy": -1}
    plots = [
        curves.front(
            table,
            name,
            "accuracy",
            senses,
            (f"{name} [{word}]", "test accuracy [%]"),
            "policy",
            "accelerator",
            f"pareto_{name}",
            f"Accuracy against {name}; dotted: what no other point beats in both.",
            hues=colours(result.study.policies),
        )
        for name, (_, word) in scales.items()
    ]
    best = table[~curves.dominated(table, senses)]
    names = ", ".join(f"{row.policy} on {row.accelerator}" for row in best.itertuples())
    return Section(
        "pareto",
        "Pareto front over policies and accelerators",
        f"In accuracy, cycles and energy together, nothing beats: {names}.",
        plots,
    )


def _papers(result: StudyResult, averages: pd.DataFrame, data: Tables) -> Section | None:
    if "paper_metrics" not in data:
        return None
    return Section(
        "papers",
        "As the papers count",
        "AdaPT's analytical model of the same runs: work is multiply-accumulates times the weights'"
        " word length and density against 32 bits, its backward pass charged at 32 bits; no memory,"
        " no array, no lockstep. Iso-accuracy asks for the first epoch that reaches float32's final"
        " accuracy. BitOPs and weight compression are those of the last step. Beside them, the"
        " tables above say what the described machines make of it.",
        tables=[("Means over seeds.", tables.paper_metrics(data["paper_metrics"]))],
    )


def _seeds(result: StudyResult, averages: pd.DataFrame, data: Tables) -> Section:
    table = data["summary_by_seed"]
    text = tables.readable(table).assign(seed=table["seed"].to_numpy())
    return Section("seeds", "Every seed", tables=[("A row a run and accelerator.", text)])


_SECTIONS: dict[str, Callable[[StudyResult, pd.DataFrame, Tables], Section | None]] = {
    "accuracy": _accuracy,
    "bits": _bits,
    "blocks": _blocks,
    "cost": _cost,
    "roofline": _roofline,
    "utilisation": _utilisation,
    "numbers": _numbers,
    "pareto": _pareto,
    "papers": _papers,
    "seeds": _seeds,
}


def adaptive(result: StudyResult) -> list[tuple[str, Run, bool]]:
    """The first run of every policy that moves word lengths, and whether block by block."""
    policies = {}
    for (name, _), run in result.runs.items():
        if run.integer and name not in policies:
            operands = run.trace().operands
            lengths = operands["word_bits"] / (operands["rows"] * operands["columns"])
            moves = (lengths.groupby([operands[LAYER], operands[ROLE]]).nunique() > 1).any()
            if moves:
                policies[name] = (name, run, int(operands["blocks"].max()) > 1)
    return list(policies.values())
