"""YAML in, validated objects out, every complaint with its file and line.

Scalars keep their text until a schema asks for a type, so `no`, `1e-3` and `12:30` are what the
user typed; duplicate keys are refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from fxsim.errors import ConfigError, hint

MOST_CHARACTERS = 1 << 22  # of a file
MOST_LEVELS = 32  # of collections in collections
MOST_PARTS = 100_000  # keys, entries and values, aliases written out
_UNDERSCORED = re.compile(r"[+-]?\d+(_\d+)+(\.\d*)?")  # a number to Python, and to YAML 1.1
Location = tuple[str | int, ...]
M = TypeVar("M", bound=BaseModel)


class Mark(NamedTuple):
    """Where something stands."""

    path: Path
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}"


class Document:
    """A parsed YAML file: its text, plain data, and where each part of it stands."""

    def __init__(self, path: Path, text: str, data: Any, marks: dict[Location, Mark]) -> None:
        self.path = path
        self.text = text
        self.data = data
        self._marks = marks

    def mark(self, location: Location) -> Mark:
        """Where the deepest known part of a location stands."""
        while location not in self._marks:
            location = location[:-1]
        return self._marks[location]

    def fail(self, location: Location, problem: str) -> NoReturn:
        """Raise a ConfigError at the deepest known part of a location."""
        raise ConfigError(f"{self.mark(location)}: {problem}")

    def find(self, dotted: str) -> Location:
        """The location of `pe_array.rows`, `memory.left_buffer.read_energy_pj_per_bit`, ...

        Entries of a list are named by their number or their `name`. The last part may be absent
        from a mapping, as optional keys are. Raises ConfigError, with no place in a file.
        """
        location: Location = ()
        part = self.data
        parts = dotted.split(".")
        for i, word in enumerate(parts):
            if isinstance(part, list):
                named = {str(e["name"]): n for n, e in enumerate(part) if _has_name(e)}
                numbers = {str(n): n for n in range(len(part))}
                entries: dict[str, Any] = {**numbers, **named}
                if word not in entries:
                    names = named or numbers
                    raise ConfigError(
                        f"{dotted}: {word!r} must be one of {', '.join(names)}{hint(word, names)}"
                    )
                location = (*location, entries[word])
                part = part[entries[word]]
            elif isinstance(part, dict) and (word in part or i == len(parts) - 1):
                location = (*location, word)
                part = part.get(word)
            else:
                entries = part if isinstance(part, dict) else {}
                raise ConfigError(
                    f"{dotted}: {self.path.name} has no {'.'.join(parts[: i + 1])}"
                    f"{hint(word, entries)}"
                )
        return location

    def at(self, location: Location) -> Any:
        """The plain data at a location; None where there is none."""
        part = self.data
        for word in location:
            if isinstance(part, dict) and word not in part:
                return None
            part = part[word]
        return part

    def changed(self, changes: Mapping[Location, tuple[Any, Mark]]) -> Document:
        """The document with other values at some locations, and where these were given."""
        if not changes:
            return self
        data, marks = deepcopy(self.data), dict(self._marks)
        for location, (value, mark) in changes.items():
            part = data
            for word in location[:-1]:
                part = part[word]
            part[location[-1]] = _as_text(value)
            for place in [k for k in marks if k[: len(location)] == location]:
                del marks[place]
            marks[location] = mark
        text = yaml.dump(data, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=100)
        return Document(self.path, text, data, marks)

    def validate(self, schema: type[M], kind: str) -> M:
        """The file as an object of its schema; the file must say `kind: <kind>`."""
        if not isinstance(self.data, dict):
            self.fail((), f"a {kind} must be a mapping, not {_name(self.data)}")
        stated = self.data.get("kind")
        if stated is None:
            self.fail((), f"kind must be {kind!r}; it is missing")
        if stated != kind:
            self.fail(("kind",), f"kind must be {kind!r} here, not {stated!r}")
        return self.build(schema, {k: v for k, v in self.data.items() if k != "kind"}, ())

    def build(self, schema: type[M], data: Any, at: Location) -> M:
        """Part of the file as an object of a schema."""
        try:
            return schema.model_validate(data)
        except ValidationError as problem:
            problems = problem.errors()
            # a mistyped key is also a missing one: the mistyping is what the user must see
            unknown = [error for error in problems if error["type"] == "extra_forbidden"]
            error = (unknown or problems)[0]
            inner = tuple(part for part in error["loc"] if self._stands((*at, part), at, error))
            if error["type"] == "union_tag_invalid":
                inner = (*inner, "kind")
            self.fail(at + inner, _explain(error, at + inner, schema))

    def _stands(self, location: Location, at: Location, error: Any) -> bool:
        """Whether a part of pydantic's location is one of the file's (union tags are not)."""
        return any(part == location[-1] for place in self._marks for part in place) or (
            error["type"] == "missing" and location[-1] == error["loc"][-1]
        )


def read(path: str | Path | Document) -> Document:
    """Parse a YAML file; what is parsed already stays as it is."""
    if isinstance(path, Document):
        return path
    if not isinstance(path, str | Path):
        raise ConfigError(f"must be the path of a YAML file, not {path!r}")
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        folder = path.parent if path.parent.is_dir() else Path()
        names = [p.name for p in folder.glob("*.yaml")]
        raise ConfigError(f"{path}: no such file{hint(path.name, names)}") from None
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigError(f"{path}: must be a readable UTF-8 file: {problem}") from None
    if len(text) > MOST_CHARACTERS:
        raise ConfigError(f"{path}: must be of at most {MOST_CHARACTERS:,} characters")
    try:
        _check_depth(path, text)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise ConfigError(f"{path}:{line}:{column}: not valid YAML: {problem.problem}") from None
    except yaml.YAMLError as problem:
        raise ConfigError(f"{path}:1:1: not valid YAML: {problem}".splitlines()[0]) from None
    if node is None:
        raise ConfigError(f"{path}:1:1: must be a mapping; the file is empty")
    marks: dict[Location, Mark] = {}
    data = _plain(path, node, (), marks, set())
    return Document(path, text, data, marks)


def _check_depth(path: Path, text: str) -> None:
    """Refuse what is nested deeper than anything that a schema asks for."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MOST_LEVELS and (mark := event.start_mark):
                raise ConfigError(
                    f"{path}:{mark.line + 1}:{mark.column + 1}: must be nested at most"
                    f" {MOST_LEVELS} levels deep"
                )
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


