"""The documentation builds without a warning; its examples, and the notebook's cells, run."""

from __future__ import annotations

import ast
import doctest
import inspect
import json
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import yaml
from support import ENVIRONMENT, ROOT, jit_only
from support import fxsim as fxsim_command

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


@pytest.mark.slow
def test_the_pages_build_and_the_notebook_runs(tmp_path):
    pytest.importorskip("sphinx")
    jit_only()
    shutil.copytree(DOCS, tmp_path / "docs", ignore=shutil.ignore_patterns("_build"))
    shutil.copytree(ROOT / "reports", tmp_path / "reports", ignore=pictures_only)
    environment = {**ENVIRONMENT, "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    del environment["PYTHONWARNINGS"]
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
    assert "test_accuracy_sd" in (tmp_path / "out" / "reference" / "python.html").read_text()


def pictures_only(folder, names):
    return [n for n in names if not n.endswith(".png")]


PAGES = [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), ROOT / "reports" / "policies" / "README.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_paths_work_in_a_clone(page):
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
    missing = [x for x in links if "://" not in x and not (page.parent / x).exists()]
    folders = "fxsim|tests|benchmarks|examples|docs|accelerators|workloads"
    paths = re.findall(rf"`((?:{folders})/[\w/.]*)`", text)
    missing += [x for x in paths if not (ROOT / x).exists()]
    assert not missing


def test_the_notebook_is_committed_without_outputs():
    cells = json.loads((DOCS / "tutorial.ipynb").read_text())["cells"]
    assert all(not c.get("outputs") and not c.get("execution_count") for c in cells)


def test_the_policy_of_the_docs_learns(tmp_path, monkeypatch):
    jit_only()
    (code,) = blocks(DOCS / "howto" / "policy.md", "python")
    scope = {"__name__": "docs"}
    # where dataclasses look for a class's module
    monkeypatch.setitem(sys.modules, "docs", type(sys)("docs"))
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
        fxsim_command("check", path, at=tmp_path)


def test_the_error_of_the_readme_is_what_is_said(tmp_path):
    text = (ROOT / "accelerators" / "dynasty.yaml").read_text().replace("  rows: 4", "  rowz: 4", 1)
    (tmp_path / "my.yaml").write_text(text)
    said = fxsim_command("check", "my.yaml", at=tmp_path, code=2).stderr
    assert f"`{said.splitlines()[0]}`" in (ROOT / "README.md").read_text()


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


# what docs/reference/python.md shows; examples where no run has to be made for one
EXAMPLED = (
    "api",
    "numerics.formats",
    "numerics.operand_formats",
    "numerics.notation",
    "numerics.block_map",
    "numerics.scale",
    "numerics.draws",
    "engine.tensor",
    "engine.casts",
    "engine.matmul",
    "engine.block_casts",
    "cost.model",
    "cost.breakdown",
    "mapping.search",
    "hardware.accelerator",
    "hardware.library",
    "hardware.scaling",
    "hardware.drawing",
)
EXPLAINED = (
    *EXAMPLED,
    "mapping.mapping",
    "cost.cache",
    "trace.reader",
    "training.policy",
    "runs.directory",
    "runs.execute",
    "runs.inputs",
    "runs.replay",
    "runs.inference",
    "runs.estimate",
    "runs.synthetic_trace",
    "studies.spec",
    "studies.study",
    "studies.results",
    "studies.comparison",
    "sweeps.sweep",
)


def entry_points(module):
    """The public functions of a module, and the public methods of its public classes."""
    for name, member in vars(import_module(module)).items():
        if name.startswith("_") or getattr(member, "__module__", None) != module:
            continue
        if inspect.isclass(member):
            for key, value in vars(member).items():
                function = getattr(value, "__func__", value)
                if not key.startswith("_") and inspect.isfunction(function):
                    yield f"{module}.{name}.{key}"
        elif callable(member):
            yield f"{module}.{name}"


@pytest.mark.parametrize("module", EXPLAINED)
def test_public_functions_are_explained(module):
    """Every parameter, what is returned, and an example that `test_doctests` runs."""
    validate = pytest.importorskip("numpydoc.validate").validate
    needed = {"PR01", "PR02", "RT01", "SS03", *(["EX01"] if module in EXAMPLED else [])}
    for name in entry_points(f"fxsim.{module}"):
        complaints = [text for code, text in validate(name)["errors"] if code in needed]
        assert not complaints, (name, complaints)


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


@pytest.fixture(scope="module")
def pages():
    """The module that writes the pages made from code."""
    sys.path.insert(0, str(DOCS))
    try:
        return import_module("pages")
    finally:
        sys.path.remove(str(DOCS))


def test_pages_and_schemas_made_from_code_are_current(pages):
    """`python docs/pages.py` writes them."""
    texts = pages.texts()
    stale = [n for n, text in texts.items() if not same_text(ROOT / n, text)]
    assert not stale
    folders = ("docs/machines", "fxsim/schemas")
    present = {f"{folder}/{p.name}" for folder in folders for p in (ROOT / folder).iterdir()}
    assert present <= set(texts)  # none of a machine that is gone
    for kind in KINDS:
        assert f"`{kind}`" in texts["docs/reference/yaml.md"], kind
    for words in ("## fxsim sweep", "--fail-if", "--out", "RUNS..."):
        assert words in texts["docs/reference/commands.md"]


def same_text(path, text):
    return path.is_file() and path.read_text(encoding="utf-8") == text


class EditorLoader(yaml.SafeLoader):
    """Scalars as YAML 1.2's core schema has them, as editors read them."""


EditorLoader.yaml_implicit_resolvers = {}
for tag, pattern in {
    "null": r"^(~|null|Null|NULL|)$",
    "bool": r"^(true|True|TRUE|false|False|FALSE)$",
    "int": r"^[-+]?[0-9]+$",
    "float": r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$",
}.items():
    EditorLoader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(pattern), None)
