"""Commands that train, infer and replay."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from fxsim.cli.options import (
    DataDir,
    Json,
    Out,
    PolicyKind,
    Threads,
    policy_of,
    shipped_names,
    telling,
    use_threads,
)
from fxsim.terminal.console import print_files, print_json, warn


def simulate(
    workload: Annotated[
        str,
        typer.Argument(
            help="A workload's YAML file or name.", autocompletion=shipped_names("workloads")
        ),
    ],
    policy: PolicyKind = "uniform",
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
    from fxsim.config import resources
    from fxsim.config.names import file_name
    from fxsim.runs.execute import execute
    from fxsim.runs.inputs import prepare

    use_threads(threads)
    built = policy_of(policy, parameter or [])
    path = resources.find("workloads", workload)
    inputs = prepare(path, policy, built, seed, None, data_dir, data, epochs, initial)
    name = f"{inputs.workload.name}-{inputs.dataset.name}-{policy}-seed{seed}"
    directory = out or Path("runs") / file_name(name)
    with telling() as progress:
        finished = execute(inputs, directory, progress.run(name, False), resume, force, keep)
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
    from functools import partial

    from fxsim.runs import inference

    use_threads(threads)
    with telling() as progress:
        tell = partial(progress.task, "inference")
        metrics = inference.evaluate(source, checkpoint, data, data_dir, predictions, fold, tell)
    if json_:
        print_json(metrics)
        return
    typer.echo(f"test accuracy   {100 * metrics['test_accuracy']:.2f} %")
    typer.echo(f"test loss       {metrics['test_loss']:.4f}")
    if predictions is not None:
        print_files([predictions])


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


def replay(
    run_: Annotated[Path, typer.Argument(metavar="RUN", help="A run's directory.")],
    data_dir: DataDir = None,
    threads: Threads = None,
) -> None:
    """Execute a run again from its recorded decisions and check every bit of its weights.

    Example: fxsim replay reports/quickstart/runs/dynasty-seed0
    """
    from fxsim.runs.directory import Run
    from fxsim.runs.replay import replay as execute_again

    use_threads(threads)
    recorded = Run.load(run_)
    with telling() as progress:
        digest = execute_again(
            recorded, data_dir, progress.run(f"replay of {recorded.label}", False)
        )
    typer.echo(f"the same bits: weights SHA-256 {digest}")
