"""What a YAML file may hold at most: one line for the rest, soon."""

from __future__ import annotations

import pytest
from support import ROOT, fxsim, shared

import fxsim as package
from fxsim.config import yaml_document
from fxsim.config.names import file_name
from fxsim.errors import ConfigError
from fxsim.hardware import accelerator
from fxsim.studies import spec as studies
from fxsim.training import workload

BOMB = "a: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"b{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOMB, "x.yaml:6:1: must hold at most 100,000 parts, aliases written out"),
        ("a: " + "[" * 1000 + "]" * 1000, "x.yaml:1:35: must be nested at most 32 levels deep"),
        ("a: " + "{b: " * 1000 + "}" * 1000, "levels deep"),
        ("a: " + "x" * (1 << 22), "x.yaml: must be of at most 4,194,304 characters"),
    ],
)
def test_files_that_expand(tmp_path, text, said):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        yaml_document.read(path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def changed(tmp_path, folder, file, **values):
    """A shipped file with other text for some keys."""
    lines = (ROOT / folder / f"{file}.yaml").read_text().splitlines()
    for key, value in values.items():
        (i,) = [i for i, line in enumerate(lines) if line.strip().startswith(f"{key}:")][:1]
        lines[i] = lines[i].split(key)[0] + f"{key}: {value}"
    path = tmp_path / f"{file}.yaml"
    path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize(
    ("number", "said"),
    [
        ("1e999999999", "must be 0, or between 1e-60 and 1e60"),
        ("1e-999999999", "must be 0, or between 1e-60 and 1e60"),
        ("x", "must be a number, not 'x'"),
        ("nan", "must be a number, not 'nan'"),
        ("1/0", "must be a number, not '1/0'"),
        ("1e30", "must be a number of a usual size"),
    ],
)
def test_numbers_that_no_fraction_should_hold(tmp_path, number, said):
    path = changed(tmp_path, "workloads", "digits_cnn", learning_rate=number)
    with pytest.raises(ConfigError, match=r"digits_cnn\.yaml:\d+:\d+: training\.learning_rate"):
        workload.load(path)
    with pytest.raises(ConfigError, match=said):
        workload.load(path)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("clock_hz", "500", "technology.clock_hz must be 100000 to 1e+12 Hz, not 500"),
        ("clock_hz", "1e-300", "must be 100000 to 1e+12 Hz"),
        ("node_nm", "45e-9", "technology.node_nm must be 0.5 to 10000 nm, not 4.5e-08"),
        ("energy_pj_per_unit_cycle", "1e308", "must be 1e-09 to 1e+07 pJ a unit and cycle"),
    ],
)
def test_what_no_machine_has_is_refused_with_its_unit(tmp_path, key, value, said):
    path = changed(tmp_path, "accelerators", "dynasty", **{key: value})
    with pytest.raises(ConfigError) as caught:
        accelerator.load(path)
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"{path}:")


@pytest.mark.parametrize("number", ["1_0", "-1_000", "1_000.5"])
def test_numbers_are_written_without_underscores(tmp_path, number):
    path = changed(tmp_path, "workloads", "digits_cnn", epochs=number)
    with pytest.raises(ConfigError, match=rf"digits_cnn\.yaml:\d+:\d+: .*without _, not {number}"):
        workload.load(path)
    path = changed(tmp_path, "workloads", "digits_cnn", source="'1_0'")
    assert workload.load(path)[0].source == "1_0"


