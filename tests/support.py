"""Helpers. Tests that need the data or golden files beside a checkout skip without them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

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


def fxsim(*arguments: object, at: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)], cwd=at, env=ENVIRONMENT, capture_output=True, text=True
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


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
