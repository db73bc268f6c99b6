"""Comparisons: means, differences, significance, thresholds."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from support import fxsim

from fxsim.errors import ConfigError, DataError
from fxsim.studies import comparison

SEEDS = {"a": [0.90, 0.92, 0.91, 0.93], "b": [0.91, 0.94, 0.92, 0.95], "c": [0.90, 0.92]}


def table():
    rows = [
        {"policy": policy, "accelerator": "-", "seed": seed, "test_accuracy": value, "cycles": 9.0}
        for policy, values in SEEDS.items()
        for seed, value in enumerate(values)
    ]
    return pd.DataFrame(rows)


def test_means_changes_and_significance():
    found = comparison.averaged(table(), "a").set_index("policy")
    assert found.loc["a", "test_accuracy_sd"] == np.std(SEEDS["a"], ddof=1)
    assert found.loc["b", "accuracy_change"] == pytest.approx(1.5)
    paired = stats.ttest_rel(SEEDS["b"], SEEDS["a"]).pvalue
    assert found.loc["b", "p_value"] == paired
    welch = stats.ttest_ind(SEEDS["c"], SEEDS["a"], equal_var=False).pvalue
    assert found.loc["c", "p_value"] == welch
    assert np.isnan(found.loc["a", "p_value"])
    assert list(found["seeds"]) == [4, 4, 2]


@pytest.mark.parametrize(
    ("one", "other", "wanted"),
    [([0.5], [0.5], None), ([0.5, 0.5], [0.5, 0.5], 1.0), ([0.6, 0.6], [0.5, 0.5], 0.0)],
)
def test_significance_without_spread(one, other, wanted):
    found = comparison.p_value(pd.Series(one), pd.Series(other))
    assert np.isnan(found) if wanted is None else found == wanted


def test_of_runs_and_of_others_tables(study, tmp_path):
    (tmp_path / "theirs.csv").write_text(
        "policy,test_accuracy,cycles,accelerator\ntheirs,0.99,1000000,dynasty\n"
    )
    done = fxsim(
        "compare",
        study[0] / "reports" / "small",
        "theirs.csv",
        "-a",
        "dynasty",
        "--baseline",
        "uniform8",
        "--json",
        at=tmp_path,
    )
    rows = {row["policy"]: row for row in json.loads(done.stdout)}
    assert list(rows) == ["dynasty", "float32", "uniform8", "theirs"]
    summary = pd.read_csv(study[0] / "reports" / "small" / "tables" / "summary.csv")
    known = summary.set_index(["policy", "accelerator"]).loc[("dynasty", "dynasty")]
    assert rows["dynasty"]["speedup"] == pytest.approx(known["speedup"])
    assert rows["dynasty"]["energy_saving"] == pytest.approx(known["energy_saving"])
    assert rows["theirs"]["speedup"] == pytest.approx(rows["uniform8"]["cycles"] / 1e6)
    assert rows["float32"]["cycles"] is None


@pytest.mark.parametrize(
    ("condition", "code"),
    [
        ("speedup<4", 1),
        ("speedup<1.0001", 0),
        ("dynasty:speedup>1", 1),
        ("dynasty@dynasty:energy_saving<1", 0),
        ("weight_bits>=8", 0),
    ],
)
def test_conditions_decide_the_exit_code(study, condition, code):
    done = fxsim(
        "compare",
        study[0] / "reports" / "small",
        "-a",
        "dynasty",
        "--baseline",
        "uniform8",
        "--fail-if",
        condition,
        at=study[0],
        code=code,
    )
    assert "compared with uniform8" in done.stdout
    if code:
        assert len(done.stderr.strip().splitlines()) == 1
        assert f"{condition!r} was to fail" in done.stderr


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("speedup", "must be [POLICY[@ACCELERATOR]:]COLUMN<NUMBER"),
        ("speedup<four", "must be [POLICY[@ACCELERATOR]:]COLUMN<NUMBER"),
        ("cycle<3", "there is no column 'cycle'; did you mean 'cycles'?"),
        ("bb:cycles<3", "there is no 'bb'"),
        ("speedup<nan", "must be [POLICY"),
        ("b:energy<3", "there is no column 'energy'"),
    ],
)
def test_conditions_that_make_no_sense(condition, message):
    found = comparison.averaged(table(), "a")
    with pytest.raises(ConfigError) as caught:
        comparison.Threshold.parse(condition).met_by(found, "a")
    assert message in str(caught.value)


def test_runs_of_one_name_and_two_recipes_are_told_apart(study, tmp_path):
    run = study[0] / "reports" / "small" / "runs" / "dynasty-seed0"
    fxsim(
        "simulate",
        "digits_cnn",
        "--policy",
        "dynasty",
        "--epochs",
        1,
        "--out",
        "other/dynasty-seed0",
        at=tmp_path,
    )
    names = list(comparison.gather([run, tmp_path / "other" / "dynasty-seed0"])[0])
    assert sorted(names) == ["other/dynasty", "small/dynasty"]
    with pytest.raises(DataError, match="seed 0 is given twice; a run counts once"):
        comparison.gather([run, run])


def test_ratios_pair_seeds(tmp_path):
    (tmp_path / "t.csv").write_text(
        "policy,test_accuracy,seed,cycles\nbase,0.9,0,100\nbase,0.9,1,300\nx,0.9,0,50\n"
        "x,0.9,1,150\ny,0.9,7,100\n"
    )
    done = fxsim("compare", "t.csv", "--json", at=tmp_path)
    rows = {row["policy"]: row for row in json.loads(done.stdout)}
    assert [rows[name]["speedup"] for name in ("base", "x", "y")] == [1, 2, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("policy,test_accuracy\nx,91 %\n", "t.csv:2: test_accuracy must be a fraction from 0 to 1"),
        ("policy,test_accuracy\nx,0.9\ny,91.5\n", "t.csv:3: test_accuracy must be a fraction"),
        ('policy,test_accuracy,cycles\nx,0.9,"1,000"\n', "t.csv:2: cycles must be a number"),
        ("policy,test_accuracy\n", "it has no row"),
        (
            "policy,test_accuracy,seed\nx,0.9,0\nx,0.8,0\n",
            "t.csv:3: a policy, accelerator and seed",
        ),
        ("policy,test_accuracy\n,0.9\n", "t.csv:2: policy must not be blank"),
    ],
)
def test_tables_with_strange_values_have_their_line(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    assert message in fxsim("compare", "t.csv", at=tmp_path, code=2).stderr


def test_rows_without_a_seed_are_seeds(tmp_path):
    (tmp_path / "t.csv").write_text("policy,test_accuracy\n4,0.8\n4,0.9\n8,0.7\n")
    done = fxsim("compare", "t.csv", "--baseline", "4", "--json", at=tmp_path)
    rows = {row["policy"]: row for row in json.loads(done.stdout)}
    assert rows["4"]["seeds"] == 2
    assert rows["8"]["accuracy_change"] == pytest.approx(-15)


def test_tables_that_are_none(tmp_path):
    (tmp_path / "a.csv").write_text("policy,accuracy\nx,1\n")
    done = fxsim("compare", "a.csv", at=tmp_path, code=2)
    assert "a.csv:1: must have the columns policy, test_accuracy" in done.stderr
    (tmp_path / "b.parquet").write_text("no parquet")
    assert "must be a table of results" in fxsim("compare", "b.parquet", at=tmp_path, code=2).stderr
    assert fxsim("compare", "none.csv", at=tmp_path, code=2).stderr.count("\n") == 1
