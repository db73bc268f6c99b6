"""The float twin: its gradients against differences, and the integer gradients against it."""

from __future__ import annotations

import numpy as np
import tiny

from fxsim.precision import Uniform
from fxsim.training import float32, loop
from fxsim.training.context import StepContext
from fxsim.training.layers.activation import Relu
from fxsim.training.layers.convolution import Conv2d
from fxsim.training.layers.linear import Linear
from fxsim.training.layers.normalisation import BatchNorm
from fxsim.training.layers.pooling import AveragePool, GlobalAveragePool
from fxsim.training.layers.structure import Flatten
from fxsim.training.model import Model


def strided() -> Model:
    """Stride, average and global pooling, which the tiny network has not."""
    return Model(
        (
            Conv2d(name="c", inputs=("input",), in_shapes=((9, 9, 1),), filters=3, kernel=3,
                   stride=2, padding=1),
            BatchNorm(name="b", inputs=("c",), in_shapes=((5, 5, 3),)),
            Relu(name="r", inputs=("b",), in_shapes=((5, 5, 3),)),
            AveragePool(name="a", inputs=("r",), in_shapes=((5, 5, 3),), size=2, stride=1),
            GlobalAveragePool(name="g", inputs=("a",), in_shapes=((4, 4, 3),)),
            Flatten(name="f", inputs=("g",), in_shapes=((1, 1, 3),)),
            Linear(name="l", inputs=("f",), in_shapes=((3,),), features=3),
        ),
        (9, 9, 1),
        3,
    )  # fmt: skip


def gradients(model, images, labels):
    state = float32.initial_state(model, 0)
    state.weights = {n: w.astype(np.float64) for n, w in state.weights.items()}

    def loss():
        return float32.cross_entropy(float32.forward(model, state, images), labels)[0]

    _, _, error = float32.cross_entropy(float32.forward(model, state, images), labels)
    state.stash.clear()
    float32.forward(model, state, images)
    float32.backward(model, state, error)
    return state, loss


def test_float_gradients_equal_central_differences():
    rng = np.random.default_rng(0)
    for model in (tiny.model(), strided()):
        images = rng.normal(size=(6, *model.input_shape))
        state, loss = gradients(model, images, np.arange(6) % 3)
        for name, weight in state.weights.items():
            flat, step = weight.reshape(-1), 1e-6
            for i in rng.choice(flat.size, min(5, flat.size), replace=False):
                kept = flat[i]
                flat[i] = kept + step
                up = loss()
                flat[i] = kept - step
                slope = (up - loss()) / (2 * step)
                flat[i] = kept
                assert abs(slope - state.gradients[name].reshape(-1)[i]) < 1e-4, (name, i)


def test_integer_gradients_point_where_the_float_ones_do():
    """At 16 bits an operand, directions agree to about one part in a thousand."""
    rng = np.random.default_rng(1)
    for model in (tiny.model(), strided()):
        codes = rng.integers(-(2**13), 2**13, (6, *model.input_shape))
        labels = np.arange(6) % 3
        policy = Uniform(
            weight=16, activation=16, error=16, accumulator_bits=48, weight_gradient_bits=24
        )
        around = StepContext(
            0, 0, True, policy, {loop.RATE: 1}, model.initial_parameters(0),
            model.initial_running(), {},
        )  # fmt: skip
        images = loop.datasets.batch(codes, slice(None))
        loop.training_step(model, around, images, labels, tiny.SETTINGS)
        state, _ = gradients(model, images.to_float(), labels)
        for name, gradient in around.gradients.items():
            a, b = gradient.to_float().reshape(-1), state.gradients[name].reshape(-1)
            if np.linalg.norm(b) < 1e-6:  # a bias before a batch norm has no gradient
                continue
            assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) > 0.999, name
            assert abs(np.linalg.norm(a) / np.linalg.norm(b) - 1) < 0.01, name