class _Plain(
    yaml.emitter.Emitter,
    yaml.serializer.Serializer,
    yaml.representer.SafeRepresenter,
    yaml.resolver.BaseResolver,
):
    """Writes scalars as they are read: as plain text, quoted only where they would be null."""

    def __init__(self, stream: Any, **options: Any) -> None:
        names = ("indent", "width", "allow_unicode")
        yaml.emitter.Emitter.__init__(self, stream, **{k: options[k] for k in names})
        yaml.serializer.Serializer.__init__(self, explicit_start=None, explicit_end=None)
        yaml.representer.SafeRepresenter.__init__(
            self, default_flow_style=False, sort_keys=options["sort_keys"]
        )
        yaml.resolver.BaseResolver.__init__(self)

    def represent_str(self, data: str) -> yaml.ScalarNode:
        """Plain; in quotes what would not be text: null, ~, nothing, 1_0."""
        is_text = data.lower() not in ("null", "~", "") and not _UNDERSCORED.fullmatch(data)
        style = None if is_text else '"'
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Plain.add_representer(str, _Plain.represent_str)


def _plain(
    path: Path,
    node: yaml.Node,
    at: Location,
    marks: dict[Location, Mark],
    above: set[int],
) -> Any:
    line, column = node.start_mark.line + 1, node.start_mark.column + 1
    if len(marks) >= MOST_PARTS:  # of aliases within aliases
        raise ConfigError(
            f"{marks[at[:1]]}: must hold at most {MOST_PARTS:,} parts, aliases written out"
        )
    marks.setdefault(at, Mark(path, line, column))
    if id(node) in above:
        raise ConfigError(f"{path}:{line}:{column}: an alias must not contain itself")
    above = above | {id(node)}
    if isinstance(node, yaml.MappingNode):
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key_line, key_column = key_node.start_mark.line + 1, key_node.start_mark.column + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise ConfigError(f"{path}:{key_line}:{key_column}: a key must be a plain word")
            key = key_node.value
            if key in result:
                first = marks[(*at, key)].line
                raise ConfigError(
                    f"{path}:{key_line}:{key_column}: duplicate key {key!r},"
                    f" already given on line {first}"
                )
            marks[(*at, key)] = Mark(path, key_line, key_column)
            result[key] = _plain(path, value_node, (*at, key), marks, above)
        return result
    if isinstance(node, yaml.SequenceNode):
        return [_plain(path, item, (*at, i), marks, above) for i, item in enumerate(node.value)]
    if node.tag == "tag:yaml.org,2002:null":
        return None
    plain = isinstance(node, yaml.ScalarNode) and node.style is None
    if plain and _UNDERSCORED.fullmatch(node.value):
        raise ConfigError(
            f"{path}:{line}:{column}: a number must be written without _, not {node.value};"
            " in quotes if it is text"
        )
    return node.value


