"""Workloads: a network, its data and its training, from YAML."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from fxsim import yaml_reader
from fxsim.errors import ShapeError, hint
from fxsim.training import data as datasets
from fxsim.training.layers import KINDS, Layer
from fxsim.training.layers.weighted import WeightedLayer
from fxsim.training.loop import TrainingSettings
from fxsim.training.model import INPUT, Model


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _decimal(value: Any) -> Any:
    try:
        return Fraction(str(value))
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"must be a number, not {value!r}") from None


def _rate(value: Fraction) -> Fraction:
    if not Fraction(1, 1 << 20) <= value <= 2:
        raise ValueError(f"must be between 2**-20 and 2, not {float(value)}")
    return value


def _fraction(value: Fraction) -> Fraction:
    if not 0 <= value < 1:
        raise ValueError(f"must be at least 0 and below 1, not {float(value)}")
    return value


Decimal = Annotated[Fraction, BeforeValidator(_decimal)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Positive = Annotated[int, Field(ge=1)]
Text = Annotated[str, Field(min_length=1)]


class _LayerBase(_Part):
    name: Name
    inputs: tuple[str, ...] | None = None


class Conv2dSpec(_LayerBase):
    """A convolution, square in kernel and stride."""

    kind: Literal["conv2d"]
    filters: Positive
    kernel: Positive
    stride: Positive = 1
    padding: Annotated[int, Field(ge=0)] = 0
    bias: bool = True


class LinearSpec(_LayerBase):
    """A fully connected layer."""

    kind: Literal["linear"]
    features: Positive
    bias: bool = True


class PoolSpec(_LayerBase):
    """Square pooling; the stride is the size unless given."""

    kind: Literal["max_pool", "average_pool"]
    size: Annotated[int, Field(ge=2, le=16)]
    stride: Positive | None = None


class PlainSpec(_LayerBase):
    """A layer without parameters of its own."""

    kind: Literal["batch_norm", "relu", "global_average_pool", "add", "flatten"]


LayerSpec = Annotated[Conv2dSpec | LinearSpec | PoolSpec | PlainSpec, Field(discriminator="kind")]


class TrainingSpec(_Part):
    """How the network is trained unless the study says otherwise. Rates are exact decimals."""

    epochs: Positive
    batch: Positive
    learning_rate: Annotated[Decimal, AfterValidator(_rate)]
    momentum: Annotated[Decimal, AfterValidator(_fraction)] = Fraction(9, 10)
    weight_decay: Annotated[Decimal, AfterValidator(_fraction)] = Fraction(0)
    schedule: Literal["constant", "linear"] = "constant"

    def settings(self, epochs: int | None = None) -> TrainingSettings:
        """For the training loop."""
        return TrainingSettings(
            epochs or self.epochs, self.batch, self.learning_rate, self.momentum,
            self.weight_decay, self.schedule,
        )  # fmt: skip


class Workload(_Part):
    """A network with its input, data and training."""

    name: Text
    source: Text
    dataset: str
    input: Annotated[tuple[Positive, ...], Field(min_length=1, max_length=3)]
    classes: Annotated[int, Field(ge=2)]
    training: TrainingSpec
    layers: Annotated[tuple[LayerSpec, ...], Field(min_length=1)]


def load(path: Path) -> tuple[Workload, Model]:
    """Read a workload and build its network; every error names its line."""
    document = yaml_reader.read(path)
    workload = document.validate(Workload, "workload")
    if problem := datasets.unknown(workload.dataset):
        document.fail(("dataset",), problem)
    built: dict[str, Layer] = {}
    shapes: dict[str, tuple[int, ...]] = {INPUT: workload.input}
    trained_below: dict[str, bool] = {INPUT: False}
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
        wanted = 2 if spec.kind == "add" else 1
        if len(inputs) != wanted:
            document.fail(
                ("layers", i, "inputs"),
                f"layers.{i}.inputs: {spec.kind} {spec.name!r} takes {wanted}, not {len(inputs)}",
            )
        below = any(trained_below[name] for name in inputs)
        try:
            layer = _build(spec, inputs, tuple(shapes[n] for n in inputs), below)
            shapes[spec.name] = layer.out_shape
        except ShapeError as problem:
            document.fail(("layers", i), f"layers.{i}, {spec.kind} {spec.name!r}: {problem}")
        built[spec.name] = layer
        trained_below[spec.name] = below or layer.trains
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


def _build(
    spec: Any, inputs: tuple[str, ...], shapes: tuple[tuple[int, ...], ...], below: bool
) -> Layer:
    own = spec.model_dump(exclude={"kind", "name", "inputs"})
    layer_class = KINDS[spec.kind]
    if issubclass(layer_class, WeightedLayer):
        own["first"] = not below
    return layer_class(name=spec.name, inputs=inputs, in_shapes=shapes, **own)
