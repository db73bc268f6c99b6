"""Workloads: a network, its data and its training, from YAML."""

from __future__ import annotations

from fractions import Fraction
from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from fxsim.config import yaml_document
from fxsim.config.names import GivenName
from fxsim.errors import ShapeError, hint
from fxsim.training import data as datasets
from fxsim.training.fields import (
    AboveZero,
    Beta,
    Natural,
    Part,
    Positive,
    Rate,
    Share,
    Small,
    Text,
    WeightDecay,
)
from fxsim.training.layer_specs import CostOnlySpec, LayerBase, LayerSpec, MatrixProductSpec
from fxsim.training.layers import KINDS, Layer
from fxsim.training.layers.cost_only import MatrixProduct
from fxsim.training.layers.weighted import WeightedLayer
from fxsim.training.model import INPUT, Model
from fxsim.training.schedule import Schedule
from fxsim.training.settings import TrainingSettings

MOST_VALUES = 1 << 32  # of a layer's result for one sample, and of its weights


class ScheduleSpec(Part):
    """How the learning rate goes; see `fxsim.training.schedule.Schedule`."""

    kind: Literal["constant", "linear", "step", "cosine", "plateau"] = "constant"
    warmup: Natural = 0
    milestones: tuple[Share, ...] = ()
    factor: Share = Fraction(1, 10)
    patience: Natural = 2


class TrainingSpec(Part):
    """How the network is trained unless the study says otherwise. Rates are exact decimals."""

    epochs: Positive
    batch: Positive
    learning_rate: Rate
    momentum: Beta = Fraction(9, 10)
    weight_decay: WeightDecay = Fraction(0)
    schedule: Literal["constant", "linear", "cosine"] | ScheduleSpec = "constant"
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    nesterov: bool = False
    betas: tuple[Beta, Beta] = (Fraction(9, 10), Fraction(999, 1000))
    epsilon: Small = Fraction(1, 10**8)
    clip_norm: AboveZero | None = None
    loss: Literal["cross_entropy", "mse"] = "cross_entropy"
    label_smoothing: Share = Fraction(0)

    def settings(self, epochs: int | None = None) -> TrainingSettings:
        """For the training loop."""
        written = self.schedule
        schedule = Schedule(written) if isinstance(written, str) else Schedule(**dict(written))
        own = {name: value for name, value in self if name not in ("schedule", "epochs")}
        return TrainingSettings(epochs=epochs or self.epochs, schedule=schedule, **own)


class Workload(Part):
    """A network with its input, data and training."""

    name: GivenName
    source: Text
    dataset: str
    input: Annotated[tuple[Positive, ...], Field(min_length=1, max_length=3)]
    classes: Positive
    training: TrainingSpec
    layers: Annotated[tuple[LayerSpec, ...], Field(min_length=1)]

    @property
    def unknown_work(self) -> int:
        """Operators whose work is not known, and is counted nowhere."""
        return sum(isinstance(x, CostOnlySpec) and x.unknown_work for x in self.layers)


def without_unknown(nodes: int) -> str:
    """What each price of a network says of operators whose work is not known."""
    return f", without {nodes} node{'s' * (nodes > 1)} of unknown work" if nodes else ""


INPUTS = {
    "add": (2, 2),
    "multiply": (2, 2),
    "concat": (2, 16),
    "lstm": (1, 2),
    "gru": (1, 2),
    "opaque": (1, 16),
}


def load(source: str | Path | yaml_document.Document) -> tuple[Workload, Model]:
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
    own = {n: getattr(spec, n) for n in type(spec).model_fields if n not in LayerBase.model_fields}
    own.pop("kind")
    if isinstance(own.get("product"), MatrixProductSpec):
        own["product"] = MatrixProduct(**dict(own["product"]))
    return KINDS[spec.kind](name=spec.name, inputs=inputs, in_shapes=shapes, **own)
