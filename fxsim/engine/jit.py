"""The one decorator of our kernels: `njit` with a cache that no edit can make stale.

Numba's cache looks at the edited file only, so it would serve old code after an edit to a callee
in another file. Here the cache directory is named by a hash of all kernel sources beside it.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import stat
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
    user = f"fxsim-{os.getuid()}" if hasattr(os, "getuid") else "fxsim"
    for root, own in ((Path(home), "fxsim"), (Path(tempfile.gettempdir()), user)):
        path = root / own / "kernels" / digest.hexdigest()[:16]
        try:
            root.mkdir(parents=True, exist_ok=True)
            for folder in (root / own, root / own / "kernels", path):
                folder.mkdir(mode=0o700, exist_ok=True)
        except OSError:
            continue
        if all(_is_private(folder) for folder in (root / own, root / own / "kernels", path)):
            return str(path)
    return ""


def _is_private(folder: Path) -> bool:
    """Whether nobody else can have put files there: what is loaded from the cache is executed."""
    if not hasattr(os, "getuid"):
        return os.access(folder, os.W_OK)
    about = folder.stat()
    own = stat.S_ISDIR(about.st_mode) and {about.st_uid, folder.lstat().st_uid} == {os.getuid()}
    if not own or about.st_mode & 0o022 or not os.access(folder, os.W_OK):
        return False
    if about.st_mode & 0o077:  # others could read, and no more
        folder.chmod(0o700)
    return True


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
        _discard_damaged(compiled)
        _compile_once(compiled, Path(cache) / f"{function.__module__}.{function.__qualname__}.lock")
    return compiled


def _discard_damaged(compiled):
    """A file of the cache that cannot be read is dropped, and the kernel compiled again."""
    load = compiled._cache.load_overload

    def load_or_discard(*args):
        try:
            return load(*args)
        except Exception:  # of a pickle that is cut off, almost any
            with contextlib.suppress(OSError):
                compiled._cache.flush()
            return None

    compiled._cache.load_overload = load_or_discard


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
