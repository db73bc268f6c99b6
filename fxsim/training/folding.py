"""Folding batch norm into the layer before it, for inference: in integers, on master weights.

A batch norm at inference is gamma * (x - mean) / deviation + beta with running statistics: where
it alone follows a convolution or linear layer, that layer's weights times gamma / deviation, and a
bias of beta + (bias - mean) * gamma / deviation, give the same without it. Folded weights are
master weights (32 bits, 26 fractional), rounded half up, saturating; the factor has 31 bits.

Source: Jacob et al., arXiv 1712.05877, section 3.2.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fxsim.engine import casts, normalisation
from fxsim.engine.normalisation import RunningStatistics
from fxsim.engine.tensor import FixedTensor
from fxsim.numerics.formats import FixedPoint
from fxsim.numerics.state_formats import MASTER
from fxsim.training.context import Parameter
from fxsim.training.layers import Layer
from fxsim.training.layers.base import parameter
from fxsim.training.layers.convolution import Conv2d
from fxsim.training.layers.linear import Linear
from fxsim.training.layers.normalisation import BatchNorm
from fxsim.training.model import Model

Ints = NDArray[np.int64]
_FRAC = (normalisation.RUNNING_VARIANCE.frac - 8) // 2  # of an x whose variance is held so
FACTOR_BITS = 31


def fold(
    model: Model, parameters: dict[str, Parameter], running: dict[str, RunningStatistics]
) -> tuple[Model, dict[str, Parameter]]:
    """The network without the batch norms that can be folded, and its parameters."""
    users = Counter(name for layer in model.layers for name in layer.inputs)
    by_name = {layer.name: layer for layer in model.layers}
    folded: dict[str, str] = {}  # batch norm to the layer that takes it in
    for layer in model.layers:
        before = by_name.get(layer.inputs[0])
        single = before is not None and users[before.name] == 1
        if isinstance(layer, BatchNorm) and single and isinstance(before, Conv2d | Linear):
            folded[layer.name] = before.name
    folded_parameters = dict(parameters)
    for norm, name in folded.items():
        weight, bias = _folded(folded_parameters, name, norm, running[norm])
        folded_parameters[f"{name}.weight"], folded_parameters[f"{name}.bias"] = weight, bias
        for part in ("gamma", "beta"):
            del folded_parameters[f"{norm}.{part}"]
    layers: list[Layer] = []
    for layer in model.layers:
        if layer.name in folded:
            continue
        wired = replace(layer, inputs=tuple(folded.get(name, name) for name in layer.inputs))
        if layer.name in folded.values() and isinstance(wired, Conv2d | Linear):
            wired = replace(wired, bias=True)
        layers.append(wired)
    return Model(tuple(layers), model.input_shape, model.classes), folded_parameters


def _factors(gamma: Ints, variance: Ints) -> tuple[Ints, Ints]:
    """gamma / deviation of each channel: 31-bit mantissas and their fractional bits."""
    root, half = normalisation.reciprocal_deviation(variance, _FRAC)
    product = gamma * root
    excess = np.array([max(casts.bit_length(p) - FACTOR_BITS, 0) for p in product], np.int64)
    shift = normalisation.GAMMA.frac + half - (_FRAC + 4) - excess
    return product >> excess, shift


def _folded(
    parameters: dict[str, Parameter], name: str, norm: str, running: RunningStatistics
) -> tuple[Parameter, Parameter]:
    gamma = casts.cast(parameters[f"{norm}.gamma"].master, normalisation.GAMMA)[0].codes
    beta = parameters[f"{norm}.beta"].master.codes.astype(np.int64)
    factor, shift = _factors(gamma.astype(np.int64), running.variance)
    master = parameters[f"{name}.weight"].master.codes.astype(np.int64)
    weight = _scaled(master, factor[:, None], shift[:, None])
    mean = casts.cast(
        FixedTensor.trusted(running.mean, normalisation.RUNNING_MEAN), FixedPoint(62, MASTER.frac)
    )[0].codes
    old = parameters.get(f"{name}.bias")
    before = np.zeros_like(mean) if old is None else old.master.codes.astype(np.int64)
    distance = np.clip(before - mean, MASTER.min_code, MASTER.max_code)
    return parameter(_limited(weight)), parameter(_limited(beta + _scaled(distance, factor, shift)))


def _scaled(codes: Ints, factor: Ints, shift: Ints) -> Ints:
    """codes * factor * 2**-shift, half up; 32-bit codes, 31-bit factors."""
    product, right = codes * factor, np.maximum(shift, 0)
    half = np.where(right > 0, np.int64(1) << np.maximum(np.minimum(right, 62) - 1, 0), 0)
    down = np.where(right > 62, 0, (product + half) >> np.minimum(right, 62))
    left = np.minimum(np.maximum(-shift, 0), 30)
    scaled: Ints = np.left_shift(np.clip(down, -(1 << 32), 1 << 32), left, dtype=np.int64)
    return scaled


def _limited(codes: Ints) -> Ints:
    limited: Ints = np.clip(codes, MASTER.min_code, MASTER.max_code)
    return limited
