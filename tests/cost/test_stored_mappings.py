"""Mappings that are stored give the same cost again, and belong to one machine."""

from __future__ import annotations

import json

import pytest
from support import fxsim, jit_only

from fxsim.config import resources
from fxsim.cost.model import evaluate_cost, reevaluate_cost
from fxsim.hardware import library
from fxsim.mapping import mapping as mappings
from fxsim.mapping.mapping import ProductId
from fxsim.mapping.search import OBJECTIVES
from fxsim.policies.adapt import Adapt
from fxsim.runs import estimate
from fxsim.runs.execute import execute
from fxsim.runs.inputs import prepare


class Silent:
    def note(self, text):
        """Nothing is said."""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """An epoch under AdaPT, whose word lengths change while it trains."""
    jit_only()
    policy = Adapt(least_lookback=5, most_lookback=20)
    source = resources.find("workloads", "digits_cnn")
    inputs = prepare(source, "adapt", policy, 0, epochs=1)
    return execute(inputs, tmp_path_factory.mktemp("adapt") / "run")


def test_each_pair_of_word_lengths_has_its_mapping(run, tmp_path):
    command = ("estimate", run.directory, "-a", "bitfusion", "--by", "layer,pass", "--json")
    searched = fxsim(*command, "--save-mapping", "m.yaml", at=tmp_path)
    stored = mappings.load(tmp_path / "m.yaml", "bitfusion")
    lengths = {name.words for name in stored if name[:2] == ("conv2", "forward")}
    assert len(lengths) > 1
    again = fxsim(*command, "--mapping", "m.yaml", at=tmp_path)
    assert json.loads(again.stdout) == json.loads(searched.stdout)
    table = fxsim(*command[:4], "--show", "mappings", at=tmp_path).stdout
    assert all(f"conv2, forward, {a} x {b} bits" in table for a, b in lengths)


def test_a_mapping_without_word_lengths_serves_all(tmp_path):
    trace, _ = estimate.trace_of("lenet5", "uniform", Silent(), 1)
    bitfusion = library.machine("bitfusion")
    cost = evaluate_cost(trace, bitfusion)
    of_any = {name._replace(words=None): mapping for name, mapping in cost.mappings.items()}
    assert evaluate_cost(trace, bitfusion, mappings=of_any).cycles == cost.cycles


def test_errors_name_the_place_in_the_file(tmp_path):
    command = ("estimate", "lenet5", "-a", "int8_systolic", "--batch", 1)
    fxsim(*command, "--save-mapping", "m.yaml", at=tmp_path)
    text = (tmp_path / "m.yaml").read_text()
    for old, new, message in (
        (
            "accelerator: int8_systolic",
            "accelerator: other",
            "m.yaml:2:1: accelerator must be 'int8",
        ),
        ("layer: conv2", "layer: conv9", ": mapping of conv9, forward: the trace has no such"),
        (
            "- layer: conv2",
            "- mode: [8, 8]\n  layer: conv2",
            "runs it with words as they are, not as 8",
        ),
        ("B: 100", "B: 101", ": mapping of conv2, forward: B must reach"),
    ):
        assert old in text, old
        (tmp_path / "m.yaml").write_text(text.replace(old, new, 1))
        done = fxsim(*command, "--mapping", "m.yaml", at=tmp_path, code=2)
        said = done.stderr.splitlines()[-1]
        assert message in said
        assert said.startswith("m.yaml:")


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_same_maps_cost_the_same_by_any_objective(objective):
    """Where word lengths decide what the array covers, products are mapped again: as before."""
    trace, _ = estimate.trace_of("lenet5", "wage", Silent(), 1)
    cost = evaluate_cost(trace, library.machine("bitfusion"), objective)
    maps = cost.arrays.block_maps(int(cost.arrays.sampled[0]))
    again = reevaluate_cost(cost, maps)
    assert (again.cycles, again.energy_pj) == (cost.cycles, cost.energy_pj)


def test_what_a_mapping_is_of_reads_well():
    assert str(ProductId("c", "grad_input", 2, (4, 8))) == "c, grad_input, part 2, 4 x 8 bits"
