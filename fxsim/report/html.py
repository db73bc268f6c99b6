"""The report's files: one HTML page, and its tables as CSV and Parquet."""

from __future__ import annotations

import inspect
from importlib.resources import files
from pathlib import Path

import jinja2
import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from fxsim import shipped
from fxsim import study as studies
from fxsim.accelerator.schema import Accelerator
from fxsim.cost import price
from fxsim.files import atomic_file
from fxsim.precision import POLICIES
from fxsim.report import figures, tables
from fxsim.runs import Run, versions
from fxsim.study import StudyResult


def write(result: StudyResult) -> list[Path]:
    """Write the report of a study into its directory; the files that were written."""
    per_seed = studies.summary(result)
    averages = studies.averaged(per_seed)
    costs = studies.cost_table(result) if result.priced else None
    found = {"summary": averages, "summary_by_seed": per_seed, "accuracy": _accuracy(result)}
    if costs is not None:
        found["costs"] = costs
        found["array_utilisation"] = tables.lockstep(costs)
        found["literature"] = studies.literature_table(result)
    written = []
    for name, table in found.items():
        for suffix in (".csv", ".parquet"):
            path = result.directory / "tables" / f"{name}{suffix}"
            with atomic_file(path) as fresh:
                if suffix == ".csv":
                    table.to_csv(fresh, index=False)
                else:
                    table.to_parquet(fresh, index=False)
            written.append(path)
    page = result.directory / "report.html"
    with atomic_file(page) as fresh:
        page_ = _page(result, averages, per_seed, costs, found.get("literature"))
        fresh.write_text(page_, encoding="utf-8")
    return [page, *written]


def _accuracy(result: StudyResult) -> pd.DataFrame:
    parts = [
        run.evaluations.assign(policy=policy, seed=seed)
        for (policy, seed), run in result.runs.items()
    ]
    return pd.concat(parts, ignore_index=True)


def _page(
    result: StudyResult,
    averages: pd.DataFrame,
    per_seed: pd.DataFrame,
    costs: pd.DataFrame | None,
    counted: pd.DataFrame | None,
) -> str:
    spec = result.study.spec
    template = (files("fxsim.report") / "template.html.jinja").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    first = next(iter(result.runs.values()))
    example = next((r for r in result.runs.values() if r.integer), first)
    return environment.from_string(template).render(
        title=spec.title,
        name=spec.name,
        workload=f"{first.manifest['workload']} on {first.manifest['dataset']}",
        epochs=first.manifest["epochs"],
        seeds=", ".join(str(seed) for seed in spec.seeds),
        baseline=spec.baseline,
        answers=answers(result, averages),
        summary=_table(tables.readable(averages)),
        figures=[
            {"heading": heading, "svg": Markup(figures.to_svg(figure)), "caption": caption}
            for heading, figure, caption in _figures(result, costs)
        ],
        lockstep=_table(_rounded(tables.lockstep(costs))) if costs is not None else "",
        literature="" if counted is None else _table(tables.literature(counted)),
        per_seed=_table(tables.readable(per_seed).assign(seed=per_seed["seed"])),
        assumptions=_assumptions(),
        policies=[
            {
                "name": name,
                "summary": POLICIES[kind].summary,
                "source": POLICIES[kind].source,
                "details": inspect.getdoc(POLICIES[kind]),
            }
            for name, (kind, _) in result.study.policies.items()
        ],
        machines=[_machine(m) for m in result.study.machines.values()],
        study_file=_study_argument(result.study.path),
        replay_example=example.directory.as_posix(),
        versions=", ".join(f"{k} {v}" for k, v in versions().items()),
    )


def _study_argument(path: Path) -> str:
    """What `fxsim run` takes for a study: a shipped one's name, else its path."""
    return path.stem if path in shipped.names("reports").values() else path.as_posix()


