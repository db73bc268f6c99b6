"""The loop's numbers, and how it fails."""

from __future__ import annotations

from math import log, log2

import numpy as np
import pyarrow.parquet as pq
import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st

from fxsim.engine.softmax import PROBABILITY
from fxsim.engine.tensor import FixedTensor
from fxsim.engine.update import MOMENTUM
from fxsim.errors import DataError, ShapeError
from fxsim.numerics.formats import FixedPoint
from fxsim.policies.uniform import Uniform
from fxsim.trace.reader import Trace
from fxsim.trace.writer import TraceWriter
from fxsim.training import loop, settings
from fxsim.training.decisions import Decisions
from fxsim.training.policy import StepInfo


@given(st.integers(1, 2**30))
def test_log2_is_cut_to_16_fractional_bits(code):
    exact = log2(code) * 2**16
    assert exact - 1.1 <= int(settings._log2(np.array([code]))[0]) <= exact + 0.001


def test_the_loss_is_the_mean_cross_entropy():
    values = np.array([[0.5, 0.25, 0.25], [0.125, 0.75, 0.125]])
    probability = FixedTensor(np.rint(values * 2**30).astype(np.int64), PROBABILITY)
    found = settings.integer_metrics(probability, np.array([0, 2]))
    assert abs(found["loss"] - (log(2) + log(8)) / 2) < 2**-16
    assert found["accuracy"] == 0.5


def test_a_number_that_fits_nowhere_names_its_layer_and_step():
    model, data, policy = tiny.model(), tiny.data(), Uniform()
    around = loop.StepContext(
        0,
        7,
        True,
        policy,
        Decisions(learning_rate=1),
        model.initial_parameters(0),
        model.initial_running(),
        {},
    )
    odd = FixedTensor(np.ones((2, 3), np.int64), FixedPoint(32, 26))
    around.parameters["c2.weight"].master = odd
    images = data.train_batch(np.arange(tiny.BATCH), 0, 0)[0]
    with pytest.raises(ShapeError, match=r"step 7, layer 'c2': convolution: weight must be"):
        loop.training_step(model, around, images, data.train_labels, tiny.SETTINGS)


def test_what_the_update_saturates_is_recorded(tmp_path):
    model, data = tiny.model(), tiny.data()
    with TraceWriter(tmp_path, 32) as writer:
        around = loop.StepContext(
            0,
            0,
            True,
            Uniform(),
            Decisions(learning_rate=1 << 40),
            model.initial_parameters(0),
            model.initial_running(),
            {},
            writer,
        )
        writer.begin_step(0, 1)
        # a momentum of -128 at rate 1 carries two weights beyond their largest value, 32
        around.parameters["b1.beta"].momentum = FixedTensor(
            np.full(2, -(2**31), np.int32), MOMENTUM
        )
        images = data.train_batch(np.arange(tiny.BATCH), 0, 0)[0]
        loop.training_step(model, around, images, data.train_labels, tiny.SETTINGS)
    vectors = Trace.load(tmp_path).vectors
    updates = vectors[(vectors["layer"] == "b1") & (vectors["pass"] == "update")]
    assert sorted(updates["saturated"]) == [0, 2]
    assert around.parameters["b1.beta"].master.codes.tolist() == [2**31 - 1] * 2


def test_overflowing_accumulators_are_named_with_how_often_and_where(tmp_path):
    model, data = tiny.model(), tiny.data()
    policy = Uniform(accumulator_bits=16)
    with TraceWriter(tmp_path, 16) as writer:
        loop.train(model, data, policy, tiny.SETTINGS, 0, writer)
    trace = Trace.load(tmp_path)
    found = trace.accumulator_overflows()
    assert len(found)
    for row in found.rename(columns={"pass": "pass_"}).itertuples():
        products = trace.products
        mine = products[(products["layer"] == row.layer) & (products["pass"] == row.pass_)]
        hit = mine[mine["sums_altered"] > 0]
        assert row.altered == hit["sums_altered"].sum() > 0
        assert (row.steps, row.first_step) == (len(hit), hit["step"].min())
        assert 0 <= row.first_sum < (mine["m"] * mine["n"]).max()
    wide = tmp_path / "wide"
    with TraceWriter(wide, 48) as writer:
        loop.train(model, data, Uniform(accumulator_bits=48), tiny.SETTINGS, 0, writer)
    assert Trace.load(wide).accumulator_overflows().empty


def test_a_trace_without_a_version_is_refused_by_that(tmp_path):
    with TraceWriter(tmp_path, 16):
        pass
    path = tmp_path / "products.parquet"
    pq.write_table(pq.read_table(path).replace_schema_metadata({}), path)
    with pytest.raises(
        DataError, match=r"must be a trace of version \d+, not of a version before 5"
    ):
        Trace.load(tmp_path)


def test_gradients_at_a_dynamic_scale_are_never_said_to_be_clipped():
    """Rounding alone takes the largest code past a word, and it saturates: no loss to warn of."""
    model, data, policy = tiny.model(), tiny.data(), Uniform(weight_gradient_bits=2)
    _, decisions = policy.decide({}, StepInfo(), None)
    around = loop.StepContext(
        0, 0, True, policy, decisions, model.initial_parameters(0), model.initial_running(), {}
    )
    images = data.train_batch(np.arange(tiny.BATCH), 0, 0)[0]
    loop.training_step(model, around, images, data.train_labels, tiny.SETTINGS)
    assert around.taken
    assert around.clipped_gradients == around.zeroed_gradients == {}
