"""Workloads: a network, its data and its training, from YAML."""

from __future__ import annotations

from fractions import Fraction
from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WrapValidator,
)

from fxsim.config import yaml_document
from fxsim.errors import ShapeError, hint
from fxsim.training import data as datasets
from fxsim.training.layers import KINDS, Layer
from fxsim.training.layers.cost_only import MatrixProduct
from fxsim.training.layers.weighted import WeightedLayer
from fxsim.training.layers.windows import Ends, Sides
from fxsim.training.model import INPUT, Model
from fxsim.training.schedule import Schedule
from fxsim.training.settings import TrainingSettings


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _decimal(value: Any) -> Any:
    try:
        exact = Fraction(str(value))
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"must be a number, not {value!r}") from None
    if abs(exact) > 1 << 64:
        raise ValueError(f"must be a number of a usual size, not {value!r}")
    return exact


def _rate(value: Fraction) -> Fraction:
    if not Fraction(1, 1 << 20) <= value <= 2:
        raise ValueError(f"must be between 2**-20 and 2, not {float(value)}")
    return value


def _fraction(value: Fraction) -> Fraction:
    if not 0 <= value < 1:
        raise ValueError(f"must be at least 0 and below 1, not {float(value)}")
    return value


def _positive(value: Fraction) -> Fraction:
    if value <= 0:
        raise ValueError(f"must be above 0, not {float(value)}")
    return value


def _small(value: Fraction) -> Fraction:
    if not 0 < value <= 1:
        raise ValueError(f"must be above 0 and at most 1, not {float(value)}")
    return value


def _fading(value: Fraction) -> Fraction:
    if not 0 <= value <= 1 - Fraction(1, 1 << 20):
        raise ValueError(f"must be 0 to 1 - 2**-20, not {float(value)}")
    return value


