"""Studies: a workload under several policies and seeds, on several accelerators, compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from fxsim import runs, shipped, yaml_reader
from fxsim import workload as workloads
from fxsim.accelerator import schema
from fxsim.accelerator.schema import Accelerator
from fxsim.cost import literature
from fxsim.cost.price import Priced, price
from fxsim.errors import ConfigError, DataError, hint
from fxsim.precision import POLICIES
from fxsim.precision.cost_aware import CostAware
from fxsim.runs import Policy, Run, RunInputs
from fxsim.training import data as datasets
from fxsim.training.settings import Watcher

QUICKSTART = "quickstart"
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]


class PolicySpec(BaseModel):
    """A policy by kind; every further key is one of its parameters."""

    model_config = ConfigDict(frozen=True, extra="allow")
    name: Name
    kind: str


class StudySpec(BaseModel):
    """A study's YAML.

    baseline : the policy that speedups and savings are stated against, on the same accelerator
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: Name
    title: str
    workload: str
    dataset: str | None = None
    epochs: Annotated[int, Field(ge=1)] | None = None
    policies: Annotated[tuple[PolicySpec, ...], Field(min_length=1)]
    accelerators: Annotated[tuple[str, ...], Field(min_length=1)]
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]
    baseline: str


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """A study, read and checked, with everything that it names."""

    spec: StudySpec
    path: Path
    workload_path: Path
    policies: dict[str, tuple[str, Policy]]
    machines: dict[str, Accelerator]


@dataclass(frozen=True, slots=True, eq=False)
class StudyResult:
    """What a study found.

    runs : {(policy, seed): run}; priced : {(policy, seed, accelerator): cost}
    """

    study: Study
    directory: Path
    runs: dict[tuple[str, int], Run]
    priced: dict[tuple[str, int, str], Priced]


class StudyWatcher(Protocol):
    """Hears of a study's progress."""

    def run(self, label: str, reused: bool) -> Watcher | None:
        """A run begins (or an old one with the same inputs is used); who watches it."""

    def pricing(self, label: str) -> None:
        """A run is being priced."""


def load(path: Path) -> Study:
    """Read a study and everything it names; every error names its line."""
    document = yaml_reader.read(path)
    spec = document.validate(StudySpec, "study")
    policies: dict[str, tuple[str, Policy]] = {}
    for i, entry in enumerate(spec.policies):
        if entry.name in policies:
            document.fail(
                ("policies", i, "name"), f"policies.{i}.name: {entry.name!r} is given twice"
            )
        if entry.kind not in POLICIES:
            document.fail(
                ("policies", i, "kind"),
                f"policies.{i}.kind must be one of {', '.join(POLICIES)},"
                f" not {entry.kind!r}{hint(entry.kind, POLICIES)}",
            )
        parameters = dict(entry.model_extra or {})
        built = document.build(POLICIES[entry.kind], parameters, ("policies", i))
        if isinstance(built, CostAware):
            where = ("policies", i, "accelerator")
            schema.load(_named(document, where, "accelerators", built.accelerator, path))
        policies[entry.name] = (entry.kind, built)
    if spec.baseline not in policies:
        document.fail(
            ("baseline",),
            f"baseline must be one of the study's policies ({', '.join(policies)}),"
            f" not {spec.baseline!r}{hint(spec.baseline, policies)}",
        )
    machines: dict[str, Accelerator] = {}
    for i, name in enumerate(spec.accelerators):
        machine = schema.load(_named(document, ("accelerators", i), "accelerators", name, path))
        if machine.name in machines:
            document.fail(("accelerators", i), f"accelerators.{i}: {machine.name!r} is given twice")
        machines[machine.name] = machine
    workload_path = _named(document, ("workload",), "workloads", spec.workload, path)
    workloads.load(workload_path)
    if spec.dataset is not None and (problem := datasets.unknown(spec.dataset)):
        document.fail(("dataset",), problem)
    return Study(spec, path, workload_path, policies, machines)


def _named(
    document: yaml_reader.Document, at: yaml_reader.Location, kind: str, name: str, path: Path
) -> Path:
    try:
        return shipped.find(kind, name, path.parent)
    except ConfigError as problem:
        document.fail(at, f"{'.'.join(map(str, at))}: {problem}")


def run(
    study: Study,
    directory: Path,
    watcher: StudyWatcher,
    data_directory: Path | None = None,
    force: bool = False,
    epochs: int | None = None,
) -> StudyResult:
    """Train every policy and seed, price every trace on every accelerator.

    A run in `directory` with the same inputs (code, workload, data, policy, epochs, seed) is used
    again unless `force`.
    """
    dataset = None
    planned: dict[tuple[str, int], RunInputs] = {}
    for name, (kind, policy) in study.policies.items():
        for seed in study.spec.seeds:
            planned[name, seed] = runs.prepare(
                study.workload_path, kind, policy, seed, dataset, data_directory,
                study.spec.dataset, epochs or study.spec.epochs, near=study.path.parent,
            )  # fmt: skip
            dataset = planned[name, seed].dataset
    found: dict[tuple[str, int], Run] = {}
    for (name, seed), inputs in planned.items():
        place = directory / "runs" / f"{name}-seed{seed}"
        old = None if force else _reusable(place, inputs)
        following = watcher.run(f"{name}, seed {seed}", old is not None)
        found[name, seed] = old or runs.execute(
            inputs, place, following, resume=not force, force=force
        )
    return price_runs(study, directory, found, watcher.pricing)


