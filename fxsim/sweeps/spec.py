"""A sweep's YAML: what varies, what is wanted, and what is asked of each point."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from fxsim.config import overrides, resources, yaml_document
from fxsim.config.yaml_document import Document, Location, Mark
from fxsim.errors import ConfigError, hint
from fxsim.hardware import accelerator as schema
from fxsim.hardware.accelerator import Accelerator
from fxsim.policies.registry import POLICIES
from fxsim.studies.spec import Name, PricedSpec, Seeds
from fxsim.training import data as datasets
from fxsim.training import workload as workloads

PARTS = ("workload", "policy", "accelerator")  # that an axis may vary, or a key of
Objective = Literal["accuracy", "cycles", "seconds", "energy", "edp", "area"]
COLUMNS: dict[str, str] = {
    "accuracy": "test_accuracy",
    "cycles": "cycles",
    "seconds": "seconds",
    "energy": "energy_uj",
    "edp": "edp_js",
    "area": "area_mm2",
}
MOST_POINTS = 100_000  # of a grid


class Range(BaseModel):
    """Numbers from low to high, both included.

    step : only every so much; powers_of_two : only these; log : searched on a logarithmic scale
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    low: float
    high: float
    step: Annotated[float, Field(gt=0)] | None = None
    log: bool = False
    powers_of_two: bool = False

    @model_validator(mode="after")
    def _one_way(self) -> Range:
        if self.low > self.high or (self.low <= 0 and (self.log or self.powers_of_two)):
            raise ValueError("low must be at most high, and above 0 where log or powers_of_two")
        if [self.step is not None, self.log, self.powers_of_two].count(True) > 1:
            raise ValueError("takes one of step, log and powers_of_two")
        if self.step and (self.high - self.low) / self.step > MOST_POINTS:
            raise ValueError(f"must have at most {MOST_POINTS:,} steps")
        return self

    @property
    def whole(self) -> bool:
        """Whether all of its numbers are integers."""
        return all(v == int(v) for v in (self.low, self.high, self.step or 1))

    def values(self) -> list[Any] | None:
        """All of them, in order; None if they are not countable."""
        if self.powers_of_two:
            first, last = math.ceil(math.log2(self.low)), math.floor(math.log2(self.high))
            return [2**i for i in range(first, last + 1)]
        if self.step is None and not (self.whole and self.high - self.low < 64 and not self.log):
            return None
        step = self.step or 1
        count = math.floor((self.high - self.low) / step + 1e-9) + 1
        numbers = [self.low + i * step for i in range(count)]
        return [int(v) for v in numbers] if self.whole else numbers


class GridSearch(BaseModel):
    """All combinations."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["grid"] = "grid"


class ParetoSearch(BaseModel):
    """Points are proposed towards the Pareto front, generation by generation.

    sampler : NSGA-II (Deb et al. 2002), a multi-objective tree-structured Parzen estimator (Ozaki
        et al. 2022), or random; Optuna's
    generation : how many points are proposed before any of their results is seen. It does not
        depend on the number of workers, so a search is a function of its file alone
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["pareto"]
    points: Annotated[int, Field(ge=1)]
    sampler: Literal["nsga2", "tpe", "random"] = "nsga2"
    generation: Annotated[int, Field(ge=1)] = 16
    seed: Annotated[int, Field(ge=0)] = 0


class PolicyOf(BaseModel):
    """A policy by kind; every further key is one of its parameters."""

    model_config = ConfigDict(frozen=True, extra="allow")
    kind: str
    name: str | None = None


