"""Runs that are stopped, politely or not, and go on to the bits of one that was not."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time

import numpy as np
import pandas as pd
import pytest
from support import COMMAND, ENVIRONMENT, ROOT, Done, fxsim, jit_only, made_once

from fxsim.policies.uniform import Uniform
from fxsim.runs import resume_state
from fxsim.runs.execute import execute
from fxsim.runs.inputs import prepare
from fxsim.trace.reader import Trace
from fxsim.training import checkpoint

ARGUMENTS = ["simulate", "digits_cnn", "--policy", "dynasty", "--set", "warmup=5", "--epochs", "3"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run that nothing stopped."""
    jit_only()
    place, _ = made_once(
        tmp_path_factory, "whole", lambda at: fxsim(*ARGUMENTS, "--out", "run", at=at)
    )
    assert not (place / "run.unfinished").exists()
    return place / "run"


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """What a run leaves that was killed in its second epoch."""
    jit_only()

    def make(place):
        process = start(place)
        while "epoch 2," not in process.stderr.readline():
            assert process.poll() is None
        process.kill()
        process.communicate()
        return Done(process.returncode, "", "")

    return made_once(tmp_path_factory, "killed", make)[0]


def start(place, *more, command=(*ARGUMENTS, "--out", "run")):
    return subprocess.Popen(
        [*COMMAND, *command, *more],
        cwd=place,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's & ignores it
    )


def rows_of(metrics):
    """Lines of a table that a run may begin or remove at any moment."""
    try:
        return len(metrics.read_text().splitlines())
    except FileNotFoundError:
        return 0


def assert_same(run, whole):
    manifests = [json.loads((place / "run.json").read_text()) for place in (run, whole)]
    assert manifests[0]["weights_sha256"] == manifests[1]["weights_sha256"]
    for table in ("metrics", "evaluations", "decisions"):
        one, other = (pd.read_parquet(place / f"{table}.parquet") for place in (run, whole))
        pd.testing.assert_frame_equal(one, other)
    one, other = (Trace.load(place / "trace") for place in (run, whole))
    for table in Trace.__dataclass_fields__:
        pd.testing.assert_frame_equal(getattr(one, table), getattr(other, table))


@pytest.mark.slow
def test_kill_minus_nine_at_any_moment_changes_no_bit(whole, tmp_path):
    """Killed at uneven moments, some before the first checkpoint, until it gets to its end."""
    rng, kills, steps = np.random.default_rng(0), 0, []
    metrics = tmp_path / "run.unfinished" / "metrics.csv"
    for _ in range(60):
        process = start(tmp_path, "--resume")
        wait = rng.uniform(0.05, 0.9)
        begun = rows_of(metrics)
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            now = rows_of(metrics)
            if kills < 4 and now != begun:  # it runs: let it run for a while, then kill it
                time.sleep(wait)
                break
            time.sleep(0.01)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
            kills += 1
            steps.append(len(pd.read_csv(metrics)) if metrics.exists() else 0)
            continue
        _, errors = process.communicate()
        assert process.returncode == 0, errors
        break
    assert kills >= 3
    assert max(steps) > 0
    assert not (tmp_path / "run.unfinished").exists()
    assert_same(tmp_path / "run", whole)


def lines(done):
    return done.stderr.splitlines()


def test_an_interrupt_of_what_cannot_go_on_says_no_more(tmp_path):
    process = start(tmp_path, command=("estimate", "resnet50", "-a", "eyeriss", "--batch", "8"))
    assert "executing one training step" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.strip().splitlines()[-1] == "fxsim: interrupted"


