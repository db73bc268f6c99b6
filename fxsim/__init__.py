"""fxsim: a bit-accurate fixed-point training simulator and accelerator cost model.

Each public name is loaded, with the module that it lives in, when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fxsim.api import available as available
    from fxsim.api import compare as compare
    from fxsim.api import draw as draw
    from fxsim.api import estimate as estimate
    from fxsim.api import import_onnx as import_onnx
    from fxsim.api import load_run as load_run
    from fxsim.api import machine as machine
    from fxsim.api import policy as policy
    from fxsim.api import run as run
    from fxsim.api import simulate as simulate
    from fxsim.api import sweep as sweep
    from fxsim.cost.model import TraceCost as TraceCost
    from fxsim.engine.tensor import FixedTensor as FixedTensor
    from fxsim.errors import FxsimError as FxsimError
    from fxsim.hardware.accelerator import Accelerator as Accelerator
    from fxsim.numerics.block_map import BlockMap as BlockMap
    from fxsim.numerics.formats import Accumulator as Accumulator
    from fxsim.numerics.formats import Cast as Cast
    from fxsim.numerics.formats import FixedPoint as FixedPoint
    from fxsim.numerics.formats import Overflow as Overflow
    from fxsim.numerics.formats import Rounding as Rounding
    from fxsim.numerics.notation import parse as parse
    from fxsim.runs.directory import Run as Run
    from fxsim.studies.spec import Study as Study
    from fxsim.studies.study import StudyResult as StudyResult
    from fxsim.sweeps.sweep import SweepResult as SweepResult

__version__ = "0.1.0"

API = {
    "Accelerator": "hardware.accelerator",
    "Accumulator": "numerics.formats",
    "BlockMap": "numerics.block_map",
    "Cast": "numerics.formats",
    "FixedPoint": "numerics.formats",
    "FixedTensor": "engine.tensor",
    "FxsimError": "errors",
    "Overflow": "numerics.formats",
    "TraceCost": "cost.model",
    "Rounding": "numerics.formats",
    "Run": "runs.directory",
    "Study": "studies.spec",
    "StudyResult": "studies.study",
    "SweepResult": "sweeps.sweep",
    "available": "api",
    "compare": "api",
    "draw": "api",
    "estimate": "api",
    "import_onnx": "api",
    "load_run": "api",
    "machine": "api",
    "parse": "numerics.notation",
    "policy": "api",
    "run": "api",
    "simulate": "api",
    "sweep": "api",
}


def __getattr__(name: str) -> Any:
    if name not in API:
        raise AttributeError(f"module 'fxsim' has no attribute {name!r}")
    return getattr(import_module(f"fxsim.{API[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *API])
