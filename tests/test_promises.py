"""What the README promises of real runs: accuracy beside float32, and determinism."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from support import fxsim, jit_only, shared


@pytest.mark.slow
def test_the_quickstart_ends_within_a_point_of_float32(tmp_path):
    """Three policies, three seeds, two accelerators, as `fxsim run` has them."""
    jit_only()
    fxsim("run", at=tmp_path)
    table = pd.read_csv(tmp_path / "reports" / "quickstart" / "tables" / "summary_by_seed.csv")
    assert len(table) == 3 * 3 * 2
    page = (tmp_path / "reports" / "quickstart" / "report.html").read_text()
    assert "fxsim run quickstart\n" in page  # what repeats it, from anywhere
    accuracy = table.groupby("policy")["test_accuracy"].mean()
    assert abs(accuracy["uniform8"] - accuracy["float32"]) <= 0.01
    assert abs(accuracy["dynasty"] - accuracy["float32"]) <= 0.01
    speedup = table.groupby(["policy", "accelerator"])["speedup"].mean()
    assert speedup["dynasty", "dynasty"] > 1.4
    assert speedup["dynasty", "int8_systolic"] < 1  # it pays for its bookkeeping there
    # the same bits on one thread
    run = tmp_path / "reports" / "quickstart" / "runs" / "uniform8-seed2"
    again = fxsim(
        "simulate", "digits_cnn", "--seed", 2, "--threads", 1, "--out", "one", "--json", at=tmp_path
    )
    recorded = json.loads((run / "run.json").read_text())["weights_sha256"]
    assert json.loads(again.stdout)["weights_sha256"] == recorded


@pytest.mark.slow
def test_lenet_learns_fashion_mnist_under_dynasty(tmp_path):
    """At least 86 % after one epoch."""
    jit_only()
    place = shared("data", "fashion", "train-images-idx3-ubyte.gz").parents[1]
    done = fxsim(
        "simulate",
        "lenet5",
        "--data",
        "fashion-mnist",
        "--data-dir",
        place,
        "--policy",
        "dynasty",
        "--epochs",
        1,
        "--json",
        at=tmp_path,
    )
    found = json.loads(done.stdout)
    assert found["test_accuracy"] >= 0.86
    assert found["mean_bits"]["weight"] < 8
