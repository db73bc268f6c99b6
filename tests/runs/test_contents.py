"""A run's files are those that it wrote, or nothing reads them."""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest
from support import fxsim

RUN = "reports/small/runs/dynasty-seed0"


@pytest.fixture
def run(study, tmp_path):
    """A run of its own, to be damaged."""
    shutil.copytree(study[0] / RUN, tmp_path / "run")
    return tmp_path / "run"


def test_a_run_is_whole(run):
    done = fxsim("check", "run", at=run.parent)
    files = json.loads((run / "run.json").read_text())["files"]
    assert done.stdout == f"run: a whole run, {len(files)} files\n"
    on_disk = {p.relative_to(run).as_posix() for p in run.rglob("*") if p.is_file()}
    assert on_disk - set(files) <= {"run.json", *(name for name in on_disk if "prices" in name)}
    products = pd.read_parquet(run / "trace" / "products.parquet")
    assert files["trace/products.parquet"]["rows"] == len(products)


def shortened(path):
    table = pd.read_parquet(path)
    table[table["step"] < 2].to_parquet(path)


def emptied(path):
    pd.read_parquet(path).iloc[:0].to_parquet(path)


def flipped(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


PRICE = ("estimate", "run", "-a", "dynasty")
EVALUATE = ("evaluate", "run")


@pytest.mark.parametrize(
    ("file", "damage", "command"),
    [
        ("trace/products.parquet", shortened, PRICE),
        ("trace/vectors.parquet", emptied, PRICE),
        ("trace/maps.parquet", flipped, PRICE),
        ("weights.npz", flipped, EVALUATE),
        ("decisions.parquet", emptied, EVALUATE),
        ("workload.yaml", flipped, EVALUATE),
        ("evaluations.parquet", emptied, PRICE),
        ("trace/products.parquet", shortened, ("replay", "run")),
        ("weights.npz", flipped, ("simulate", "digits_cnn", "--epochs", 1, "--initial", "run")),
    ],
)
def test_other_files_are_refused(run, file, damage, command):
    damage(run / file)
    for asked in (command, ("check", "run")):
        done = fxsim(*asked, at=run.parent, code=2)
        assert f"run/{file}: must be the file that the run wrote" in done.stderr
        assert "its SHA-256 is another" in done.stderr
        assert done.stderr.count("\n") <= 2


def test_another_runs_files_are_refused(study, run):
    other = study[0] / "reports" / "small" / "runs" / "uniform8-seed0"
    other = (
        other
        if other.is_dir()
        else next(
            p for p in (study[0] / "reports" / "small" / "runs").iterdir() if p.name not in RUN
        )
    )
    shutil.copyfile(other / "weights.npz", run / "weights.npz")
    assert "its SHA-256 is another" in fxsim(*EVALUATE, at=run.parent, code=2).stderr


def test_a_file_that_is_gone_is_named(run):
    (run / "trace" / "operands.parquet").unlink()
    done = fxsim(*PRICE, at=run.parent, code=2)
    assert "operands.parquet: the run wrote this file; it is not there" in done.stderr
