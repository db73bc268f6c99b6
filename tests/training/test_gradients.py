"""Every layer's result and gradients: integers against float64, and float64 against PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
from cases import CASES

from fxsim.engine.normalisation import RunningStatistics
from fxsim.engine.tensor import FixedTensor
from fxsim.numerics.formats import FixedPoint
from fxsim.policies.uniform import Uniform
from fxsim.training.context import Parameter, StepContext
from fxsim.training.floats import FloatOperations
from fxsim.training.integer import IntegerOperations
from fxsim.training.layers import KINDS
from fxsim.training.layers.base import constant_parameter, parameter
from fxsim.training.tape import Value

BATCH = 4
VECTOR_BITS, ERROR_WORD = FixedPoint(16, 12), FixedPoint(16, 14)
WIDE = Uniform(
    weight=16,
    activation=16,
    error=16,
    accumulator_bits=60,
    weight_gradient_bits=32,
    word_scale="peak",
    error_rounding="RND_CONV",
)


def prepared(case, seed=0):
    """(layer, inputs as words, parameters): the parameters made uneven."""
    rng = np.random.default_rng(seed)
    layer = case.build()
    inputs = [
        FixedTensor(rng.normal(0, 2**12, (BATCH, *shape)).round().astype(np.int16), VECTOR_BITS)
        for shape in case.shapes
    ]
    parameters = {}
    for name, made in layer.initial_parameters(seed).items():
        codes = np.array(made.master.codes, np.int64)
        if name.endswith(("gamma", "beta", "bias", "token")):
            codes = codes + (rng.normal(0, 0.2, codes.shape) * 2**26).astype(np.int64)
        parameters[name] = parameter(codes)
    return layer, inputs, parameters


def integers(layer, inputs, parameters, error):
    """(result, input gradients, parameter gradients) as floats, executed in integers."""
    running = {}
    if hasattr(layer, "initial_running"):
        running = {layer.name: layer.initial_running()}
    copies = {n: Parameter(p.master, p.momentum) for n, p in parameters.items()}
    context = StepContext(0, 0, True, WIDE, {}, copies, running, {})
    ops = IntegerOperations(context)
    values = [Value(tensor) for tensor in inputs]
    entry, backs = [Value(tensor) for tensor in inputs], [None] * len(inputs)

    def keep(i):
        def back(errors):
            backs[i] = errors[0]
            return [None]

        return back

    for i, value in enumerate(values):
        ops.tape.record([value], [entry[i]], keep(i))
    out = layer.forward(ops, values)
    ops.tape.backward(out, error(out.tensor.shape))
    return (
        out.tensor.to_float(),
        [back.to_float() for back in backs],
        {name: exact.to_float() for name, exact in context.exact.items()},
    )


def floats(layer, inputs, parameters, error):
    """The same in float64."""
    weights = {n: p.master.to_float() for n, p in parameters.items()}
    running = {layer.name: (np.zeros(1), np.ones(1))}
    ops = FloatOperations(weights, running, True)
    values = [Value(tensor.to_float()) for tensor in inputs]
    entry, backs = [Value(v.tensor) for v in values], [None] * len(values)
    for i, value in enumerate(values):
        ops.tape.record([value], [entry[i]], lambda e, i=i: backs.__setitem__(i, e[0]) or [None])
    out = layer.forward(ops, values)
    ops.tape.backward(out, error(out.tensor.shape).to_float())
    return out.tensor, backs, ops.gradients


def errors_of(shape):
    rng = np.random.default_rng(1)
    return FixedTensor(rng.normal(0, 2**12, shape).round().astype(np.int16), ERROR_WORD)


@pytest.mark.parametrize("name", CASES)
def test_float_twin_equals_pytorch(name):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (the extra 'torch')")
    case = CASES[name]
    layer, inputs, parameters = prepared(case)
    out, backs, gradients = floats(layer, inputs, parameters, errors_of)
    x = [torch.tensor(t.to_float(), requires_grad=True) for t in inputs]
    p = {
        n: torch.tensor(made.master.to_float(), requires_grad=True)
        for n, made in parameters.items()
    }
    want = case.torch(torch, x, p)
    want.backward(torch.tensor(errors_of(tuple(want.shape)).to_float()))
    assert np.abs(out - want.detach().numpy()).max() < 1e-10
    for back, tensor in zip(backs, x, strict=True):
        assert np.abs(back - tensor.grad.numpy()).max() < 1e-9
    for key, tensor in p.items():
        got = gradients[key].reshape(tensor.shape)
        assert np.abs(got - tensor.grad.numpy()).max() < 1e-9, key


def allowed(exact, case, inputs, error):
    """So many roundings, each by half a step of a word whose largest code is the tensor's.

    A sum over samples or channels adds their number's roundings of its terms' size.
    """
    peak = max(np.abs(t.to_float()).max() for t in (*inputs, error))
    return case.roundings * 2.0**-16 * max(np.abs(exact).max(), peak)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_integers_follow_float64_to_their_words(name, seed):
    case = CASES[name]
    layer, inputs, parameters = prepared(case, seed)
    out, backs, gradients = integers(layer, inputs, parameters, errors_of)
    want, want_backs, want_gradients = floats(layer, inputs, parameters, errors_of)
    error = errors_of(out.shape)
    assert np.abs(out - want).max() <= allowed(want, case, inputs, error)
    for got, exact in zip(backs, want_backs, strict=True):
        assert np.abs(got - exact).max() <= allowed(exact, case, inputs, error)
    for key, exact in want_gradients.items():
        got = gradients[key].reshape(exact.shape)
        limit = BATCH * np.prod(case.shapes[0][:-1], initial=1) ** 0.5
        assert np.abs(got - exact).max() <= limit * allowed(exact, case, inputs, error), key


def test_every_kind_of_layer_has_a_case():
    tested = {case.kind for case in CASES.values()}
    assert set(KINDS) - tested == {"dropout", "embedding", "opaque"}  # below; not executed


def test_embedding_gathers_and_scatters():
    layer = KINDS["embedding"](name="l", inputs=("x",), in_shapes=((3,),), vocabulary=4, channels=2)
    parameters = layer.initial_parameters(0)
    context = StepContext(0, 0, True, WIDE, {}, parameters, {}, {})
    ops = IntegerOperations(context)
    tokens = np.array([[0, 3, 3], [1, 0, 3]])
    out = layer.forward(ops, [Value(tokens, False)])
    table = parameters["l.table"].master.to_float()
    step = 2.0**-out.tensor.format.frac
    assert np.abs(out.tensor.to_float() - table[tokens]).max() <= step / 2
    error = errors_of((2, 3, 2))
    ops.tape.backward(out, error)
    want = np.zeros((4, 2))
    np.add.at(want, tokens, error.to_float())
    assert np.array_equal(context.exact["l.table"].to_float(), want)


def test_dropout_has_the_same_mask_forward_and_back_and_in_float():
    layer = KINDS["dropout"](name="l", inputs=("x",), in_shapes=((50,),))
    x = FixedTensor(np.full((BATCH, 50), 1 << 12, np.int16), VECTOR_BITS)
    context = StepContext(3, 7, True, WIDE, {}, {}, {}, {})
    ops = IntegerOperations(context)
    out = layer.forward(ops, [Value(x)])
    twin = FloatOperations({}, {}, True, 3, 7)
    assert np.array_equal(layer.forward(twin, [Value(x.to_float())]).tensor, out.tensor.to_float())
    assert set(np.unique(out.tensor.to_float())) == {0, 2}
    quiet = StepContext(3, 7, False, WIDE, {}, {}, {}, {})
    assert layer.forward(IntegerOperations(quiet), [Value(x)]).tensor is x


def test_inference_uses_running_statistics():
    layer, inputs, parameters = prepared(CASES["batch norm"])
    running = {"l": RunningStatistics(np.full(4, 1 << 16), np.full(4, 4 << 20))}
    context = StepContext(0, 0, False, WIDE, {}, parameters, dict(running), {})
    out = layer.forward(IntegerOperations(context), [Value(inputs[0])])
    gamma, beta = (parameters[f"l.{n}"].master.to_float() for n in ("gamma", "beta"))
    want = (inputs[0].to_float() - 1) / np.sqrt(4 + 2.0**-17) * gamma + beta
    assert np.abs(out.tensor.to_float() - want).max() <= 2.0**-out.tensor.format.frac + 2**-13
    assert context.running["l"] is running["l"]


def test_constant_parameters_are_exact():
    made = constant_parameter((2,), CASES["pact"].own["alpha"])
    assert made.master.to_float().tolist() == [0.5, 0.5]


def test_the_loss_may_reach_a_value_twice():
    """An error with 30 fractional bits and one of words add up at a common scale."""
    values = [FixedTensor(np.array([1 << 28]), FixedPoint(32, 30)), errors_of((1,))]
    ops = IntegerOperations(StepContext(0, 0, True, WIDE, {}, {}, {}, {}))
    total = ops.tape.add(*values).to_float()
    assert abs(total - sum(v.to_float() for v in values)).max() < 2**-13
