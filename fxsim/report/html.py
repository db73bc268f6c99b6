"""A report as one HTML file that needs no network, and as Markdown for a pull request."""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from fxsim.report.page import Page
from fxsim.report.style import inline

MOST_ROWS = 400  # of a table on the page; the files have them all


def html(page: Page, drawings: Mapping[str, str]) -> str:
    """The page, with its figures drawn in.

    drawings : {figure's name: its SVG}
    """
    text = _render(
        "report.html.jinja",
        page,
        table=_html_table,
        svg=lambda plot: Markup(inline(drawings[plot.name], plot.caption)),
        manifest=json.dumps(page.manifest, indent=2),
    )
    return text.replace("SCRIPTS", " ".join(_script_hashes(text)), 1)


def _script_hashes(text: str) -> list[str]:
    """The page's own scripts as its content-security policy names them: no other one runs."""
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digests = (hashlib.sha256(script.encode()).digest() for script in scripts)
    return [f"'sha256-{b64encode(digest).decode()}'" for digest in digests] or ["'none'"]


def markdown(page: Page, formats: Sequence[str]) -> str:
    """The answer and the figures, where one of their formats is a picture that pages show."""
    form = next((form for form in formats if form in ("png", "svg")), "")
    return _render("report.md.jinja", page, table=_markdown_table, form=form)


def _render(name: str, page: Page, **more: Any) -> str:
    text = (files("fxsim.report") / "templates" / name).read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=name.endswith(".html.jinja"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["plain"] = _plain
    return environment.from_string(text).render(page=page, **more)


def _plain(text: str) -> str:
    """Text as Markdown that shows it, and neither links nor runs anything."""
    text = text.replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`\[\]*|])", r"\\\1", text)


def _html_table(table: pd.DataFrame) -> Markup:
    shown = table.head(MOST_ROWS)
    text = shown.to_html(index=False, border=0, justify="unset")
    more = len(table) - len(shown)
    return Markup(text) + (f"and {more} rows more, in the files" if more else "")


def _markdown_table(table: pd.DataFrame) -> str:
    """A GitHub-flavoured table; text to the left, numbers to the right."""
    numeric = [_is_number(column) for _, column in table.items()]
    lines = [[_plain(str(name)) for name in table.columns]]
    lines.append(["---:" if n else "---" for n in numeric])
    lines += [[_plain(str(value)) for value in row] for row in table.itertuples(index=False)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _is_number(column: pd.Series) -> bool:
    return all(str(value)[:1] in "0123456789+-" for value in column)
