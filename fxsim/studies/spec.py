"""A study's YAML: what is compared, and all that it names, read and checked."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from fxsim.config import overrides, resources, yaml_document
from fxsim.config.names import file_name
from fxsim.config.overrides import Use, UseOf, Variant
from fxsim.config.yaml_document import Document, Location, Mark
from fxsim.errors import ConfigError, hint
from fxsim.hardware import accelerator, scaling
from fxsim.hardware.accelerator import Accelerator
from fxsim.identifiers import Phase
from fxsim.policies.base import Policy
from fxsim.policies.registry import POLICIES
from fxsim.training import data as datasets
from fxsim.training import workload as workloads
from fxsim.training.data.base import Dataset

QUICKSTART = "quickstart"
Section = Literal[
    "accuracy",
    "bits",
    "blocks",
    "cost",
    "roofline",
    "utilisation",
    "numbers",
    "pareto",
    "papers",
    "seeds",
]
SECTIONS: tuple[Section, ...] = get_args(Section)
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]


def _each_once(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(seeds)) < len(seeds):
        raise ValueError("must name each seed once")
    return seeds


Seeds = Annotated[
    tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1), AfterValidator(_each_once)
]


class PolicySpec(BaseModel):
    """A policy by kind; every further key is one of its parameters."""

    model_config = ConfigDict(frozen=True, extra="allow")
    name: Name
    kind: str


class ReportSpec(BaseModel):
    """What a study's report shows, and in which forms.

    sections : of the page, in its own order; all unless named
    figures : formats of the figures' files
    layers : how many layers' block maps are shown, those with the most multiply-accumulates
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    sections: Annotated[tuple[Section, ...], Field(min_length=1)] = SECTIONS
    figures: tuple[Literal["png", "svg", "pdf"], ...] = ("png", "svg")
    layers: Annotated[int, Field(ge=1, le=8)] = 3


