"""Every policy on a real small run: what its paper says of it, its replay, and its checkpoints."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from support import jit_only

from fxsim.config import resources
from fxsim.cost.model import evaluate_cost
from fxsim.errors import ConfigError, FormatError
from fxsim.hardware import library
from fxsim.policies.muppet import MuppetDecisions
from fxsim.policies.registry import POLICIES
from fxsim.runs import inference, initial_bit_costs, initial_weights, replay
from fxsim.runs.directory import Run
from fxsim.runs.execute import execute
from fxsim.runs.inputs import prepare
from fxsim.training import checkpoint, float32, loop, workload

BUDGETS = {"weight_budget": 0.1, "activation_budget": 0.1, "error_budget": 0.2}
# parameters that show a policy's moves in a run of 132 steps
SHORT = {
    "adapt": {"least_lookback": 5, "most_lookback": 20},
    "adaqat": {"oscillations": 2, "weight_rate": 0.5, "activation_rate": 0.5},
    "dynasty": {"warmup": 5, "initial_lambda": 0.05, **BUDGETS},
    "cost_aware": {"warmup": 5, "initial_lambda": 5.0, **BUDGETS},
    "muppet": {"window": 2, "violations": 1, "margin": 0.0},
}
INTEGER = [kind for kind, policy in POLICIES.items() if policy.integer]


def inputs(kind: str, epochs: int = 3, **more):
    policy = POLICIES[kind](**{**SHORT.get(kind, {}), **more})
    return prepare(resources.find("workloads", "digits_cnn"), kind, policy, 0, epochs=epochs)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A function that trains under a policy, once."""
    jit_only()
    found: dict[str, Run] = {}
    place = tmp_path_factory.mktemp("runs")

    def run(kind: str) -> Run:
        if kind not in found:
            found[kind] = execute(inputs(kind), place / kind)
        return found[kind]

    return run


@pytest.mark.parametrize("kind", INTEGER)
def test_it_learns_and_replays(trained, kind):
    run = trained(kind)
    assert run.manifest["test_accuracy"] > 0.6
    assert replay.replay(run) == run.manifest["weights_sha256"]


