"""How objects show themselves in a notebook: the drawing is the report's, and waits until then."""

from __future__ import annotations

from importlib import import_module
from typing import Any


class Displayed:
    """An object that `fxsim.report.html_repr` draws, which is loaded when one is shown."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        drawings: Any = import_module("fxsim.report.html_repr")
        return str(drawings.html(self))