class PricedSpec(BaseModel):
    """What of a run is priced.

    phase : its training, or its inference: one forward pass over test samples with its last state,
        weights stored as operands
    batch : samples of inference; as in a training step unless given
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    phase: Phase = Phase.TRAINING
    batch: Annotated[int, Field(ge=1)] | None = None

    def check(self, document: Document) -> None:
        """Refuse a batch that nothing takes.

        Parameters
        ----------
        document : the file that this was read from

        Raises
        ------
        ConfigError : with file and line
        """
        if self.batch is not None and self.phase is Phase.TRAINING:
            document.fail(
                ("batch",),
                "batch is of phase: inference; training has the workload's (training.batch)",
            )

    def check_samples(self, document: Document, dataset: Dataset) -> None:
        """Refuse a batch that has more samples than there are, before anything is trained.

        Parameters
        ----------
        document : the file that this was read from
        dataset : whose test samples inference takes

        Raises
        ------
        ConfigError : with file and line
        """
        if self.batch is not None and self.batch > dataset.test_size:
            document.fail(
                ("batch",),
                f"batch must be at most the {dataset.test_size} test samples of {dataset.name},"
                f" not {self.batch}",
            )

    @property
    def what(self) -> str:
        """In words."""
        if self.phase is Phase.TRAINING:
            return "the whole training run"
        samples = "a training step's batch" if self.batch is None else f"a batch of {self.batch}"
        return f"one inference of {samples}"


class StudySpec(PricedSpec):
    """A study's YAML.

    baseline : the policy that speedups and savings are stated against, on the same accelerator
    baseline_accelerator : against the baseline on this one instead
    objective : what the mapper minimises
    node_nm : compare at one technology node: all machines are scaled to it
    phase, batch : see `PricedSpec`
    """

    name: Name
    title: str
    workload: UseOf
    dataset: str | None = None
    epochs: Annotated[int, Field(ge=1)] | None = None
    policies: Annotated[tuple[PolicySpec, ...], Field(min_length=1)]
    accelerators: Annotated[tuple[UseOf, ...], Field(min_length=1)]
    seeds: Seeds
    baseline: str
    baseline_accelerator: str | None = None
    objective: Literal["cycles", "energy", "edp"] = "edp"
    node_nm: Annotated[float, Field(gt=0)] | None = None
    report: ReportSpec = ReportSpec()


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """A study, read and checked, with everything that it names.

    inputs : {file: text} of a study that needs no other file: itself with its variants resolved,
        its workload, its accelerators
    document : the file; options : of the command that say what it does not
    """

    spec: StudySpec
    path: Path
    document: Document
    options: str
    workload: Document
    policies: dict[str, tuple[str, Policy]]
    machines: dict[str, Accelerator]
    inputs: dict[str, str]


def load(path: str | Path, node_nm: float | None = None) -> Study:
    """Read a study and everything it names.

    Parameters
    ----------
    path : a YAML file
    node_nm : the node to scale all machines to, instead of the file's `node_nm`

    Returns
    -------
    The study, with its policies and machines.

    Raises
    ------
    ConfigError : for what is no study, or names what there is not; with file and line

    Examples
    --------
    >>> sorted(load(find("quickstart")).machines)
    ['dynasty', 'int8_systolic']
    """
    document = yaml_document.read(path)
    if node_nm is not None:
        document = document.changed({("node_nm",): (node_nm, Mark(Path("--node"), 1, 1))})
    spec = document.validate(StudySpec, "study")
    spec.check(document)
    policies: dict[str, tuple[str, Policy]] = {}
    versions = variants_of(document, ("workload",), "workloads", spec.workload)
    if len(versions) > 1:
        document.fail(
            ("workload", "set"), "workload.set must have one value a key; a sweep takes several"
        )
    if spec.workload.name is not None:
        document.fail(("workload", "name"), "workload.name: a workload keeps its own name")
    network, _ = workloads.load(versions[0].document)
    layers = [layer.name for layer in network.layers]
    for i, entry in enumerate(spec.policies):
        _policies(document, i, entry, layers, policies)
    if spec.baseline not in policies:
        document.fail(
            ("baseline",),
            f"baseline must be one of the study's policies ({', '.join(policies)}),"
            f" not {spec.baseline!r}{hint(spec.baseline, policies)}",
        )
    machines: dict[str, Accelerator] = {}
    inputs: dict[str, str] = {}
    for i, use in enumerate(spec.accelerators):
        for machine, text in machines_of(document, ("accelerators", i), use):
            if machine.name in machines:
                document.fail(
                    ("accelerators", i),
                    f"accelerators.{i}: {machine.name!r} is given twice; give it a name",
                )
            machines[machine.name] = _at_node(document, machine, spec.node_nm)
            inputs[f"accelerators/{file_name(machine.name)}.yaml"] = text
    on = spec.baseline_accelerator
    if on is not None and on not in machines:
        document.fail(
            ("baseline_accelerator",),
            f"baseline_accelerator must be one of the study's ({', '.join(machines)}),"
            f" not {on!r}{hint(on, machines)}",
        )
    if spec.dataset is not None and (problem := datasets.unknown(spec.dataset)):
        document.fail(("dataset",), problem)
    here = document.mark(())
    resolved = document.changed(
        {("workload",): ("workload.yaml", here), ("accelerators",): (list(inputs), here)}
    )
    inputs |= {"workload.yaml": versions[0].document.text, "study.yaml": resolved.text}
    options = "" if node_nm is None else f" --node {node_nm:g}"
    return Study(
        spec, document.path, document, options, versions[0].document, policies, machines, inputs
    )


def _at_node(document: Document, machine: Accelerator, node_nm: float | None) -> Accelerator:
    """A machine at the study's node, if it has one."""
    if node_nm is None:
        return machine
    try:
        return scaling.scaled(machine, node_nm)
    except ConfigError as problem:
        document.fail(("node_nm",), f"node_nm: {problem}")


