"""Commands on studies and runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fxsim.cli.options import DataDir, Json, Out, Threads, fail, telling, use_threads
from fxsim.terminal.console import print_files, print_json, print_table, records, summarised, warn


def run(
    study: Annotated[
        str | None, typer.Argument(help="A study's YAML file or name; the quickstart if absent.")
    ] = None,
    out: Out = None,
    data_dir: DataDir = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the study's.")] = None,
    node: Annotated[
        float | None,
        typer.Option(help="Compare at one node: scale on-chip energies and areas to it, in nm."),
    ] = None,
    threads: Threads = None,
    force: Annotated[bool, typer.Option(help="Train again what has not changed.")] = False,
    json_: Json = False,
) -> None:
    """Run a study: train under every policy, price on every accelerator, write a report.

    Example: fxsim run            (the quickstart: digits, 3 policies, 2 accelerators)
    """
    from fxsim.report import study_page, tables, write
    from fxsim.studies import spec as study_spec
    from fxsim.studies import study as studies

    use_threads(threads)
    loaded = study_spec.load(study_spec.find(study), node)
    directory = out or study_spec.default_directory(loaded)
    with telling() as progress:
        result = studies.run(loaded, directory, progress, data_dir, force, epochs)
        averages, written = write.study(result, progress.task("figures", None))
    warn([line for run_ in result.runs.values() for line in run_.warnings()])
    if json_:
        print_json({"summary": records(averages), "files": [str(p) for p in written]})
        return
    at_node = "" if loaded.spec.node_nm is None else f" at {loaded.spec.node_nm:g} nm"
    title = f"{loaded.spec.title} (costs of {loaded.spec.what}{at_node})"
    print_table(tables.readable(averages), title)
    for line in study_page.answers(result, averages):
        typer.echo(line)
    print_files(summarised(written))


def sweep(
    file: Annotated[Path, typer.Argument(metavar="SWEEP", help="A sweep's YAML file or name.")],
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Local processes; all processors by default, 1 is this process."),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(help="A dask cluster's scheduler; its workers must see the results' folder."),
    ] = None,
    out: Out = None,
    data_dir: DataDir = None,
    force: Annotated[bool, typer.Option(help="Measure again what has not changed.")] = False,
    json_: Json = False,
) -> None:
    """Sweep keys of accelerators, policies and workloads: a grid, or a search for Pareto fronts.

    Results are kept as they come; the same command goes on after anything. Failed points are
    reported, and tried again next time.

    Example: fxsim sweep arrays --jobs 2

    Example: fxsim sweep mine.yaml --scheduler tcp://head:8786 --out /shared/mine
    """
    from fxsim.config import resources
    from fxsim.engine.threads import available_threads
    from fxsim.report import write
    from fxsim.sweeps import spec
    from fxsim.sweeps import sweep as sweeps

    loaded = spec.load(resources.find("reports", str(file)))
    directory = out or Path("reports") / loaded.spec.name
    if scheduler is not None and jobs is not None:
        fail("--jobs starts local processes; leave it away where --scheduler names a cluster")
    count = 1 if scheduler else jobs or available_threads()
    with telling() as progress:
        result = sweeps.run(loaded, directory, progress, data_dir, count, scheduler, force)
        front, written = write.sweep(result, progress.task("figures", None))
    failed = result.table[result.table["error"] != ""]
    warn([f"{row.point} failed: {row.error}" for row in failed.itertuples()])
    if json_:
        names = [str(path) for path in written]
        print_json({"points": records(result.table), "front": records(front), "files": names})
        return
    title = f"{loaded.spec.title}: the Pareto front (costs of {loaded.spec.what})"
    print_table(front, title)
    print_files(summarised(written))


def report(
    study: Annotated[str, typer.Argument(help="A study's YAML file or name, already run.")],
    out: Out = None,
    node: Annotated[
        float | None,
        typer.Option(help="Compare at one node: scale on-chip energies and areas to it, in nm."),
    ] = None,
) -> None:
    """Price a finished study again and write its report, without training.

    Example: fxsim report quickstart
    """
    from fxsim.report import write
    from fxsim.studies import spec as study_spec
    from fxsim.studies import study as studies

    loaded = study_spec.load(study_spec.find(study), node)
    directory = out or study_spec.default_directory(loaded)
    with telling() as progress:
        result = studies.load_result(directory, loaded, progress)
        _, written = write.study(result, progress.task("figures", None))
    print_files(summarised(written))


def compare(
    runs_: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Runs, studies' directories, CSV or Parquet tables."),
    ],
    accelerator: Annotated[
        list[str] | None, typer.Option("--accelerator", "-a", help="Price them on these, too.")
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help="What the others are compared with; the first if absent.")
    ] = None,
    fail_if: Annotated[
        list[str] | None,
        typer.Option(help="End with code 1 if so, as in 'speedup<4'; repeatable."),
    ] = None,
    json_: Json = False,
) -> None:
    """Compare runs, whoever made them: means over seeds, differences, significance.

    Seeds of the same run are averaged; p is of a t-test on test accuracies.

    Example: fxsim compare reports/quickstart -a dynasty --baseline uniform8

    Example: fxsim compare old/ new/ theirs.csv --fail-if "accuracy_change<-0.5"

    Example: fxsim compare reports/* -a mine.yaml --fail-if "dynasty@mine:speedup<4"
    """
    from fxsim.errors import ThresholdError
    from fxsim.hardware import library
    from fxsim.report import tables
    from fxsim.studies import comparison

    thresholds = [comparison.Threshold.parse(text) for text in fail_if or []]
    machines = [library.machine(name) for name in accelerator or []]
    with telling() as progress:
        announce = progress.task("pricing", None)
        table = comparison.of_runs(runs_, machines, baseline, announce)
    first = baseline or str(table["policy"].iloc[0])
    met = [line for limit in thresholds for line in limit.met_by(table, first)]
    if json_:
        print_json(records(table))
    else:
        print_table(tables.readable(table), f"compared with {first} (costs of whole training runs)")
    if met:
        raise ThresholdError("; ".join(met))


def track(
    runs_: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Runs, or studies' directories.")
    ],
    tensorboard: Annotated[
        Path | None, typer.Option(help="Write event logs into this directory.")
    ] = None,
    mlflow: Annotated[
        str | None, typer.Option(help="Log to this server or database, as sqlite:///mlflow.db.")
    ] = None,
    experiment: Annotated[str, typer.Option(help="MLflow's experiment.")] = "fxsim",
    accelerator: Annotated[
        list[str] | None,
        typer.Option("--accelerator", "-a", help="With each step's cycles and energy on these."),
    ] = None,
) -> None:
    """Export runs' scalars and artefacts to TensorBoard or MLflow.

    Example: fxsim track reports/quickstart --tensorboard logs -a dynasty

    Example: fxsim track runs/* --mlflow sqlite:///mlflow.db --experiment bits
    """
    from fxsim.hardware import library
    from fxsim.integrations import trackers
    from fxsim.studies import comparison

    if tensorboard is None and mlflow is None:
        fail("--tensorboard or --mlflow must say where to")
    machines = [library.machine(name) for name in accelerator or []]
    runs = [run for several in comparison.gather(runs_)[0].values() for run in several]
    with telling() as progress:
        announce = progress.task("runs", len(runs))
        if tensorboard is not None:
            print_files(trackers.tensorboard(runs, tensorboard, machines, announce))
        if mlflow is not None:
            for identity in trackers.mlflow(runs, mlflow, experiment, machines, announce):
                typer.echo(f"logged {identity}")
