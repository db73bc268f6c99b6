"""Precision policies, one a file. `POLICIES` maps a study's `kind` to its class."""

from __future__ import annotations

from fxsim.precision.dynasty import Dynasty
from fxsim.precision.float32 import Float32
from fxsim.precision.uniform import Uniform

POLICIES: dict[str, type[Float32] | type[Uniform] | type[Dynasty]] = {
    "float32": Float32,
    "uniform": Uniform,
    "dynasty": Dynasty,
}

__all__ = ["POLICIES", "Dynasty", "Float32", "Uniform"]
