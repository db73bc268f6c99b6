"""Helpers. Tests that need the data or golden files beside a checkout skip without them."""

from __future__ import annotations

import os
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
