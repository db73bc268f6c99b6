"""The float twin of whole networks: gradients against differences, integer gradients against it."""

from __future__ import annotations

import numpy as np
import tiny

from fxsim.engine.tensor import FixedTensor
from fxsim.policies.uniform import Uniform
from fxsim.training import float32, loop
from fxsim.training.context import StepContext
from fxsim.training.data.base import INPUT_WORD
from fxsim.training.decisions import Decisions
from fxsim.training.floats import FloatOperations
from fxsim.training.layers.convolution import Conv2d
from fxsim.training.layers.linear import Linear
from fxsim.training.layers.normalisation import BatchNorm
from fxsim.training.layers.pooling import AveragePool, GlobalAveragePool
from fxsim.training.layers.structure import Flatten
from fxsim.training.model import Model
from fxsim.training.tape import Value


def strided() -> Model:
    """Stride, average and global pooling, a batch norm without ReLU, which `tiny` has not."""
    return Model(
        (
            Conv2d(
                name="c",
                inputs=("input",),
                in_shapes=((9, 9, 1),),
                filters=3,
                kernel=3,
                stride=2,
                padding=1,
            ),
            BatchNorm(name="b", inputs=("c",), in_shapes=((5, 5, 3),)),
            AveragePool(name="a", inputs=("b",), in_shapes=((5, 5, 3),), size=2, stride=1),
            GlobalAveragePool(name="g", inputs=("a",), in_shapes=((4, 4, 3),)),
            Flatten(name="f", inputs=("g",), in_shapes=((1, 1, 3),)),
            Linear(name="l", inputs=("f",), in_shapes=((3,),), features=3),
        ),
        (9, 9, 1),
        3,
    )


def loss_and_gradients(model, weights, images, labels):
    running = {n: (np.zeros(1), np.ones(1)) for n in model.initial_running()}
    ops = FloatOperations(weights, running, True)
    last = model.run(ops, Value(images, needs=False))
    metrics, error = float32.loss_of(last.tensor, labels, tiny.SETTINGS)
    ops.tape.backward(last, error)
    return metrics["loss"], ops.gradients


def test_float_gradients_equal_central_differences():
    rng = np.random.default_rng(0)
    for model in (tiny.model(), strided()):
        images, labels = rng.normal(size=(6, *model.input_shape)), np.arange(6) % 3
        weights = float32.initial_state(model, 0, np.float64).weights
        _, gradients = loss_and_gradients(model, weights, images, labels)
        for name, weight in weights.items():
            flat, step = weight.reshape(-1), 1e-6
            for i in rng.choice(flat.size, min(5, flat.size), replace=False):
                kept, ends = flat[i], []
                for sign in (1, -1):
                    flat[i] = kept + sign * step
                    ends.append(loss_and_gradients(model, weights, images, labels)[0])
                flat[i] = kept
                slope = (ends[0] - ends[1]) / (2 * step)
                assert abs(slope - gradients[name].reshape(-1)[i]) < 1e-4, (name, i)


def test_integer_gradients_point_where_the_float_ones_do():
    """At 16 bits an operand, directions agree to about one part in a thousand."""
    rng = np.random.default_rng(1)
    for model in (tiny.model(), strided()):
        codes = rng.integers(-(2**13), 2**13, (6, *model.input_shape)).astype(np.int16)
        images, labels = FixedTensor(codes, INPUT_WORD), np.arange(6) % 3
        policy = Uniform(
            weight=16,
            activation=16,
            error=16,
            accumulator_bits=48,
            weight_gradient_bits=24,
            word_scale="peak",
        )
        around = StepContext(
            0,
            0,
            True,
            policy,
            Decisions(learning_rate=1),
            model.initial_parameters(0),
            model.initial_running(),
            {},
        )
        loop.training_step(model, around, images, labels, tiny.SETTINGS)
        weights = float32.initial_state(model, 0, np.float64).weights
        _, wanted = loss_and_gradients(model, weights, images.to_float(), labels)
        for name, gradient in around.gradients():
            a, b = gradient.to_float().reshape(-1), wanted[name].reshape(-1)
            if np.linalg.norm(b) < 1e-6:  # a bias before a batch norm has no gradient
                continue
            assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) > 0.999, name
            assert abs(np.linalg.norm(a) / np.linalg.norm(b) - 1) < 0.01, name
