"""Studies: variants of accelerators and policies, prices that are kept, errors by line."""

from __future__ import annotations

import shutil

import pandas as pd
import pytest
from support import ROOT, STUDY, fxsim

from fxsim.errors import ConfigError
from fxsim.studies import spec as study_spec

VARIANTS = STUDY.replace(
    "accelerators: [dynasty, int8_systolic]",
    """\
accelerators:
  - use: dynasty
    set:
      pe_array.rows: [2, 4]
      memory.left_buffer.capacity_bits: 131072
  - {use: int8_systolic, name: mine, set: {technology.clock_hz: 250e6}}
  - dynasty
baseline_accelerator: dynasty""",
)


def load(tmp_path, text):
    path = tmp_path / "small.yaml"
    path.write_text(text)
    return study_spec.load(path)


def test_accelerators_with_overrides_are_a_grid(tmp_path):
    found = load(tmp_path, VARIANTS).machines
    assert list(found) == ["dynasty-rows2", "dynasty-rows4", "mine", "dynasty"]
    assert [m.pe_array.rows for m in found.values()] == [2, 4, 16, 4]
    assert found["dynasty-rows2"].memory[1].capacity_bits == 131072
    assert found["dynasty"].memory[1].capacity_bits == 262144
    assert found["mine"].technology.clock_hz == 250e6
    assert "here with pe_array.rows = 2, memory.left_buffer" in found["dynasty-rows2"].source


def test_policies_with_lists_are_a_grid(tmp_path):
    text = STUDY.replace(
        "{name: uniform8, kind: uniform}",
        "{name: u, kind: uniform, weight: [4, 8], error: [6, 8]}\n"
        "  - {name: d, kind: dynasty, candidates: [0, 4, 8]}\n  - {name: uniform8, kind: uniform}",
    )
    found = load(tmp_path, text).policies
    assert list(found) == [
        "float32",
        "u-weight4-error6",
        "u-weight4-error8",
        "u-weight8-error6",
        "u-weight8-error8",
        "d",
        "uniform8",
        "dynasty",
    ]
    assert found["u-weight4-error6"][1].error == 6
    assert found["d"][1].candidates == (0, 4, 8)  # a list where a list belongs is one value


def test_a_workload_with_overrides(tmp_path):
    text = STUDY.replace(
        "workload: digits_cnn", "workload: {use: digits_cnn, set: {training.batch: 16}}"
    )
    loaded = load(tmp_path, text)
    assert loaded.workload.data["training"]["batch"] == "16"
    (tmp_path / "again.yaml").write_text(loaded.workload.text)
    fxsim("check", "again.yaml", at=tmp_path)


def test_variants_are_priced_and_only_what_is_new_is_computed(study, tmp_path):
    shutil.copytree(study[0] / "reports", tmp_path / "reports")
    prices = tmp_path / "reports" / "small" / "costs"
    before = {p.name for p in prices.iterdir()}
    (tmp_path / "small.yaml").write_text(VARIANTS + "report: {sections: [pareto]}\n")
    done = fxsim("run", "small.yaml", at=tmp_path)
    assert done.stderr.count("unchanged, using the earlier run") == 3
    # two policies on three new machines; dynasty's prices are the earlier ones
    assert len({p.name for p in prices.iterdir()} - before) == 2 * 3
    table = pd.read_csv(tmp_path / "reports" / "small" / "tables" / "summary.csv")
    table = table.set_index(["policy", "accelerator"])
    base = table.loc[("uniform8", "dynasty")]
    assert base["speedup"] == 1
    for (_, on), row in table.dropna(subset="cycles").iterrows():
        clock = 250e6 if on == "mine" else 500e6
        seconds, base_seconds = row["cycles"] / clock, base["cycles"] / 500e6
        assert row["speedup"] == pytest.approx(base_seconds / seconds)
        assert row["energy_saving"] == pytest.approx(base["energy_uj"] / row["energy_uj"])
    # all of it again, by force
    runs = tmp_path / "reports" / "small" / "runs"
    old = {p: p.stat().st_mtime_ns for p in runs.glob("*/run.json")}
    fxsim("run", "small.yaml", "--force", at=tmp_path)
    assert all(p.stat().st_mtime_ns > old[p] for p in old)


