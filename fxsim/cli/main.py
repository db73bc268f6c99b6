"""The command line."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from typing import Annotated

import typer
from typer.exceptions import TyperException

from fxsim import __version__
from fxsim.cli.commands import costs, files, studies, training
from fxsim.errors import FxsimError, FxsimWarning, ReplayError, ThresholdError
from fxsim.terminal.console import warn

_INTERRUPTED = 130  # 128 + SIGINT, as shells have it
_RESUMABLE = {"run", "simulate", "sweep"}  # commands that go on where they were

COMMANDS = {
    "Studies": (studies.run, studies.sweep, studies.compare, studies.report, studies.track),
    "Single runs": (training.simulate, training.evaluate, training.replay),
    "Accelerators": (costs.estimate, costs.explain),
    "Files": (files.check, files.import_, files.list_),
}

app = typer.Typer(
    add_completion=True,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train networks bit-accurately in fixed point, and price them on accelerators.",
)
data_app = typer.Typer(help="Datasets.", no_args_is_help=True)
data_app.command()(training.fetch)
for panel, commands in COMMANDS.items():
    command: Callable[..., None]
    for command in commands:
        app.command(command.__name__.rstrip("_"), rich_help_panel=panel)(command)
app.add_typer(data_app, name="data", rich_help_panel="Files")


@app.callback(invoke_without_command=True)
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(f"fxsim {__version__}")
        raise typer.Exit


def main() -> None:
    """Entry point: deliberate errors become one line and exit code 2."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if sys.stdout is None:
        if sys.stderr is not None:
            problem = "fxsim: standard output is closed; > /dev/null discards what is printed"
            typer.echo(problem, err=True)
        sys.exit(2)
    code = _INTERRUPTED
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", FxsimWarning)
            warnings.showwarning = lambda message, *_: warn([str(message)])
            code = app(standalone_mode=False)  # an exit code, also of an interrupt typer caught
    except TyperException as error:
        message = " ".join(getattr(error, "format_message", lambda: "")().split())
        if message:
            typer.echo(f"fxsim: {message}", err=True)
        sys.exit(2)
    except (typer.Abort, KeyboardInterrupt):
        pass
    except (ReplayError, ThresholdError) as problem:
        typer.echo(str(problem), err=True)
        sys.exit(1)
    except FxsimError as problem:
        typer.echo(str(problem), err=True)
        sys.exit(2)
    except OSError as problem:
        typer.echo(f"{problem.filename or 'fxsim'}: {problem.strerror or problem}", err=True)
        sys.exit(2)
    if code == _INTERRUPTED:
        resumed = "; the same run again, or simulate --resume, goes on"
        goes_on = _RESUMABLE.intersection(sys.argv[1:2])
        typer.echo(f"fxsim: interrupted{resumed if goes_on else ''}", err=True)
    sys.exit(code)