EditorLoader.add_constructor(
    "tag:yaml.org,2002:float", lambda loader, node: float(loader.construct_scalar(node))
)
SHIPPED = [
    *sorted((ROOT / "accelerators").glob("*.yaml")),
    *sorted((ROOT / "workloads").glob("*.yaml")),
    *sorted((ROOT / "reports").glob("*.yaml")),
    *sorted((ROOT / "reports" / "policies").glob("*.yaml")),
]


def schema_of(path):
    """The schema that a file names for editors, and the file's data."""
    text = path.read_text(encoding="utf-8")
    named = re.match(r"# yaml-language-server: \$schema=(\S+)\n", text)
    schema = json.loads((path.parent / named[1]).read_text(encoding="utf-8"))
    return jsonschema.Draft202012Validator(schema), yaml.load(text, EditorLoader)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_files_name_their_schema_and_obey_it(path):
    validator, data = schema_of(path)
    problems = [f"{e.json_path}: {e.message}" for e in validator.iter_errors(data)]
    assert not problems
    assert list(validator.iter_errors({**data, "unknown_key": 1}))
    assert list(validator.iter_errors({k: v for k, v in data.items() if k != "kind"}))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("dynasty", lambda d: d["pe_array"].update(rowz=2)),
        ("dynasty", lambda d: d["pe_array"].update(rows="two")),
        ("dynasty", lambda d: d["memory"][1].update(capacity_bits="unlimitd")),
        ("dynasty", lambda d: d["pe"].update(kind="composible")),
        ("dynasty", lambda d: d["dataflow"].update(rows=["Q"])),
        ("dynasty", lambda d: d["packing"].pop("source")),
        ("lenet5", lambda d: d["layers"][0].update(kernel=0)),
        ("lenet5", lambda d: d["training"].update(learning_rate=[1])),
        ("quickstart", lambda d: d["policies"][1].update(kind="unifrom")),
        ("quickstart", lambda d: d["policies"][1].update(weight=99)),
        ("quickstart", lambda d: d.update(seeds=[])),
        ("arrays", lambda d: d.update(objectives=["speed"])),
    ],
)
def test_a_schema_refuses_what_the_loader_refuses(name, change):
    path = next(p for p in SHIPPED if p.stem == name)
    validator, data = schema_of(path)
    change(data)
    assert list(validator.iter_errors(data))


@pytest.mark.parametrize("name", resources.names("accelerators"))
def test_every_machine_can_be_drawn(name):
    drawn = fxsim.draw(name)
    machine = fxsim.machine(name)
    assert all(len(line) <= 90 for line in drawn.splitlines())
    for level in machine.memory:
        assert level.name in drawn
    peak = machine.peak_macs(8, 8)
    assert f"{peak:,.6g}" in drawn
