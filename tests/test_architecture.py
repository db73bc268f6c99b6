"""Imports point one way, and kernels stay integers."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from support import ROOT

# From the lowest to the highest: a module imports only what stands before its own place.
ORDER = (
    "errors",
    "identifiers",
    "display",
    "persistence",
    "config",
    "numerics",
    "engine",
    "training",
    "policies",
    "trace",
    "hardware",
    "mapping",
    "cost",
    "runs",
    "studies",
    "sweeps",
    "integrations",
    "report",
    "terminal",
    "cli",
    "api",
)
PACKAGE = ROOT / "fxsim"


def imported(file: Path) -> set[str]:
    """The parts of fxsim that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("fxsim.")}
    return found & set(ORDER)


def part(file: Path) -> str:
    relative = file.relative_to(PACKAGE)
    return relative.parts[0].removesuffix(".py")


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_imports_point_down(file):
    if file.name == "__init__.py" and file.parent == PACKAGE:
        return  # for type checkers; loaded when used
    own = ORDER.index(part(file))
    assert {name for name in imported(file) if ORDER.index(name) > own} == set()


@pytest.mark.parametrize(("one", "other"), [("training", "hardware"), ("training", "cost")])
def test_training_and_cost_do_not_know_each_other(one, other):
    for file in FILES:
        if part(file) == one:
            assert other not in imported(file), file
        if part(file) == other:
            assert one not in imported(file), file


def test_all_jitted_code_is_in_kernels():
    for file in FILES:
        if "kernels" not in file.parts and file.name != "jit.py":
            assert "njit" not in file.read_text(encoding="utf-8"), file


def test_kernels_have_no_float_literals_and_no_defaults():
    for file in (PACKAGE / "engine" / "kernels").glob("*.py"):
        if file.name.startswith("_"):
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant):
                assert not isinstance(node.value, float), f"{file}:{node.lineno}"
            if isinstance(node, ast.BinOp):
                assert not isinstance(node.op, ast.Div), f"{file}:{node.lineno}"
            if isinstance(node, ast.FunctionDef):
                assert not node.args.defaults, f"{file}:{node.lineno}"


def test_the_reference_imports_nothing_of_ours():
    assert imported(PACKAGE / "numerics" / "specification.py") == set()
