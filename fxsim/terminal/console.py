"""What the command line prints: tables, JSON, names of files, warnings."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    import pandas as pd


def records(table: pd.DataFrame) -> Any:
    """A table as plain lists and dicts."""
    return json.loads(table.to_json(orient="records"))


def print_json(value: Any) -> None:
    """JSON on standard output."""
    typer.echo(json.dumps(value, indent=2))


def print_table(table: pd.DataFrame, title: str) -> None:
    """A table drawn for people."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    drawn = Table(title=title, title_justify="left", header_style="bold")
    for i, column in enumerate(table.columns):
        drawn.add_column(escape(str(column)), justify="left" if i < 2 else "right")
    for row in table.itertuples(index=False):
        drawn.add_row(*(escape(str(value)) for value in row))
    console = Console()
    Console(width=console.width if console.is_terminal else 200).print(drawn)


def print_catalogue(catalogue: dict[str, dict[str, str]]) -> None:
    """Names and their descriptions: wrapped on a terminal, a line each elsewhere."""
    width = max(len(name) for entries in catalogue.values() for name in entries)
    room = shutil.get_terminal_size().columns - width - 4
    for kind, entries in catalogue.items():
        typer.secho(kind, bold=True)
        for name, words in entries.items():
            lines = textwrap.wrap(words, max(room, 40)) if sys.stdout.isatty() else [words]
            typer.echo(f"  {name:{width}}  {lines[0]}")
            for line in lines[1:]:
                typer.echo(" " * (width + 4) + line)


def print_files(paths: list[Path]) -> None:
    """What was written, a line each."""
    typer.echo("written:")
    for path in paths:
        typer.echo(f"  {path}")


def summarised(paths: list[Path]) -> list[Path]:
    """Files, those of a folder of many as the folder."""
    few = [p for p in paths if sum(q.parent == p.parent for q in paths) <= 6]
    return [*few, *dict.fromkeys(p.parent for p in paths if p not in few)]


def warn(lines: list[str]) -> None:
    """Warnings on standard error."""
    for line in lines:
        typer.echo(f"warning: {line}", err=True)
