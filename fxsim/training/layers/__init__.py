"""Layers: immutable descriptions that run on any implementation of `Operations`.

`KINDS` maps the `kind` of a workload's layer to its class; a new layer is a class and an entry.
"""

from __future__ import annotations

from fxsim.training.layers.activation import (
    Dropout,
    Gelu,
    HardSwish,
    LeakyRelu,
    Pact,
    Relu,
    Relu6,
    Sigmoid,
    Silu,
    Softmax,
    Tanh,
)
from fxsim.training.layers.base import Layer
from fxsim.training.layers.convolution import Conv1d, Conv2d, ConvTranspose2d, DepthwiseConv2d
from fxsim.training.layers.cost_only import CostOnly
from fxsim.training.layers.linear import Linear
from fxsim.training.layers.normalisation import BatchNorm, GroupNorm, LayerNorm, RmsNorm
from fxsim.training.layers.pooling import AveragePool, GlobalAveragePool, MaxPool
from fxsim.training.layers.sequence import Attention, Embedding, Gru, Lstm
from fxsim.training.layers.structure import (
    Add,
    ChannelShuffle,
    ClassToken,
    Concat,
    Flatten,
    Multiply,
    PositionEmbedding,
    Positions,
    Shortcut,
    Slice,
)

KINDS: dict[str, type[Layer]] = {
    "conv1d": Conv1d,
    "conv2d": Conv2d,
    "depthwise_conv2d": DepthwiseConv2d,
    "conv_transpose2d": ConvTranspose2d,
    "linear": Linear,
    "batch_norm": BatchNorm,
    "layer_norm": LayerNorm,
    "group_norm": GroupNorm,
    "rms_norm": RmsNorm,
    "relu": Relu,
    "relu6": Relu6,
    "leaky_relu": LeakyRelu,
    "pact": Pact,
    "sigmoid": Sigmoid,
    "tanh": Tanh,
    "gelu": Gelu,
    "silu": Silu,
    "hard_swish": HardSwish,
    "softmax": Softmax,
    "dropout": Dropout,
    "max_pool": MaxPool,
    "average_pool": AveragePool,
    "global_average_pool": GlobalAveragePool,
    "add": Add,
    "multiply": Multiply,
    "concat": Concat,
    "channel_shuffle": ChannelShuffle,
    "shortcut": Shortcut,
    "flatten": Flatten,
    "positions": Positions,
    "slice": Slice,
    "class_token": ClassToken,
    "position_embedding": PositionEmbedding,
    "embedding": Embedding,
    "lstm": Lstm,
    "gru": Gru,
    "attention": Attention,
    "opaque": CostOnly,
}

__all__ = ["KINDS", "Layer"]