@pytest.mark.parametrize("kind", INTEGER)
def test_a_run_that_goes_on_from_a_checkpoint_has_the_same_bits(trained, kind, tmp_path):
    whole = trained(kind)
    given = inputs(kind)
    settings = given.workload.training.settings(given.epochs)
    progress = loop.begin(
        given.model,
        given.policy,
        0,
        None,
        initial_bit_costs.of(given.model, given.policy.bit_cost_request, settings),
    )

    def after(now, ended):
        if now.step == 61:
            checkpoint.save(now, tmp_path, 1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop.train(
            given.model, given.dataset, given.policy, settings, 0, progress=progress, after=after
        )
    again = checkpoint.load(checkpoint.latest(tmp_path))
    ended = loop.train(given.model, given.dataset, given.policy, settings, 0, progress=again)
    assert ended.weights_sha256 == whole.manifest["weights_sha256"]
    decided = whole.decisions.iloc[61:].reset_index(drop=True)
    pd.testing.assert_frame_equal(pd.DataFrame(ended.decisions), decided)


def test_adapts_word_lengths_move_both_ways(trained):
    words = trained("adapt").decisions.filter(regex="^word\\.")
    changes = words.diff().iloc[1:].to_numpy()
    assert (changes > 0).any()
    assert (changes < 0).any()
    lookbacks = trained("adapt").decisions.filter(regex="^lookback\\.").to_numpy()
    assert lookbacks.min() >= 5
    assert lookbacks.max() <= 20
    assert len(np.unique(lookbacks)) > 3


def test_adaqat_oscillates_and_freezes(trained):
    run = trained("adaqat")
    explored = run.decisions[["explore.weight", "explore.activation"]]
    assert (explored.iloc[0] == 1).all()
    assert (explored.iloc[-1] == 0).all(), "nothing explores in the end"
    bits = run.decisions[["bits.weight", "bits.activation"]]
    assert (bits.diff().abs().sum() > 2).any(), "it went to and fro"
    done = explored.index[(explored == 0).all(axis=1)][0]
    assert (bits.iloc[done:].nunique() == 1).all()
    products = run.trace().products
    probes = products[products["layer"].str.contains("@")]
    assert set(probes["pass"]) == {"forward"}
    assert probes["step"].max() == done - 1, "the probes' cost ends with them"


@pytest.mark.parametrize("kind", ["dynasty", "cost_aware"])
def test_mean_bits_fall_while_the_loss_follows_float32(trained, kind):
    given, run = inputs(kind), trained(kind)
    bits = run.metrics[["weight_bits", "activation_bits", "error_bits"]]
    assert (bits.iloc[-30:].mean() < 0.8 * bits.iloc[:5].mean()).all()
    settings = given.workload.training.settings(given.epochs)
    floats = pd.DataFrame(float32.train(given.model, given.dataset, settings, 0).metrics)
    ours, theirs = (table["loss"].iloc[-44:].mean() for table in (run.metrics, floats))
    assert ours < 1.5 * theirs


def test_apt_keeps_8_bits_but_for_errors_and_waits_longer(trained):
    decisions = trained("apt").decisions
    for role in ("weight", "activation"):
        assert (decisions.filter(regex=f"^bits.{role}") == 8).all(axis=None)
    errors = decisions.filter(regex="^bits.error")
    assert (errors.diff().iloc[1:] >= 0).all(axis=None), "bits only grow"
    assert (errors.iloc[-1] > 8).any()
    assert errors.iloc[-1]["bits.error.conv1"] >= errors.iloc[-1]["bits.error.fc"]


def test_apts_interval_grows():
    jit_only()
    given = inputs("apt")
    settings = given.workload.training.settings(given.epochs)
    seen = []

    def after(now, ended):
        seen.append(now.policy_state["weight.conv2"].get("next", 0) - now.step)

    loop.train(given.model, given.dataset, given.policy, settings, 0, after=after)
    assert max(seen[:10]) <= 1
    assert seen[-1] >= 0
    assert max(seen[44:]) == 43, "from the second epoch on, once an epoch"


def test_muppet_raises_its_precision_and_replays():
    """From a state whose largest diversity any window violates, to words priced as 32 bits."""
    jit_only()
    given = inputs("muppet", levels=(8, 12, 32), window=2, epochs=6)
    settings = given.workload.training.settings(given.epochs)

    def begun():
        start = loop.begin(given.model, given.policy, 0)
        start.policy_state["largest"] = 1e9
        return start

    def after(now, ended):
        now.policy_state["largest"] = 1e9

    ended = loop.train(
        given.model, given.dataset, given.policy, settings, 0, progress=begun(), after=after
    )
    bits = [decided["bits"] for decided in ended.decisions]
    assert [bits[0], bits[87], bits[88], bits[176], bits[-1]] == [8, 8, 12, 32, 32]
    assert [row["error_bits"] for row in ended.metrics][176:] == [32] * 88

    def recorded(step: int) -> MuppetDecisions:
        return MuppetDecisions.from_columns(ended.decisions[step])

    again = loop.train(given.model, given.dataset, given.policy, settings, 0, recorded=recorded)
    assert again.weights_sha256 == ended.weights_sha256


def test_cost_aware_is_faster_than_dynasty_at_the_same_budgets(trained):
    machine = library.machine("dynasty")
    cycles = {
        kind: evaluate_cost(trained(kind).trace(), machine).cycles
        for kind in ("dynasty", "cost_aware")
    }
    assert cycles["cost_aware"] < cycles["dynasty"]


@pytest.mark.parametrize("kind", ["cost_aware", "muppet", "dorefa_pact", "adapt"])
def test_inference_repeats_the_runs_own_evaluation(trained, kind):
    run = trained(kind)
    found = inference.evaluate(run.directory)
    assert found["test_accuracy"] == run.manifest["test_accuracy"]
    assert found["test_loss"] == run.evaluations["test_loss"].iloc[-1]


def test_inference_with_anothers_checkpoint_is_refused(trained):
    checkpoint_of = checkpoint.latest(trained("uniform").directory / "checkpoints")
    with pytest.raises(FormatError, match="no clipping level"):
        inference.evaluate(trained("dorefa_pact").directory, checkpoint_of)


def test_weights_with_a_grid_of_their_own_are_not_folded(trained):
    with pytest.raises(ConfigError, match="batch norms cannot be folded into the weights"):
        inference.evaluate(trained("wage").directory, fold=True)


def test_prices_stand_once_in_a_run_and_a_replay_needs_no_accelerator(trained, monkeypatch):
    run = trained("cost_aware")
    assert not run.decisions.columns.str.startswith("by_row").any()
    assert any(name.startswith("by_row.weight.") for name in run.constants())

    def gone(*_):
        raise AssertionError("the accelerator was looked for")

    monkeypatch.setattr(resources, "find", gone)
    assert replay.replay(run) == run.manifest["weights_sha256"]


def test_updates_in_few_bits_move_few_bits(trained):
    def moved(kind):
        vectors = trained(kind).trace().vectors
        update = vectors[(vectors["pass"] == "update") & (vectors["layer"] == "conv2")]
        return int(update["read_bits"].iloc[0]) // int(update["elements"].iloc[0])

    assert moved("uniform") == 32 + 32 + 16
    assert moved("wage") == moved("niti") == 8 + 32
    operands = trained("niti").trace().operands
    assert set(operands[operands["role"] == "weight"]["source_bits"]) == {8}


def test_a_run_may_begin_from_anothers_weights(trained, tmp_path):
    first = trained("uniform")
    policy = POLICIES["adaqat"](initial_bits=8)
    given = prepare(
        resources.find("workloads", "digits_cnn"),
        "adaqat",
        policy,
        0,
        epochs=1,
        initial=first.directory,
    )
    tuned = execute(given, tmp_path / "tuned")
    assert tuned.metrics["loss"].iloc[:10].mean() < first.metrics["loss"].iloc[:10].mean() / 2
    assert replay.replay(tuned) == tuned.manifest["weights_sha256"]
    assert (tmp_path / "tuned" / "initial.npz").is_file()


def test_weights_of_another_network_are_refused(trained):
    with pytest.raises(ConfigError, match=r"must hold 'conv1.weight' of shape \[6, 25\]"):
        initial_weights.load(trained("uniform").directory / "weights.npz", lenet())
    with pytest.raises(ConfigError, match=r"must be the directory of a run or of a checkpoint"):
        initial_weights.find(trained("uniform").directory / "trace")


def lenet():
    return workload.load(resources.find("workloads", "lenet5"))[1]
