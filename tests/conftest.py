"""Hypothesis without deadlines: the first call of a kernel compiles it."""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("fxsim", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("fxsim")
