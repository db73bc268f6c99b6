"""AdaPT's analytical model and BitOPs, by hand."""

from __future__ import annotations

from fractions import Fraction
from math import log2

import numpy as np
import pandas as pd
import pytest

from fxsim.cost import paper_metrics
from fxsim.policies.adaqat import Adaqat
from fxsim.policies.uniform import Uniform
from fxsim.runs import synthetic_trace
from fxsim.training.layers.linear import Linear
from fxsim.training.model import Model
from fxsim.training.settings import TrainingSettings

SETTINGS = TrainingSettings(1, 2, Fraction("0.1"))


def model(*features: int) -> Model:
    sizes = (6, *features)
    layers = tuple(
        Linear(
            name=f"fc{i}",
            inputs=(f"fc{i - 1}" if i else "input",),
            in_shapes=((sizes[i],),),
            features=size,
            bias=False,
        )
        for i, size in enumerate(features)
    )
    return Model(layers, (6,), features[-1])


@pytest.fixture(scope="module")
def trace():
    return synthetic_trace.one_step(model(4, 3), Uniform(weight=4), SETTINGS)


def test_figures_of_a_uniform_run(trace):
    own = trace.operands[trace.operands["role"] == "weight"].set_index("layer")
    density = 1 - own["zeros"] / (own["rows"] * own["columns"])
    found = paper_metrics.figures(trace, pd.DataFrame(), [0.3, 0.6, 0.7, 0.8], 0.65)
    macs = np.array([2 * 6 * 4, 2 * 4 * 3])
    work = (macs * 4 * density[["fc0", "fc1"]]).sum()
    assert found["training_speedup"] == pytest.approx(
        2 * 32 * macs.sum() / (work + 32 * macs.sum())
    )
    assert found["iso_accuracy_speedup"] == pytest.approx(found["training_speedup"] / (3 / 4))
    assert found["inference_speedup"] == pytest.approx(32 * macs.sum() / work)
    assert found["size_ratio"] == pytest.approx((4 * density / 32).mean())
    assert found["memory_ratio"] == 1 + 2 * 4 / 32
    assert found["weight_kib"] == 4 * (24 + 12) / 8192
    assert found["weight_compression"] == 8
    assert found["gbitops"] == pytest.approx((24 + 12) * 4 * 8 / 1e9)


def test_an_accuracy_never_reached_has_no_speedup(trace):
    found = paper_metrics.figures(trace, pd.DataFrame(), [0.3], 0.65)
    assert np.isnan(found["iso_accuracy_speedup"])


def test_adapting_costs_what_adapt_says():
    # 32 / 50 * (3 * 100 * 2 log2(12 - 8) * 60 * 0.5 + 51 * 100 + 1)
    by_hand = 32 / 50 * (3 * 100 * 4 * 60 * 0.5 + 51 * 100 + 1)
    assert paper_metrics.adaptation(100, 12, 0.5, 50, 60) == pytest.approx(by_hand)
    shortest = 32 / 50 * (3 * 100 * 60 * 0.5 + 51 * 100 + 1)
    assert paper_metrics.adaptation(100, 8, 0.5, 50, 60) == pytest.approx(shortest)
    assert log2(12 - 8) == 2


def test_lookbacks_in_the_decisions_are_charged(trace):
    decided = pd.DataFrame(
        {
            f"{part}.fc{i}": [value]
            for part, value in (("lookback", 50), ("resolution", 60))
            for i in range(2)
        }
    )
    plain = paper_metrics.figures(trace, pd.DataFrame(), [1.0], 1.0)
    adapted = paper_metrics.figures(trace, decided, [1.0], 1.0)
    assert adapted["training_speedup"] < plain["training_speedup"]
    assert adapted["inference_speedup"] == plain["inference_speedup"]


def test_probes_are_no_part_of_the_network():
    trace = synthetic_trace.one_step(model(4, 4, 4), Adaqat(), SETTINGS)
    assert trace.products["layer"].str.contains("@").any()
    found = paper_metrics.figures(trace, pd.DataFrame(), [1.0], 1.0)
    weights = (24 * 8 + 16 * 4 + 16 * 8) / 8192  # the middle layer at 4 bits
    assert found["weight_kib"] == weights


def test_a_search_of_word_lengths_begins_above_nine_bits():
    """2 log2(bits - 8) at 9 bits would be no search at all; AdaPT's model counts one then."""
    for bits, searches in ((9, 1.0), (9.5, 2 * log2(1.5)), (10, 2.0), (16, 6.0)):
        by_hand = 32 / 50 * (3 * 100 * searches * 60 * 0.5 + 51 * 100 + 1)
        assert paper_metrics.adaptation(100, bits, 0.5, 50, 60) == pytest.approx(by_hand)


def test_the_target_accuracy_itself_counts_as_reached(trace):
    share = {}
    for target in (0.6, 0.600001):
        found = paper_metrics.figures(trace, pd.DataFrame(), [0.3, 0.6, 0.7, 0.8], target)
        share[target] = found["training_speedup"] / found["iso_accuracy_speedup"]
    assert share == {0.6: pytest.approx(2 / 4), 0.600001: pytest.approx(3 / 4)}


def test_adapting_and_probes_are_charged_by_hand(trace):
    """Work is density x (MACs x bits + what adapting costs), of the layers that adapt."""
    decided = pd.DataFrame({"lookback.fc1": [50], "resolution.fc1": [60]})
    own = trace.operands[trace.operands["role"] == "weight"].set_index("layer")
    density = 1 - own["zeros"] / (own["rows"] * own["columns"])
    macs = {"fc0": 2 * 6 * 4, "fc1": 2 * 4 * 3}
    overhead = paper_metrics.adaptation(12, 4, density["fc1"], 50, 60)
    work = density["fc0"] * macs["fc0"] * 4 + density["fc1"] * (macs["fc1"] * 4 + overhead)
    whole = 32 * sum(macs.values())
    found = paper_metrics.figures(trace, decided, [1.0], 1.0)
    assert found["training_speedup"] == pytest.approx(2 * whole / (work + whole))
    # a probe's forward pass is MACs x bits of the weights more
    probed = synthetic_trace.one_step(model(4, 4, 4), Adaqat(), SETTINGS)
    found = paper_metrics.figures(probed, pd.DataFrame(), [1.0], 1.0)
    products = probed.products.assign(forward=probed.products["pass"] == "forward")
    own = probed.operands[probed.operands["role"] == "weight"].set_index("layer")
    work = 0.0
    for row in products.itertuples():
        probe = "@" in row.layer
        if row.right != "weight" or not (row.forward or probe):
            continue
        columns = len(row.right_bits)
        bit_macs = sum(n * row.right_bits[i % columns] for i, n in enumerate(row.joint_macs))
        if not probe:
            weight = own.loc[row.layer]
            bit_macs *= 1 - weight["zeros"] / (weight["rows"] * weight["columns"])
        work += bit_macs
    whole = 32 * 2 * (6 * 4 + 4 * 4 + 4 * 4)
    assert found["training_speedup"] == pytest.approx(2 * whole / (work + whole))
