"""Writes what is made from the code: the machines' pages, the reference, the YAML's JSON Schemas.

`python docs/pages.py` writes them into the checkout; a test says when they are no longer true.
"""

from __future__ import annotations

import json
import warnings
from inspect import Parameter, cleandoc, signature
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel
from pydantic.json_schema import PydanticJsonSchemaWarning
from typer.models import ArgumentInfo

from fxsim.cli.commands import training
from fxsim.cli.main import COMMANDS
from fxsim.config import resources
from fxsim.config.overrides import Use
from fxsim.hardware import accelerator, drawing, pe
from fxsim.hardware.accelerator import AnalyticsUnit, Array, Results, Sync, Technology, VectorUnit
from fxsim.hardware.dataflow import Dataflow
from fxsim.hardware.memory import MemoryLevel, Packing
from fxsim.policies.registry import POLICIES
from fxsim.studies.spec import ReportSpec, StudySpec
from fxsim.sweeps.spec import GridSearch, ParetoSearch, Range, SweepSpec
from fxsim.training.layer_specs import LayerSpec
from fxsim.training.workload import TrainingSpec, Workload

ROOT = Path(__file__).parents[1]
MACHINES = resources.names("accelerators")
KINDS: dict[str, type[BaseModel]] = {
    "accelerator": accelerator.Accelerator,
    "workload": Workload,
    "study": StudySpec,
    "sweep": SweepSpec,
}
SECTIONS: dict[str, list[type[BaseModel]]] = {
    "study": [StudySpec, Use, ReportSpec],
    "sweep": [SweepSpec, Range, GridSearch, ParetoSearch],
    "workload": [Workload, TrainingSpec, *get_args(get_args(LayerSpec)[0])],
    "accelerator": [
        accelerator.Accelerator,
        Technology,
        Array,
        Dataflow,
        Sync,
        MemoryLevel,
        Packing,
        VectorUnit,
        AnalyticsUnit,
        Results,
        *get_args(get_args(pe.PE)[0]),
    ],
    "policies": list(POLICIES.values()),
}


def texts() -> dict[str, str]:
    """{path from the root of the checkout: what must stand there}."""
    listing = "\n".join(MACHINES)
    links = "\n".join(f"- [{name}]({name}.md): {_line(path)}" for name, path in MACHINES.items())
    return {
        **{f"docs/machines/{name}.md": machine(path) for name, path in MACHINES.items()},
        "docs/machines/index.md": (
            "# The shipped accelerators\n\nEach page is made from the machine's YAML: what it is,"
            " how it looks, what it can do at which bits, and the source of every number.\n\n"
            f"{links}\n\n```{{toctree}}\n:hidden:\n\n{listing}\n```\n"
        ),
        "docs/reference/commands.md": commands(),
        "docs/reference/yaml.md": yaml_files(),
        **{
            f"fxsim/schemas/{kind}.schema.json": json.dumps(json_schema(kind), indent=1) + "\n"
            for kind in KINDS
        },
    }


def machine(path: Path) -> str:
    """An accelerator's page."""
    described = accelerator.load(path)
    head, picture, abilities, _ = drawing.parts(described)
    listed = "\n".join(f"- **{name}**: {source}" for name, source in drawing.sources(described))
    return (
        f"# {described.name}\n\n{described.source}.\n\n"
        f"{head[0].partition(': ')[2]}; {described.units:,} units"
        f" ({described.pe_array.rows} x {described.pe_array.columns}).\n\n"
        "```text\n"
        + "\n".join(picture)
        + "\n```\n\n## What it can do\n\n```text\n"
        + "\n".join(abilities)
        + f"\n```\n\n## Where its numbers come from\n\n{listed}\n\n"
        f"## Its YAML\n\n`fxsim estimate resnet20 --batch 8 -a {described.name}` prices with it;"
        f" copy it to describe your own.\n\n```yaml\n{path.read_text(encoding='utf-8')}```\n"
    )


def _line(path: Path) -> str:
    described = accelerator.load(path)
    return f"{drawing.parts(described)[0][0].partition(': ')[2]}, {described.units:,} units"


