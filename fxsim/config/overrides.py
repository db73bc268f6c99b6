"""Variants of a YAML file: some of its keys at other values, each or in all combinations."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from fxsim.config.yaml_document import Document, Location, Mark
from fxsim.errors import ConfigError

MOST_VARIANTS = 10_000  # of one file


class Use(BaseModel):
    """A file, by path or shipped name, with other values for some of its keys.

    set : {dotted key: value, or a list of values to take in turn}; entries of a list are named by
        their `name` or number, as in `memory.left_buffer.capacity_bits`. Of a key whose value is
        itself a list, a list is one value, and a list of lists several
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    use: str
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")] | None = None
    set: dict[str, Any] = {}


def _used(given: Any) -> Any:
    return {"use": given} if isinstance(given, str) else given


UseOf = Annotated[Use, BeforeValidator(_used, json_schema_input_type=str | Use)]


@dataclass(frozen=True, slots=True, eq=False)
class Variant:
    """One combination.

    label : what tells it from the others, as part of a name: "rows16-columns8"
    values : {dotted key: value}
    """

    label: str
    values: dict[str, Any]
    document: Document


def choices(document: Document, key: str, value: Any) -> list[Any]:
    """The values that a setting stands for: one, or those of a list."""
    if not isinstance(value, list):
        return [value]
    lists = isinstance(document.at(document.find(key)), list)
    return value if not lists or all(isinstance(v, list) for v in value) else [value]


def grid(
    document: Document, settings: Mapping[str, Any], marks: Mapping[str, Mark]
) -> list[Variant]:
    """All combinations of a file's settings, the last one varying fastest.

    marks : where each setting stands, for messages. Raises ConfigError if a key names nothing.
    """
    apart(settings)
    keys = {key: document.find(key) for key in settings}
    values = {key: choices(document, key, value) for key, value in settings.items()}
    for key, variants in values.items():
        if not variants:
            raise ConfigError(f"{key}: must have at least one value")
    count = prod(map(len, values.values()))
    if count > MOST_VARIANTS:
        raise ConfigError(f"must be at most {MOST_VARIANTS:,} combinations, not {count:,}")
    short = short_names(settings)
    varying = [key for key in settings if len(values[key]) > 1]
    variants = []
    for combination in itertools.product(*values.values()):
        chosen = dict(zip(settings, combination, strict=True))
        changes: dict[Location, tuple[Any, Mark]] = {
            keys[key]: (value, marks[key]) for key, value in chosen.items()
        }
        label = "-".join(label_of(short[key], chosen[key]) for key in varying)
        variants.append(Variant(label, chosen, document.changed(changes)))
    return variants


def apart(settings: Mapping[str, Any]) -> None:
    """Raise ConfigError if a key is part of another, which it would undo."""
    for key in settings:
        inner = next((other for other in settings if other.startswith(f"{key}.")), None)
        if inner is not None:
            raise ConfigError(f"{key}: must not stand beside {inner}, which is a part of it")


def short_names(keys: Mapping[str, Any]) -> dict[str, str]:
    """{dotted key: as few of its last parts as tell it from the others}."""
    shortest = {}
    for key in keys:
        parts = key.split(".")
        for length in range(1, len(parts) + 1):
            tail = parts[-length:]
            if sum(other.split(".")[-length:] == tail for other in keys) == 1:
                break
        shortest[key] = ".".join(tail)
    return shortest


def label_of(name: str, value: Any) -> str:
    """A setting as part of a file's name."""
    if isinstance(value, dict):
        value = value.get("name") or value.get("kind") or value.get("use") or "-".join(value)
    text = "x".join(map(str, value)) if isinstance(value, list) else str(value)
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", f"{name}{text}")
