"""The one decorator of our kernels: `njit` with a cache that no edit can make stale.

Numba's cache looks at the edited file only, so it would serve old code after an edit to a callee
in another file. Here the cache directory is named by a hash of all kernel sources.
"""

from __future__ import annotations

import functools
import hashlib
import os
import sys
import tempfile
from pathlib import Path

import numba
import numpy as np
from numba import config


def _cache_directory() -> str:
    digest = hashlib.sha256(f"{numba.__version__} {np.__version__} {sys.version}".encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    for root in (home, tempfile.gettempdir()):
        path = Path(root) / "fxsim" / "kernels" / digest.hexdigest()[:16]
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(path, os.W_OK):
            return str(path)
    return ""


_CACHE = _cache_directory()
JIT = not config.DISABLE_JIT


def kernel(function):
    """Compile in nopython mode on first call, without the GIL, cached on disk."""
    if not JIT:

        @functools.wraps(function)
        def interpreted(*args):
            with np.errstate(over="ignore"):  # 64-bit hashes wrap, as they do when compiled
                return function(*args)

        return interpreted
    saved, config.CACHE_DIR = config.CACHE_DIR, _CACHE
    try:
        return numba.njit(function, cache=bool(_CACHE), nogil=True, error_model="numpy")
    finally:
        config.CACHE_DIR = saved
