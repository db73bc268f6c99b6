"""Pages made from what is shipped: one an accelerator, the commands' help, the YAML files' keys."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from fxsim.cli.main import COMMANDS
from fxsim.config import resources
from fxsim.config.overrides import Use
from fxsim.hardware import accelerator, drawing, pe
from fxsim.policies.registry import POLICIES
from fxsim.studies.study import ReportSpec, StudySpec
from fxsim.sweeps.spec import GridSearch, ParetoSearch, Range, SweepSpec
from fxsim.training.workload import LayerSpec, TrainingSpec, Workload


def write(docs: Path) -> None:
    """All of them; what is as it should be is left alone, so that Sphinx reads it once."""
    texts = {f"machines/{name}.md": machine(path) for name, path in MACHINES.items()}
    listing = "\n".join(MACHINES)
    texts["machines/index.md"] = (
        "# The shipped accelerators\n\nEach page is made from the machine's YAML: what it is, how"
        " it looks, what it can do at which bits, and the source of every number.\n\n"
        f"```{{toctree}}\n:maxdepth: 1\n\n{listing}\n```\n"
    )
    texts["reference/commands.md"] = commands()
    texts["reference/yaml.md"] = yaml_files()
    for name, text in texts.items():
        path = docs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


MACHINES = resources.names("accelerators")


def machine(path: Path) -> str:
    """An accelerator's page."""
    found = accelerator.load(path)
    head, drawn, able, _ = drawing.parts(found)
    listed = "\n".join(f"- **{name}**: {source}" for name, source in drawing.sources(found))
    return (
        f"# {found.name}\n\n{found.source}.\n\n{head[0].partition(': ')[2]}; {found.units:,} units"
        f" ({found.pe_array.rows} x {found.pe_array.columns}).\n\n"
        "```text\n"
        + "\n".join(drawn)
        + "\n```\n\n## What it can do\n\n```text\n"
        + "\n".join(able)
        + f"\n```\n\n## Where its numbers come from\n\n{listed}\n\n"
        f"## Its YAML\n\n`fxsim estimate resnet20 --batch 8 -a {found.name}` prices with it; copy"
        f" it to describe your own.\n\n```yaml\n{path.read_text(encoding='utf-8')}```\n"
    )


def commands() -> str:
    """The help of every command."""
    parts = ["# Commands\n"]
    names = [c.__name__.rstrip("_") for group in COMMANDS.values() for c in group]
    for name in [*names, "data fetch"]:
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                "from fxsim.cli.main import main; main()",
                *name.split(),
                "--help",
            ],
            env={**os.environ, "COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1"},
            capture_output=True,
            text=True,
            check=True,
        )
        parts.append(f"## fxsim {name}\n\n```text\n{done.stdout.strip()}\n```\n")
    return "\n".join(parts)


def yaml_files() -> str:
    """The keys of every kind of file, from their schemas."""
    parts = [
        "# Keys of the YAML files\n",
        "Made from the schemas that check them. A key without a default is required; `kind` says"
        " which kind a file is. Scalars are read as they are typed: `1e-3` is a number, `no` is"
        " text.\n",
    ]
    for title, models in {
        "study": [StudySpec, Use, ReportSpec],
        "sweep": [SweepSpec, Range, GridSearch, ParetoSearch],
        "workload": [Workload, TrainingSpec, *get_args(get_args(LayerSpec)[0])],
        "accelerator": [
            accelerator.Accelerator,
            accelerator.Technology,
            accelerator.Array,
            accelerator.Sync,
            accelerator.MemoryLevel,
            accelerator.Packing,
            accelerator.VectorUnit,
            accelerator.AnalyticsUnit,
            accelerator.Results,
            *get_args(get_args(pe.PE)[0]),
        ],
        "policies": list(POLICIES.values()),
    }.items():
        parts.append(f"## {title}\n")
        parts += [f"### {m.__name__}\n\n{_words(m)}\n\n{_keys(m)}\n" for m in models]
    return "\n".join(parts)


def _words(model: type[BaseModel]) -> str:
    text = (model.__doc__ or "").strip()
    return (
        "```text\n" + "\n".join(line.removeprefix("    ") for line in text.splitlines()) + "\n```"
    )


def _keys(model: type[BaseModel]) -> str:
    lines = ["| key | value | default |", "| --- | --- | --- |"]
    for name, field in model.model_fields.items():
        value = field.get_default(call_default_factory=True)
        default = "required" if field.is_required() else f"`{_value(value)}`"
        lines.append(f"| `{name}` | {_type(field.annotation)} | {default} |")
    return "\n".join(lines)


def _value(value: Any) -> str:
    if value is None:
        return "null"
    shown = getattr(value, "name", None) or (
        float(value) if hasattr(value, "numerator") and not isinstance(value, int) else value
    )
    return str(shown).replace("|", "\\|")[:60]


def _type(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _type(get_args(annotation)[0])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in get_args(annotation))
    if origin in (Union, UnionType):
        return " or ".join(_type(a) for a in get_args(annotation) if a is not type(None))
    if origin in (tuple, list, frozenset):
        return f"list of {_type(get_args(annotation)[0])}"
    if origin is dict:
        return "mapping"
    known = {int: "integer", float: "number", str: "text", bool: "true or false"}
    return known.get(annotation, getattr(annotation, "__name__", "value"))
