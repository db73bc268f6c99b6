"""The documentation builds without a warning; its examples, and the notebook's cells, run."""

from __future__ import annotations

import ast
import doctest
import json
import os
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from support import ENVIRONMENT, ROOT, jit_only

import fxsim
from fxsim import api
from fxsim.config import resources
from fxsim.engine.tensor import FixedTensor
from fxsim.policies.registry import POLICIES
from fxsim.runs.execute import execute
from fxsim.runs.inputs import prepare
from fxsim.training.data.base import INPUT_WORD
from fxsim.training.integer import IntegerOperations
from fxsim.training.layers import KINDS
from fxsim.training.tape import Value

DOCS = ROOT / "docs"


def blocks(path, language):
    return re.findall(rf"```{language}\n(.*?)```", path.read_text(), re.DOTALL)


def test_the_pages_build_and_the_notebook_runs(tmp_path):
    pytest.importorskip("sphinx")
    jit_only()
    source = tmp_path / "docs"
    shutil.copytree(DOCS, source, ignore=shutil.ignore_patterns("_build", "machines"))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "docs", "out"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    pages = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.html")}
    for name in resources.names("accelerators"):
        assert f"machines/{name}.html" in pages
    for name in POLICIES:
        assert f"policies/{name}.html" in pages
    tutorial = (tmp_path / "out" / "tutorial.html").read_text()
    # what its cells gave: a word's bits, a map, a drawing, tables
    for words in ("data:image/png;base64", "bit-flexible array", "energy_saving", "lockstep"):
        assert words in tutorial
    validation = (tmp_path / "out" / "validation.html").read_text()
    assert validation.count("<img") == 6
    commands = (tmp_path / "out" / "reference" / "commands.html").read_text()
    assert "fxsim sweep" in commands
    assert "--fail-if" in commands
    assert "test_accuracy_sd" in (tmp_path / "out" / "reference" / "python.html").read_text()


def test_the_notebook_is_committed_without_outputs():
    cells = json.loads((DOCS / "tutorial.ipynb").read_text())["cells"]
    assert all(not c.get("outputs") and not c.get("execution_count") for c in cells)


def test_the_policy_of_the_docs_learns(tmp_path, monkeypatch):
    jit_only()
    (code,) = blocks(DOCS / "howto" / "policy.md", "python")
    scope = {"__name__": "docs"}
    exec("from __future__ import annotations\n" + code.replace("from __future__", "#"), scope)
    policy = scope["Shrinking"]
    policy.model_rebuild(_types_namespace=scope)
    monkeypatch.setitem(POLICIES, "shrinking", policy)
    path = resources.find("workloads", "digits_cnn")
    run = execute(prepare(path, "shrinking", policy(), 0, epochs=2), tmp_path / "run")
    operands = run.trace().operands
    weights = operands[operands["role"] == "weight"].groupby("step")["bits"].first()
    assert {int(bits[0]) for bits in weights} == {8, 7}
    assert run.manifest["test_accuracy"] > 0.8


def test_the_layer_of_the_docs_runs():
    (code,) = blocks(DOCS / "howto" / "layer.md", "python")
    scope = {"__name__": "docs", "__builtins__": __builtins__}
    sys.modules["docs"] = type(sys)("docs")  # where dataclasses look for a class's module
    try:
        exec(code, scope)
    finally:
        del sys.modules["docs"]
    layer = scope["SquaredRelu"](name="s", inputs=("input",), in_shapes=((3,),))
    x = FixedTensor.trusted(np.array([[-4096, 0, 8192]], np.int16), INPUT_WORD)
    ops = IntegerOperations(_Context())
    out = layer.forward(ops, [Value(x, needs=False)]).tensor
    assert out.to_float().tolist() == [[0.0, 0.0, (8192 / 2**INPUT_WORD.frac) ** 2]]


class _Context:
    """As much of a step as an elementwise layer asks for."""

    def vector(self, *_):
        pass


@pytest.mark.parametrize("page", ["howto/studies.md"])
def test_the_yaml_of_the_docs_is_good(tmp_path, page):
    for i, text in enumerate(blocks(DOCS / page, "yaml")):
        path = tmp_path / f"{i}.yaml"
        path.write_text(text)
        subprocess.run(
            [sys.executable, "-c", "from fxsim.cli.main import main; main()", "check", str(path)],
            env=ENVIRONMENT,
            check=True,
            capture_output=True,
        )


def test_import_fxsim_offers_what_it_says():
    checked = {
        alias.name: node.module.removeprefix("fxsim.")
        for node in ast.walk(ast.parse(Path(fxsim.__file__).read_text()))
        if isinstance(node, ast.ImportFrom) and node.module.startswith("fxsim.")
        for alias in node.names
    }
    assert checked == fxsim.API  # what type checkers are told
    for name, module in fxsim.API.items():
        assert getattr(fxsim, name) is getattr(import_module(f"fxsim.{module}"), name)
        assert name in dir(fxsim)
        assert getattr(fxsim, name).__doc__
    with pytest.raises(AttributeError, match="module 'fxsim' has no attribute 'simulator'"):
        _ = fxsim.simulator
    script = "import sys, fxsim; assert not {'numba', 'pandas', 'fxsim.api'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], env=ENVIRONMENT, check=True)


def test_doctests():
    jit_only()
    modules = [
        ".".join(file.relative_to(ROOT).with_suffix("").parts)
        for file in sorted((ROOT / "fxsim").rglob("*.py"))
        if ">>> " in file.read_text(encoding="utf-8")
    ]
    tried = 0
    for name in modules:
        failed, count = doctest.testmod(import_module(name))
        assert not failed, name
        tried += count
    assert tried > 10


def test_objects_show_themselves(study):
    run = api.load_run(study[0] / "reports" / "small" / "runs" / "dynasty-seed0")
    shown = run._repr_html_()
    assert f"{100 * run.manifest['test_accuracy']:.2f} %" in shown
    trace = run.trace()
    blocks_ = trace.block_maps(trace.sampled()[-1])["conv2", "error"]
    assert "data:image/png;base64," in blocks_._repr_html_()
    word = fxsim.FixedPoint(6, 2)._repr_html_()
    assert word.count("<span") == 6
    assert "-8 to 7.75 in steps of 0.25" in word
    machine = fxsim.machine("dynasty", {"pe_array.rows": 2})
    assert machine.name == "dynasty-rows2"
    assert "array of 2 x 4 composable units" in machine._repr_html_()
    cost = fxsim.estimate(run.directory, machine)
    assert f"{cost.cycles:,.0f}" in cost._repr_html_()
    with pytest.raises(fxsim.FxsimError, match="did you mean 'pe_array'"):
        fxsim.machine("dynasty", {"pe_aray.rows": 2})
    with pytest.raises(fxsim.FxsimError, match="weight must be at most 16, not 99"):
        fxsim.policy("uniform", {"weight": 99})


def test_every_layer_kind_is_in_the_reference():
    """The generated page lists each layer's schema."""
    sys.path.insert(0, str(DOCS))
    try:
        import pages
    finally:
        sys.path.remove(str(DOCS))
    text = pages.yaml_files()
    for kind in KINDS:
        assert f"`{kind}`" in text, kind


@pytest.mark.parametrize("name", resources.names("accelerators"))
def test_every_machine_can_be_drawn(name):
    drawn = fxsim.draw(name)
    machine = fxsim.machine(name)
    assert all(len(line) <= 90 for line in drawn.splitlines())
    for level in machine.memory:
        assert level.name in drawn
    peak = machine.peak_macs(8, 8)
    assert f"{peak:,.6g}" in drawn
