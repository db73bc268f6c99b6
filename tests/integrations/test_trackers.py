"""Exports to TensorBoard and MLflow, read back with their own readers."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from support import fxsim, jit_only

from fxsim.integrations import trackers
from fxsim.runs.directory import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    jit_only()
    place = tmp_path_factory.mktemp("tracked")
    fxsim("simulate", "digits_cnn", "--epochs", 1, "--out", "mine", at=place)
    return place


def test_tensorboard_reads_what_was_recorded(run):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for _ in range(2):  # the second replaces the first
        fxsim("track", "mine", "--tensorboard", "logs", "-a", "dynasty", at=run)
    log = events.EventAccumulator(str(run / "logs" / "mine"), {"tensors": 0})
    log.Reload()
    metrics = pd.read_parquet(run / "mine" / "metrics.parquet")
    read = log.Tensors("train/loss")
    assert [e.step for e in read] == metrics["step"].tolist()
    values = [e.tensor_proto.float_val[0] for e in read]
    assert values == metrics["loss"].astype("float32").tolist()
    assert {"test/accuracy", "train/weight_bits", "dynasty/cycles", "dynasty/energy_uj"} <= set(
        log.Tags()["tensors"]
    )
    (run / "logs" / "other").mkdir()
    (run / "logs" / "mine2").mkdir()


@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_mlflow_reads_what_was_recorded(run, tmp_path):
    mlflow = pytest.importorskip("mlflow")
    uri = f"sqlite:///{tmp_path}/runs.db"
    done = fxsim("track", run / "mine", "--mlflow", uri, "--experiment", "bits", at=tmp_path)
    identity = done.stdout.split()[-1]
    client = mlflow.MlflowClient(tracking_uri=uri)
    logged = client.get_run(identity)
    manifest = json.loads((run / "mine" / "run.json").read_text())
    assert logged.data.params["policy"] == "uniform"
    assert logged.data.params["policy.weight"] == "8"
    assert logged.data.metrics["test_accuracy"] == manifest["test_accuracy"]
    assert logged.data.tags["fxsim.weights_sha256"] == manifest["weights_sha256"]
    losses = client.get_metric_history(identity, "train/loss")
    metrics = pd.read_parquet(run / "mine" / "metrics.parquet")
    by_step = {m.step: m.value for m in losses}
    assert by_step == dict(zip(metrics["step"], metrics["loss"], strict=True))
    names = {item.path for item in client.list_artifacts(identity)}
    assert names == set(trackers.ARTEFACTS)


def test_where_to_must_be_said(run):
    done = fxsim("track", "mine", at=run, code=2)
    assert done.stderr == "--tensorboard or --mlflow must say where to\n"
    (run / "taken" / "mine").mkdir(parents=True)
    (run / "taken" / "mine" / "thesis.txt").write_text("years of work")
    done = fxsim("track", "mine", "--tensorboard", "taken", at=run, code=2)
    assert "must be new, or an event log; it holds something else" in done.stderr
    assert (run / "taken" / "mine" / "thesis.txt").exists()


def test_every_scalar_once(run):
    found = list(trackers.scalars(Run.load(run / "mine")))
    assert len({(name, step) for name, step, _ in found}) == len(found)
