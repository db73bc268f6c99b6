"""How long fxsim takes to answer: help, and what a public name loads beside what it needs.

Three groups of rows, a ratio each, which must not exceed its target:

- wall time of `fxsim COMMAND --help` over 0.3 s (Python's own start is printed beside it);
- CPU time of `fxsim.NAME` over that of importing the name from its own module;
- CPU time of commands over that of the same work by direct imports.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from side_by_side import Row, parser, report

import fxsim
from fxsim.cli.main import COMMANDS

HELP_S, DIRECT, TRIES = 0.3, 1.3, 5
SCRIPT = "from fxsim.cli.main import main; main()"
WORK = {  # the command, and the same by direct imports
    "fxsim explain dynasty": (
        ["explain", "dynasty"],
        "from fxsim.config import resources\n"
        "from fxsim.hardware import accelerator, drawing\n"
        "print(drawing.text(accelerator.load(resources.find('accelerators', 'dynasty'))))",
    ),
    "fxsim estimate lenet5 -a dynasty": (
        ["estimate", "lenet5", "--batch", "4", "-a", "dynasty"],
        "from fxsim.config import resources\n"
        "from fxsim.cost.model import evaluate_cost\n"
        "from fxsim.hardware import accelerator\n"
        "from fxsim.policies.uniform import Uniform\n"
        "from fxsim.runs import synthetic_trace\n"
        "from fxsim.training import workload\n"
        "network, model = workload.load(resources.find('workloads', 'lenet5'))\n"
        "settings = network.training.settings()\n"
        "import dataclasses\n"
        "settings = dataclasses.replace(settings, batch=4)\n"
        "trace = synthetic_trace.one_step(model, Uniform(), settings)\n"
        "machine = accelerator.load(resources.find('accelerators', 'dynasty'))\n"
        "print(evaluate_cost(trace, machine).cycles)",
    ),
}


def wall_s(command: list[str], at: str) -> float:
    """The least wall time of several tries [s]."""
    return min(_timed(command, at, time.perf_counter) for _ in range(TRIES))


def cpu_s(commands: list[list[str]], at: str) -> list[float]:
    """The least CPU time of several tries of each, in turn [s]."""
    rounds = [[_timed(command, at, _children_s) for command in commands] for _ in range(TRIES)]
    return [min(column) for column in zip(*rounds, strict=True)]


def _timed(command: list[str], at: str, clock: Callable[[], float]) -> float:
    before = clock()
    subprocess.run(
        command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=at
    )
    return clock() - before


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Print, and write, what each takes."""
    given = parser(str(__doc__)).parse_args()
    python = [sys.executable, "-c"]
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as place:
        print(f"Python starts in {wall_s([*python, 'pass'], place) * 1e3:.0f} ms")
        for name in ["", *(c.__name__.rstrip("_") for group in COMMANDS.values() for c in group)]:
            taken = wall_s([*python, SCRIPT, *name.split(), "--help"], place)
            print(f"fxsim {name} --help: {taken * 1e3:.0f} ms")
            rows.append((f"fxsim {name} --help".replace("  ", " "), taken / HELP_S, 1.0))
        for name, module in fxsim.API.items():
            ours, direct = cpu_s(
                [
                    [*python, f"import fxsim; fxsim.{name}"],
                    [*python, f"from fxsim.{module} import {name}"],
                ],
                place,
            )
            print(f"fxsim.{name}: {ours:.2f} s of CPU, from fxsim.{module}: {direct:.2f} s")
            rows.append((f"fxsim.{name} over fxsim.{module}", ours / direct, DIRECT))
        for name, (words, script) in WORK.items():
            ours, direct = cpu_s([[*python, SCRIPT, *words], [*python, script]], place)
            print(f"{name}: {ours:.2f} s of CPU, by direct imports: {direct:.2f} s")
            rows.append((f"{name} over direct imports", ours / direct, DIRECT))
    report(rows, given.json, least=False)


if __name__ == "__main__":
    main()
