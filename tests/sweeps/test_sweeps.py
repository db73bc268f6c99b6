"""Sweeps: on this machine and on a cluster that loses a worker, to the same table."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
from distributed import Client
from support import ENVIRONMENT, fxsim, jit_only, made_once

from fxsim.errors import ConfigError
from fxsim.sweeps import search, spec, sweep

HEAD = """\
kind: sweep
name: small
title: A small sweep
workload: digits_cnn
epochs: 1
accelerator: dynasty
"""
GRID = (
    HEAD
    + """\
policy: {kind: uniform}
axes:
  policy.weight: [4, 8]
  policy.error: [4, 8]
  accelerator.pe_array.rows: [2, 4]
  accelerator.sync.rows: [1, 4]
objectives: [accuracy, cycles, area]
baseline: {policy: {kind: uniform}}
"""
)
SEARCH = (
    HEAD
    + """\
axes:
  accelerator.pe_array.columns: {low: 1, high: 8}
  accelerator.memory.left_buffer.capacity_bits: {low: 4096, high: 262144, powers_of_two: true}
  accelerator.memory.dram.bandwidth_bits_per_cycle: {low: 10, high: 500, log: true}
search: {kind: pareto, points: 12, generation: 4, sampler: SAMPLER, seed: 3}
objectives: [cycles, area]
limits: {area: 2.4}
"""
)


class Quiet:
    """Implements `SweepWatcher`."""

    def __init__(self):
        self.points = []

    def run(self, label, reused):
        return None

    def point(self, label, done, total):
        self.points.append((label, done, total))


def comparable(table: pd.DataFrame) -> pd.DataFrame:
    return table.drop(columns=["wall_s", "reused"], errors="ignore").reset_index(drop=True)


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    """The grid, measured in one process."""
    jit_only()

    def make(place):
        (place / "small.yaml").write_text(GRID)
        return fxsim("sweep", "small.yaml", "--jobs", 1, at=place)

    return made_once(tmp_path_factory, "grid", make)


def test_a_grid_is_measured_and_reported(grid):
    place, done = grid
    table = pd.read_parquet(place / "reports" / "small" / "tables" / "points.parquet")
    assert len(table) == 2 * 2 * 2 * 2
    # two rows cannot run in lockstep with four: these points fail, and no other
    wrong = (table["accelerator.pe_array.rows"] == 2) & (table["accelerator.sync.rows"] == 4)
    assert (wrong == (table["error"] != "")).all()
    assert table["error"][wrong].str.contains("must divide pe_array.rows = 2, not be 4").all()
    assert done.stderr.count("warning: ") == wrong.sum()
    good = table[~wrong]
    # one training for each pair of word lengths, and the baseline's, which is one of them
    assert len(list((place / "reports" / "small" / "runs").iterdir())) == 4
    same = good.groupby(["policy.weight", "policy.error"])["test_accuracy"].nunique()
    assert (same == 1).all()
    eight = good[(good["policy.weight"] == 8) & (good["policy.error"] == 8)]
    base = eight[(eight["accelerator.pe_array.rows"] == 4) & (eight["accelerator.sync.rows"] == 1)]
    assert base["speedup"].tolist() == [1.0]
    assert (good["area_mm2"].groupby(good["accelerator.pe_array.rows"]).nunique() == 1).all()
    page = (place / "reports" / "small" / "report.html").read_text()
    assert "Points that failed" in page
    assert "Pareto front" in done.stdout


def test_the_front_is_what_no_point_beats(grid):
    tables = grid[0] / "reports" / "small" / "tables"
    table, front = (pd.read_parquet(tables / f"{n}.parquet") for n in ("points", "front"))
    good = table[table["error"] == ""]
    senses = {"test_accuracy": 1, "cycles": -1, "area_mm2": -1}
    for _, row in good.iterrows():
        beaten = any(
            all((other[c] - row[c]) * s >= 0 for c, s in senses.items())
            and any((other[c] - row[c]) * s > 0 for c, s in senses.items())
            for _, other in good.iterrows()
        )
        assert beaten == (row["point"] not in set(front["point"]))


def test_what_is_measured_is_not_measured_again(grid, tmp_path):
    home = tmp_path / "home"
    shutil.copytree(grid[0] / "reports" / "small", home)
    before = {p: p.stat().st_mtime_ns for p in (home / "runs").iterdir()}
    again = sweep.run(spec.load(grid[0] / "small.yaml"), home, Quiet()).table
    assert (again["reused"] == (again["error"] == "")).all()
    assert before == {p: p.stat().st_mtime_ns for p in before}
    # another axis value: only what is new is measured
    (tmp_path / "wide.yaml").write_text(GRID.replace("rows: [2, 4]", "rows: [4, 8]"))
    wide = sweep.run(spec.load(tmp_path / "wide.yaml"), home, Quiet()).table
    assert (wide["reused"] == (wide["accelerator.pe_array.rows"] == 4)).all()
    assert set((home / "runs").iterdir()) == set(before)


def start(place, *command):
    return subprocess.Popen(
        [sys.executable, "-m", "dask", *command],
        cwd=place,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.mark.slow
def test_a_cluster_that_loses_a_worker_loses_nothing(grid, tmp_path):
    """A real scheduler and two workers as processes; one is killed while it trains."""
    file = tmp_path / "scheduler.json"
    processes = [
        start(
            tmp_path,
            "scheduler",
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--no-dashboard",
            "--scheduler-file",
            str(file),
        )
    ]
    try:
        until(file.is_file)
        address = json.loads(file.read_text())["address"]
        worker = ("worker", address, "--no-nanny", "--nthreads", "1", "--no-dashboard")
        processes.append(start(tmp_path, *worker))
        (tmp_path / "small.yaml").write_text(GRID)
        command = [sys.executable, "-c", "from fxsim.cli.main import main; main()", "sweep"]
        sweeping = subprocess.Popen(
            [*command, "small.yaml", "--scheduler", address, "--json"],
            cwd=tmp_path,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(sweeping)
        runs = tmp_path / "reports" / "small" / "runs"
        until(lambda: any(runs.glob("*.unfinished/metrics.csv")))  # it trains
        os.kill(processes[1].pid, signal.SIGSTOP)  # and does not end before the other is there
        processes.append(start(tmp_path, *worker))
        with Client(address) as client:
            client.wait_for_workers(2, timeout=60)
        os.kill(processes[1].pid, signal.SIGKILL)
        out, errors = sweeping.communicate(timeout=300)
        assert sweeping.returncode == 0, errors
    finally:
        for process in processes:
            process.kill()
            process.wait()
    found = pd.DataFrame(json.loads(out)["points"])
    alone = pd.read_parquet(grid[0] / "reports" / "small" / "tables" / "points.parquet")
    found["test_accuracy_sd"] = None
    columns = [c for c in comparable(alone).columns if c in found]
    numbers = alone[columns].select_dtypes("number").columns
    assert {"cycles", "energy_uj", "test_accuracy", "speedup"} <= set(numbers)
    # values pass through JSON, which keeps ten digits
    pd.testing.assert_frame_equal(found[numbers], alone[numbers], check_dtype=False, rtol=1e-9)
    assert found["error"].tolist() == alone["error"].tolist()
    kept = tmp_path / "reports" / "small" / "tables" / "points.parquet"
    pd.testing.assert_frame_equal(
        comparable(pd.read_parquet(kept)), comparable(alone), check_exact=True
    )


@pytest.mark.slow
def test_an_interrupt_of_local_processes_is_one_line_and_goes_on(grid, tmp_path):
    """Ctrl-C reaches the whole group of processes, as a terminal sends it."""
    (tmp_path / "small.yaml").write_text(GRID.replace("epochs: 1", "epochs: 30"))
    command = [
        sys.executable,
        "-c",
        "from fxsim.cli.main import main; main()",
        "sweep",
        "small.yaml",
    ]
    sweeping = subprocess.Popen(
        [*command, "--jobs", "2"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    until(lambda: any((tmp_path / "reports").glob("small/runs/*.unfinished/metrics.csv")))
    os.killpg(sweeping.pid, signal.SIGINT)
    _, errors = sweeping.communicate(timeout=60)
    assert sweeping.returncode == 130
    assert "Traceback" not in errors
    assert errors.strip().splitlines()[-1].startswith("fxsim: interrupted; ")


def until(true, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("sampler", ["nsga2", "tpe", "random"])
def test_a_search_is_a_function_of_its_file_and_goes_on(grid, tmp_path, sampler):
    path = tmp_path / "search.yaml"
    path.write_text(SEARCH.replace("SAMPLER", sampler))
    loaded = spec.load(path)
    first = sweep.run(loaded, tmp_path / "one", Quiet())
    assert len(first.table) == 12
    assert (first.table["error"] == "").all()
    assert first.table["accelerator.pe_array.columns"].between(1, 8).all()
    sizes = first.table["accelerator.memory.left_buffer.capacity_bits"]
    assert set(sizes) <= {2**i for i in range(12, 19)}
    assert (first.table["within"] == (first.table["area_mm2"] <= 2.4)).all()
    # some points are lost, as if it had been stopped: it proposes the same, and measures them
    kept = sorted((tmp_path / "one" / "points").iterdir())
    for path in kept[::2]:
        path.unlink()
    again = sweep.run(loaded, tmp_path / "one", Quiet())
    assert 0 < again.table["reused"].sum() <= len(first.table)
    pd.testing.assert_frame_equal(
        comparable(first.table), comparable(again.table), check_exact=True
    )


def test_a_searched_front_is_near_the_whole_grids(grid, tmp_path):
    """NSGA-II with half of the points of a grid, priced on one training."""
    axes = """\
  accelerator.pe_array.columns: [1, 2, 3, 4, 5, 6]
  accelerator.pe_array.rows: [1, 2, 3, 4, 5, 6]
