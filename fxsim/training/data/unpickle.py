"""Reading CIFAR's pickles without trusting them: only arrays, bytes, text, ints, lists and dicts.

`Unpickler` looks up every global that a pickle names in `find_class`; here that is a list of the
five that a NumPy uint8 array needs, so nothing else can be built or called.
"""

from __future__ import annotations

import codecs
import io
import pickle
from typing import Any

import numpy as np
from numpy._core.multiarray import _reconstruct

from fxsim.errors import DataError


def _array(kind: Any, shape: Any, typecode: Any) -> Any:
    if kind is not np.ndarray:
        raise pickle.UnpicklingError(f"only arrays may be rebuilt, not {kind!r}")
    return _reconstruct(kind, shape, typecode)


def _dtype(code: Any, align: Any = False, copy: Any = True) -> Any:
    text = code.decode("ascii") if isinstance(code, bytes) else str(code)
    if text not in ("u1", "|u1", "b1", "i8", "<i8"):
        raise pickle.UnpicklingError(f"only arrays of bytes and ints may be built, not {text!r}")
    return np.dtype(text)


def _encode(text: Any, encoding: Any) -> Any:
    return codecs.encode(str(text), "latin1" if encoding == "latin1" else "ascii")


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _array,
    ("numpy._core.multiarray", "_reconstruct"): _array,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): _dtype,
    ("_codecs", "encode"): _encode,
}


class _Strict(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is not data")
        return _ALLOWED[module, name]


def loads(raw: bytes, where: str) -> dict[str, Any]:
    """A pickled dict, its keys as text; DataError if it is anything but plain data."""
    try:
        value = _Strict(io.BytesIO(raw), encoding="bytes").load()
    except Exception as problem:  # a hostile pickle can make the machine raise anything
        reason = (str(problem).splitlines() or [type(problem).__name__])[0]
        raise DataError(f"{where}: must be a pickle of plain data: {reason}") from None
    if not isinstance(value, dict):
        raise DataError(f"{where}: must hold a dict, not {type(value).__name__}")
    return {
        k.decode("ascii", "replace") if isinstance(k, bytes) else str(k): v
        for k, v in value.items()
    }
