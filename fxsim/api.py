"""What `import fxsim` offers besides its types: the command line's work as calls.

Each call takes names of shipped files, or paths; each raises `FxsimError` with the line that the
command line would print. Progress goes to standard error unless `quiet`. What a call needs is
loaded when it is called.

>>> import fxsim
>>> wide = fxsim.machine("dynasty", {"pe_array.rows": 8})
>>> wide.units, wide.peak_macs(4, 4)
(32, 2048.0)
>>> step = fxsim.estimate("lenet5", wide, batch=4)
>>> bool(step.cycles > 0 and step.energy_pj > 0)
True
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fxsim.config.names import file_name
from fxsim.errors import ConfigError, hint

if TYPE_CHECKING:
    import pandas as pd

    from fxsim.cost.model import TraceCost
    from fxsim.hardware.accelerator import Accelerator
    from fxsim.integrations.onnx.import_model import Imported
    from fxsim.mapping.search import Objective
    from fxsim.policies.base import Policy
    from fxsim.runs.directory import Run
    from fxsim.studies.study import StudyResult
    from fxsim.sweeps.sweep import SweepResult

Place = str | Path


def machine(
    name: Place, changes: Mapping[str, Any] | None = None, node_nm: float | None = None
) -> Accelerator:
    """Read a machine, with other values for some of its YAML's keys, at another technology node.

    Parameters
    ----------
    name : a shipped accelerator's name, or a YAML file
    changes : {dotted key: value}, as `{"memory.left_buffer.capacity_bits": 65536}`
    node_nm : the technology node to scale on-chip energies and areas to [nm]; None: the file's

    Returns
    -------
    The machine; its name tells the changes.

    Raises
    ------
    ConfigError : for a name, key or value that there is not; with file and line

    Examples
    --------
    >>> machine("dynasty", {"pe_array.rows": 8}).name
    'dynasty-rows8'
    """
    from fxsim.config import overrides, resources, yaml_document
    from fxsim.hardware import accelerator, scaling

    base = yaml_document.read(resources.find("accelerators", str(name)))
    settings = {key: _scalars(value) for key, value in (changes or {}).items()}
    here = yaml_document.Mark(Path("changes"), 1, 1)
    changed = base.changed({base.find(key): (value, here) for key, value in settings.items()})
    loaded = accelerator.load(changed)
    if settings:
        short = overrides.short_names(settings)
        labels = [overrides.label_of(short[key], value) for key, value in settings.items()]
        loaded = loaded.model_copy(update={"name": "-".join([loaded.name, *labels])})
    return loaded if node_nm is None else scaling.scaled(loaded, node_nm)


def _scalars(value: Any) -> Any:
    """A Python value as YAML's text."""
    if isinstance(value, Mapping):
        return {str(k): _scalars(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_scalars(v) for v in value]
    return value if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def policy(kind: str, parameters: Mapping[str, Any] | None = None) -> Policy:
    """Make a precision policy.

    Parameters
    ----------
    kind : one of `available()["policies"]`
    parameters : {name: value} of its fields; defaults for the others

    Returns
    -------
    The policy, which does not change.

    Raises
    ------
    ConfigError : for a kind, name or value that there is not

    Examples
    --------
    >>> policy("uniform", {"weight": 4}).weight
    4
    """
    from fxsim.config import yaml_document
    from fxsim.policies.registry import POLICIES

    if kind not in POLICIES:
        raise ConfigError(
            f"policy must be one of {', '.join(POLICIES)}, not {kind!r}{hint(kind, POLICIES)}"
        )
    settings, here = dict(parameters or {}), yaml_document.Mark(Path(kind), 1, 1)
    marks: dict[yaml_document.Location, yaml_document.Mark] = {
        (): here,
        **{(key,): here for key in settings},
    }
    document = yaml_document.Document(Path(kind), "", settings, marks)
    return document.build(POLICIES[kind], settings, ())


def simulate(  # noqa: PLR0913
    workload: Place,
    kind: str = "uniform",
    parameters: Mapping[str, Any] | None = None,
    *,
    seed: int = 0,
    epochs: int | None = None,
    data: str | None = None,
    data_dir: Place | None = None,
    out: Place | None = None,
    initial: Place | None = None,
    threads: int | None = None,
    quiet: bool = False,
) -> Run:
    """Train one network under one policy; an earlier run with the same inputs is used again.

    Its parameters are the command's options, each by its name.

    Parameters
    ----------
    workload : a shipped workload's name, or a YAML file
    kind, parameters : the policy, see `policy`
    seed : of initial weights, order of the data, and draws
    epochs : None: the workload's
    data : a dataset's name; None: the workload's
    data_dir : the directory of the datasets' official files; None: `FXSIM_DATA`
    out : the run's directory; None: `runs/<workload>-<dataset>-<policy>-seed<seed>`
    initial : a run to begin from
    threads : None: all processors; no bit depends on it
    quiet : no progress on standard error

    Returns
    -------
    The finished run.

    Raises
    ------
    ConfigError, DataError : for inputs that do not exist or do not go together

    Examples
    --------
    >>> run = fxsim.simulate("digits_cnn", "dynasty", epochs=1)  # doctest: +SKIP
    >>> run.manifest["test_accuracy"]  # doctest: +SKIP
    0.83
    """
    from fxsim.config import resources
    from fxsim.engine.threads import available_threads, set_threads
    from fxsim.runs.execute import execute, finished
    from fxsim.runs.inputs import prepare
    from fxsim.terminal.progress import Progress

    set_threads(threads or available_threads())
    inputs = prepare(
        resources.find("workloads", str(workload)),
        kind,
        policy(kind, parameters),
        seed,
        data_directory=_path(data_dir),
        data_name=data,
        epochs=epochs,
        initial=_path(initial),
    )
    name = f"{inputs.workload.name}-{inputs.dataset.name}-{kind}-seed{seed}"
    place = _path(out) or Path("runs") / file_name(name)
    old = finished(place, inputs)
    if old is not None:
        return old
    with Progress(quiet) as progress:
        return execute(inputs, place, progress.run(name, False), resume=True)


def estimate(  # noqa: PLR0913
    target: Place,
    on: Accelerator | Place,
    *,
    policy: str | None = None,
    batch: int | None = None,
    mode: Literal["training", "inference"] | None = None,
    fold: bool = False,
    objective: Objective = "edp",
    quiet: bool = True,
) -> TraceCost:
    """Price a recorded run, or one step of a workload, on a machine, without training.

    It takes more than seven parameters: the command's options, each by its name.

    Parameters
    ----------
    target : a run's directory; or a workload, by name or file
    on : a machine, or its name or file
    policy : for a workload: the kind of the step's policy; None: uniform
    batch : samples of a workload's step, or of inference; None: the workload's
    mode : "training" or "inference", one forward pass with weights that lie in memory as operands;
        None: training, unless the network can only be priced forward
    fold : for inference: fold batch norms into weights
    objective : what the mapper minimises: "cycles", "energy" or "edp" (their product)
    quiet : no progress on standard error

    Returns
    -------
    The cost: `cycles`, `energy_pj`, `table`, `roofline`, `energy(by)`, `cycles_by(by)`.

    Raises
    ------
    ConfigError, DataError : for a target that cannot be priced, or a machine that cannot hold it

    Examples
    --------
    >>> cost = estimate("lenet5", "eyeriss", batch=1)
    >>> cost.energy(["pass"])["pass"].tolist()
    ['forward', 'grad_weight', 'grad_input', 'backward', 'update']
    >>> estimate("lenet5", "eyeriss", batch=1, mode="inference").energy(["pass"])["pass"].tolist()
    ['forward']
    """
    from fxsim.cost.model import evaluate_cost
    from fxsim.identifiers import Phase
    from fxsim.runs.estimate import trace_of
    from fxsim.terminal.progress import Progress

    place = _machine(on)
    if mode is not None and mode not in list(Phase):
        raise ConfigError(f"mode must be {' or '.join(Phase)}, not {mode!r}")
    phase = None if mode is None else Phase(mode)
    with Progress(quiet) as progress:
        trace, _ = trace_of(str(target), policy, progress, batch, phase, fold)
    return evaluate_cost(trace, place, objective)


def run(  # noqa: PLR0913
    study: Place = "quickstart",
    *,
    out: Place | None = None,
    data_dir: Place | None = None,
    epochs: int | None = None,
    node_nm: float | None = None,
    force: bool = False,
    report: bool = True,
    threads: int | None = None,
    quiet: bool = False,
) -> StudyResult:
    """Run a study and write its report; what has been computed already is used again.

    Its parameters are the command's options, each by its name.

    Parameters
    ----------
    study : a shipped study's name, or a YAML file
    out : the results' directory; None: `reports/<study>`
    data_dir : the directory of the datasets' official files; None: `FXSIM_DATA`
    epochs : None: the study's
    node_nm : the node to scale all machines to [nm]; None: the study's, or each machine's own
    force : train and price again what has not changed
    report : write the report
    threads : None: all processors; no bit depends on it
    quiet : no progress on standard error

    Returns
    -------
    The study's runs and costs.

    Raises
    ------
    ConfigError, DataError : with file and line, before anything is trained

    Examples
    --------
    >>> result = fxsim.run("quickstart", epochs=1)  # doctest: +SKIP
    """
    from fxsim.engine.threads import available_threads, set_threads
    from fxsim.report import write
    from fxsim.studies import spec as study_spec
    from fxsim.studies import study as studies
    from fxsim.terminal.progress import Progress

    set_threads(threads or available_threads())
    loaded = study_spec.load(study_spec.find(str(study)), node_nm)
    place = _path(out) or study_spec.default_directory(loaded)
    with Progress(quiet) as progress:
        result = studies.run(loaded, place, progress, _path(data_dir), force, epochs)
        if report:
            write.study(result, progress.task("figures", None))
    return result


def sweep(  # noqa: PLR0913
    file: Place,
    *,
    out: Place | None = None,
    data_dir: Place | None = None,
    jobs: int = 1,
    scheduler: str | None = None,
    force: bool = False,
    report: bool = True,
    quiet: bool = False,
) -> SweepResult:
    """Measure a sweep's points, here, in local processes or on a dask cluster.

    Its parameters are the command's options, each by its name.

    Parameters
    ----------
    file : a shipped sweep's name, or a YAML file
    out : the results' directory; None: `reports/<sweep>`
    data_dir : the directory of the datasets' official files; None: `FXSIM_DATA`
    jobs : local processes; 1 is this one
    scheduler : the address of a dask cluster's scheduler instead, as `tcp://host:8786`
    force : measure again what has not changed
    report : write the report
    quiet : no progress on standard error

    Returns
    -------
    A row a point, see `SweepResult.table`.

    Raises
    ------
    ConfigError, DataError : with file and line, before anything is measured

    Examples
    --------
    >>> front = fxsim.sweep("arrays").front  # doctest: +SKIP
    """
    from fxsim.config import resources
    from fxsim.report import write
    from fxsim.sweeps import spec
    from fxsim.sweeps import sweep as sweeps
    from fxsim.terminal.progress import Progress

    loaded = spec.load(resources.find("reports", str(file)))
    place = _path(out) or Path("reports") / loaded.spec.name
    with Progress(quiet) as progress:
        result = sweeps.run(loaded, place, progress, _path(data_dir), jobs, scheduler, force)
        if report:
            write.sweep(result, progress.task("figures", None))
    return result


def compare(
    sources: Sequence[Place],
    machines: Sequence[Accelerator | Place] = (),
    *,
    baseline: str | None = None,
    quiet: bool = True,
) -> pd.DataFrame:
    """Compare runs, whoever made them.

    Parameters
    ----------
    sources : directories of runs or studies, CSV or Parquet tables
    machines : to price integer runs on
    baseline : the run that the others are compared with; None: the first
    quiet : no progress on standard error

    Returns
    -------
    A row a policy and accelerator, see `fxsim.studies.comparison.averaged`.

    Raises
    ------
    ConfigError, DataError : for sources that are no runs or tables, or a baseline not among them

    Examples
    --------
    >>> fxsim.compare(["reports/quickstart"], ["dynasty"])  # doctest: +SKIP
    """
    from fxsim.studies import comparison
    from fxsim.terminal.progress import Progress

    on = [_machine(m) for m in machines]
    with Progress(quiet) as progress:
        paths = [Path(source) for source in sources]
        return comparison.of_runs(paths, on, baseline, progress.task("pricing", None))


def import_onnx(
    model: Place,
    out: Place | None = None,
    *,
    data: str | None = None,
    name: str | None = None,
    sizes: Mapping[str, tuple[int, ...]] | None = None,
    allow_unknown: bool = False,
) -> Imported:
    """Make a workload of an ONNX or QONNX model.

    Parameters
    ----------
    model : the `.onnx` file
    out : the workload's file; None: `<name>.yaml` here
    data : the dataset's name; None: assumed from the input's shape
    name : the workload's name; None: the file's
    sizes : {input: its shape} and {axis: (its length,)}, for axes that have no number in the model
    allow_unknown : go on without operators whose work is not known; each price says so

    Returns
    -------
    What was written, and what of the model is priced only.

    Raises
    ------
    ConfigError, DataError : for a file that is no model, an axis without a length, a graph that
        cannot be laid out, or operators whose work is not known

    Examples
    --------
    >>> fxsim.import_onnx("resnet18.onnx", data="cifar10").macs  # doctest: +SKIP
    1814073344
    """
    from fxsim.integrations.onnx.import_model import import_model

    return import_model(Path(model), _path(out), data, name, sizes, allow_unknown)


def available() -> dict[str, dict[str, str]]:
    """List all there is.

    Returns
    -------
    {kind: {name: description and source}} of policies, workloads, accelerators, studies, sweeps,
    datasets and engine paths.

    Examples
    --------
    >>> "dynasty" in available()["policies"]
    True
    """
    from fxsim.studies import catalogue

    return catalogue.everything()


def draw(on: Accelerator | Place) -> str:
    """Draw an accelerator as a person would, with what it can do at which bits.

    Parameters
    ----------
    on : a machine, or its name or file

    Returns
    -------
    Lines of at most 90 characters.

    Examples
    --------
    >>> print(draw("dynasty").splitlines()[0])
    dynasty: 45 nm, 500 MHz, 2.36 mm2
    """
    from fxsim.hardware import drawing

    return drawing.text(_machine(on))


def load_run(directory: Place) -> Run:
    """Read a finished run.

    Parameters
    ----------
    directory : where it lies

    Returns
    -------
    The run: manifest, metrics, evaluations, decisions, `trace()`.

    Raises
    ------
    DataError : if it is no run's directory

    Examples
    --------
    >>> load_run("runs/mine").mean_bits()  # doctest: +SKIP
    """
    from fxsim.runs.directory import Run

    return Run.load(Path(directory))


def _machine(on: Accelerator | Place) -> Accelerator:
    return machine(on) if isinstance(on, str | Path) else on


def _path(place: Place | None) -> Path | None:
    return None if place is None else Path(place)
