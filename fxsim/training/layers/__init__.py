"""Layers: immutable descriptions that run forward and backward on integer tensors.

`KINDS` maps the `kind` of a workload's layer to its class; a new layer is one file and one entry.
"""

from __future__ import annotations

from fxsim.training.layers.activation import Relu
from fxsim.training.layers.base import Layer
from fxsim.training.layers.convolution import Conv2d
from fxsim.training.layers.linear import Linear
from fxsim.training.layers.normalisation import BatchNorm
from fxsim.training.layers.pooling import AveragePool, GlobalAveragePool, MaxPool
from fxsim.training.layers.structure import Add, Flatten

KINDS: dict[str, type[Layer]] = {
    "conv2d": Conv2d,
    "linear": Linear,
    "batch_norm": BatchNorm,
    "relu": Relu,
    "max_pool": MaxPool,
    "average_pool": AveragePool,
    "global_average_pool": GlobalAveragePool,
    "add": Add,
    "flatten": Flatten,
}

__all__ = ["KINDS", "Layer"]
