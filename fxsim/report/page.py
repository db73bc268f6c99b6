"""What a report is made of, whatever it is about and in whichever form it is written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from fxsim.report.style import Plot


@dataclass(frozen=True, slots=True, eq=False)
class Film:
    """Images that a slider moves through; see `fxsim.report.bit_maps.film`."""

    heading: str
    parts: list[dict[str, Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Section:
    """A part of a report: its words, figures, films, and tables with their captions."""

    name: str
    heading: str
    text: str = ""
    plots: list[Plot] = field(default_factory=list)
    films: list[Film] = field(default_factory=list)
    tables: list[tuple[str, pd.DataFrame]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """Something that was assumed, reconstructed or taken from somewhere.

    parts : (name, source) of its constants; details : what is known and what is ours
    """

    name: str
    source: str
    details: str = ""
    parts: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, eq=False)
class Page:
    """A report.

    lead : what was done, in a sentence; answer : the first sentence, what was found; answers : more
    of them; table : the answer's table; below : what its columns mean
    commands : which repeat it; manifest : what it was made of and with; inputs : {file: its text}
    """

    title: str
    lead: str
    answer: str
    answers: list[str]
    table: pd.DataFrame
    below: str
    sections: list[Section]
    assumptions: list[str]
    policies: list[Source]
    machines: list[Source]
    commands: list[str]
    manifest: dict[str, Any]
    inputs: dict[str, str]

    @property
    def plots(self) -> list[Plot]:
        """All figures."""
        return [plot for section in self.sections for plot in section.plots]
