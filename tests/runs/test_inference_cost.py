"""What inference costs: no masters, no stash, no second cast of weights."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from support import STUDY, fxsim, jit_only

import fxsim as package
from fxsim.config import resources
from fxsim.cost import cache
from fxsim.errors import ConfigError, DataError
from fxsim.hardware import library
from fxsim.identifiers import Phase
from fxsim.policies.registry import POLICIES
from fxsim.runs import inference
from fxsim.runs.directory import Run
from fxsim.runs.execute import execute
from fxsim.runs.inputs import prepare

NOTHING = ("stash_write_bits", "stash_read_bits", "resident_bits")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A function that trains one epoch under a policy, once."""
    jit_only()
    runs: dict[str, Run] = {}
    place = tmp_path_factory.mktemp("runs")

    def trained(kind: str) -> Run:
        if kind not in runs:
            source = resources.find("workloads", "digits_cnn")
            inputs = prepare(source, kind, POLICIES[kind](), 0, epochs=1)
            runs[kind] = execute(inputs, place / kind)
        return runs[kind]

    return trained


def test_a_forward_pass_by_hand():
    """LeNet-5, one sample: products, casts of activations, and elementwise work, all forward."""
    cost = package.estimate("lenet5", "int8_systolic", batch=1, mode="inference")
    table, trace = cost.table, cost.arrays.trace
    assert set(table["pass"]) == {"forward"}
    assert table["macs"].sum() == 416_520
    assert (trace.vectors[list(NOTHING)] == 0).all(axis=None)
    operands = trace.operands
    weights = operands["role"] == "weight"
    assert (operands["source_bits"] == np.where(weights, 0, 16)).all()
    # what is fetched off-chip: weights at 8 bits, once; activations written and read at 8 bits
    words = operands["rows"] * operands["columns"]
    products = table[table["operation"] == "product"]
    at_least = 8 * words[weights].sum()
    assert products["dram_bits"].sum() >= at_least
    casts = table[table["operation"] == "cast"]
    assert casts["dram_bits"].sum() == 8 * words[~weights].sum()


def test_alexnet_costs_its_products_and_little_more():
    """A training step costs 201,820 uJ and its forward passes 44,909, of which products 8,024."""
    cost = package.estimate("alexnet", "int8_systolic", batch=1, mode="inference")
    products = cost.energy(["operation"]).set_index("operation")["energy_pj"]["product"]
    assert products <= cost.energy_pj <= 1.01 * products
    assert cost.energy_pj == pytest.approx(8_024e6, rel=0.01)


def test_a_folded_batch_norm_is_a_bias():
    plain, folded = (
        package.estimate("resnet20", "eyeriss", batch=1, mode="inference", fold=fold)
        for fold in (False, True)
    )
    norms = plain.table["layer"].str.contains("bn") & (plain.table["operation"] == "vector")
    assert norms.any()
    assert not folded.table["layer"].str.contains("bn").any()
    # the vector unit adds the bias instead of scaling and shifting
    assert folded.table["vector_pj"].sum() < 0.5 * plain.table["vector_pj"].sum()
    products = [
        cost.table.loc[cost.table["operation"] == "product", "cycles"].sum()
        for cost in (plain, folded)
    ]
    assert products[0] == products[1]


@pytest.mark.parametrize("kind", [name for name, policy in POLICIES.items() if policy.integer])
def test_every_policys_networks_can_be_priced(kind):
    cost = package.estimate("digits_cnn", "dynasty", batch=4, policy=kind, mode="inference")
    assert 0 < cost.cycles < package.estimate("digits_cnn", "dynasty", batch=4, policy=kind).cycles


@pytest.mark.parametrize("kind", ["adapt", "dorefa_pact", "dynasty"])
def test_a_runs_inference_has_its_last_steps_formats(run, kind):
    trained = run(kind)
    trace = inference.traced(inference.Trained.load(trained.directory), 8)
    steps = trained.trace().operands
    last = steps[steps["step"] == steps["step"].max()]
    for table in (trace.operands, last):
        table["key"] = table["layer"] + " " + table["role"]
    ours, theirs = (t.set_index("key")["bits"].map(list) for t in (trace.operands, last))
    weights = [key for key in ours.index if key.endswith(" weight")]
    if kind != "dynasty":  # whose blocks follow the weights that the last update changed
        assert ours[weights].to_dict() == theirs[weights].to_dict()
    assert set(ours.index) == {key for key in theirs.index if not key.endswith(" error")}