def _as_text(value: Any) -> Any:
    """Numbers as the text that a file would have, so that equal files are equal."""
    if isinstance(value, dict):
        return {key: _as_text(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_as_text(part) for part in value]
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


def _has_name(entry: Any) -> bool:
    return isinstance(entry, dict) and "name" in entry


def _name(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    return "a list" if isinstance(value, list) else repr(value)


def _explain(error: Any, location: Location, schema: type[BaseModel]) -> str:
    """One of pydantic's errors as: what must be which, not this; a hint."""
    kind, given = error["type"], error.get("input")
    where = ".".join(str(part) for part in location) or "the file"
    context = error.get("ctx", {})
    if kind == "missing":
        return f"{where} is required; it is missing"
    if kind == "extra_forbidden":
        keys = known_keys(schema, location)
        return (
            f"{where}: unknown key {str(location[-1])!r}{hint(str(location[-1]), keys)};"
            f" known here: {', '.join(sorted(keys))}"
        )
    if kind == "value_error":
        problem = str(context["error"])
        return f"{where} {problem}" if problem.startswith("must") else f"{where}: {problem}"
    if kind == "string_too_short":
        return f"{where} must not be empty"
    if kind == "too_short":
        return (
            f"{where} must hold at least {context['min_length']} entry, not"
            f" {context['actual_length']}"
        )
    bounds = {
        "greater_than": ("gt", "more than"),
        "greater_than_equal": ("ge", "at least"),
        "less_than": ("lt", "less than"),
        "less_than_equal": ("le", "at most"),
    }
    if kind in bounds:
        key, words = bounds[kind]
        bound = context[key]
        shown = f"{bound:g}" if isinstance(bound, float) else str(bound)
        return f"{where} must be {words} {shown}, not {given}"
    if kind in ("literal_error", "enum"):
        choices = [w.strip(" '") for w in context["expected"].replace(" or ", ", ").split(",")]
        return (
            f"{where} must be one of {', '.join(choices)}, not {given!r}{hint(str(given), choices)}"
        )
    if kind == "union_tag_invalid":
        choices = [w.strip(" '") for w in context["expected_tags"].split(",")]
        return (
            f"{where} must be one of {', '.join(choices)}, not {context['tag']!r}"
            f"{hint(context['tag'], choices)}"
        )
    if kind == "union_tag_not_found":
        return f"{where}.kind is required; it is missing"
    expectations = {
        "int_parsing": "an integer",
        "int_type": "an integer",
        "int_from_float": "an integer",
        "float_parsing": "a number",
        "float_type": "a number",
        "finite_number": "a finite number",
        "bool_parsing": "true or false",
        "bool_type": "true or false",
        "string_type": "text",
        "list_type": "a list",
        "tuple_type": "a list",
        "dict_type": "a mapping",
        "model_type": "a mapping",
        "model_attributes_type": "a mapping",
    }.get(kind)
    if expectations:
        return f"{where} must be {expectations}, not {_name(given)}"
    return f"{where}: {error['msg']}"


def known_keys(schema: Any, location: Location) -> list[str]:
    """The fields of the (sub)schema that refused the last key of a location."""
    models = [schema]
    for part in location[:-1]:
        models = [
            inner
            for model in models
            for inner in (
                _models(model.model_fields[part].annotation)
                if isinstance(part, str) and part in model.model_fields
                else [model]
            )
        ]
    return sorted({name for model in models for name in model.model_fields})


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    models: list[type[BaseModel]] = []
    for argument in getattr(annotation, "__args__", ()) or ():
        models += _models(argument)
    return models
