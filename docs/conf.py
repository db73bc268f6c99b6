"""Sphinx: the pages, and the docstrings."""

from __future__ import annotations

import re

import fxsim

project = "fxsim"
author = "the fxsim authors"
copyright = "the fxsim authors, Apache-2.0"
version = release = fxsim.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
html_theme = "furo"
html_title = "fxsim"
exclude_patterns = ["_build"]
myst_heading_anchors = 3
myst_enable_extensions = ["dollarmath"]
suppress_warnings = ["myst.xref_missing"]  # links to files of the repository
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_execution_in_temp = True
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_default_options = {
    "members": True,
    "undoc-members": False,
    "exclude-members": "model_config",
}

_FACT = re.compile(r"^(\s*)([A-Za-z_][\w, .*]*|\{.*\}) : (.*)$")


def _as_rst(
    app: object, what: str, name: str, of: object, options: object, lines: list[str]
) -> None:
    """Our docstrings as reStructuredText: `name : what it is` becomes a definition."""
    converted: list[str] = []
    inside = False
    for line in lines:
        text = re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", line)
        text = re.sub(r"(?<![`*\w])\*(?=\S)|(?<=\S)\*(?![`*\w])", r"\\*", text)
        text = re.sub(r"(?<=\w)_(?=[\s.,;:)]|$)", r"\\_", text).replace("|", r"\|")
        match = _FACT.match(text)
        if match and not line.lstrip().startswith((">>>", "...")):
            if converted and converted[-1].strip() and not inside:
                converted.append("")
            converted += [f"``{match[2]}``", f"    {match[3]}"]
            inside = True
        elif inside and line.startswith("    "):
            converted.append(text)
        else:
            if inside and line.strip():
                converted.append("")
            inside = False
            converted.append(text if line.lstrip().startswith((">>>", "- ")) else text.rstrip())
    lines[:] = converted


def setup(app: object) -> None:
    """Connect what turns our docstrings into reStructuredText."""
    app.connect("autodoc-process-docstring", _as_rst)  # type: ignore[attr-defined]
