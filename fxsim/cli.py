"""The command line. Heavy imports wait until a command needs them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fxsim import __version__
from fxsim.console import print_files, print_json, print_table, records, warn
from fxsim.errors import FxsimError, ReplayError, hint
from fxsim.options import (
    Accelerators,
    DataDir,
    Json,
    Out,
    Threads,
    fail,
    one_of,
    policy_of,
    telling,
    use_threads,
)  # fmt: skip

if TYPE_CHECKING:
    pass

# click's ClickException: typer depends on click up to one release and carries it inside since
_UsageError: type[Exception] = typer.BadParameter.__mro__[2]

_INTERRUPTED = 130  # 128 + SIGINT, as shells have it

app = typer.Typer(
    add_completion=True,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train networks bit-accurately in fixed point, and price them on accelerators.",
)


@app.command()
def run(
    study: Annotated[
        str | None, typer.Argument(help="A study's YAML file or name; the quickstart if absent.")
    ] = None,
    out: Out = None,
    data_dir: DataDir = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the study's.")] = None,
    threads: Threads = None,
    force: Annotated[bool, typer.Option(help="Train again what has not changed.")] = False,
    json_: Json = False,
) -> None:
    """Run a study: train under every policy, price on every accelerator, write a report.

    Example: fxsim run            (the quickstart: digits, 3 policies, 2 accelerators)
    """
    from fxsim import study as studies
    from fxsim.report import html, tables

    use_threads(threads)
    loaded = studies.load(studies.find(study))
    directory = out or studies.default_directory(loaded)
    with telling() as progress:
        result = studies.run(loaded, directory, progress, data_dir, force, epochs)
        progress.note("writing the report")
        written = html.write(result)
    averages = studies.averaged(studies.summary(result))
    warn([line for run_ in result.runs.values() for line in run_.warnings()])
    if json_:
        print_json({"summary": records(averages), "files": [str(p) for p in written]})
        return
    print_table(tables.readable(averages), loaded.spec.title)
    for line in html.answers(result, averages):
        typer.echo(line)
    print_files([*written, directory / "runs"])


@app.command()
def simulate(
    workload: Annotated[str, typer.Argument(help="A workload's YAML file or name.")],
    policy: Annotated[str, typer.Option(help="Precision policy.")] = "uniform",
    parameter: Annotated[
        list[str] | None,
        typer.Option("--set", help="A parameter of the policy, as name=value; repeatable."),
    ] = None,
    data: Annotated[str | None, typer.Option(help="Dataset instead of the workload's.")] = None,
    data_dir: DataDir = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the workload's.")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    initial: Annotated[
        Path | None,
        typer.Option(help="Begin from the weights of this run, or checkpoint: fine-tuning."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the newest checkpoint, to the same bits.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Begin again, whatever an unfinished run left.")
    ] = False,
    keep: Annotated[int, typer.Option(min=1, help="Checkpoints that stay.")] = 3,
    threads: Threads = None,
    out: Out = None,
    json_: Json = False,
) -> None:
    """Train one network under one policy and record its trace.

    While it trains, DIR.unfinished holds checkpoints and metrics.csv, which grows line by line.

    Example: fxsim simulate lenet5 --data fashion-mnist --data-dir DIR --policy dynasty
    """
    from fxsim import runs, shipped

    use_threads(threads)
    built = policy_of(policy, parameter or [])
    path = shipped.find("workloads", workload)
    inputs = runs.prepare(path, policy, built, seed, None, data_dir, data, epochs, initial)
    name = f"{inputs.workload.name}-{inputs.dataset.name}-{policy}-seed{seed}"
    directory = out or Path("runs") / name
    with telling() as progress:
        finished = runs.execute(inputs, directory, progress.run(name, False), resume, force, keep)
    manifest = finished.manifest
    warn(finished.warnings())
    if json_:
        print_json({**manifest, "mean_bits": finished.mean_bits(), "directory": str(directory)})
        return
    bits = ", ".join(f"{role} {value:.2f}" for role, value in finished.mean_bits().items())
    typer.echo(f"test accuracy   {100 * manifest['test_accuracy']:.2f} %")
    typer.echo(f"mean bits       {bits or 'float32'}")
    typer.echo(f"time            {manifest['wall_s']} s, {manifest['steps']} steps")
    typer.echo(f"weights SHA-256 {manifest['weights_sha256']}")
    print_files([directory])


@app.command()
def evaluate(
    source: Annotated[Path, typer.Argument(metavar="RUN", help="A run's directory.")],
    checkpoint: Annotated[
        Path | None, typer.Option(help="A checkpoint's directory instead of the run's last state.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="Dataset instead of the run's.")] = None,
    data_dir: DataDir = None,
    predictions: Annotated[
        Path | None, typer.Option(help="Write label, prediction and its probability a row, as CSV.")
    ] = None,
    fold: Annotated[
        bool, typer.Option("--fold", help="Fold batch norms into the layers before them.")
    ] = False,
    threads: Threads = None,
    json_: Json = False,
) -> None:
    """Run inference in integers with a run's weights: test loss, accuracy, predictions.

    Example: fxsim evaluate runs/lenet5-mnist-uniform-seed0 --predictions predictions.csv
    """
    from fxsim import inference

    use_threads(threads)
    with telling() as progress:
        progress.note(f"{source}: inference on the test samples")
        found = inference.evaluate(source, checkpoint, data, data_dir, predictions, fold)
    if json_:
        print_json(found)
        return
    typer.echo(f"test accuracy   {100 * found['test_accuracy']:.2f} %")
    typer.echo(f"test loss       {found['test_loss']:.4f}")
    if predictions is not None:
        print_files([predictions])


data_app = typer.Typer(help="Datasets.", no_args_is_help=True)
app.add_typer(data_app, name="data")


@data_app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="A dataset; fxsim list names them.")],
    data_dir: DataDir = None,
) -> None:
    """Download a dataset from its official source, with checksums; continues what was cut off.

    Example: fxsim data fetch cifar10 --data-dir DIR
    """
    from fxsim.training.data import fetch as fetching

    directory = data_dir or Path(os.environ.get("FXSIM_DATA") or "data")
    with telling() as progress:
        print_files(fetching.fetch(name, directory, progress.download))


@app.command()
def estimate(
    target: Annotated[str, typer.Argument(help="A run's directory, or a workload.")],
    accelerator: Accelerators,
    policy: Annotated[
        str, typer.Option(help="For a workload: the policy of the step.")
    ] = "uniform",
    batch: Annotated[
        int | None, typer.Option(min=1, help="For a workload: samples of the step.")
    ] = None,
    by: Annotated[
        str,
        typer.Option(
            help="Rows: pass, layer, operation, step, component, level, operand; several with"
            " commas."
        ),
    ] = "pass",
    show: Annotated[
        str, typer.Option(help="cost, roofline, power, or the mappings and their bounds.")
    ] = "cost",
    objective: Annotated[
        str, typer.Option(help="What the mapper minimises: cycles, energy or edp.")
    ] = "edp",
    node: Annotated[
        float | None, typer.Option(help="Scale on-chip energies and areas to this node [nm].")
    ] = None,
    mapping: Annotated[
        Path | None, typer.Option(help="Use the mappings of this YAML file as they are.")
    ] = None,
    save_mapping: Annotated[
        Path | None, typer.Option(help="Write the mappings to this YAML file.")
    ] = None,
    json_: Json = False,
) -> None:
    """Price a recorded run on accelerators without training again, or a workload's one step.

    Example: fxsim estimate reports/quickstart/runs/dynasty-seed0 -a int8_systolic

    Example: fxsim estimate resnet20 --batch 8 -a eyeriss --by layer,component --objective edp
    """
    from fxsim import estimates
    from fxsim.cost.price import price
    from fxsim.mapping import mapping as mappings
    from fxsim.mapping.search import OBJECTIVES

    columns = [one_of("--by", name, (*estimates.GROUPINGS, *estimates.PARTS))
               for name in by.split(",")]  # fmt: skip
    one_of("--show", show, estimates.VIEWS)
    goal = one_of("--objective", objective, OBJECTIVES)
    machines = [estimates.machine(name, node) for name in accelerator]
    if save_mapping and len(machines) > 1:
        fail(f"--save-mapping takes one accelerator, not {len(machines)}")
    given = mappings.load(mapping) if mapping else None
    tables = {}
    with telling() as progress:
        trace, label = estimates.trace_of(target, policy, progress, batch)
        for on in machines:
            progress.note(f"pricing on {on.name}")
            cost = price(trace, on, goal, given)
            tables[on.name] = estimates.view(cost, show, columns)
            if save_mapping:
                mappings.save(save_mapping, on.name, cost.mappings)
                progress.note(f"wrote {save_mapping}")
    if json_:
        print_json({name: records(table) for name, table in tables.items()})
        return
    for name, table in tables.items():
        print_table(estimates.readable(table), f"{label} on {name}")


@app.command()
def compare(
    runs_: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Directories of runs.")],
    accelerator: Annotated[
        list[str] | None, typer.Option("--accelerator", "-a", help="Price them on these, too.")
    ] = None,
    json_: Json = False,
) -> None:
    """Compare runs side by side; speedup and saving are against the first that can be priced.

    Example: fxsim compare reports/quickstart/runs/* -a dynasty
    """
    from fxsim import estimates
    from fxsim.runs import Run

    machines = [estimates.machine(name) for name in accelerator or []]
    table = estimates.comparison([Run.load(path) for path in runs_], machines)
    if json_:
        print_json(records(table))
    else:
        print_table(estimates.readable(table), "comparison")


@app.command()
def report(
    study: Annotated[str, typer.Argument(help="A study's YAML file or name, already run.")],
    out: Out = None,
) -> None:
    """Price a finished study again and write its report, without training.

    Example: fxsim report quickstart
    """
    from fxsim import study as studies
    from fxsim.report import html

    loaded = studies.load(studies.find(study))
    directory = out or studies.default_directory(loaded)
    with telling() as progress:
        progress.note("pricing and writing the report")
        written = html.write(studies.load_result(directory, loaded))
    print_files(written)


@app.command()
def replay(
    run_: Annotated[Path, typer.Argument(metavar="RUN", help="A run's directory.")],
    data_dir: DataDir = None,
    threads: Threads = None,
) -> None:
    """Execute a run again from its recorded decisions and check every bit of its weights.

    Example: fxsim replay reports/quickstart/runs/dynasty-seed0
    """
    from fxsim.replays import replay as execute
    from fxsim.runs import Run

    use_threads(threads)
    recorded = Run.load(run_)
    with telling() as progress:
        digest = execute(recorded, data_dir, progress.run(f"replay of {recorded.label}", False))
    typer.echo(f"the same bits: weights SHA-256 {digest}")


@app.command()
def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="YAML files.")],
) -> None:
    """Check workloads, accelerators and studies without running anything.

    Example: fxsim check accelerators/*.yaml
    """
    from fxsim import study, workload, yaml_reader
    from fxsim.accelerator import schema
    from fxsim.mapping import mapping

    loaders: dict[str, Any] = {
        "accelerator": schema.load, "workload": workload.load, "study": study.load,
        "mapping": mapping.load,
    }  # fmt: skip
    for path in files:
        document = yaml_reader.read(path)
        kind = document.data.get("kind") if isinstance(document.data, dict) else None
        if not isinstance(kind, str) or kind not in loaders:
            at = ("kind",) if kind is not None else ()
            found = repr(kind) if kind is not None else "missing"
            document.fail(
                at,
                f"kind must be one of {', '.join(loaders)}, not {found}{hint(str(kind), loaders)}",
            )
        loaders[kind](path)
        typer.echo(f"{path}: a good {kind}")


@app.command("list")
def list_(json_: Json = False) -> None:
    """List policies, workloads, accelerators, studies, datasets and this machine's engine paths."""
    from fxsim import catalogue

    found = catalogue.everything()
    if json_:
        print_json(found)
        return
    width = max(len(name) for entries in found.values() for name in entries)
    for kind, entries in found.items():
        typer.secho(kind, bold=True)
        for name, words in entries.items():
            typer.echo(f"  {name:{width}}  {words}")


@app.callback(invoke_without_command=True)
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(f"fxsim {__version__}")
        raise typer.Exit


def main() -> None:
    """Entry point: deliberate errors become one line and exit code 2."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    code = _INTERRUPTED
    try:
        code = app(standalone_mode=False)  # an exit code, also of an interrupt that typer caught
    except _UsageError as error:
        message = " ".join(getattr(error, "format_message", lambda: "")().split())
        if message:
            typer.echo(f"fxsim: {message}", err=True)
        sys.exit(2)
    except (typer.Abort, KeyboardInterrupt):
        pass
    except ReplayError as problem:
        typer.echo(str(problem), err=True)
        sys.exit(1)
    except FxsimError as problem:
        typer.echo(str(problem), err=True)
        sys.exit(2)
    except OSError as problem:
        typer.echo(f"{problem.filename or 'fxsim'}: {problem.strerror or problem}", err=True)
        sys.exit(2)
    if code == _INTERRUPTED:
        typer.echo(
            "fxsim: interrupted; the same run again, or simulate --resume, goes on", err=True
        )
    sys.exit(code)
