"""Machines of several technology nodes in one study."""

from __future__ import annotations

import pandas as pd
import pytest
from support import STUDY, fxsim, jit_only

from fxsim.errors import ConfigError
from fxsim.hardware import library, scaling
from fxsim.studies import spec

TWO = STUDY.replace("[dynasty, int8_systolic]", "[dynasty, eyeriss]")


def test_nodes_that_differ_are_named_and_one_node_compares(tmp_path):
    jit_only()
    (tmp_path / "small.yaml").write_text(TWO)
    done = fxsim("run", "small.yaml", at=tmp_path)
    table = pd.read_csv(tmp_path / "reports" / "small" / "tables" / "summary.csv")
    nodes = {name: library.machine(name).technology.node_nm for name in ("dynasty", "eyeriss")}
    assert len(set(nodes.values())) == 2
    for name, node in nodes.items():
        assert set(table.loc[table["accelerator"] == name, "node_nm"]) == {node}
        assert f"On the {name} accelerator ({node:g} nm), the dynasty policy" in done.stdout
    done = fxsim("run", "small.yaml", "--node", 28, at=tmp_path)
    assert "On the eyeriss accelerator, the dynasty policy" in done.stdout
    scaled = pd.read_csv(tmp_path / "reports" / "small" / "tables" / "summary.csv")
    assert set(scaled["node_nm"]) == {28}
    assert "(costs of the whole training run at 28 nm)" in done.stdout
    page = (tmp_path / "reports" / "small" / "report.html").read_text()
    assert "All machines are scaled to 28 nm." in page
    assert "fxsim run small.yaml --node 28" in page
    fxsim("report", "small.yaml", "--node", 28, at=tmp_path)
    again = pd.read_csv(tmp_path / "reports" / "small" / "tables" / "summary.csv")
    pd.testing.assert_frame_equal(again, scaled)
    ours = scaled.set_index(["policy", "accelerator"])
    before = table.set_index(["policy", "accelerator"])
    at = ("uniform8", "eyeriss")
    assert ours.loc[at, "energy_uj"] < before.loc[at, "energy_uj"]
    assert ours.loc[at, "cycles"] == before.loc[at, "cycles"]
    area = scaling.scaled(library.machine("eyeriss"), 28).array_area_mm2
    assert ours.loc[at, "array_area_mm2"] == pytest.approx(area)


def test_a_node_that_is_not_known_is_one_line(tmp_path):
    (tmp_path / "small.yaml").write_text(TWO + "node_nm: 1e-9\n")
    with pytest.raises(ConfigError, match=r"small\.yaml:13:1: node_nm: .*nm"):
        spec.load(tmp_path / "small.yaml")
    done = fxsim("run", "small.yaml", "--node", 1000, at=tmp_path, code=2)
    assert "--node" in done.stderr
    assert "Traceback" not in done.stderr
