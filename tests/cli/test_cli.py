"""The command line as a user meets it: in a fresh directory, in process where none is needed."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import time

import pandas as pd
import pyarrow.parquet as pq
import pytest
import typer
from support import COMMAND, ENVIRONMENT, ROOT, STUDY, fxsim, jit_only, written_again

from fxsim.cli import main
from fxsim.cli.commands import training


def test_a_study_prints_its_table_and_names_its_files(study):
    place, done = study
    for words in ("uniform8", "dynasty", "int8_systolic", "speedup", "SHA-256", "test accuracy"):
        assert words in done.stdout
    assert "loss" in done.stderr
    assert "bits" in done.stderr
    results = place / "reports" / "small"
    for name in ("summary", "costs", "accuracy"):
        csv = pd.read_csv(results / "tables" / f"{name}.csv")
        parquet = pd.read_parquet(results / "tables" / f"{name}.parquet")
        assert len(csv) == len(parquet) > 0
    assert "reports/small/tables" in done.stdout
    page = (results / "report.html").read_text()
    assert page.count("http-equiv") == 1  # its content-security policy
    assert "src=" not in page
    assert "reconstruction" in page
    assert "As the papers count" in page
    assert "Known of it: block-wise dynamic precision over 4x4 tiles" in page
    counted = pd.read_csv(results / "tables" / "paper_metrics.csv").set_index("policy")
    assert list(counted.index) == ["uniform8", "dynasty"]
    assert counted.loc["uniform8", "weight_compression"] == 4
    assert counted.loc["dynasty", "gbitops"] < counted.loc["uniform8", "gbitops"]
    summary = pd.read_csv(results / "tables" / "summary.csv").set_index(["policy", "accelerator"])
    assert summary.loc[("uniform8", "dynasty"), "speedup"] == 1
    assert summary.loc[("dynasty", "dynasty"), "speedup"] > 1
    assert summary.loc[("dynasty", "dynasty"), "weight_bits"] < 8
    assert pd.isna(summary.loc[("float32", "dynasty"), "cycles"])


def test_cycles_and_energy_are_the_sums_of_the_costs(study):
    tables = study[0] / "reports" / "small" / "tables"
    costs, summary = pd.read_csv(tables / "costs.csv"), pd.read_csv(tables / "summary.csv")
    energy = costs[[c for c in costs.columns if c.endswith("_pj")]].sum(axis=1)
    sums = (
        costs.assign(energy=energy).groupby(["policy", "accelerator"])[["cycles", "energy"]].sum()
    )
    for row in summary.dropna(subset="cycles").itertuples():
        assert row.cycles == pytest.approx(sums.loc[(row.policy, row.accelerator), "cycles"])
        assert row.energy_uj * 1e6 == pytest.approx(
            sums.loc[(row.policy, row.accelerator), "energy"]
        )


def test_an_unchanged_study_is_not_trained_again(study):
    place, first = study
    again = fxsim("run", "small.yaml", "--threads", 1, at=place)
    assert again.stderr.count("unchanged, using the earlier run") == 3
    assert again.stdout == first.stdout


def test_replay_gives_the_same_bits_at_another_thread_count(study):
    place, _ = study
    run = place / "reports" / "small" / "runs" / "dynasty-seed0"
    recorded = json.loads((run / "run.json").read_text())["weights_sha256"]
    assert recorded in fxsim("replay", run, "--threads", 1, at=place).stdout


def test_a_trace_of_another_version_is_refused_by_its_number(study, tmp_path):
    run = tmp_path / "old"
    shutil.copytree(study[0] / "reports" / "small" / "runs" / "dynasty-seed0", run)
    path = run / "trace" / "maps.parquet"
    table = pq.read_table(path)
    refused = {
        b"4": "must be a trace of version 7, not of version 4; make the run again",
        b"8": "must be a trace of version 7, not of version 8; make the run again",
        None: "not of a version before 5, which stated none; make the run again",
    }
    for version, words in refused.items():
        metadata = {} if version is None else {b"fxsim.trace.version": version}
        pq.write_table(table.replace_schema_metadata(metadata), path)
        written_again(run)
        done = fxsim("estimate", run, "-a", "loom", at=tmp_path, code=2)
        assert done.stderr.count("\n") == 1
        assert f"{path}: " in done.stderr
        assert words in done.stderr


def test_a_run_of_a_policy_that_is_not_here_is_one_line(study, tmp_path):
    run = tmp_path / "foreign"
    shutil.copytree(study[0] / "reports" / "small" / "runs" / "dynasty-seed0", run)
    manifest = json.loads((run / "run.json").read_text())
    kind = {**manifest["policy"], "kind": "dinasty"}
    parameter = {**manifest["policy"], "weighty": 3}
    for policy, words in (
        (kind, "policy.kind must be one of float32, uniform, adapt"),
        (parameter, "policy.weighty must be a parameter of 'dynasty' as it is now"),
    ):
        (run / "run.json").write_text(json.dumps({**manifest, "policy": policy}))
        commands = [("replay", run), ("evaluate", run)]
        if policy is kind:
            commands += [("estimate", run, "-a", "dynasty"), ("compare", run, "-a", "dynasty")]
        for command in commands:
            done = fxsim(*command, at=tmp_path, code=2)
            assert words in done.stderr
            assert "Traceback" not in done.stderr
    for command in (("replay", tmp_path), ("evaluate", tmp_path)):
        done = fxsim(*command, at=tmp_path, code=2)
        assert "must be the directory of a run; it holds no run.json" in done.stderr


def test_a_replay_that_differs_fails_with_code_1(study, tmp_path):
    run = tmp_path / "changed"
    shutil.copytree(study[0] / "reports" / "small" / "runs" / "dynasty-seed0", run)
    decisions = pd.read_parquet(run / "decisions.parquet")
    decisions.loc[len(decisions) - 1, "threshold.weight"] = 0
    decisions.to_parquet(run / "decisions.parquet")
    written_again(run)
    done = fxsim("replay", run, at=tmp_path, code=1)
    assert "differ" in done.stderr or "SHA-256 must be" in done.stderr
    assert "Traceback" not in done.stderr
    decisions.rename(columns={"threshold.weight": "limit"}).to_parquet(run / "decisions.parquet")
    written_again(run)
    done = fxsim("replay", run, at=tmp_path, code=2)
    assert "decisions.parquet: decisions must not have a column 'limit'" in done.stderr


def test_estimate_prices_an_old_run_elsewhere_without_training(study):
    place, _ = study
    run = place / "reports" / "small" / "runs" / "dynasty-seed0"
    found = json.loads(
        fxsim("estimate", run, "-a", "int8_systolic", "-a", "dynasty", "--json", at=place).stdout
    )
    summary = pd.read_csv(place / "reports" / "small" / "tables" / "summary.csv")
    for machine, rows in found.items():
        mask = (summary["policy"] == "dynasty") & (summary["accelerator"] == machine)
        assert rows[-1]["pass"] == "total"
        assert rows[-1]["cycles"] == pytest.approx(summary[mask]["cycles"].iloc[0])


def test_compare_and_report(study):
    place, _ = study
    runs = sorted((place / "reports" / "small" / "runs").iterdir())
    rows = json.loads(fxsim("compare", *runs, "-a", "dynasty", "--json", at=place).stdout)
    assert [row["policy"] for row in rows] == ["dynasty", "float32", "uniform8"]
    before = (place / "reports" / "small" / "report.html").read_bytes()
    fxsim("report", "small.yaml", at=place)
    assert (place / "reports" / "small" / "report.html").read_bytes() == before


def test_a_workloads_step_is_estimated_without_its_data(tmp_path):
    jit_only()
    done = fxsim("estimate", "lenet5", "-a", "int8_systolic", "--json", at=tmp_path)
    total = json.loads(done.stdout)["int8_systolic"][-1]
    # forward and grad_weight of the published 416,520 MACs; grad_input of all but the first layer,
    # whose second convolution multiplies 14 x 14 x 6 sums of 5 x 5 x 16, the padding's zeros too
    grad_input = 14 * 14 * 6 * 5 * 5 * 16 + 48_000 + 10_080 + 840
    assert total["macs"] == 64 * (2 * 416_520 + grad_input)
    assert list(tmp_path.iterdir()) == []


def test_mappings_are_shown_stored_and_used_again_and_costs_taken_apart(tmp_path):
    step = ["estimate", "lenet5", "--batch", "2", "-a", "eyeriss", "--json"]

    def table(*options):
        found = json.loads(fxsim(*step, *options, at=tmp_path).stdout)
        return found["eyeriss"]

    searched = table("--save-mapping", "m.yaml")
    fxsim("check", "m.yaml", at=tmp_path)
    assert table("--mapping", "m.yaml") == searched
    total = searched[-1]["energy_pj"]
    for by in ("component", "layer,level,operand", "pass,component"):
        rows = table("--by", by)
        assert rows[-1]["energy_pj"] == pytest.approx(total)
        assert sum(row["energy_pj"] for row in rows[:-1]) == pytest.approx(total)
    bounds = table("--show", "mappings")
    assert all(row["at_most_x_cycles"] >= 1 - 1e-9 for row in bounds)
    assert {row["bound_by"] for row in table("--show", "roofline")} <= {
        "array",
        "dram",
        "global_buffer",
        "filter_buffer",
        "ifmap_spad",
        "filter_spad",
        "psum_spad",
    }
    (now,), (scaled,) = table("--show", "power"), table("--show", "power", "--node", "7")
    assert scaled["array_mm2"] < now["array_mm2"] / 10
    text = (tmp_path / "m.yaml").read_text()
    (tmp_path / "m.yaml").write_text(text.replace("psum_spad", "psum_spud", 1))
    refused = fxsim(*step, "--mapping", "m.yaml", at=tmp_path, code=2)
    assert "eyeriss has no memory level 'psum_spud'" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "missing.yaml"], "missing.yaml: must be a file or one of the shipped reports"),
        (["run", "quickstrat"], "did you mean 'quickstart'?"),
        (["run", "quickstart", "--threads", "0"], "--threads must be at least 1, not 0"),
        (["run", "quickstart", "--epochs", "0"], "--epochs"),
        (["run", "quickstart", "--epoch", "1"], "--epoch"),
        (["simulate", "digits_cnn", "--policy", "dinasty"], "did you mean 'dynasty'?"),
        (["simulate", "digits_cnn", "--set", "weight=80"], "--set weight=80"),
        (
            ["simulate", "digits_cnn", "--set", "wait=8"],
            "no parameter 'wait'; did you mean 'weight'",
        ),
        (["simulate", "digits_cnn", "--set", "weight"], "must be name=value, not 'weight'"),
        (["simulate", "digits_cnn", "--data", "digit"], "did you mean 'digits'?"),
        (["simulate", "lenet5", "--data", "digits"], "input [28, 28, 1] and 10 classes must be"),
        (["simulate", "lenet5", "--data-dir", "nowhere"], "must be a directory, not 'nowhere'"),
        (["estimate", "lenet5", "-a", "dynsty"], "did you mean 'dynasty'?"),
        (["estimate", "lenet5", "-a", "dynasty", "--by", "pas"], "did you mean 'pass'?"),
        (["estimate", "lenet5", "-a", "dynasty", "--policy", "float32"], "must be one of uniform"),
        (["estimate", "lenet5", "-a", "dynasty", "--show", "mapping"], "did you mean 'mappings'?"),
        (["estimate", "lenet5", "-a", "dynasty", "--objective", "edq"], "did you mean 'edp'?"),
        (["estimate", "lenet5", "-a", "dynasty", "--node", "3"], "must be from 7 to 180 nm, not 3"),
        (["estimate", "lenet5", "-a", "dynasty", "--mapping", "no.yaml"], "no.yaml: no such file"),
        (["estimate", ".", "-a", "dynasty"], "it holds no run.json"),
        (["compare", "nowhere"], "nowhere: must be the directory of a run"),
        (["replay", "nowhere"], "nowhere: must be the directory of a run"),
        (["check", "nowhere.yaml"], "nowhere.yaml: no such file"),
        (["simulate", "digits_cnn", "--set", "candidates=0"], "no parameter 'candidates'"),
        (
            ["simulate", "digits_cnn", "--policy", "dynasty", "--set", "candidates=0"],
            "each 0 or at least 2, not all 0",
        ),
        (["frobnicate"], "frobnicate"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_code_2_and_nothing_written(tmp_path, arguments, message):
    done = fxsim(*arguments, at=tmp_path, code=2)
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [["run", "quickstart"], ["simulate", "digits_cnn"]])
def test_a_file_is_no_place_for_results(tmp_path, command):
    (tmp_path / "taken").write_text("a file")
    done = fxsim(*command, "--out", "taken", at=tmp_path, code=2)
    assert "taken" in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "taken").read_text() == "a file"


def test_a_batch_larger_than_the_dataset_is_refused(tmp_path):
    text = (ROOT / "workloads" / "digits_cnn.yaml").read_text()
    (tmp_path / "big.yaml").write_text(text.replace("batch: 32", "batch: 3200"))
    done = fxsim("simulate", "big.yaml", "--policy", "float32", at=tmp_path, code=2)
    assert "training.batch must be at most the 1437 training samples" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["big.yaml"]


def test_strange_yaml_and_empty_manifests_are_one_line(tmp_path):
    (tmp_path / "strange.yaml").write_text("kind: [study]")
    done = fxsim("check", "strange.yaml", at=tmp_path, code=2)
    assert done.stderr.startswith("strange.yaml:1:1: kind must be one of")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    for command in (["estimate", "run", "-a", "dynasty"], ["replay", "run"]):
        done = fxsim(*command, at=tmp_path, code=2)
        assert (
            done.stderr == "run: must be the directory of a run: run.json has no 'inputs_sha256'\n"
        )


def test_a_report_is_not_made_of_another_versions_runs(study, tmp_path):
    place, _ = study
    (tmp_path / "small.yaml").write_text(STUDY.replace("weight_budget: 0.2", "weight_budget: 0.9"))
    results = place / "reports" / "small"
    done = fxsim("report", "small.yaml", "--out", results, at=tmp_path, code=2)
    assert "dynasty-seed0: must be a run of the study as it is now" in done.stderr


def test_foreign_directories_are_not_replaced(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    done = fxsim("simulate", "digits_cnn", "--out", "mine", at=tmp_path, code=2)
    assert done.stderr.startswith("mine: the place of a run must be new, empty or an earlier run")
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_check_and_list(tmp_path):
    files = sorted((ROOT / "accelerators").glob("*.yaml"))
    assert fxsim("check", *files, at=tmp_path).stdout.count("a good accelerator") == len(files)
    found = json.loads(fxsim("list", "--json", at=tmp_path).stdout)
    kinds = {
        "policies",
        "workloads",
        "accelerators",
        "studies",
        "sweeps",
        "datasets",
        "engine paths",
    }
    assert kinds == set(found)
    assert all(words for entries in found.values() for words in entries.values())


def test_every_command_has_an_example_that_parses():
    """The examples of the help name commands and options that there are."""
    app = typer.main.get_command(main.app)
    commands = [command for group in main.COMMANDS.values() for command in group]
    for command in [*commands, training.fetch]:
        examples = re.findall(r"Example: fxsim (.+)", command.__doc__)
        assert examples, command.__name__
        for example in examples:
            words = shlex.split(example.partition("   (")[0].partition(" && ")[0])
            chosen = app.commands[words[0]]
            if words[0] == "data":
                chosen, words = chosen.commands[words[1]], words[1:]
            with chosen.make_context("fxsim", words[1:], resilient_parsing=False):
                pass


def test_names_are_completed(tmp_path):
    for words, wanted in {
        "fxsim simulate lstm": {"lstm_char"},
        "fxsim explain bit": {"bitfusion"},
        "fxsim estimate lenet5 -a scale": {
            f"scalesim_{n}" for n in ("is", "os", "ws", "ws_unlimited")
        },
        "fxsim simulate lenet5 --policy dyn": {"dynasty"},
        "fxsim swe": {"sweep"},
    }.items():
        environment = {
            **ENVIRONMENT,
            "_FXSIM_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        }
        script = "import sys; sys.argv[0] = 'fxsim'; from fxsim.cli.main import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True
        )
        assert set(done.stdout.split()) == wanted, (words, done.stderr)


def test_an_accelerator_is_drawn_and_its_data_given(tmp_path):
    drawn = fxsim("explain", "dynasty", at=tmp_path).stdout
    assert "left_buffer" in drawn
    assert "32 KiB, double-buffered" in drawn
    assert "  8 x 8            256    0.256       0.47" in drawn
    assert "sources:" in drawn
    data = json.loads(fxsim("explain", "dynasty", "--json", at=tmp_path).stdout)
    assert data["pe_array"]["rows"] == 4
    done = fxsim("explain", "dinasty", at=tmp_path, code=2)
    assert "did you mean 'dynasty'?" in done.stderr


def test_help_does_not_load_the_engine(tmp_path):
    started = time.perf_counter()
    done = fxsim("--help", at=tmp_path)
    assert "simulate" in done.stdout
    assert time.perf_counter() - started < 30
    script = "import sys; from fxsim.cli import main; assert 'numba' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], env=ENVIRONMENT, check=True)


def test_inference_from_a_run_and_from_a_checkpoint(tmp_path):
    jit_only()
    fxsim("simulate", "digits_cnn", "--epochs", "2", "--out", "run", "--keep", "2", at=tmp_path)
    manifest = json.loads((tmp_path / "run" / "run.json").read_text())
    done = fxsim("evaluate", "run", "--predictions", "seen.csv", "--json", at=tmp_path)
    assert json.loads(done.stdout)["test_accuracy"] == manifest["test_accuracy"]
    seen = pd.read_csv(tmp_path / "seen.csv")
    assert (seen["label"] == seen["prediction"]).mean() == manifest["test_accuracy"]
    assert seen["probability"].between(0.1, 1).all()
    places = sorted((tmp_path / "run" / "checkpoints").iterdir())
    assert [place.name for place in places] == ["step-00000044", "step-00000088"]
    early = fxsim("evaluate", "run", "--checkpoint", places[0], "--json", at=tmp_path)
    evaluations = pd.read_parquet(tmp_path / "run" / "evaluations.parquet")
    assert json.loads(early.stdout)["test_accuracy"] == evaluations["test_accuracy"][0]
    folded = fxsim("evaluate", "run", "--fold", "--json", at=tmp_path)
    assert abs(json.loads(folded.stdout)["test_accuracy"] - manifest["test_accuracy"]) < 0.02
    refused = fxsim("evaluate", "run", "--checkpoint", "nowhere", at=tmp_path, code=2)
    assert "nowhere: must be a checkpoint" in refused.stderr


def test_labels_and_logits_of_different_shapes_are_refused(tmp_path):
    text = (ROOT / "workloads" / "digits_cnn.yaml").read_text()
    flat = "  - {name: pool3, kind: global_average_pool}\n  - {name: flat, kind: flatten}\n"
    assert flat in text
    (tmp_path / "odd.yaml").write_text(text.replace(flat, ""))
    done = fxsim("simulate", "odd.yaml", at=tmp_path, code=2)
    assert "gives logits for labels of shape [4, 4] a sample" in done.stderr
    other = fxsim("simulate", "gru_seq2seq", "--data", "digits", at=tmp_path, code=2)
    assert "must" in other.stderr
    assert "Traceback" not in other.stderr


def test_fetching_an_unknown_dataset_is_one_line(tmp_path):
    done = fxsim("data", "fetch", "cifar1", at=tmp_path, code=2)
    assert "did you mean 'cifar10'" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_run_begins_from_anothers_weights_and_says_what_it_lacks(tmp_path):
    fxsim("simulate", "digits_cnn", "--epochs", 1, "--out", "first", at=tmp_path)
    more = ("simulate", "digits_cnn", "--policy", "adaqat", "--epochs", 1, "--initial")
    fxsim(*more, "first", "--out", "tuned", at=tmp_path)
    manifest = json.loads((tmp_path / "tuned" / "run.json").read_text())
    assert manifest["initial"] == "first"
    failed = fxsim(*more, "nowhere", "--out", "other", at=tmp_path, code=2)
    assert failed.stderr.strip().endswith(
        "nowhere: must be the directory of a run or of a checkpoint; it holds no weights.npz and no"
        " state.npz"
    )


def test_a_closed_standard_output_is_one_line(tmp_path):
    shell = f"{shlex.join([*COMMAND, 'list'])} >&-"
    done = subprocess.run(
        ["sh", "-c", shell], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "fxsim: standard output is closed; > /dev/null discards what is printed"
    ]