def test_what_machines_hardly_have_is_doubted(tmp_path):
    odd = package.machine(
        "dynasty",
        {
            "technology.clock_hz": 5e6,
            "memory.dram.bandwidth_bits_per_cycle": 25.6e9,
            "memory.dram.read_energy_pj_per_bit": 0,
            "memory.left_buffer.capacity_bits": 512,
        },
    )
    assert odd.doubts() == [
        "technology.clock_hz is 5e+06 Hz; 1e+07 to 1e+10 is usual",
        "memory.dram.bandwidth_bits_per_cycle is 2.56e+10 bit/cycle; 0.01 to 1e+07 is usual",
        "memory.left_buffer.capacity_bits is 512 of all",
        "memory.dram: reading off-chip costs no energy",
    ]
    path = changed(tmp_path, "accelerators", "dynasty", clock_hz="5e6")
    doubt = "technology.clock_hz is 5e+06 Hz; 1e+07 to 1e+10 is usual"
    assert f"warning: dynasty.yaml: {doubt}\n" == fxsim("check", path.name, at=tmp_path).stderr
    priced = fxsim("estimate", "lenet5", "-a", path.name, "--batch", 1, at=tmp_path)
    assert f"warning: dynasty: {doubt}\n" in priced.stderr


@pytest.mark.parametrize(
    "path", sorted((ROOT / "accelerators").glob("*.yaml")), ids=lambda p: p.stem
)
def test_shipped_machines_are_usual(path):
    assert accelerator.load(path).doubts() == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("'../../x'", "must be a name, not a path"),
        ("/tmp/x", "must be a name, not a path"),
        ("'~/x'", "must be a name, not a path"),
        (r"'a\..\..\x'", "must be a name, not a path"),
        (r"'C:\x'", "must be a name, not a path"),
        (r'"a\nb"', "must be printable text on one line"),
        ("x" * 101, "must be of at most 100 characters, not 101"),
        ("''", "must not be empty"),
    ],
)
def test_names_are_no_paths(tmp_path, name, said):
    for folder, file, load in (
        ("accelerators", "dynasty", accelerator.load),
        ("workloads", "digits_cnn", workload.load),
    ):
        path = changed(tmp_path, folder, file, name=name)
        with pytest.raises(ConfigError, match=said):
            load(path)


def test_names_of_files_are_plain_and_stay_apart():
    assert file_name("lenet5-mnist-dynasty-seed0") == "lenet5-mnist-dynasty-seed0"
    names = ["a/b", "a:b", "a\\b", "a b", "../a", ".a", "-a", "=a", "é", "", "x" * 300, "x" * 301]
    made = [file_name(name) for name in names]
    assert len(set(made)) == len(names)
    for name in made:
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789._+=-")
        assert not name.startswith((".", "-"))
        assert 0 < len(name) < 120


def test_a_grid_of_a_million_is_refused_before_it_is_made(tmp_path):
    values = "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]"
    keys = ("pe_array.rows", "pe_array.columns", "vector_unit.lanes", "pe.bricks", "pe.tile")
    several = ", ".join(f"{key}: {values}" for key in keys)
    path = tmp_path / "s.yaml"
    path.write_text(
        "kind: study\nname: g\ntitle: t\nworkload: digits_cnn\n"
        "policies: [{name: u, kind: uniform}]\n"
        f"accelerators: [{{use: dynasty, set: {{{several}}}}}]\nseeds: [0]\nbaseline: u\n"
    )
    with pytest.raises(ConfigError, match="must be at most 10,000 combinations, not 100,000"):
        studies.load(path)
    bits = "[2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]"
    path.write_text(
        "kind: study\nname: g\ntitle: t\nworkload: digits_cnn\npolicies:\n"
        f"  - {{name: u, kind: uniform, weight: {bits}, activation: {bits}, error: {bits},"
        f" weight_frac: {bits}}}\n"
        "accelerators: [dynasty]\nseeds: [0]\nbaseline: u\n"
    )
    with pytest.raises(ConfigError, match="must be at most 10,000 combinations, not 14,641"):
        studies.load(path)


@pytest.mark.parametrize(
    "name",
    [
        "alias_bomb",
        "deep_nesting",
        "energy_1e308",
        "grid_of_a_million",
        "input_1e9",
        "integer_of_300_digits",
        "learning_rate_huge",
        "name_with_path",
    ],
)
def test_cases_that_users_met(name):
    folder = shared("cases", "reliability")
    done = fxsim("check", f"{name}.yaml", at=folder, code=2)
    assert done.stderr.startswith(f"{name}.yaml:")
    assert done.stderr.count("\n") == 1
