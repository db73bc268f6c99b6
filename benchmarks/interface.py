"""How long the command line takes to answer: help, and what is already known.

The help is timed against 0.3 s, and beside it Python's own start, which is its floor.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time

from side_by_side import Row, parser, report

from fxsim.cli.main import COMMANDS

TARGET_S, TRIES = 0.3, 7
SCRIPT = "from fxsim.cli.main import main; main()"


def seconds(*command: str, at: str | None = None) -> float:
    """The least time of several tries."""
    taken = []
    for _ in range(TRIES):
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=at)
        taken.append(time.perf_counter() - started)
    return min(taken)


def main() -> None:
    """Print, and write, what each takes."""
    given = parser(str(__doc__)).parse_args()
    floor = seconds(sys.executable, "-c", "pass")
    print(f"Python starts in {floor * 1e3:.0f} ms")
    rows: list[Row] = []
    names = ["", *(c.__name__.rstrip("_") for group in COMMANDS.values() for c in group)]
    with tempfile.TemporaryDirectory() as place:
        for name in names:
            words = [name] if name else []
            taken = seconds(sys.executable, "-c", SCRIPT, *words, "--help", at=place)
            print(f"fxsim {name} --help: {taken * 1e3:.0f} ms")
            rows.append((f"fxsim {name} --help".replace("  ", " "), TARGET_S / taken, 1.0))
    report(rows, given.json)


if __name__ == "__main__":
    main()