def test_an_interrupt_says_how_to_go_on(whole, tmp_path):
    process = start(tmp_path)
    while "epoch 2," not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGSTOP)  # so that it cannot end while we look
    growing = pd.read_csv(tmp_path / "run.unfinished" / "metrics.csv")
    assert len(growing) >= 2 * 44
    assert {"step", "loss", "weight_bits"} <= set(growing.columns)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGCONT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.strip().splitlines()[-1] == (
        "fxsim: interrupted; the same run again, or simulate --resume, goes on"
    )
    again = fxsim(*ARGUMENTS, "--out", "run", at=tmp_path, code=2)
    assert "--resume goes on from there, --force begins again" in again.stderr
    other = [*ARGUMENTS[:-1], "9"]
    refused = fxsim(*other, "--out", "run", "--resume", at=tmp_path, code=2)
    assert "an unfinished run of other inputs" in refused.stderr
    fxsim(*ARGUMENTS, "--out", "run", "--resume", at=tmp_path)
    assert_same(tmp_path / "run", whole)


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_taken(killed, whole, tmp_path):
    shutil.copytree(killed, tmp_path, dirs_exist_ok=True)
    place = tmp_path / "run.unfinished" / "checkpoints"
    first = sorted(place.iterdir())[-1]
    second = place / f"{checkpoint.PREFIX}{99_999_999:08d}"
    shutil.copytree(first, second)
    (second / "state.npz").write_bytes(b"no archive")
    done = fxsim(*ARGUMENTS, "--out", "run", "--resume", at=tmp_path)
    said = f"warning: {second.relative_to(tmp_path)}: must be a checkpoint: "
    assert any(said in line and "the one before it is taken" in line for line in lines(done))
    assert_same(tmp_path / "run", whole)


def test_damaged_checkpoints_without_one_before_them_end_in_one_line(killed, tmp_path):
    shutil.copytree(killed, tmp_path, dirs_exist_ok=True)
    for place in (tmp_path / "run.unfinished" / "checkpoints").iterdir():
        (place / "state.npz").write_bytes(b"no archive")
    done = fxsim(*ARGUMENTS, "--out", "run", "--resume", at=tmp_path, code=2)
    assert lines(done)[-1].endswith(
        "none of the run's checkpoints can be read; --force begins again"
    )
    fxsim(*ARGUMENTS, "--out", "run", "--force", "--epochs", "1", at=tmp_path)


def test_a_stop_between_the_last_step_and_the_result_loses_nothing(tmp_path, monkeypatch):
    """The trace and the rows are still there to be put together again; so is a finished run."""
    jit_only()
    path = ROOT / "workloads" / "digits_cnn.yaml"
    inputs = prepare(path, "uniform", Uniform(), 0, epochs=1)
    whole = execute(inputs, tmp_path / "whole")

    def stop(*_):
        raise KeyboardInterrupt

    for place in ("arrays_of", "remove"):
        with monkeypatch.context() as patched:
            where = checkpoint if place == "arrays_of" else resume_state.ResumeState
            patched.setattr(where, place, stop)
            with pytest.raises(KeyboardInterrupt):
                execute(inputs, tmp_path / "run", resume=True)
    assert (tmp_path / "run.unfinished").exists()
    execute(inputs, tmp_path / "run", resume=True)
    assert not (tmp_path / "run.unfinished").exists()
    assert_same(tmp_path / "run", whole.directory)


def test_rows_that_are_missing_are_named(killed, tmp_path):
    shutil.copytree(killed, tmp_path, dirs_exist_ok=True)
    table = tmp_path / "run.unfinished" / "decisions.csv"
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join([*lines[:3], *lines[4:]]))
    done = fxsim(*ARGUMENTS, "--out", "run", "--resume", at=tmp_path, code=2)
    assert "decisions.csv: must hold a row for each of the 88 steps" in done.stderr


def test_two_processes_do_not_train_one_run(tmp_path):
    """The second is refused while the first lives, and does not spoil its trace."""
    jit_only()
    process = start(tmp_path)
    while "epoch 1," not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGSTOP)
    for way in ("--resume", "--force"):
        refused = fxsim(*ARGUMENTS, "--out", "run", way, at=tmp_path, code=2)
        assert "another process is training this run; wait for it, or stop it" in refused.stderr
    process.send_signal(signal.SIGCONT)
    process.communicate(timeout=60)
    assert process.returncode == 0
    whole = json.loads((tmp_path / "run" / "run.json").read_text())["steps"]
    for table in ("operands", "products", "vectors"):
        steps = pd.read_parquet(tmp_path / "run" / "trace" / f"{table}.parquet")["step"]
        assert steps.nunique() == whole
    assert not (tmp_path / "run.unfinished").exists()