def _policies(
    document: Document,
    i: int,
    entry: PolicySpec,
    layers: list[str],
    policies: dict[str, tuple[str, Policy]],
) -> None:
    """Add the policies of an entry, one for each combination of parameters given as lists."""
    at = ("policies", i)
    if entry.kind not in POLICIES:
        document.fail(
            (*at, "kind"),
            f"policies.{i}.kind must be one of {', '.join(POLICIES)},"
            f" not {entry.kind!r}{hint(entry.kind, POLICIES)}",
        )
    parameters = dict(entry.model_extra or {})
    fields = POLICIES[entry.kind].model_fields
    several = [
        key
        for key, value in parameters.items()
        if isinstance(value, list)
        and key in fields
        and ("tuple" not in str(fields[key].annotation) or all(isinstance(v, list) for v in value))
    ]
    for key in several:
        if not parameters[key]:
            document.fail((*at, key), f"policies.{i}.{key} must have at least one value")
    count = prod(len(parameters[key]) for key in several)
    if count > overrides.MOST_VARIANTS:
        document.fail(
            at,
            f"policies.{i}: must be at most {overrides.MOST_VARIANTS:,} combinations, not"
            f" {count:,}",
        )
    for values in itertools.product(*(parameters[key] for key in several)):
        chosen = dict(zip(several, values, strict=True))
        name = "-".join([entry.name, *(overrides.label_of(k, v) for k, v in chosen.items())])
        if name in policies:
            document.fail((*at, "name"), f"policies.{i}.name: {name!r} is given twice")
        built = document.build(POLICIES[entry.kind], {**parameters, **chosen}, at)
        if (request := built.bit_cost_request) is not None:
            accelerator.load(
                _named(document, (*at, "accelerator"), "accelerators", request.accelerator)
            )
        for layer in built.own_layers:
            if layer not in layers:
                document.fail(
                    (*at, "layers", layer),
                    f"policies.{i}.layers: the network has no layer {layer!r}{hint(layer, layers)}",
                )
        policies[name] = (entry.kind, built)


def machines_of(document: Document, at: Location, use: Use) -> list[tuple[Accelerator, str]]:
    """The accelerators that a place in a YAML file asks for.

    Parameters
    ----------
    document : the file
    at : the place
    use : what stands there: a name, or a name with other values for some keys

    Returns
    -------
    Each machine with its YAML.

    Raises
    ------
    ConfigError : for a machine that there is not, with file and line
    """
    machines = []
    for variant in variants_of(document, at, "accelerators", use):
        machine = accelerator.load(variant.document)
        name = use.name or machine.name
        settings = ", ".join(f"{key} = {value}" for key, value in variant.values.items())
        if not use.name and not variant.label and settings:
            short = overrides.short_names(variant.values)
            labels = [overrides.label_of(short[k], v) for k, v in variant.values.items()]
            name = "-".join([name, *labels])
        name = "-".join(filter(None, [name, variant.label]))
        source = f"{machine.source}; here with {settings}" if settings else machine.source
        text = variant.document.text
        if (name, source) != (machine.name, machine.source):
            mark = document.mark(at)
            named: dict[Location, tuple[Any, Mark]] = {
                ("name",): (name, mark),
                ("source",): (source, mark),
            }
            text = variant.document.changed(named).text
        machines.append((machine.model_copy(update={"name": name, "source": source}), text))
    return machines


def variants_of(document: Document, at: Location, kind: str, use: Use) -> list[Variant]:
    """The variants of a shipped file, or of one beside the document, that a place in it asks for.

    Parameters
    ----------
    document : the file
    at : the place
    kind : "accelerators" or "workloads"
    use : what stands there

    Returns
    -------
    One, or one for each combination of the values that are lists.

    Raises
    ------
    ConfigError : for a file or a key that there is not, with file and line
    """
    where = (*at, "use") if isinstance(document.at(at), dict) else at
    base = yaml_document.read(_named(document, where, kind, use.use))
    marks = {key: document.mark((*at, "set", key)) for key in use.set}
    try:
        return overrides.grid(base, use.set, marks)
    except ConfigError as problem:
        document.fail((*at, "set"), f"{'.'.join(map(str, at))}.set: {problem}")


def _named(document: Document, at: Location, kind: str, name: str) -> Path:
    try:
        return resources.find(kind, name, document.path.parent)
    except ConfigError as problem:
        document.fail(at, f"{'.'.join(map(str, at))}: {problem}")


def default_directory(study: Study) -> Path:
    """Where a study's results go unless told otherwise.

    Parameters
    ----------
    study : that is run

    Returns
    -------
    `reports/NAME`.

    Examples
    --------
    >>> default_directory(load(find("quickstart"))).as_posix()
    'reports/quickstart'
    """
    return Path("reports") / study.spec.name


def find(name: str | None) -> Path:
    """A study's file.

    Parameters
    ----------
    name : a path or a shipped name; None: the quickstart

    Returns
    -------
    The path.

    Raises
    ------
    ConfigError : if there is none

    Examples
    --------
    >>> find(None).name
    'quickstart.yaml'
    """
    return resources.find("reports", name or QUICKSTART)