def test_a_report_is_repeated_from_what_lies_beside_it(study, tmp_path):
    """The inputs of a study of variants give its runs and prices again, and nothing new."""
    shutil.copytree(study[0] / "reports", tmp_path / "reports")
    text = VARIANTS + "report: {sections: [pareto]}\n"
    (tmp_path / "small.yaml").write_text(text.replace("workload: digits_cnn", "workload: my.yaml"))
    shutil.copy(ROOT / "workloads" / "digits_cnn.yaml", tmp_path / "my.yaml")
    fxsim("run", "small.yaml", at=tmp_path)
    results = tmp_path / "reports" / "small"
    before = (results / "tables" / "summary.csv").read_bytes()
    prices = sorted((results / "costs").iterdir())
    (tmp_path / "my.yaml").unlink()
    (tmp_path / "small.yaml").unlink()
    done = fxsim("run", "reports/small/inputs/study.yaml", at=tmp_path)
    assert done.stderr.count("unchanged, using the earlier run") == 3
    assert (results / "tables" / "summary.csv").read_bytes() == before
    assert sorted((results / "costs").iterdir()) == prices


def test_a_kept_price_is_the_price(study, tmp_path):
    shutil.copytree(study[0] / "reports", tmp_path / "reports")
    (tmp_path / "small.yaml").write_text(STUDY + "report: {sections: [pareto]}\n")
    tables = tmp_path / "reports" / "small" / "tables"
    kept = {p.name: p.read_bytes() for p in tables.glob("*.csv")}
    shutil.rmtree(tmp_path / "reports" / "small" / "costs")
    fxsim("report", "small.yaml", at=tmp_path)
    assert {p.name: p.read_bytes() for p in tables.glob("*.csv")} == kept


def test_tables_by_layer_pass_and_memory_level_sum_to_the_total(study):
    tables = study[0] / "reports" / "small" / "tables"
    costs, memory, bits, numbers = (
        pd.read_parquet(tables / f"{name}.parquet")
        for name in ("costs", "memory", "bits", "numbers")
    )
    keys = ["policy", "accelerator"]
    moved = (memory["read_pj"] + memory["write_pj"]).groupby([memory[k] for k in keys]).sum()
    held = costs.groupby(keys)[["buffer_pj", "dram_pj"]].sum().sum(axis=1)
    pd.testing.assert_series_equal(moved, held, check_names=False)
    assert bits.groupby(["policy", "role"])["share"].sum().round(12).eq(1).all()
    assert set(bits[bits["policy"] == "uniform8"]["bits"]) == {8}
    noise = numbers.set_index(["policy", "layer", "role"])["noise_db"]
    # eight bits at a dynamic scale: some forty decibels; DYNASTY spends fewer bits on more noise
    assert noise["uniform8"].between(-70, -20).all()
    assert noise["dynasty"]["conv2"]["weight"] > noise["uniform8"]["conv2"]["weight"]


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("pe_array.rows: [2", "pe_array.rowz: [2", 13, "did you mean"),
        ("pe_array.rows: [2, 4]", "pe_array.rows: [2, 0]", 13, "pe_array.rows must be at least 1"),
        ("left_buffer.cap", "lft_buffer.cap", 12, "did you mean 'left_buffer'?"),
        ("use: dynasty", "use: dinasty", 11, "did you mean 'dynasty'?"),
        ("  - dynasty\n", "  - mine\n", 16, "must be a file or one of the shipped"),
        ("  - dynasty\n", "  - {use: dynasty, name: mine}\n", 16, "'mine' is given twice"),
        ("_accelerator: dynasty", "_accelerator: dynast", 17, "did you mean 'dynasty'?"),
        (
            "workload: digits_cnn",
            "workload: {use: digits_cnn, set: {training.bach: 3}}",
            4,
            "did you mean 'batch'?",
        ),
        (
            "workload: digits_cnn",
            "workload: {use: digits_cnn, set: {training.batch: [3, 4]}}",
            4,
            "one value a key; a sweep takes several",
        ),
        ("pe_array.rows: [2, 4]", "pe_array.rows: []", 12, "must have at least one value"),
        ("kind: uniform}", "kind: uniform, weight: [4, 99]}", 8, "weight must be at most 16"),
        ("baseline: uniform8", "baseline: uniform", 19, "did you mean 'uniform8'?"),
        ("seeds: [0]", "seeds: [0, 0]", 18, "seeds must name each seed once"),
        ("kind: uniform}", "kind: uniform, weight: []}", 8, "must have at least one value"),
        ("kind: uniform}", "kind: uniform, layers: {conv9: {weight: 4}}}", 8, "no layer 'conv9'"),
        ("name: mine", "name: ../mine", 15, "name"),
    ],
)
def test_slips_have_their_line(tmp_path, old, new, line, message):
    assert old in VARIANTS
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, VARIANTS.replace(old, new))
    text = str(caught.value)
    assert message in text
    assert text.startswith(f"{tmp_path / 'small.yaml'}:{line}:"), text
