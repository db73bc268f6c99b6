"""Bad input: one line with file, line, what it must be, what it is, and a hint."""

from __future__ import annotations

import pytest
from support import ROOT

from fxsim.config import yaml_document
from fxsim.errors import ConfigError
from fxsim.hardware import accelerator
from fxsim.studies import spec as study_spec
from fxsim.sweeps import spec
from fxsim.training import workload

LOADERS = {"accelerators": accelerator.load, "workloads": workload.load, "reports": study_spec.load}
FILES = {
    "accelerators": ROOT / "accelerators" / "dynasty.yaml",
    "workloads": ROOT / "workloads" / "digits_cnn.yaml",
    "reports": ROOT / "reports" / "quickstart.yaml",
}

CASES = [
    (
        "accelerators",
        "clock_hz: 500e6",
        "clock_hz: inf",
        "clock_hz: inf",
        "must be a finite number",
    ),
    (
        "accelerators",
        "  source: ours; 16 tile engines",
        "  source: ''\n  #",
        "source: ''",
        "pe_array.source must not be empty",
    ),
    (
        "workloads",
        "dataset: digits",
        "dataset: digitz",
        "dataset: digitz",
        r"dataset must be one of .* not 'digitz'; did you mean 'digits'\?",
    ),
    (
        "workloads",
        "name: add3, kind: add, inputs: [bn3, pool2]",
        "name: add3, kind: relu, inputs: [pool2]",
        "name: bn3",
        "layers.8.name: nothing uses the result of 'bn3'",
    ),
    (
        "reports",
        "kind: dynasty,",
        "kind: dynasty, candidates: [8, 4],",
        "kind: dynasty,",
        "candidates must be ascending",
    ),
    (
        "reports",
        "kind: dynasty,",
        "kind: dynasty, candidates: [0],",
        "kind: dynasty,",
        "not all 0",
    ),
    # kind, text to replace, replacement, text of the line complained of, what it says
    (
        "accelerators",
        "  rows: 4",
        "  rowz: 4",
        "  rowz: 4",
        "pe_array.rowz: unknown key 'rowz'; did you mean 'rows'\\?",
    ),
    (
        "accelerators",
        "  rows: 4",
        "  rows: four",
        "  rows: four",
        "pe_array.rows must be an integer, not 'four'",
    ),
    (
        "accelerators",
        "  rows: 4",
        "  rows: 0",
        "  rows: 0",
        "pe_array.rows must be at least 1, not 0",
    ),
    (
        "accelerators",
        "  rows: 4",
        "  rows: 4\n  rows: 5",
        "rows: 5",
        "duplicate key 'rows', already given on line 12",
    ),
    (
        "accelerators",
        "kind: composable",
        "kind: composeable",
        "kind: composeable",
        "pe.kind must be one of bit_parallel, composable, serial, serial_serial, term_serial,"
        " floating_point, not 'composeable'; did you mean 'comp",
    ),
    (
        "accelerators",
        "kind: output_stationary",
        "kind: stationary",
        "kind: stationary",
        "dataflow.kind must be one of .* not 'stationary'",
    ),
    (
        "accelerators",
        "clock_hz: 500e6",
        "clock_hz: -5",
        "clock_hz: -5",
        "technology.clock_hz must be more than 0, not -5",
    ),
    (
        "accelerators",
        "  rows: 1\n",
        "  rows: 3\n",
        "  rows: 3",
        "sync.rows must divide pe_array.rows = 4",
    ),
    (
        "accelerators",
        "holds: [left]",
        "holds: [right]",
        "memory:",
        "memory: at least one on-chip buffer must hold 'left'; none does",
    ),
    (
        "accelerators",
        "bandwidth_bits_per_cycle: 192",
        "bandwidth_bits_per_cycle: 0",
        "bandwidth_bits_per_cycle: 0",
        "memory.0.bandwidth_bits_per_cycle must be more than 0, not 0",
    ),
    (
        "accelerators",
        "capacity_bits: unlimited",
        "capacity_bits: 5",
        "capacity_bits: 5",
        "must be 'unlimited'",
    ),
    (
        "accelerators",
        "kind: accelerator",
        "kind: workload",
        "kind: workload",
        "kind must be 'accelerator' here, not 'workload'",
    ),
    (
        "accelerators",
        "kind: accelerator",
        "",
        "name: ",
        "kind must be 'accelerator'; it is missing",
    ),
    (
        "accelerators",
        "  lanes: 64",
        "  lanes: [64]",
        "  lanes: [64]",
        "lanes must be an integer, not a list",
    ),
    (
        "accelerators",
        "read_energy_pj_per_bit: 15",
        "read_energy_pj_per_bit: -15",
        "read_energy_pj_per_bit: -15",
        "must be at least 0, not -15",
    ),
    (
        "workloads",
        "kernel: 3, padding: 1, bias: false}\n  - {name: bn1",
        "kernel: 33, bias: false}\n  - {name: bn1",
        "kernel: 33",
        "layers.0, conv2d 'conv1': a window of 33 rows does not fit an input of",
    ),
    (
        "workloads",
        "kernel: 3, padding: 1, bias: false}\n  - {name: bn1",
        "kernel: [3, 0], bias: false}\n  - {name: bn1",
        "kernel: [3, 0]",
        "kernel must be an integer of 1 to 2147483647 or two: \\[of rows, of columns\\], not",
    ),
    (
        "workloads",
        "kernel: 3, padding: 1, bias: false}\n  - {name: bn1",
        "kernel: 3, padding: {topp: 1}, bias: false}\n  - {name: bn1",
        "padding: {topp: 1}",
        "padding must be an integer of 0 .* or by side: {top, bottom, left, right} or same, not",
    ),
    (
        "workloads",
        "kernel: 3, padding: 1, bias: false}\n  - {name: bn1",
        "kernel: 3, padding: {}, bias: false}\n  - {name: bn1",
        "padding: {}",
        "padding must be an integer of 0 .* or same, not {}",
    ),
    (
        "workloads",
        "inputs: [bn3, pool2]",
        "inputs: [bn3, pol2]",
        "inputs: [bn3, pol2]",
        "layers.9.inputs must name earlier layers, not 'pol2'; did you mean 'pool2'\\?",
    ),
    (
        "workloads",
        "inputs: [bn3, pool2]",
        "inputs: [bn3, relu1]",
        "inputs: [bn3, relu1]",
        "layers.9, add 'add3': add needs two inputs of equal shape, not",
    ),
    ("workloads", "inputs: [bn3, pool2]", "inputs: [bn3]", "inputs: [bn3]", "takes 2, not 1"),
    (
        "workloads",
        "features: 10",
        "features: 11",
        "features: 11",
        "must give 10 logits, not 11",
    ),
    (
        "workloads",
        "kind: batch_norm}\n  - {name: relu1",
        "kind: batchnorm}\n  - {name: relu1",
        "kind: batchnorm",
        "layers.1.kind must be one of .* not 'batchnorm'; did you mean 'batch_norm'",
    ),
    (
        "workloads",
        "learning_rate: 0.05",
        "learning_rate: fast",
        "learning_rate: fast",
        "training.learning_rate must be a number, not 'fast'",
    ),
    (
        "workloads",
        "learning_rate: 0.05",
        "learning_rate: 7000",
        "learning_rate: 7000",
        "between 1e-9 and 1000, not 7000",
    ),
    (
        "workloads",
        "momentum: 0.9",
        "momentum: 1.0",
        "momentum: 1.0",
        "at least 0 and at most 1 - 2\\*\\*-20, not 1.0",
    ),
    (
        "workloads",
        "weight_decay: 0.0005",
        "weight_decay: 1e-13",
        "weight_decay: 1e-13",
        "must be 0, or between 1e-12 and 1, not 1e-13",
    ),
    (
        "workloads",
        "kind: max_pool, size: 2",
        "kind: max_pool, size: 2, rounding: RND",
        "rounding: RND",
        "unknown key 'rounding'",
    ),
    (
        "workloads",
        "kind: max_pool, size: 2",
        "kind: average_pool, size: 2, rounding: RND_IN",
        "rounding: RND_IN",
        "not 'RND_IN'; did you mean 'RND_INF'",
    ),
    ("workloads", "name: relu2", "name: bn1", "bn1, kind: relu", "'bn1' is already a layer's name"),
    (
        "workloads",
        "bias: false}\n  - {name: bn1",
        "bias: nay}\n  - {name: bn1",
        "bias: nay",
        "bias must be true or false, not 'nay'",
    ),
    (
        "reports",
        "baseline: uniform8",
        "baseline: uniform",
        "baseline: uniform",
        "baseline must be one of .* not 'uniform'; did you mean 'uniform8'\\?",
    ),
    ("reports", "kind: dynasty", "kind: dinasty", "kind: dinasty", "did you mean 'dynasty'"),
    (
        "reports",
        "weight: 8",
        "weight: 80",
        "weight: 80",
        "policies.1.weight must be at most 16, not 80",
    ),
    (
        "reports",
        "weight: 8",
        "wait: 8",
        "wait: 8",
        "policies.1.wait: unknown key 'wait'; did you mean 'weight'",
    ),
    (
        "reports",
        "accelerators: [dynasty",
        "accelerators: [dynsty",
        "accelerators: [dynsty",
        "did you mean 'dynasty'",
    ),
    (
        "reports",
        "workload: digits_cnn",
        "workload: digit_cnn",
        "workload: digit_cnn",
        "did you mean 'digits_cnn'",
    ),
    (
        "reports",
        "seeds: [0, 1, 2]",
        "seeds: []",
        "seeds: []",
        "seeds must hold at least 1 entry, not 0",
    ),
    (
        "reports",
        "seeds: [0, 1, 2]",
        "seeds: [a]",
        "seeds: [a]",
        "seeds.0 must be an integer, not 'a'",
    ),
    ("reports", "baseline: uniform8", "", "kind: study", "baseline is required; it is missing"),
]


