"""Precision policies, one a file. `POLICIES` maps a study's `kind` to its class."""

from __future__ import annotations

from fxsim.precision.adapt import Adapt
from fxsim.precision.adaqat import Adaqat
from fxsim.precision.apt import Apt
from fxsim.precision.base import IntegerPolicy
from fxsim.precision.cost_aware import CostAware
from fxsim.precision.dorefa_pact import DorefaPact
from fxsim.precision.dynasty import Dynasty
from fxsim.precision.float32 import Float32
from fxsim.precision.muppet import Muppet
from fxsim.precision.niti import Niti
from fxsim.precision.uniform import Uniform
from fxsim.precision.wage import Wage

POLICIES: dict[str, type[Float32] | type[IntegerPolicy]] = {
    "float32": Float32,
    "uniform": Uniform,
    "adapt": Adapt,
    "adaqat": Adaqat,
    "dynasty": Dynasty,
    "cost_aware": CostAware,
    "apt": Apt,
    "muppet": Muppet,
    "wage": Wage,
    "niti": Niti,
    "dorefa_pact": DorefaPact,
}

__all__ = ["POLICIES", "Dynasty", "Float32", "IntegerPolicy", "Uniform"]