class Baseline(BaseModel):
    """What speedups and savings are stated against; what is absent is the sweep's own."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    policy: PolicyOf | None = None
    accelerator: str | None = None


class SweepSpec(PricedSpec):
    """A sweep's YAML.

    axes : {"policy.weight_budget", "accelerator.pe_array.rows", "workload.training.batch", or
        "policy" or "accelerator" as a whole: values, or a range}
    objectives : what is wanted of each; limits : above (accuracy: below) which no point counts
    objective : what the mapper minimises
    phase, batch : see `PricedSpec`
    """

    name: Name
    title: str
    workload: str
    dataset: str | None = None
    epochs: Annotated[int, Field(ge=1)] | None = None
    policy: PolicyOf = PolicyOf(kind="uniform")
    accelerator: str
    seeds: Seeds = (0,)
    axes: Annotated[dict[str, Any], Field(min_length=1)]
    search: Annotated[GridSearch | ParetoSearch, Field(discriminator="kind")] = GridSearch()
    objectives: Annotated[tuple[Objective, ...], Field(min_length=1)] = ("accuracy", "energy")
    limits: dict[Objective, float] = Field(default_factory=dict)
    baseline: Baseline | None = None
    objective: Literal["cycles", "energy", "edp"] = "edp"


@dataclass(frozen=True, slots=True, eq=False)
class Axis:
    """One thing that varies.

    part : one of PARTS; key : of it, dotted; empty: the whole
    values : all there are; None where a range has too many
    """

    name: str
    part: str
    key: str
    values: list[Any] | None
    range: Range | None


@dataclass(frozen=True, slots=True, eq=False)
class Recipe:
    """What a point is made of: everything that must be trained and priced.

    weighed : the accelerator whose prices a policy weighs, if it does
    """

    workload: Document
    policy_name: str
    policy_kind: str
    policy: Any
    machine: Accelerator
    weighed: Document


@dataclass(frozen=True, slots=True, eq=False)
class Sweep:
    """A sweep, read and checked."""

    spec: SweepSpec
    path: Path
    document: Document
    axes: tuple[Axis, ...]

    def baseline(self) -> Sweep:
        """The sweep of no axis whose one point is the baseline."""
        baseline = self.spec.baseline or Baseline()
        own = {
            "policy": baseline.policy or self.spec.policy,
            "accelerator": baseline.accelerator or self.spec.accelerator,
        }
        return Sweep(self.spec.model_copy(update=own), self.path, self.document, ())

    def recipe(self, values: Mapping[str, Any]) -> Recipe:
        """What a point is made of.

        values : {axis: value}; raises ConfigError if they make no sense together
        """
        wholes = {axis.part: values[axis.name] for axis in self.axes if not axis.key}
        spec = self.spec
        policy = wholes.get("policy", {"kind": spec.policy.kind, **(spec.policy.model_extra or {})})
        machine = wholes.get("accelerator", spec.accelerator)
        network = wholes.get("workload", spec.workload)
        keys: dict[str, dict[str, Any]] = {part: {} for part in PARTS}
        for axis in self.axes:
            if axis.key:
                keys[axis.part][axis.key] = values[axis.name]
        settings = {**policy, **keys["policy"]}
        name = settings.pop("name", None) or settings["kind"]
        built = self._policy(settings, "policy" in wholes)
        changed_machine = self._changed("accelerators", machine, keys["accelerator"])
        loaded = schema.load(changed_machine)
        short = overrides.short_names(keys["accelerator"])
        labels = [overrides.label_of(short[k], v) for k, v in keys["accelerator"].items()]
        loaded = loaded.model_copy(update={"name": "-".join([loaded.name, *labels])})
        network_document = self._changed("workloads", network, keys["workload"])
        weighed = changed_machine
        if (request := built.bit_cost_request) is not None:
            if "accelerator" in settings:  # its own, else the point's
                weighed = self._changed("accelerators", request.accelerator, {})
            else:
                built = built.model_copy(update={"accelerator": loaded.name})
        return Recipe(network_document, name, settings["kind"], built, loaded, weighed)

    def _policy(self, settings: Mapping[str, Any], chosen: bool) -> Any:
        """A policy of its kind and parameters; chosen : from an axis of whole policies."""
        kind = settings["kind"]
        parameters = {key: value for key, value in settings.items() if key != "kind"}
        whole = self.document.mark(("axes", "policy") if chosen else ("policy",))
        changes: dict[Location, tuple[Any, Mark]] = {("policy",): ({}, whole)}
        for key, value in parameters.items():
            axis = f"policy.{key}"
            own = any(axis == other.name for other in self.axes)
            mark = self.document.mark(("axes", axis)) if own else whole
            changes["policy", key] = (value, mark)
        document = self.document.changed(changes)
        if kind not in POLICIES:
            document.fail(
                ("policy",),
                f"policy.kind must be one of {', '.join(POLICIES)}, not {kind!r}"
                f"{hint(str(kind), POLICIES)}",
            )
        if not POLICIES[kind].integer:
            document.fail(("policy",), f"policy.kind: a sweep takes integer policies, not {kind}")
        return document.build(POLICIES[kind], parameters, ("policy",))

    def _changed(self, kind: str, name: str, settings: Mapping[str, Any]) -> Document:
        base = yaml_document.read(resources.find(kind, name, self.path.parent))
        part = kind.removesuffix("s")
        marks = {key: self.document.mark(("axes", f"{part}.{key}")) for key in settings}
        changes: dict[Location, tuple[Any, Mark]] = {
            base.find(key): (value, marks[key]) for key, value in settings.items()
        }
        return base.changed(changes)


def _problem(sweep: Sweep, values: Mapping[str, Any]) -> str:
    """What is wrong with a point; empty if nothing is."""
    try:
        workloads.load(sweep.recipe(values).workload)
    except ConfigError as problem:
        return str(problem)
    return ""


def load(path: str | Path) -> Sweep:
    """Read a sweep; every error names its line."""
    document = yaml_document.read(path)
    spec = document.validate(SweepSpec, "sweep")
    spec.check(document)
    axes = tuple(_axis(document, name, given) for name, given in spec.axes.items())
    try:
        overrides.apart({name: 0 for name in spec.axes if "." in name})
    except ConfigError as problem:
        document.fail(("axes",), f"axes: {problem}")
    _find(document, ("workload",), "workloads", spec.workload)
    _find(document, ("accelerator",), "accelerators", spec.accelerator)
    if spec.baseline is not None and spec.baseline.accelerator is not None:
        at = ("baseline", "accelerator")
        _find(document, at, "accelerators", spec.baseline.accelerator)
    if spec.dataset is not None and (wrong := datasets.unknown(spec.dataset)):
        document.fail(("dataset",), wrong)
    if isinstance(spec.search, GridSearch):
        size = 1
        for axis in axes:
            if axis.values is None:
                document.fail(
                    ("axes", axis.name),
                    f"axes.{axis.name} must be a list, or have a step or powers_of_two, for a grid;"
                    " search: {kind: pareto, points: 100} takes any range",
                )
            size *= len(axis.values)
        if size > MOST_POINTS:
            document.fail(
                ("axes",), f"axes: a grid of at most {MOST_POINTS:,} points, not {size:,}"
            )
    sweep = Sweep(spec, document.path, document, axes)
    _check(document, sweep)
    return sweep


def _find(document: Document, at: Location, kind: str, name: str) -> Path:
    try:
        return resources.find(kind, name, document.path.parent)
    except ConfigError as problem:
        document.fail(at, f"{'.'.join(map(str, at))}: {problem}")


def _axis(document: Document, name: str, given: Any) -> Axis:
    at = ("axes", name)
    part, _, key = name.partition(".")
    if part not in PARTS or name.endswith("."):
        document.fail(
            at, f"axes: {name!r} must be or begin with {', '.join(PARTS)}{hint(part, PARTS)}"
        )
    if isinstance(given, dict):
        if not key:
            document.fail(at, f"axes.{name} must be a list of {part} choices, not a range")
        span = document.build(Range, given, at)
        values = span.values()
        if values == []:
            document.fail(at, f"axes.{name}: no power of two lies from low to high")
        return Axis(name, part, key, values, span)
    if not isinstance(given, list) or not given:
        document.fail(at, f"axes.{name} must be a list of values or a range, not {given!r}")
    for i, choice in enumerate(given if not key else []):
        if part == "policy":
            if not (isinstance(choice, dict) and isinstance(choice.get("kind"), str)):
                document.fail((*at, i), f"axes.{name}.{i} must be a policy with its kind")
        elif not isinstance(choice, str):
            document.fail((*at, i), f"axes.{name}.{i} must be a name or path")
        else:
            _find(document, (*at, i), f"{part}s", choice)
    labels = [overrides.label_of("", choice) for choice in given]
    for i, label in enumerate(labels):
        if label in labels[:i]:
            document.fail((*at, i), f"axes.{name}.{i}: {label!r} is given twice; give it a name")
    return Axis(name, part, key, given, None)


def _check(document: Document, sweep: Sweep) -> None:
    """Every value of every axis, so that a slip is found before anything is trained.

    A value is refused if it makes no sense with the others at their first nor at their last; what
    makes none in other combinations is found at its point.
    """
    ends = {axis.name: axis.values or [axis.range.low, axis.range.high] for axis in sweep.axes}  # type: ignore[union-attr]
    for axis in sweep.axes:
        if axis.key and axis.part != "policy":
            own = {"workload": sweep.spec.workload, "accelerator": sweep.spec.accelerator}
            whole = next((a.values for a in sweep.axes if a.name == axis.part), None)
            for name in whole or [own[axis.part]]:
                base = yaml_document.read(resources.find(f"{axis.part}s", name, sweep.path.parent))
                try:
                    base.find(axis.key)
                except ConfigError as problem:
                    document.fail(("axes", axis.name), f"axes.{axis.name}: {problem}")
    corners = [{name: values[end] for name, values in ends.items()} for end in (0, -1)]
    for axis in sweep.axes:
        for i, value in enumerate(ends[axis.name]):
            problems = [_problem(sweep, {**corner, axis.name: value}) for corner in corners]
            if all(problems):
                at = ("axes", axis.name, i) if axis.range is None else ("axes", axis.name)
                if problems[0].startswith(f"{document.path}:"):
                    raise ConfigError(problems[0])
                document.fail(at, f"axes.{axis.name}: {problems[0]}")
    if sweep.spec.baseline is not None and (wrong := _problem(sweep.baseline(), {})):
        words = re.sub(rf"^{re.escape(str(document.path))}:\d+:\d+: ", "", wrong)
        document.fail(("baseline",), f"baseline: {words}")
    objectives = sweep.spec.objectives
    if len(set(objectives)) < len(objectives):
        document.fail(("objectives",), "objectives must name each once")