"""
    text = HEAD + "axes:\n" + axes + "objectives: [cycles, area]\n"
    (tmp_path / "all.yaml").write_text(text)
    (tmp_path / "some.yaml").write_text(
        text + "search: {kind: pareto, points: 18, generation: 6, seed: 1}\n"
    )
    everything, some = (
        sweep.run(spec.load(tmp_path / f"{name}.yaml"), tmp_path / "out", Quiet()).table
        for name in ("all", "some")
    )

    def volume(table):
        """Dominated area up to the worst point, in shares of the grid's box."""
        spans = {c: (everything[c].min(), everything[c].max()) for c in ("cycles", "area_mm2")}
        unit = pd.DataFrame({c: (table[c] - a) / (b - a) for c, (a, b) in spans.items()})
        total, reach = 0.0, 1.0
        for row in unit.sort_values("cycles").itertuples():
            if row.area_mm2 < reach:
                total += (1 - row.cycles) * (reach - row.area_mm2)
                reach = row.area_mm2
        return total

    assert volume(some) > 0.9 * volume(everything)
    assert some["reused"].all()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("policy.weight: [4, 8]", "policy.wait: [4, 8]", "policy.wait: unknown key 'wait'"),
        ("policy.weight: [4, 8]", "polcy.weight: [4]", "must be or begin with workload, policy"),
        ("policy.weight: [4, 8]", "policy.weight: [4, 80]", "weight must be at most 16, not 80"),
        ("policy.weight: [4, 8]", "policy.weight: 4", "must be a list of values or a range"),
        ("pe_array.rows: [2, 4]", "pe_aray.rows: [2]", "did you mean 'pe_array'?"),
        (
            "policy.weight: [4, 8]",
            "policy.weight: {low: 2.5, high: 8}",
            "must be a list, or have a step or powers_of_two, for a grid",
        ),
        ("policy: {kind: uniform}\n", "policy: {kind: unifrom}\n", "did you mean 'uniform'?"),
        ("policy: {kind: uniform}\n", "policy: {kind: float32}\n", "takes integer policies"),
        ("accelerator: dynasty", "accelerator: dinasty", "did you mean 'dynasty'?"),
        ("[accuracy, cycles, area]", "[accuracy, speed]", "objectives.1 must be one of accuracy"),
        ("[accuracy, cycles, area]", "[area, area]", "objectives must name each once"),
        ("policy.weight: [4, 8]", "policy.weight: [4, 4]", "'4' is given twice"),
        ("policy.weight: [4, 8]", "accelerator: [eyeris]", "did you mean 'eyeriss'?"),
        ("policy.weight: [4, 8]", "accelerator: [{use: x}]", "must be a name or path"),
        ("policy.weight: [4, 8]", "accelerator.pe_array: [5]", "which is a part of it"),
        (
            "policy.weight: [4, 8]",
            "policy.weight: {low: 2, high: 8, step: 2, log: true}",
            "takes one of step, log and powers_of_two",
        ),
        (
            "policy.weight: [4, 8]",
            "policy.weight: {low: 2, high: 8, step: 1e-9}",
            "must have at most 100,000 steps",
        ),
        ("baseline: {policy: {kind: uniform}}", "baseline: {accelerator: nope}", "baseline.acc"),
        (
            "baseline: {policy: {kind: uniform}}",
            "baseline: {policy: {kind: unifrm}}",
            "did you mean 'uniform'?",
        ),
    ],
)
def test_slips_are_found_before_training_with_their_line(tmp_path, old, new, message):
    path = tmp_path / "bad.yaml"
    assert old in GRID
    path.write_text(GRID.replace(old, new))
    with pytest.raises(ConfigError) as caught:
        spec.load(path)
    text = str(caught.value)
    assert text.startswith(f"{path}:")
    assert message in text
    line = int(text.removeprefix(f"{path}:").split(":")[0])
    lines = zip(GRID.splitlines(), path.read_text().splitlines(), strict=True)
    changed = [i for i, (a, b) in enumerate(lines, 1) if a != b]
    assert line in changed or "integer" in message or "part of it" in message