Decimal = Annotated[Fraction, BeforeValidator(_decimal, json_schema_input_type=float | str)]
Share = Annotated[Decimal, AfterValidator(_fraction)]
Beta = Annotated[Decimal, AfterValidator(_fading)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
LARGEST = (1 << 31) - 1
MOST_VALUES = 1 << 32  # of a layer's result for one sample, and of its weights
Positive = Annotated[int, Field(ge=1, le=LARGEST)]
Natural = Annotated[int, Field(ge=0, le=LARGEST)]
Text = Annotated[str, Field(min_length=1)]


def _one_of(*ways: str) -> WrapValidator:
    """A value that may be written in several ways, named in its one error."""

    def check(value: Any, handler: Any) -> Any:
        try:
            return handler(value)
        except ValidationError:
            shown = str(value).replace("'", "").replace("None", "nothing")
            raise ValueError(f"must be {' or '.join(ways)}, not {shown}") from None

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


class _LayerBase(_Part):
    name: Name
    inputs: tuple[str, ...] | None = None


class Conv2dSpec(_LayerBase):
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


class DepthwiseSpec(_LayerBase):
    """A convolution with one filter a channel."""

    kind: Literal["depthwise_conv2d"]
    kernel: Pair
    stride: Pair = 1
    padding: Padding = 0
    dilation: Pair = 1
    bias: bool = True


class Conv1dSpec(_LayerBase):
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


class ConvTranspose2dSpec(_LayerBase):
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


class LinearSpec(_LayerBase):
    """A fully connected layer."""

    kind: Literal["linear"]
    features: Positive
    bias: bool = True


class PoolSpec(_LayerBase):
    """Pooling; the stride is the size unless given. Zeros of a mean's padding count."""

    kind: Literal["max_pool", "average_pool"]
    size: Pair
    stride: Pair | None = None
    padding: Padding = 0


class GroupsSpec(_LayerBase):
    """A layer that works on groups of channels."""

    kind: Literal["group_norm", "channel_shuffle"]
    groups: Positive


class LeakyReluSpec(_LayerBase):
    """ReLU with a slope where negative."""

    kind: Literal["leaky_relu"]
    slope: Share = Fraction(1, 100)


class PactSpec(_LayerBase):
    """Clipping with a learned alpha; this is its first value."""

    kind: Literal["pact"]
    alpha: Annotated[Decimal, AfterValidator(_positive)] = Fraction(6)


class DropoutSpec(_LayerBase):
    """Dropout with a probability."""

    kind: Literal["dropout"]
    probability: Share = Fraction(1, 2)


class ShortcutSpec(_LayerBase):
    """ResNet's option A: subsampling, zero channels."""

    kind: Literal["shortcut"]
    filters: Positive
    stride: Positive = 1


class SliceSpec(_LayerBase):
    """Part of the first axis."""

    kind: Literal["slice"]
    start: int = 0
    stop: int | None = None


class EmbeddingSpec(_LayerBase):
    """A table of words."""

    kind: Literal["embedding"]
    vocabulary: Positive
    channels: Positive


class RecurrentSpec(_LayerBase):
    """A recurrent layer; a second input is its first state."""

    kind: Literal["lstm", "gru"]
    units: Positive


class AttentionSpec(_LayerBase):
    """Multi-head self-attention."""

    kind: Literal["attention"]
    heads: Positive
    causal: bool = False
    bias: bool = True


class MatrixProductSpec(_Part):
    """See `fxsim.training.layers.cost_only.MatrixProduct`."""

    rows: Positive
    depth: Positive
    features: Positive
    repeats: Positive = 1
    weights: bool = True


class CostOnlySpec(_LayerBase):
    """An operator that is priced and not executed."""

    kind: Literal["opaque"]
    operator: Text
    out: Annotated[tuple[Positive, ...], Field(min_length=1, max_length=3)]
    product: MatrixProductSpec | None = None


class PlainSpec(_LayerBase):
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
        "global_average_pool",
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
    | PoolSpec
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


class ScheduleSpec(_Part):
    """How the learning rate goes; see `fxsim.training.schedule.Schedule`."""

    kind: Literal["constant", "linear", "step", "cosine", "plateau"] = "constant"
    warmup: Natural = 0
    milestones: tuple[Share, ...] = ()
    factor: Share = Fraction(1, 10)
    patience: Natural = 2


class TrainingSpec(_Part):
    """How the network is trained unless the study says otherwise. Rates are exact decimals."""

    epochs: Positive
    batch: Positive
    learning_rate: Annotated[Decimal, AfterValidator(_rate)]
    momentum: Share = Fraction(9, 10)
    weight_decay: Share = Fraction(0)
    schedule: Literal["constant", "linear", "cosine"] | ScheduleSpec = "constant"
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    nesterov: bool = False
    betas: tuple[Beta, Beta] = (Fraction(9, 10), Fraction(999, 1000))
    epsilon: Annotated[Decimal, AfterValidator(_small)] = Fraction(1, 10**8)
    clip_norm: Annotated[Decimal, AfterValidator(_positive)] | None = None
    loss: Literal["cross_entropy", "mse"] = "cross_entropy"
    label_smoothing: Share = Fraction(0)

    def settings(self, epochs: int | None = None) -> TrainingSettings:
        """For the training loop."""
        written = self.schedule
        schedule = Schedule(written) if isinstance(written, str) else Schedule(**dict(written))
        own = {name: value for name, value in self if name not in ("schedule", "epochs")}
        return TrainingSettings(epochs=epochs or self.epochs, schedule=schedule, **own)


class Workload(_Part):
    """A network with its input, data and training."""

    name: Text
    source: Text
    dataset: str
    input: Annotated[tuple[Positive, ...], Field(min_length=1, max_length=3)]
    classes: Annotated[int, Field(ge=2)]
    training: TrainingSpec
    layers: Annotated[tuple[LayerSpec, ...], Field(min_length=1)]


INPUTS = {
    "add": (2, 2),
    "multiply": (2, 2),
    "concat": (2, 16),
    "lstm": (1, 2),
    "gru": (1, 2),
    "opaque": (1, 16),
}


def load(source: Path | yaml_document.Document) -> tuple[Workload, Model]:
    """Read a workload and build its network; every error names its line."""
    document = yaml_document.read(source)
    workload = document.validate(Workload, "workload")
    if problem := datasets.unknown(workload.dataset):
        document.fail(("dataset",), problem)
    built: dict[str, Layer] = {}
    shapes: dict[str, tuple[int, ...]] = {INPUT: workload.input}
    tokens = {INPUT} if any(s.kind == "embedding" for s in workload.layers) else set()
    previous = INPUT
    for i, spec in enumerate(workload.layers):
        if spec.name in shapes:
            document.fail(
                ("layers", i, "name"), f"layers.{i}.name: {spec.name!r} is already a layer's name"
            )
        inputs = spec.inputs or (previous,)
        for name in inputs:
            if name not in shapes:
                document.fail(
                    ("layers", i, "inputs"),
                    f"layers.{i}.inputs must name earlier layers, not {name!r}{hint(name, shapes)}",
                )
        least, most = INPUTS.get(spec.kind, (1, 1))
        if not least <= len(inputs) <= most:
            count = str(least) if least == most else f"{least} to {most}"
            document.fail(
                ("layers", i, "inputs"),
                f"layers.{i}.inputs: {spec.kind} {spec.name!r} takes {count}, not {len(inputs)}",
            )
        reads_tokens = any(name in tokens for name in inputs)
        cuts_tokens = reads_tokens and spec.kind == "slice"
        if reads_tokens != (spec.kind == "embedding") and not cuts_tokens:
            count = "the input's tokens" if spec.kind == "embedding" else "numbers, not tokens"
            document.fail(("layers", i), f"layers.{i}, {spec.kind} {spec.name!r} must read {count}")
        if cuts_tokens:
            tokens.add(spec.name)
        try:
            layer = _build(spec, inputs, tuple(shapes[n] for n in inputs))
            _check_size(layer)
            shapes[spec.name] = layer.out_shape
        except ShapeError as problem:
            document.fail(("layers", i), f"layers.{i}, {spec.kind} {spec.name!r}: {problem}")
        built[spec.name] = layer
        previous = spec.name
    used = {name for layer in built.values() for name in layer.inputs} | {previous}
    for i, spec in enumerate(workload.layers):
        if spec.name not in used:
            document.fail(
                ("layers", i, "name"), f"layers.{i}.name: nothing uses the result of {spec.name!r}"
            )
    try:
        return workload, Model(tuple(built.values()), workload.input, workload.classes)
    except ShapeError as problem:
        document.fail(("layers", len(workload.layers) - 1), str(problem))


def _check_size(layer: Layer) -> None:
    """Raise ShapeError for what no machine holds."""
    sizes = {"values a sample": layer.elements}
    if isinstance(layer, WeightedLayer):
        sizes["weights"] = prod(layer.weight_shape)
    for what, size in sizes.items():
        if size > MOST_VALUES:
            raise ShapeError(f"must have at most {MOST_VALUES:,} {what}, not {size:,}")


def _build(spec: Any, inputs: tuple[str, ...], shapes: tuple[tuple[int, ...], ...]) -> Layer:
    own = {n: getattr(spec, n) for n in type(spec).model_fields if n not in _LayerBase.model_fields}
    own.pop("kind")
    if isinstance(own.get("product"), MatrixProductSpec):
        own["product"] = MatrixProduct(**dict(own["product"]))
    return KINDS[spec.kind](name=spec.name, inputs=inputs, in_shapes=shapes, **own)
