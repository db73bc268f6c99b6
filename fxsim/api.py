"""What `import fxsim` offers: the command line's work as calls, for scripts and notebooks.

Each call takes names of shipped files, or paths; each raises `FxsimError` with the line that the
command line would print. Progress goes to standard error unless `quiet`.

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
from typing import Any

import pandas as pd

from fxsim import (
    catalogue,
    comparison,
    estimates,
    runs,
    shipped,
    variants,
    yaml_reader,
)
from fxsim import study as studies
from fxsim.accelerator import drawing, scaling, schema
from fxsim.accelerator.schema import Accelerator
from fxsim.arithmetic.blocks import BlockMap
from fxsim.arithmetic.formats import Accumulator, Cast, FixedPoint, Overflow, Rounding
from fxsim.arithmetic.notation import parse
from fxsim.cost.price import Priced
from fxsim.cost.price import price as price_trace
from fxsim.engine.tensor import FixedTensor
from fxsim.engine.threads import available_threads, set_threads
from fxsim.errors import ConfigError, FxsimError, hint
from fxsim.mapping.search import Objective
from fxsim.onnx_import.write import Imported, import_model
from fxsim.precision import POLICIES
from fxsim.progress import Progress
from fxsim.recorded import Run
from fxsim.report import write
from fxsim.study import Study, StudyResult
from fxsim.sweeps import spec
from fxsim.sweeps import sweep as sweeps
from fxsim.sweeps.sweep import SweepResult
from fxsim.yaml_reader import Location, Mark

Place = str | Path


def machine(
    name: Place, changes: Mapping[str, Any] | None = None, node_nm: float | None = None
) -> Accelerator:
    """A machine, with other values for some of its YAML's keys, at another technology node.

    changes : {dotted key: value}, as `{"memory.left_buffer.capacity_bits": 65536}`
    """
    base = yaml_reader.read(shipped.find("accelerators", str(name)))
    given = {key: _scalars(value) for key, value in (changes or {}).items()}
    here = Mark(Path("changes"), 1, 1)
    changed = base.changed({base.find(key): (value, here) for key, value in given.items()})
    found = schema.load(changed)
    if given:
        short = variants.short_names(given)
        labels = [variants.label_of(short[key], value) for key, value in given.items()]
        found = found.model_copy(update={"name": "-".join([found.name, *labels])})
    return found if node_nm is None else scaling.scaled(found, node_nm)


def _scalars(value: Any) -> Any:
    """A Python value as YAML's text."""
    if isinstance(value, Mapping):
        return {str(k): _scalars(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_scalars(v) for v in value]
    return value if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def policy(kind: str, parameters: Mapping[str, Any] | None = None) -> Any:
    """A precision policy by kind, see `available()["policies"]`."""
    if kind not in POLICIES:
        raise ConfigError(
            f"policy must be one of {', '.join(POLICIES)}, not {kind!r}{hint(kind, POLICIES)}"
        )
    given, here = dict(parameters or {}), Mark(Path(kind), 1, 1)
    marks: dict[Location, Mark] = {(): here, **{(key,): here for key in given}}
    return yaml_reader.Document(Path(kind), "", given, marks).build(POLICIES[kind], given, ())


def simulate(
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

    out : the run's directory; `runs/<workload>-<dataset>-<policy>-seed<seed>` if None
    initial : a run to begin from
    """
    set_threads(threads or available_threads())
    path = shipped.find("workloads", str(workload))
    inputs = runs.prepare(
        path, kind, policy(kind, parameters), seed, None, _path(data_dir), data, epochs,
        _path(initial),
    )  # fmt: skip
    name = f"{inputs.workload.name}-{inputs.dataset.name}-{kind}-seed{seed}"
    place = _path(out) or Path("runs") / name
    old = runs.finished(place, inputs)
    if old is not None:
        return old
    with Progress(quiet) as told:
        return runs.execute(inputs, place, told.run(name, False), resume=True)


def estimate(
    target: Place,
    on: Accelerator | Place,
    *,
    policy: str = "uniform",
    batch: int | None = None,
    objective: Objective = "edp",
    quiet: bool = True,
) -> Priced:
    """Price a recorded run, or one step of a workload, on a machine, without training.

    The result has `cycles`, `energy_pj`, `table`, `roofline`, `energy(by)` and `cycles_by(by)`.
    """
    place = _machine(on)
    with Progress(quiet) as told:
        trace, _ = estimates.trace_of(str(target), policy, told, batch)
    return price_trace(trace, place, objective)


def run(
    study: Place = studies.QUICKSTART,
    *,
    out: Place | None = None,
    data_dir: Place | None = None,
    epochs: int | None = None,
    force: bool = False,
    report: bool = True,
    threads: int | None = None,
    quiet: bool = False,
) -> StudyResult:
    """Run a study, and write its report; what has been computed already is used again."""
    set_threads(threads or available_threads())
    loaded = studies.load(studies.find(str(study)))
    place = _path(out) or studies.default_directory(loaded)
    with Progress(quiet) as told:
        result = studies.run(loaded, place, told, _path(data_dir), force, epochs)
        if report:
            write.study(result, told.task("figures", None))
    return result


def sweep(
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
    """Measure a sweep's points, here, in local processes or on a dask cluster."""
    loaded = spec.load(shipped.find("reports", str(file)))
    place = _path(out) or Path("reports") / loaded.spec.name
    with Progress(quiet) as told:
        result = sweeps.run(loaded, place, told, _path(data_dir), jobs, scheduler, force)
        if report:
            write.sweep(result, told.task("figures", None))
    return result


def compare(
    sources: Sequence[Place],
    machines: Sequence[Accelerator | Place] = (),
    *,
    baseline: str | None = None,
    quiet: bool = True,
) -> pd.DataFrame:
    """Runs, studies' directories and tables side by side, see `fxsim.comparison.of_runs`."""
    on = [_machine(m) for m in machines]
    with Progress(quiet) as told:
        paths = [Path(source) for source in sources]
        return comparison.of_runs(paths, on, baseline, told.task("pricing", None))


def import_onnx(
    model: Place, out: Place | None = None, *, data: str | None = None, name: str | None = None
) -> Imported:
    """An ONNX or QONNX model as a workload's YAML, see `fxsim.onnx_import.write.import_model`."""
    return import_model(Path(model), _path(out), data, name)


def available() -> dict[str, dict[str, str]]:
    """{kind: {name: description and source}} of all there is."""
    return catalogue.everything()


def draw(on: Accelerator | Place) -> str:
    """An accelerator as a person would draw it, with what it can do at which bits."""
    return drawing.text(_machine(on))


def load_run(directory: Place) -> Run:
    """A finished run."""
    return Run.load(Path(directory))


def _machine(on: Accelerator | Place) -> Accelerator:
    return on if isinstance(on, Accelerator) else machine(on)


def _path(place: Place | None) -> Path | None:
    return None if place is None else Path(place)


__all__ = [
    "Accelerator", "Accumulator", "BlockMap", "Cast", "FixedPoint", "FixedTensor", "FxsimError",
    "Overflow", "Priced", "Rounding", "Run", "Study", "StudyResult", "SweepResult", "available",
    "compare", "draw", "estimate", "import_onnx", "load_run", "machine", "parse", "policy", "run",
    "simulate", "sweep",
]  # fmt: skip
