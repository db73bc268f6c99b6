"""The one decorator of our kernels: `njit` with a cache that no edit can make stale.

Numba's cache looks at the edited file only, so it would serve old code after an edit to a callee
in another file. Here the cache directory is named by a hash of all kernel sources beside it.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import sys
import tempfile
from pathlib import Path

import numba
import numpy as np
from numba import config
from numba.core.compiler_lock import global_compiler_lock


@functools.cache
def _cache_directory(folder: Path) -> str:
    digest = hashlib.sha256(f"{numba.__version__} {np.__version__} {sys.version}".encode())
    for source in [Path(__file__), *sorted(folder.glob("*.py"))]:
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


JIT = not config.DISABLE_JIT


def kernel(function):
    """Compile in nopython mode on first call, without the GIL, cached on disk."""
    return _compiled(function)


def inlined(function):
    """A kernel whose callers take it in: small functions, called in inner loops."""
    return _compiled(function, forceinline=True)


def _compiled(function, **options):
    if not JIT:

        @functools.wraps(function)
        def interpreted(*args):
            with np.errstate(over="ignore"):  # 64-bit hashes wrap, as they do when compiled
                return function(*args)

        return interpreted
    cache = _cache_directory(Path(function.__code__.co_filename).parent)
    saved, config.CACHE_DIR = config.CACHE_DIR, cache
    try:
        compiled = numba.njit(
            function, cache=bool(cache), nogil=True, error_model="numpy", **options
        )
    finally:
        config.CACHE_DIR = saved
    if cache:
        _compile_once(compiled, Path(cache) / f"{function.__module__}.{function.__qualname__}.lock")
    return compiled


def _compile_once(compiled, lock):
    """Of processes that need a kernel at the same time, one compiles it, and the others wait."""
    compile_here = compiled.compile

    def compile_or_load(signature):
        from filelock import FileLock

        # no two kernels call each other, and a process takes the compiler first: no deadlock
        with global_compiler_lock:
            turn = FileLock(lock)
            with contextlib.suppress(OSError, NotImplementedError):  # a file system without locks
                turn.acquire()
            try:
                return compile_here(signature)
            finally:
                turn.release()

    compiled.compile = compile_or_load