def test_every_point_may_fail(tmp_path):
    (tmp_path / "s.yaml").write_text(
        HEAD.replace("digits_cnn", "resnet20") + "axes: {policy.weight: [4, 8]}\n"
    )
    done = fxsim("sweep", "s.yaml", "--jobs", 1, "--data-dir", tmp_path, at=tmp_path)
    assert done.stderr.count("failed: ") == 2
    page = (tmp_path / "reports" / "small" / "report.html").read_text()
    assert "None of 2 points was measured" in page


def test_force_measures_again_and_leftovers_do_no_harm(grid, tmp_path):
    home = tmp_path / "home"
    text = HEAD + "axes: {accelerator.pe_array.rows: [2, 4]}\n"
    (tmp_path / "s.yaml").write_text(text)
    loaded = spec.load(tmp_path / "s.yaml")
    first = sweep.run(loaded, home, Quiet()).table
    old = {p: p.stat().st_mtime_ns for p in (home / "runs").glob("*/run.json")}
    (home / "points" / ".key.parquet.half.parquet").write_text("half of a file")
    assert sweep.run(loaded, home, Quiet()).table["reused"].all()
    again = sweep.run(loaded, home, Quiet(), force=True).table
    assert not again["reused"].any()
    assert all(p.stat().st_mtime_ns > when for p, when in old.items())
    pd.testing.assert_frame_equal(comparable(first), comparable(again), check_exact=True)


