"""What a kept result depends on follows from imports: what is added is covered."""

from __future__ import annotations

import shutil
import sys

import pytest
from support import ROOT

import fxsim
from fxsim.cost import cache
from fxsim.persistence import code_hash
from fxsim.runs import train


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A copy of the package, to be changed, and what hashes its costs' and its runs' code."""
    ignore = shutil.ignore_patterns("__pycache__")
    package = tmp_path / "fxsim"
    shutil.copytree(ROOT / "fxsim", package, ignore=ignore)
    monkeypatch.setattr(code_hash, "ROOT", package)

    def hashes() -> list[str]:
        code_hash._sha256.cache_clear()
        return [cache.model_sha256(), code_hash.code_sha256(train)]

    yield package, hashes
    code_hash._sha256.cache_clear()


def test_a_module_that_is_added_is_covered(copy):
    package, hashes = copy
    cost, run = hashes()
    (package / "cost" / "added.py").write_text("EXTRA = 1\n")
    assert hashes() == [cost, run]  # nothing imports it
    model = package / "cost" / "model.py"
    model.write_text(model.read_text() + "\n\ndef late():\n    from fxsim.cost import added\n")
    before = hashes()
    assert before[0] != cost
    (package / "cost" / "added.py").write_text("EXTRA = 2\n")
    after = hashes()
    assert after[0] != before[0]  # imported in a function, it counts
    assert after[1] == run  # training does not know costs


@pytest.mark.parametrize(
    ("module", "costs", "runs"),
    [
        ("mapping/kernels/search.py", True, False),
        ("trace/reader.py", True, False),
        ("engine/kernels/rounding.py", True, True),
        ("training/layers/structure.py", False, True),
        ("report/style.py", False, False),
        ("cli/options.py", False, False),
    ],
)
def test_an_edit_counts_where_it_is_imported(copy, module, costs, runs):
    package, hashes = copy
    before = hashes()
    path = package / module
    path.write_text(path.read_text() + "\n# edited\n")
    after = hashes()
    assert [a != b for a, b in zip(before, after, strict=True)] == [costs, runs]


def test_what_is_no_module_is_refused():
    missing = type(sys)("fxsim.no_such_folder")
    with pytest.raises(LookupError, match=r"fxsim\.no_such_folder must be a module of fxsim"):
        code_hash.code_sha256(missing)
    with pytest.raises(LookupError, match="numpy must be a module of fxsim"):
        code_hash.modules_behind("numpy")
    with pytest.raises(LookupError):
        code_hash.modules_behind("fxsim.cost.model", "fxsim.cost.prize")


def test_the_packages_around_a_module_count_and_type_checkers_imports_do_not():
    behind = code_hash.modules_behind(cache.__name__)
    assert {"fxsim", "fxsim.cost", "fxsim.mapping.kernels", "fxsim.hardware.accelerator"} <= behind
    assert not {m for m in behind if m.startswith(("fxsim.runs", "fxsim.studies", "fxsim.report"))}
    assert "fxsim.api" not in code_hash.modules_behind(fxsim.__name__)
    assert "fxsim.runs.inputs" not in code_hash.modules_behind(train.__name__)