@pytest.mark.parametrize(("kind", "old", "new", "marked", "message"), CASES)
def test_a_mistake_is_named_with_its_line(tmp_path, kind, old, new, marked, message):
    text = FILES[kind].read_text()
    assert old in text
    path = tmp_path / "mistaken.yaml"
    mistaken = text.replace(old, new, 1)
    path.write_text(mistaken)
    with pytest.raises(ConfigError, match=message) as caught:
        LOADERS[kind](path)
    where, *_ = str(caught.value).split(": ", 1)
    name, found, column = where.rsplit(":", 2)
    assert name == str(path)
    assert int(column) >= 1
    assert int(found) == mistaken[: mistaken.index(marked)].count("\n") + 1
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be a mapping; the file is empty"),
        ("[1, 2", ":1:6: not valid YAML"),
        ("a: &x\n  b: *x", ":2:6: an alias must not contain itself|:1:4: an alias"),
        ("? [1]\n: 2", "a key must be a plain word"),
        ("just words", "a study must be a mapping, not 'just words'"),
    ],
)
def test_files_that_are_no_mapping(tmp_path, text, message):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        yaml_document.read(path).validate(study_spec.StudySpec, "study")


def test_a_missing_file_suggests_its_neighbour(tmp_path):
    (tmp_path / "good.yaml").write_text("kind: study")
    with pytest.raises(ConfigError, match=r"no such file; did you mean 'good.yaml'\?"):
        yaml_document.read(tmp_path / "god.yaml")