def test_a_policy_weighs_the_machine_that_it_names_else_the_points(tmp_path):
    text = HEAD + "policy: {kind: cost_aware}\naxes: {accelerator.pe_array.rows: [2, 4]}\n"
    (tmp_path / "own.yaml").write_text(text)
    recipe = spec.load(tmp_path / "own.yaml").recipe({"accelerator.pe_array.rows": "2"})
    assert recipe.weighed.data["pe_array"]["rows"] == "2"
    assert recipe.policy.accelerator == recipe.machine.name == "dynasty-rows2"
    named = text.replace("cost_aware}", "cost_aware, accelerator: int8_systolic}")
    (tmp_path / "named.yaml").write_text(named)
    recipe = spec.load(tmp_path / "named.yaml").recipe({"accelerator.pe_array.rows": "2"})
    assert recipe.weighed.data["name"] == recipe.policy.accelerator == "int8_systolic"
    assert recipe.machine.name == "dynasty-rows2"


def test_a_scheduler_that_is_not_there_is_one_line(tmp_path):
    (tmp_path / "small.yaml").write_text(GRID)
    done = fxsim("sweep", "small.yaml", "--scheduler", "tcp://127.0.0.1:1", at=tmp_path, code=2)
    assert "--scheduler must be the address of a running dask scheduler" in done.stderr
    assert "Traceback" not in done.stderr


def test_limits_say_by_how_much():
    row = {"test_accuracy": 0.9, "cycles": 100.0, "area_mm2": 3.0}
    assert search.excesses({"accuracy": 0.95, "cycles": 80.0, "area": 3.0}, row) == [
        pytest.approx(0.05),
        20.0,
        0.0,
    ]
