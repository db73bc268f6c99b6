"""Hypothesis without deadlines: the first call of a kernel compiles it.

HYPOTHESIS_PROFILE=fuzz tries many more examples, for a long run by hand.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import settings
from support import STUDY, fxsim, jit_only, made_once

# side by side, each worker has a processor to itself, and so have the commands that it starts
if (worker := os.environ.get("PYTEST_XDIST_WORKER")) and hasattr(os, "sched_setaffinity"):
    known = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {known[int(worker.removeprefix("gw")) % len(known)]})

settings.register_profile("fxsim", deadline=None, derandomize="CI" in os.environ)
settings.register_profile("fuzz", deadline=None, max_examples=20_000)
if os.environ.get("NUMBA_DISABLE_JIT", "0") != "0":  # interpreted kernels are slow
    settings.register_profile("fxsim", settings.get_profile("fxsim"), max_examples=25)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fxsim"))


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    """A one-epoch study, run once: its place, and what the command said."""
    jit_only()

    def make(place):
        (place / "small.yaml").write_text(STUDY)
        return fxsim("run", "small.yaml", at=place)

    return made_once(tmp_path_factory, "study", make)
