"""Helpers. Tests that need the data or golden files beside a checkout skip without them."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
from filelock import FileLock

from fxsim.cli.main import main
from fxsim.engine.threads import set_threads
from fxsim.runs.contents import contents_of

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("FXSIM_SHARED", ROOT.parent / "shared"))


def shared(*parts: str) -> Path:
    """A file beside the checkout; the test skips, and says so, where it is absent."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"needs {'/'.join(parts)} in {SHARED} (FXSIM_SHARED), which is absent")
    return path


def jit_only() -> None:
    """Skip a test that is hopelessly slow when kernels are interpreted."""
    if os.environ.get("NUMBA_DISABLE_JIT", "0") != "0":
        pytest.skip("too slow with NUMBA_DISABLE_JIT=1")


COMMAND = [sys.executable, "-c", "from fxsim.cli.main import main; main()"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", "PYTHONWARNINGS": "error"}
if ENVIRONMENT.pop("PYTHONDONTWRITEBYTECODE", None):  # else each compiles every module again
    ENVIRONMENT["PYTHONPYCACHEPREFIX"] = str(ROOT / ".pytest_cache" / "bytecode")


@dataclass(frozen=True, slots=True)
class Done:
    """What a command said, and its exit code."""

    returncode: int
    stdout: str
    stderr: str


def fxsim(*arguments: object, at: Path, code: int = 0) -> Done:
    """Run a command in this process, as a terminal 200 columns wide would."""
    words = [str(word) for word in arguments]
    out, err = io.StringIO(), io.StringIO()
    before, argv, columns = Path.cwd(), sys.argv, os.environ.get("COLUMNS")
    os.chdir(at)
    sys.argv, os.environ["COLUMNS"] = ["fxsim", *words], "200"
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
        returned = 0
    except SystemExit as end:
        returned = int(end.code or 0)
    finally:
        sys.argv = argv
        os.chdir(before)
        os.environ.pop("COLUMNS")
        if columns is not None:
            os.environ["COLUMNS"] = columns
        set_threads(1)
    done = Done(returned, out.getvalue(), err.getvalue())
    assert done.returncode == code, done.stdout + done.stderr
    return done


def fxsim_apart(*arguments: object, at: Path, code: int = 0) -> Done:
    """Run a command in a process of its own."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)], cwd=at, env=ENVIRONMENT, capture_output=True, text=True
    )
    assert done.returncode == code, done.stdout + done.stderr
    return Done(done.returncode, done.stdout, done.stderr)


def made_once(
    factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Done]
) -> tuple[Path, Done]:
    """A folder that the first worker of a session fills, copied for each, and what that said."""
    shared_base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared_base = shared_base.parent
    original, said = shared_base / f"made-{name}", shared_base / f"made-{name}.json"
    with FileLock(shared_base / f"made-{name}.lock"):
        if not said.exists():
            original.mkdir()
            said.write_text(json.dumps(asdict(make(original))))
    place = factory.mktemp(name)
    shutil.copytree(original, place, dirs_exist_ok=True)
    return place, Done(**json.loads(said.read_text()))


STUDY = """\
kind: study
name: small
title: A small study
workload: digits_cnn
epochs: 1
policies:
  - {name: float32, kind: float32}
  - {name: uniform8, kind: uniform}
  - {name: dynasty, kind: dynasty, weight_budget: 0.2, warmup: 5}
accelerators: [dynasty, int8_systolic]
seeds: [0]
baseline: uniform8
"""


def written_again(run: Path) -> None:
    """Let a run's manifest say what its files hold now: a test changed them."""
    manifest = json.loads((run / "run.json").read_text())
    manifest["files"] = {
        name: entry for name, entry in contents_of(run).items() if name in manifest["files"]
    }
    (run / "run.json").write_text(json.dumps(manifest))
