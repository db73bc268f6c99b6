"""The keys of every kind of layer in a workload's YAML."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, WrapValidator

from fxsim.numerics.formats import Rounding
from fxsim.training.enum_fields import RoundingName
from fxsim.training.fields import (
    LARGEST,
    AboveZero,
    Name,
    Natural,
    Part,
    Positive,
    Share,
    Text,
)
from fxsim.training.layers.windows import Ends, Sides


def _one_of(*ways: str) -> WrapValidator:
    """A value that may be written in several ways, named in its one error."""

    def check(value: Any, handler: Any) -> Any:
        try:
            if value != {}:  # which would be a default
                return handler(value)
        except ValidationError:
            pass
        shown = str(value).replace("'", "").replace("None", "nothing")
        raise ValueError(f"must be {' or '.join(ways)}, not {shown}")

    return WrapValidator(check)


Pair = Annotated[
    Positive | tuple[Positive, Positive],
    _one_of(f"an integer of 1 to {LARGEST}", "two: [of rows, of columns]"),
]
Naturals = Annotated[
    Natural | tuple[Natural, Natural],
    _one_of(f"an integer of 0 to {LARGEST}", "two: [of rows, of columns]"),
]
Padding = Annotated[
    Literal["same"] | Natural | tuple[Natural, Natural] | Sides,
    _one_of(
        f"an integer of 0 to {LARGEST}",
        "two: [of rows, of columns]",
        "by side: {top, bottom, left, right}",
        "same",
    ),
]
SequencePadding = Annotated[
    Literal["same", "causal"] | Natural | Ends,
    _one_of(f"an integer of 0 to {LARGEST}", "by end: {before, after}", "same", "causal"),
]


class LayerBase(Part):
    """What every layer has."""

    name: Name
    inputs: tuple[str, ...] | None = None


class Conv2dSpec(LayerBase):
    """A convolution of images.

    kernel, stride, dilation : of both axes, or [of rows, of columns]
    padding : zeros on all sides, or [of rows, of columns], or by side; same: one result every
        `stride` places, the odd zero behind
    """

    kind: Literal["conv2d"]
    filters: Positive
    kernel: Pair
    stride: Pair = 1
    padding: Padding = 0
    dilation: Pair = 1
    groups: Positive = 1
    bias: bool = True


class DepthwiseSpec(LayerBase):
    """A convolution with one filter a channel."""

    kind: Literal["depthwise_conv2d"]
    kernel: Pair
    stride: Pair = 1
    padding: Padding = 0
    dilation: Pair = 1
    bias: bool = True


class Conv1dSpec(LayerBase):
    """A convolution of sequences.

    padding : zeros at both ends, or by end; same: one result every `stride` positions; causal: no
        result sees a later position
    """

    kind: Literal["conv1d"]
    filters: Positive
    kernel: Positive
    stride: Positive = 1
    padding: SequencePadding = 0
    dilation: Positive = 1
    groups: Positive = 1
    bias: bool = True


class ConvTranspose2dSpec(LayerBase):
    """A transposed convolution."""

    kind: Literal["conv_transpose2d"]
    filters: Positive
    kernel: Pair
    stride: Pair = 1
    padding: Padding = 0
    output_padding: Naturals = 0
    dilation: Pair = 1
    groups: Positive = 1
    bias: bool = True


class LinearSpec(LayerBase):
    """A fully connected layer."""

    kind: Literal["linear"]
    features: Positive
    bias: bool = True


class MaxPoolSpec(LayerBase):
    """The largest of each window; the stride is the size unless given."""

    kind: Literal["max_pool"]
    size: Pair
    stride: Pair | None = None
    padding: Padding = 0


class AveragePoolSpec(LayerBase):
    """The mean of each window; the stride is the size unless given. Zeros of the padding count.

    rounding : of a mean, and of its gradient's shares: half up, or another mode
    """

    kind: Literal["average_pool"]
    size: Pair
    stride: Pair | None = None
    padding: Padding = 0
    rounding: RoundingName = Rounding.RND


class GlobalAveragePoolSpec(LayerBase):
    """The mean over all positions.

    rounding : as of average_pool
    """

    kind: Literal["global_average_pool"]
    rounding: RoundingName = Rounding.RND


class GroupsSpec(LayerBase):
    """A layer that works on groups of channels."""

    kind: Literal["group_norm", "channel_shuffle"]
    groups: Positive


class LeakyReluSpec(LayerBase):
    """ReLU with a slope where negative."""

    kind: Literal["leaky_relu"]
    slope: Share = Fraction(1, 100)


class PactSpec(LayerBase):
    """Clipping with a learned alpha; this is its first value."""

    kind: Literal["pact"]
    alpha: AboveZero = Fraction(6)


class DropoutSpec(LayerBase):
    """Dropout with a probability."""

    kind: Literal["dropout"]
    probability: Share = Fraction(1, 2)


class ShortcutSpec(LayerBase):
    """ResNet's option A: subsampling, zero channels."""

    kind: Literal["shortcut"]
    filters: Positive
    stride: Positive = 1


class SliceSpec(LayerBase):
    """Part of the first axis."""

    kind: Literal["slice"]
    start: int = 0
    stop: int | None = None


class EmbeddingSpec(LayerBase):
    """A table of words."""

    kind: Literal["embedding"]
    vocabulary: Positive
    channels: Positive


class RecurrentSpec(LayerBase):
    """A recurrent layer; a second input is its first state."""

    kind: Literal["lstm", "gru"]
    units: Positive


class AttentionSpec(LayerBase):
    """Multi-head self-attention."""

    kind: Literal["attention"]
    heads: Positive
    causal: bool = False
    bias: bool = True


class MatrixProductSpec(Part):
    """See `fxsim.training.layers.cost_only.MatrixProduct`."""

    rows: Positive
    depth: Positive
    features: Positive
    repeats: Positive = 1
    weights: bool = True
    steps: Positive = 1


class CostOnlySpec(LayerBase):
    """An operator that is priced and not executed.

    unknown_work : it may do more than is counted; every price of the network says so
    """

    kind: Literal["opaque"]
    operator: Text
    out: Annotated[tuple[Positive, ...], Field(min_length=1, max_length=3)]
    product: MatrixProductSpec | None = None
    unknown_work: bool = False


class PlainSpec(LayerBase):
    """A layer without parameters of its own."""

    kind: Literal[
        "batch_norm",
        "layer_norm",
        "rms_norm",
        "relu",
        "relu6",
        "sigmoid",
        "tanh",
        "gelu",
        "silu",
        "hard_swish",
        "softmax",
        "add",
        "multiply",
        "concat",
        "flatten",
        "positions",
        "class_token",
        "position_embedding",
    ]


LayerSpec = Annotated[
    Conv2dSpec
    | DepthwiseSpec
    | Conv1dSpec
    | ConvTranspose2dSpec
    | LinearSpec
    | MaxPoolSpec
    | AveragePoolSpec
    | GlobalAveragePoolSpec
    | GroupsSpec
    | LeakyReluSpec
    | PactSpec
    | DropoutSpec
    | ShortcutSpec
    | SliceSpec
    | EmbeddingSpec
    | RecurrentSpec
    | AttentionSpec
    | CostOnlySpec
    | PlainSpec,
    Field(discriminator="kind"),
]