def answers(result: StudyResult, averages: pd.DataFrame) -> list[str]:
    """One sentence for every policy and accelerator other than the baseline."""
    baseline = averages[averages["policy"] == result.study.spec.baseline].set_index("accelerator")
    lines = []
    for row in averages.itertuples():
        if row.policy == result.study.spec.baseline or row.speedup != row.speedup:
            continue
        change = 100 * (row.test_accuracy - baseline.loc[row.accelerator, "test_accuracy"])
        lines.append(
            f"On the {row.accelerator} accelerator, the {row.policy} policy trains"
            f" {_times(row.speedup, 'faster', 'slower')} than {result.study.spec.baseline}, with"
            f" {_times(row.energy_saving, 'less', 'more')} energy and {change:+.2f} points of test"
            f" accuracy ({100 * row.test_accuracy:.2f} %)."
        )
    return lines


def _times(ratio: float, better: str, worse: str) -> str:
    return f"{ratio:.2f}x {better}" if ratio >= 1 else f"{1 / ratio:.2f}x {worse}"


def _figures(result: StudyResult, costs: pd.DataFrame | None) -> list[tuple[str, Figure, str]]:
    found = [
        (
            "Accuracy and loss",
            figures.accuracy_curves(result),
            "Thick: mean over seeds; thin: each seed.",
        )
    ]
    groups = [("component", "by component"), ("pass", "by pass")]
    if costs is not None:
        cycles, energy = tables.stacks(costs)
        found += [
            ("Cycles", figures.stacked(cycles, groups, "cycles", "millions"), _MEAN),
            ("Energy", figures.stacked(energy / 1e3, groups, "energy", "mJ"), _MEAN),
        ]
    for name, run, block_wise in _adaptive(result):
        found.append(
            (
                f"Bit-width map of {name}",
                figures.bit_width_map(run),
                f"Mean word length of each layer's operands, step by step (seed"
                f" {run.manifest['seed']}). Every step is recorded.",
            )
        )
        if block_wise:
            found.append(
                (
                    f"Inside a layer, {name}",
                    figures.block_maps(run),
                    "Word length of each block of the layer with the most multiply-accumulates, at"
                    " four sampled steps.",
                )
            )
    return found


_MEAN = "The whole training run, mean over seeds."


def _adaptive(result: StudyResult) -> list[tuple[str, Run, bool]]:
    """The first run of every policy that moves word lengths, and whether block by block."""
    found = {}
    for (name, _), run in result.runs.items():
        if run.integer and name not in found:
            operands = run.trace().operands
            lengths = operands["word_bits"] / (operands["rows"] * operands["columns"])
            moves = (lengths.groupby([operands["layer"], operands["role"]]).nunique() > 1).any()
            if moves:
                found[name] = (name, run, int(operands["blocks"].max()) > 1)
    return list(found.values())


def _table(table: pd.DataFrame) -> Markup:
    return Markup(table.to_html(index=False, border=0, justify="unset"))


def _rounded(table: pd.DataFrame) -> pd.DataFrame:
    text = table.copy()
    for column in ("macs", "array_cycles", "elastic_cycles"):
        text[column] = [f"{value / 1e6:.1f} M" for value in table[column]]
    text["array_utilisation"] = [f"{value:.1%}" for value in table["array_utilisation"]]
    return text


def _assumptions() -> list[str]:
    """The list in the pricing module's docstring, which is the one place where it stands."""
    listed = (price.__doc__ or "").split("\n- ")[1:]
    return [" ".join(item.split()) for item in listed]


def _machine(machine: Accelerator) -> dict[str, object]:
    parts = [
        {"name": name, "source": section.source}
        for name in (
            "technology", "pe_array", "pe", "dataflow", "sync", "packing", "vector_unit",
            "analytics_unit",
        )
        if (section := getattr(machine, name)) is not None
    ]  # fmt: skip
    parts += [{"name": level.name, "source": level.source} for level in machine.memory]
    return {"name": machine.name, "source": machine.source, "parts": parts}
