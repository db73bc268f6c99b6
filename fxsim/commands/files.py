"""Commands on files: checking and listing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fxsim.console import print_json
from fxsim.errors import hint
from fxsim.options import (
    Json,
)


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