def price_runs(
    study: Study,
    directory: Path,
    found: dict[tuple[str, int], Run],
    tell: Callable[[str], None] = lambda label: None,
) -> StudyResult:
    """Price every integer run on every accelerator of a study."""
    priced: dict[tuple[str, int, str], Priced] = {}
    for (name, seed), run_ in found.items():
        if not run_.integer:
            continue
        tell(f"{name}, seed {seed}")
        trace = run_.trace()
        for machine in study.machines.values():
            priced[name, seed, machine.name] = price(trace, machine)
    return StudyResult(study, directory, found, priced)


def _reusable(place: Path, inputs: RunInputs) -> Run | None:
    if not (place / "run.json").is_file():
        return None
    old = Run.load(place)
    return old if old.manifest.get("inputs_sha256") == inputs.sha256() else None


def load_result(directory: Path, study: Study) -> StudyResult:
    """The finished runs of a study, priced again, without training.

    Raises DataError if one of them was made from another policy, workload or number of epochs.
    """
    found: dict[tuple[str, int], Run] = {}
    for name, (kind, policy) in study.policies.items():
        for seed in study.spec.seeds:
            run_ = Run.load(directory / "runs" / f"{name}-seed{seed}")
            same = run_.matches(kind, policy, study.workload_path, study.spec.epochs)
            if not same:
                raise DataError(
                    f"{run_.directory}: must be a run of the study as it is now, not of an earlier"
                    f" version; fxsim run {study.path}"
                )
            found[name, seed] = run_
    return price_runs(study, directory, found)


def summary(result: StudyResult) -> pd.DataFrame:
    """A row a policy, accelerator and seed; speedup and saving against the baseline.

    Units: accuracy as a fraction, bits, cycles and microjoules of the whole training run, array
    area in mm2. Float policies have no cycles on integer arrays (NaN).
    """
    rows: list[dict[str, Any]] = []
    for (name, seed), run_ in result.runs.items():
        for machine in result.study.machines.values():
            cost = result.priced.get((name, seed, machine.name))
            base = result.priced.get((result.study.spec.baseline, seed, machine.name))
            bits = run_.mean_bits()
            rows.append(
                {
                    "policy": name,
                    "accelerator": machine.name,
                    "seed": seed,
                    "test_accuracy": run_.manifest["test_accuracy"],
                    **{f"{r}_bits": bits.get(r, 32.0) for r in ("weight", "activation", "error")},
                    "cycles": cost.cycles if cost else float("nan"),
                    "energy_uj": cost.energy_pj / 1e6 if cost else float("nan"),
                    "speedup": base.cycles / cost.cycles if cost and base else float("nan"),
                    "energy_saving": base.energy_pj / cost.energy_pj
                    if cost and base
                    else float("nan"),
                    "array_area_mm2": machine.array_area_mm2,
                    "weights_sha256": run_.manifest["weights_sha256"],
                }
            )
    return pd.DataFrame(rows)


def averaged(table: pd.DataFrame) -> pd.DataFrame:
    """`summary` averaged over seeds: a row a policy and accelerator, with the first seed's hash."""
    keys = ["policy", "accelerator"]
    numbers = table.drop(columns=["seed", "weights_sha256"]).groupby(keys, sort=False).mean()
    first = table.groupby(keys, sort=False)["weights_sha256"].first()
    return numbers.join(first).reset_index()


def cost_table(result: StudyResult) -> pd.DataFrame:
    """All costs: a row a policy, seed, accelerator, layer, pass and operation, steps summed."""
    parts = []
    for (name, seed, machine), cost in result.priced.items():
        numbers = cost.table.drop(columns=["step", "maps", "bound_by"])
        total = numbers.groupby(["layer", "pass", "operation"], sort=False).sum().reset_index()
        names = pd.DataFrame({"policy": name, "seed": seed, "accelerator": machine}, total.index)
        parts.append(pd.concat([names, total], axis=1))
    return pd.concat(parts, ignore_index=True)


def literature_table(result: StudyResult) -> pd.DataFrame:
    """What each integer run cost as papers count it; see `fxsim.cost.literature.figures`.

    The accuracy to be reached is that of the float policy's run with the same seed, or the
    baseline's where there is none.
    """
    floats = [name for name, (_, policy) in result.study.policies.items() if not policy.integer]
    standard = floats[0] if floats else result.study.spec.baseline
    rows = []
    for (name, seed), run_ in result.runs.items():
        if run_.integer:
            target = result.runs[standard, seed].manifest["test_accuracy"]
            reached = [float(found) for found in run_.evaluations["test_accuracy"]]
            counted = literature.figures(run_.trace(), run_.decisions, reached, target)
            rows.append({"policy": name, "seed": seed, **counted})
    return pd.DataFrame(rows)


def default_directory(study: Study) -> Path:
    """Where a study's results go unless told otherwise."""
    return Path("reports") / study.spec.name


def find(name: str | None) -> Path:
    """A study's file by path or shipped name; the quickstart if None."""
    return shipped.find("reports", name or QUICKSTART)
