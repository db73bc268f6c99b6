"""Hashes of the code that a kept result depends on, from the import graph of what makes it."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

PACKAGE = __name__.partition(".")[0]
ROOT = Path(__file__).parents[1]


def code_sha256(*makers: ModuleType) -> str:
    """The hash of all code of this package that some modules import, themselves included.

    Parameters
    ----------
    makers : the modules that make the result; being modules, none can be misspelt

    Returns
    -------
    A SHA-256 in hexadecimal. Names of modules count, so moving code changes it.

    Examples
    --------
    >>> from fxsim import errors, identifiers
    >>> code_sha256(errors) == code_sha256(errors, identifiers)
    False
    """
    return _sha256(tuple(sorted(maker.__name__ for maker in makers)))


@cache
def _sha256(makers: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    for module in sorted(modules_behind(*makers)):
        digest.update(module.encode() + b"\0" + _source(module).read_bytes())
    return digest.hexdigest()


def modules_behind(*makers: str) -> set[str]:
    """All modules of this package that some import, directly or not, and these themselves.

    Imports inside functions count; those for type checkers alone do not. A package's `__init__`
    runs with each of its modules, so it counts as well. Raises LookupError for what is no module.
    """
    reached: set[str] = set()
    waiting = list(makers)
    while waiting:
        module = waiting.pop()
        if module not in reached:
            reached.add(module)
            waiting += _imported(module)
    return reached


def _source(module: str) -> Path:
    """A module's file; LookupError if there is none."""
    path = ROOT.joinpath(*module.split(".")[1:])
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if module.split(".")[0] == PACKAGE and file.is_file():
            return file
    raise LookupError(f"{module} must be a module of {PACKAGE}; there is no {path}.py")


def _exists(module: str) -> bool:
    try:
        _source(module)
    except LookupError:
        return False
    return True


def _imported(module: str) -> set[str]:
    """The modules of this package that one imports itself, and the packages around it."""
    parts = module.split(".")
    direct = {".".join(parts[:n]) for n in range(1, len(parts))}
    for name, members in _imports(_source(module).read_text(encoding="utf-8")):
        direct.add(name)
        direct |= {f"{name}.{member}" for member in members if _exists(f"{name}.{member}")}
    return {name for name in direct if name.split(".")[0] == PACKAGE}


@cache
def _imports(source: str) -> list[tuple[str, list[str]]]:
    """(module, names imported from it) of every import of a source text."""
    imports: list[tuple[str, list[str]]] = []
    for node in _statements(ast.parse(source)):
        if isinstance(node, ast.Import):
            imports += [(alias.name, []) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            imports.append((node.module, [alias.name for alias in node.names]))
    return imports


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """All statements below a node, but for blocks `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            continue
        if isinstance(child, ast.stmt | ast.excepthandler | ast.match_case):
            yield child
            yield from _statements(child)
