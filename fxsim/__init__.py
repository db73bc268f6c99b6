"""fxsim: a bit-accurate fixed-point training simulator and accelerator cost model.

`import fxsim` offers what `fxsim.api` describes, loaded when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fxsim.api import *  # noqa: F403

__version__ = "0.1.0"

API = (
    "Accelerator", "Accumulator", "BlockMap", "Cast", "FixedPoint", "FixedTensor", "FxsimError",
    "Overflow", "Priced", "Rounding", "Run", "Study", "StudyResult", "SweepResult", "available",
    "compare", "draw", "estimate", "import_onnx", "load_run", "machine", "parse", "policy", "run",
    "simulate", "sweep",
)  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in API:
        raise AttributeError(f"module 'fxsim' has no attribute {name!r}")
    return getattr(import_module("fxsim.api"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *API])
