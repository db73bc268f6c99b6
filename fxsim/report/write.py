"""A report's files: page, Markdown, tables, figures, manifest, copies of what it was made of."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from fxsim.persistence.atomic import atomic_file
from fxsim.report import study_page, sweep_page
from fxsim.report.html import html, markdown
from fxsim.report.page import Page
from fxsim.report.style import save, styled, svg
from fxsim.studies.study import StudyResult
from fxsim.sweeps.sweep import SweepResult

_FORMULA = re.compile(r"[=@\t\r]|[+-](?!([\d.]+\s*[%x]?)?$)")  # a sign alone is part of a number


def study(
    result: StudyResult, tell: Callable[[str], None] = lambda label: None
) -> tuple[pd.DataFrame, list[Path]]:
    """Write the report of a study into its directory.

    Returns the averages that it is about, see `fxsim.studies.results.averages`, and the files.
    """
    tables = study_page.tables_of(result)
    with styled():
        page = study_page.page(result, tables["summary"], tables)
    return tables["summary"], files(
        page, tables, result.directory, result.study.spec.report.figures, tell
    )


def sweep(
    result: SweepResult, tell: Callable[[str], None] = lambda label: None
) -> tuple[pd.DataFrame, list[Path]]:
    """Write the report of a sweep into its directory; its Pareto front as text, and the files."""
    with styled():
        page = sweep_page.page(result)
    tables = {"points": result.table, "front": sweep_page.pareto(result)}
    return page.table, files(page, tables, result.directory, ("png", "svg"), tell)


def inert(table: pd.DataFrame) -> pd.DataFrame:
    """A table whose text no spreadsheet takes for a formula: a quote stands before it."""
    table = table.copy()
    for name, column in table.items():
        if not pd.api.types.is_numeric_dtype(column):
            table[name] = [
                f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value
                for value in column
            ]
    return table


def files(
    page: Page,
    tables: Mapping[str, pd.DataFrame],
    directory: Path,
    figures: Sequence[str],
    tell: Callable[[str], None] = lambda label: None,
) -> list[Path]:
    """Write a page in all its forms, and its tables as CSV and Parquet."""
    drawings = {}
    for plot in page.plots:
        tell(plot.name)
        drawings[plot.name] = svg(plot.figure)
    texts = {
        "report.html": html(page, drawings),
        "report.md": markdown(page, figures),
        "manifest.json": json.dumps(page.manifest, indent=2) + "\n",
        **{f"inputs/{name}": text for name, text in page.inputs.items()},
    }
    written = []
    for name, text in texts.items():
        with atomic_file(directory / name) as fresh:
            fresh.write_text(text, encoding="utf-8")
        written.append(directory / name)
    for name, table in tables.items():
        for suffix in (".csv", ".parquet"):
            path = directory / "tables" / f"{name}{suffix}"
            with atomic_file(path) as fresh:
                if suffix == ".csv":
                    inert(table).to_csv(fresh, index=False)
                else:
                    table.to_parquet(fresh, index=False)
            written.append(path)
    for plot in page.plots:
        tell(plot.name)
        written += save(plot, drawings[plot.name], directory / "figures", figures)
    return written
