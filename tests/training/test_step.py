"""A whole training step: the bits of the specification, and integers everywhere."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import tiny
from support import ROOT

from fxsim.engine import threads, update
from fxsim.identifiers import OPERAND_ROLES
from fxsim.policies.dynasty import Dynasty, DynastyDecisions
from fxsim.policies.uniform import Uniform
from fxsim.training import loop
from fxsim.training.context import StepContext
from fxsim.training.policy import StepInfo

THRESHOLD = 60_000


class FixedBlocks(Dynasty):
    """Blocks with a constant threshold and unit gains, as the reference has them."""

    def decide(self, state, step_info, feedback):
        return state, DynastyDecisions(threshold=dict.fromkeys(OPERAND_ROLES, THRESHOLD))

    def on_gradient(self, gains, role, gradient):
        return None


@pytest.mark.parametrize(
    ("policy", "numbers"),
    [(Uniform(), tiny.Uniform()), (FixedBlocks(), tiny.Blocks(THRESHOLD))],
    ids=["uniform", "blocks"],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_training_run_has_the_bits_of_the_pure_integer_reference(policy, numbers, seed):
    data = tiny.data()
    trained = loop.train(tiny.model(), data, policy, tiny.SETTINGS, seed)
    want = tiny.Reference(seed, numbers)
    rate = update.rate_code(tiny.SETTINGS.learning_rate)
    for step in range(2):
        chosen = tiny.order(seed, step)
        images = [data.train_images[i].tolist() for i in chosen]
        want.step(step, images, data.train_labels[chosen].tolist(), rate)
    for name, parameter in trained.parameters.items():
        rows = parameter.master.codes.reshape(len(want.master[name]), -1)
        assert rows.tolist() == want.master[name], name
        momenta = parameter.momentum.codes.reshape(rows.shape)
        assert momenta.tolist() == want.momentum[name], name
    if isinstance(numbers, tiny.Blocks):
        bits = [m["weight_bits"] for m in trained.metrics]
        assert min(bits) < 8, "the blocks must not all have 8 bits, or nothing was shown"


def context(policy) -> tuple:
    model, data = tiny.model(), tiny.data()
    _, decisions = policy.decide(policy.initial_state({}), StepInfo(), None)
    decisions.learning_rate = 1 << 16
    around = StepContext(
        0, 0, True, policy, decisions, model.initial_parameters(0), model.initial_running(), {}
    )
    return model, data, around


@pytest.mark.parametrize("policy", [Uniform(), Dynasty()], ids=["uniform", "dynasty"])
def test_every_array_on_the_path_is_of_integer_type(policy):
    """Walk a step: look at every local of every frame of ours when it returns."""
    model, data, around = context(policy)
    images = data.train_batch(np.arange(tiny.BATCH), 0, 0)[0]
    ours = str(ROOT / "fxsim")
    seen, offending = 0, []

    def look(frame, event, result):
        nonlocal seen
        if event != "return" or not frame.f_code.co_filename.startswith(ours):
            return
        for name, value in [*frame.f_locals.items(), ("return", result)]:
            if isinstance(value, np.ndarray):
                seen += 1
            array = isinstance(value, np.ndarray | np.generic)
            if isinstance(value, float) or (array and value.dtype.kind not in "iub"):
                offending.append((frame.f_code.co_qualname, name, value))

    sys.setprofile(look)
    try:
        loop.training_step(model, around, images, data.train_labels, tiny.SETTINGS)
    finally:
        sys.setprofile(None)
    assert offending == []
    assert seen > 200


def test_the_walk_would_see_a_float(monkeypatch):
    """The check above can fail."""
    from fxsim.engine import vector_int16

    honest = vector_int16.add

    def with_float(a, b, relu=False):
        half = a.codes * 0.5
        return honest(a, b, relu) if half is not None else None

    with_float.__code__ = with_float.__code__.replace(co_filename=str(ROOT / "fxsim/planted.py"))
    monkeypatch.setattr(vector_int16, "add", with_float)
    with pytest.raises(AssertionError):
        test_every_array_on_the_path_is_of_integer_type(Uniform())


def test_compiled_kernels_have_integer_signatures():
    """No kernel was ever compiled for, or returns, a float."""
    from numba import types

    import fxsim.engine.kernels as package

    loop.train(tiny.model(), tiny.data(), Dynasty(), tiny.SETTINGS, 0)
    looked = 0
    for module in [m for n, m in sys.modules.items() if n.startswith(package.__name__ + ".")]:
        for kernel in vars(module).values():
            for overload in getattr(kernel, "overloads", {}).values():
                signature = overload.signature
                for kind in (*signature.args, signature.return_type):
                    inner = getattr(kind, "dtype", kind)
                    assert not isinstance(inner, types.Float), (kernel, signature)
                looked += 1
    from numba import config

    assert looked > 15 or config.DISABLE_JIT


@pytest.mark.parametrize("policy", [Uniform(), Dynasty()], ids=["uniform", "dynasty"])
def test_threads_do_not_change_the_weights(policy, monkeypatch):
    monkeypatch.setattr(threads, "_LEAST_WORK", 1)  # or so small a network would stay on one
    found = set()
    for count in (1, 2, 3):
        threads.set_threads(count)
        if count > 1:
            submitted = []
            honest = threads._pool.submit
            monkeypatch.setattr(
                threads._pool, "submit", lambda *a, to=honest, n=submitted: n.append(1) or to(*a)
            )
        found.add(loop.train(tiny.model(), tiny.data(), policy, tiny.SETTINGS, 0).weights_sha256)
        assert count == 1 or len(submitted) > 100
    threads.set_threads(1)
    assert len(found) == 1


def test_another_seed_gives_other_weights():
    hashes = {
        loop.train(tiny.model(), tiny.data(), Uniform(), tiny.SETTINGS, seed).weights_sha256
        for seed in (0, 1)
    }
    assert len(hashes) == 2