def test_kept_costs_of_training_and_inference_are_apart(run, tmp_path):
    trained, machine = run("uniform"), library.machine("dynasty")
    costs = {
        phase: cache.costs(inference.priced(trained, phase, 8), machine, folder=tmp_path)
        for phase in Phase
    }
    assert costs[Phase.INFERENCE].cycles < costs[Phase.TRAINING].cycles / 40
    again = cache.cached(inference.priced(trained, Phase.INFERENCE, 8), machine, folder=tmp_path)
    assert again.cycles == costs[Phase.INFERENCE].cycles
    assert (
        cache.cached(inference.priced(trained, Phase.INFERENCE, 9), machine, "edp", tmp_path)
        is None
    )


def test_what_does_not_go_together_is_refused(run):
    trained = run("uniform").directory
    for arguments, message in (
        (
            {"target": trained, "batch": 3},
            "--batch is of a workload's step, or of --mode inference",
        ),
        (
            {"target": trained, "policy": "adapt"},
            "--policy is of a workload's step; .* is a run that",
        ),
        ({"target": trained, "fold": True}, "--fold takes batch norms into weights for --mode inf"),
        (
            {"target": "lenet5", "fold": True},
            "--fold takes batch norms into weights for --mode inf",
        ),
        ({"target": "lenet5", "mode": "test"}, "mode must be training or inference, not 'test'"),
        (
            {"target": "lenet5", "mode": "inference", "fold": True, "policy": "wage"},
            "--fold: batch norms cannot be folded into the weights of wage",
        ),
    ):
        with pytest.raises(ConfigError, match=message):
            package.estimate(on="dynasty", **arguments)
    with pytest.raises(DataError, match="batch must be at most the 360 test samples of digits"):
        package.estimate(trained, "dynasty", mode="inference", batch=1000)


def test_the_mode_stands_in_the_title(run, tmp_path):
    trained = run("uniform").directory
    for arguments, title in (
        (
            ("lenet5", "--batch", 1),
            "The first training step of lenet5, batch 1, uniform on dynasty",
        ),
        (
            ("lenet5", "--batch", 1, "--mode", "inference"),
            "Inference of lenet5, batch 1, uniform; weights of 61.5 kB at their bits on dynasty",
        ),
        ((trained,), "Training of digits_cnn uniform seed 0 on dynasty"),
        (
            (trained, "--mode", "inference", "--batch", 8),
            "Inference of digits_cnn uniform seed 0, batch 8; weights of",
        ),
    ):
        assert title in fxsim("estimate", *arguments, "-a", "dynasty", at=tmp_path).stdout


def test_a_study_prices_inference(tmp_path):
    jit_only()
    text = STUDY.replace("baseline: uniform8\n", "baseline: uniform8\nphase: inference\nbatch: 2\n")
    (tmp_path / "small.yaml").write_text(text)
    fxsim("run", "small.yaml", at=tmp_path)
    place = tmp_path / "reports" / "small"
    table = pd.read_csv(place / "tables" / "summary_by_seed.csv").set_index(
        ["policy", "accelerator"]
    )
    direct = json.loads(
        fxsim(
            "estimate",
            place / "runs" / "dynasty-seed0",
            *("-a", "dynasty", "--mode", "inference", "--batch", 2, "--json"),
            at=tmp_path,
        ).stdout
    )
    (total,) = [row for row in direct["dynasty"] if row["pass"] == "total"]
    assert table.loc[("dynasty", "dynasty"), "cycles"] == total["cycles"]
    page = (place / "report.html").read_text()
    assert "Cycles and energy are those of one inference of a batch of 2" in page
    assert "the dynasty policy infers" in page
    (tmp_path / "bad.yaml").write_text(STUDY + "batch: 2\n")
    done = fxsim("check", "bad.yaml", at=tmp_path, code=2)
    assert "bad.yaml:13:1: batch is of phase: inference" in done.stderr
    (tmp_path / "bad.yaml").write_text(STUDY + "phase: inference\nbatch: 361\n")
    done = fxsim("run", "bad.yaml", "--out", "bad", at=tmp_path, code=2)
    said = "bad.yaml:14:1: batch must be at most the 360 test samples of digits, not 361"
    assert said in done.stderr
    assert not (tmp_path / "bad" / "runs").exists(), "nothing is trained before"
