"""Options that commands share, and what their values become."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from fxsim.config.yaml_document import known_keys
from fxsim.errors import ConfigError, hint
from fxsim.policies.registry import POLICIES

if TYPE_CHECKING:
    from fxsim.terminal.progress import Progress

Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
Threads = Annotated[
    int | None, typer.Option(help="Threads; all processors by default. Bits never depend on it.")
]
DataDir = Annotated[
    Path | None,
    typer.Option(help="Directory of the datasets' official files (else FXSIM_DATA)."),
]


def shipped_names(kind: str) -> Callable[[str], list[str]]:
    """What completes the name of a shipped file."""

    def complete(incomplete: str) -> list[str]:
        from fxsim.config import resources

        return [name for name in resources.names(kind) if name.startswith(incomplete)]

    return complete


def policies(incomplete: str) -> list[str]:
    """What completes the name of a policy."""
    return [name for name in POLICIES if name.startswith(incomplete)]


PolicyKind = Annotated[str, typer.Option(help="Precision policy.", autocompletion=policies)]
Accelerators = Annotated[
    list[str],
    typer.Option(
        "--accelerator",
        "-a",
        help="Accelerator, by name or YAML file.",
        autocompletion=shipped_names("accelerators"),
    ),
]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Directory of the results.")]


def one_of(option: str, value: str, choices: Sequence[str]) -> Any:
    """The value of an option that must be one of some."""
    if value not in choices:
        fail(f"{option} must be one of {', '.join(choices)}, not {value!r}{hint(value, choices)}")
    return value


def policy_of(kind: str, settings: list[str]) -> Any:
    """The policy of a kind with `name=value` settings; a part of a parameter is `master.bits=8`."""
    from pydantic import ValidationError

    if kind not in POLICIES:
        fail(f"--policy must be one of {', '.join(POLICIES)}, not {kind!r}{hint(kind, POLICIES)}")
    values: dict[str, Any] = {}
    fields = POLICIES[kind].model_fields
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            fail(f"--set must be name=value, not {setting!r}")
        parameter, *parts = name.split(".")
        if parameter not in fields:
            fail(f"--set {setting}: {kind} has no parameter {parameter!r}{hint(parameter, fields)}")
        parsed: Any = value
        if "tuple" in str(fields[parameter].annotation):
            parsed = value.strip("[]()").split(",")
        if value.lower() in ("none", "null"):
            parsed = None
        place, key = values, parameter
        for part in parts:
            place = place.setdefault(key, {})
            if not isinstance(place, dict):
                fail(f"--set {setting}: {key} was given whole before")
            key = part
        place[key] = parsed
    try:
        return POLICIES[kind].model_validate(values)
    except ValidationError as problem:
        error = problem.errors()[0]
        named = ".".join(str(part) for part in error["loc"])
        fail(f"--set {_refused(POLICIES[kind], named, settings, error)}")


def _refused(policy: Any, named: str, settings: list[str], error: Any) -> str:
    """What a policy says of a setting that it does not take."""
    if not named:
        return f"{' '.join(settings)}: {error['msg'].removeprefix('Value error, ')}"
    if error["type"] == "extra_forbidden":
        keys = known_keys(policy, error["loc"])
        return f"{named}: must be one of {', '.join(keys)}{hint(str(error['loc'][-1]), keys)}"
    if error["type"] == "model_type":
        parts = ", ".join(f"{named}.{key}" for key in known_keys(policy, (*error["loc"], "")))
        return f"{named}={error['input']}: must be given in parts: {parts}"
    value = "" if isinstance(error["input"], dict) else f"={error['input']}"
    return f"{named}{value}: {error['msg'].removeprefix('Value error, ')}"


def use_threads(threads: int | None) -> None:
    """Use so many threads, all processors if None."""
    from fxsim.engine.threads import available_threads, set_threads

    if threads is not None and threads < 1:
        fail(f"--threads must be at least 1, not {threads}")
    set_threads(threads or available_threads())


@contextmanager
def telling() -> Iterator[Progress]:
    """What tells of a command's progress, on standard error."""
    from fxsim.terminal.progress import Progress

    with Progress() as progress:
        yield progress


def fail(problem: str) -> NoReturn:
    """End with one line and exit code 2."""
    raise ConfigError(problem)
