"""Commands on files: checking and listing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fxsim.cli.options import Json, fail
from fxsim.errors import hint
from fxsim.terminal.console import print_catalogue, print_files, print_json, warn


def import_(
    model: Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="An ONNX or QONNX model.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The workload's file; NAME.yaml if absent.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Dataset; assumed from the input's shape if absent.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="The workload's name; the file's if absent.")
    ] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=SIZES",
            help="An input's shape, as x=1,3,224,224, or an axis's length, as seq=128; repeatable.",
        ),
    ] = None,
    allow_unknown: Annotated[
        bool, typer.Option("--allow-unknown", help="Go on without nodes whose work is not known.")
    ] = False,
    json_: Json = False,
) -> None:
    """Make a workload of an ONNX model; of QONNX's bit-widths, a study as well.

    What fxsim has no layer for is named, with its node and its line in the workload, and is priced
    but not trained. A node whose work is not known ends the import, but with --allow-unknown. The
    weights' values stay behind.

    Example: fxsim import resnet18.onnx --data cifar10

    Example: fxsim import model.onnx && fxsim estimate model.yaml --batch 1 -a eyeriss

    Example: fxsim import decoder.onnx --shape input_ids=1,512 --shape past=0
    """
    from dataclasses import asdict

    from fxsim.integrations.onnx.import_model import import_model
    from fxsim.training.workload import without_unknown

    imported = import_model(model, out, data, name, _sizes(shape or []), allow_unknown)
    warn(
        [
            f"{imported.workload}:{line}: not executable: {why}"
            for why, line in imported.refused.items()
        ]
    )
    if json_:
        paths = {
            "workload": str(imported.workload),
            "study": imported.study and str(imported.study),
        }
        print_json({**asdict(imported), **paths})
        return
    for remark in imported.remarks:
        typer.echo(f"note: {remark}")
    use = "priced only" if imported.refused else "executable"
    use += without_unknown(len(imported.unknown))
    size = f"{imported.parameters:,} parameters, {imported.macs:,} multiply-accumulates a sample"
    typer.echo(f"{imported.layers} layers, {size}; {use}")
    print_files([imported.workload, *([imported.study] if imported.study else [])])


def _sizes(shapes: list[str]) -> dict[str, tuple[int, ...]]:
    """The option's `name=1,3,224,224` as {name: (1, 3, 224, 224)}."""
    sizes: dict[str, tuple[int, ...]] = {}
    for text in shapes:
        name, _, numbers = text.rpartition("=")
        parts = numbers.split(",")
        if not name or not all(part.strip().isdecimal() for part in parts):
            fail(f"--shape must be as x=1,3,224,224, not {text!r}")
        if name in sizes:
            fail(f"--shape must name {name!r} once")
        sizes[name] = tuple(int(part) for part in parts)
    return sizes


def check(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="YAML files, and directories of runs.")
    ],
) -> None:
    """Check workloads, accelerators, studies, sweeps and mappings without running anything.

    Of a run's directory, check that all its files are those that the run wrote.

    Example: fxsim check accelerators/*.yaml

    Example: fxsim check reports/quickstart/runs/*
    """
    from fxsim.config import yaml_document
    from fxsim.hardware import accelerator
    from fxsim.mapping import mapping
    from fxsim.runs.directory import Run
    from fxsim.studies import spec as study_spec
    from fxsim.sweeps import spec
    from fxsim.training import workload

    loaders: dict[str, Any] = {
        "accelerator": accelerator.load,
        "workload": workload.load,
        "study": study_spec.load,
        "mapping": mapping.load,
        "sweep": spec.load,
    }
    for path in files:
        if path.is_dir():
            run = Run.load(path)
            run.verify()
            run.warnings()  # which reads the trace
            typer.echo(f"{path}: a whole run, {len(run.manifest['files'])} files")
            continue
        document = yaml_document.read(path)
        kind = document.data.get("kind") if isinstance(document.data, dict) else None
        if not isinstance(kind, str) or kind not in loaders:
            at = ("kind",) if kind is not None else ()
            stated = repr(kind) if kind is not None else "missing"
            document.fail(
                at,
                f"kind must be one of {', '.join(loaders)}, not {stated}{hint(str(kind), loaders)}",
            )
        checked = loaders[kind](path)
        if kind == "accelerator":
            warn([f"{path}: {doubt}" for doubt in checked.doubts()])
        typer.echo(f"{path}: a good {kind}")


def list_(json_: Json = False) -> None:
    """List policies, workloads, accelerators, studies, datasets and engine paths, with sources.

    Example: fxsim list --json
    """
    from fxsim.studies import catalogue

    entries = catalogue.everything()
    if json_:
        print_json(entries)
        return
    print_catalogue(entries)