def commands() -> str:
    """Every command with its arguments and options, from the functions behind them."""
    parts = [
        "# Commands\n",
        "Made from the command line itself. `fxsim COMMAND --help` says the same in a terminal.\n",
    ]
    functions = {c.__name__.rstrip("_"): c for group in COMMANDS.values() for c in group}
    for name, function in {**functions, "data fetch": training.fetch}.items():
        hints = get_type_hints(function, include_extras=True)
        arguments, options = [], []
        for parameter in signature(function).parameters.values():
            annotation, about = get_args(hints[parameter.name])[:2]
            required = parameter.default is parameter.empty
            words = " ".join((about.help or "").split()).replace("|", "\\|")
            if isinstance(about, ArgumentInfo):
                shown = parameter.name.rstrip("_").upper() + "..." * (
                    get_origin(annotation) is list
                )
                arguments.append(shown if required else f"[{shown}]")
                options.append(f"| `{shown}` | | {words} |")
            else:
                first = (about.default,) if isinstance(about.default, str) else ()
                spelt = (*first, *(about.param_decls or ()))
                spelt = spelt or (f"--{parameter.name.rstrip('_').replace('_', '-')}",)
                options.append(
                    f"| {', '.join(f'`{s}`' for s in spelt)} |"
                    f" {_option_value(annotation, parameter.default)} | {words} |"
                )
        usage = " ".join([f"fxsim {name}", "[OPTIONS]", *arguments])
        parts.append(f"## fxsim {name}\n\n```text\n{usage}\n```\n")
        parts.append(cleandoc(function.__doc__ or ""))
        parts.append(
            "\n".join(["", "| | value | what it is |", "| --- | --- | --- |", *options, ""])
        )
    return "\n".join(parts)


def _option_value(annotation: Any, default: Any) -> str:
    """What an option takes, and what it is where it is not given."""
    if annotation is bool:
        return ""
    kind = "path" if annotation in (Path, Path | None) else _type(annotation)
    if default is Parameter.empty:
        return f"{kind}, required"
    return kind if default is None or default in ((), []) else f"{kind}; `{default}`"


def json_schema(kind: str) -> dict[str, Any]:
    """The JSON Schema of a kind of file, for editors and other checkers."""
    with warnings.catch_warnings():  # a default that JSON does not have is left out
        warnings.simplefilter("ignore", PydanticJsonSchemaWarning)
        schema = KINDS[kind].model_json_schema()
        for name in {"PolicySpec", "PolicyOf"} & set(schema.get("$defs", {})):
            schema["$defs"][name] = _any_policy(schema["$defs"])
    schema["properties"] = {"kind": {"const": kind}, **schema["properties"]}
    schema["required"] = ["kind", *schema["required"]]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"fxsim {kind}",
        **{key: value for key, value in schema.items() if key != "title"},
    }


def _any_policy(definitions: dict[str, Any]) -> dict[str, Any]:
    """One schema of all policies, told apart by their kind; what they refer to is added."""
    choices = []
    for name, policy in POLICIES.items():
        schema = policy.model_json_schema()
        definitions |= schema.pop("$defs", {})
        own = {"kind": {"const": name}, "name": {"type": "string"}}
        schema["properties"] = {**own, **schema.get("properties", {})}
        schema["required"] = ["kind", *schema.get("required", [])]
        choices.append(schema)
    return {"oneOf": choices}


def yaml_files() -> str:
    """The keys of every kind of file, from their schemas."""
    parts = [
        "# Keys of the YAML files\n",
        "Made from the schemas that check them. A key without a default is required; `kind` says"
        " which kind a file is. Scalars are read as they are typed: `1e-3` is a number, `no` is"
        " text.\n",
        "`fxsim/schemas/` has the same as JSON Schema. Editors that know"
        " `# yaml-language-server: $schema=...`, the first line of every shipped file, complete and"
        " check keys with it.\n",
    ]
    for title, models in SECTIONS.items():
        parts.append(f"## {title}\n")
        parts += [f"### {m.__name__}\n\n{_description(m)}\n\n{_keys(m)}\n" for m in models]
    return "\n".join(parts)


def _description(model: type[BaseModel]) -> str:
    lines = (model.__doc__ or "").strip().splitlines()
    return "```text\n" + "\n".join(line.removeprefix("    ") for line in lines) + "\n```"


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
    if isinstance(value, frozenset):
        value = sorted(value)
    shown = getattr(value, "name", None) or (
        float(value) if hasattr(value, "numerator") and not isinstance(value, int) else value
    )
    return str(shown).replace("|", "\\|")


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
    names = {int: "integer", float: "number", str: "text", bool: "true or false"}
    return names.get(annotation, getattr(annotation, "__name__", "value"))


def main() -> None:
    """Write all of them."""
    for name, text in texts().items():
        path = ROOT / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(name)


if __name__ == "__main__":
    main()