def test_scalars_keep_their_text(tmp_path):
    path = tmp_path / "scalars.yaml"
    path.write_text("a: no\nb: 1e-3\nc: 12:30\nd: ~\ne: 007\n")
    found = yaml_document.read(path).data
    assert found == {"a": "no", "b": "1e-3", "c": "12:30", "d": None, "e": "007"}


@pytest.mark.parametrize("kind", LOADERS)
def test_everything_shipped_is_good(kind):
    files = sorted((ROOT / kind).glob("*.yaml"))
    assert files
    for path in files:
        is_sweep = yaml_document.read(path).data["kind"] == "sweep"
        (spec.load if is_sweep else LOADERS[kind])(path)


def test_every_section_of_every_accelerator_has_a_source():
    for path in sorted((ROOT / "accelerators").glob("*.yaml")):
        data = yaml_document.read(path).data
        sections = [v for v in data.values() if isinstance(v, dict)] + data["memory"]
        assert all(section.get("source") for section in [data, *sections]), path


@pytest.mark.parametrize("kind", sorted(FILES))
def test_a_path_may_be_text(kind):
    assert LOADERS[kind](str(FILES[kind])) is not None
    with pytest.raises(ConfigError, match=r"no/such\.yaml: no such file"):
        LOADERS[kind]("no/such.yaml")
    with pytest.raises(ConfigError, match="must be the path of a YAML file, not None"):
        LOADERS[kind](None)
