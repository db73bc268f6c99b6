"""What the command line prints: tables, JSON, names of files, warnings."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

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
    """A table drawn for people; what a terminal has no room for stands in further tables below."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    width = console.width if console.is_terminal else 200
    names, parts = _fitting(table, width)
    for part, columns in enumerate(parts):
        drawn = Table(title=None if part else escape(title), title_justify="left")
        for column in columns:
            justify: Literal["left", "right"] = "left" if column in names else "right"
            drawn.add_column(escape(column), justify=justify, no_wrap=column not in names)
        for row in table[columns].itertuples(index=False):
            drawn.add_row(*(escape(str(value)) for value in row))
        Console(width=width).print(drawn)


def _fitting(table: pd.DataFrame, width: int) -> tuple[list[str], list[list[str]]]:
    """The columns that name its rows; and all in parts that fit a width, each behind those."""
    needed = {
        name: max([len(name), *(len(str(value)) for value in table[name])]) + 3 for name in table
    }
    numeric = [name for name in table if all(_is_number(str(value)) for value in table[name])]
    first = list(table).index(numeric[0]) if numeric and len(table) else len(table.columns)
    names = list(table)[:first]
    parts: list[list[str]] = [[*names]]
    for name in list(table)[first:]:
        if sum(needed[n] for n in (*parts[-1], name)) >= width and parts[-1] != names:
            parts.append([*names])
        parts[-1].append(name)
    return names, parts


def _is_number(text: str) -> bool:
    return text[:1].isdigit() or text[:2].strip("+-.").isdigit() or text == "-"


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
