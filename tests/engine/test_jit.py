"""Kernels are compiled once, however many processes need them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import ENVIRONMENT, jit_only

# its own cache decides: 1 miss is a kernel that this process compiled
COUNT = """
import numpy as np
from fxsim.engine.kernels.rounding import round_shift as kernel
print("ready", flush=True)
input()
kernel(np.int64(5), np.int64(1), np.int64(0), np.int64(0))
print(sum(kernel.stats.cache_misses.values()), sum(kernel.stats.cache_hits.values()))
"""


def test_of_two_processes_one_compiles(tmp_path):
    jit_only()
    environment = {**ENVIRONMENT, "XDG_CACHE_HOME": str(tmp_path)}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", COUNT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for _ in range(2)
    ]
    for worker in workers:
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:  # both begin at once
        worker.stdin.write("\n")
        worker.stdin.flush()
    counts = sorted(worker.communicate()[0].split() for worker in workers)
    assert counts == [["0", "1"], ["1", "0"]]


def compiled(home, temporary):
    """(kernels compiled, loaded, and where the cache is) of a process that calls one kernel."""
    where = "from fxsim.engine import jit\nfrom pathlib import Path\n"
    where += "print(jit._cache_directory(Path(jit.__file__).parent / 'kernels') or '-')\n"
    done = subprocess.run(
        [sys.executable, "-c", COUNT + where],
        input="\n",
        capture_output=True,
        text=True,
        check=True,
        env={**ENVIRONMENT, "XDG_CACHE_HOME": str(home), "TMPDIR": str(temporary)},
    )
    _, counts, path = done.stdout.splitlines()
    assert done.stderr == ""
    return (*map(int, counts.split()), path)


@pytest.mark.parametrize("keep", [0, 10, -10])
def test_a_damaged_cache_is_compiled_again(tmp_path, keep):
    jit_only()
    *first, cache = compiled(tmp_path / "home", tmp_path)
    assert first == [1, 0]
    for file in Path(cache).rglob("*.nb?"):
        whole = file.read_bytes()
        file.write_bytes(whole[: keep or None] if keep else b"")
    assert compiled(tmp_path / "home", tmp_path)[:2] == (1, 0)
    assert compiled(tmp_path / "home", tmp_path)[:2] == (0, 1)


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="no owners of files")
def test_what_others_may_have_written_is_never_loaded(tmp_path):
    jit_only()
    home, temporary = tmp_path / "file", tmp_path / "temporary"
    home.write_text("")  # no cache can be made there
    temporary.mkdir()
    *counts, path = compiled(home, temporary)
    own = temporary / f"fxsim-{os.getuid()}"
    assert counts == [1, 0]
    assert Path(path).is_relative_to(own)
    assert {folder.stat().st_mode & 0o777 for folder in (own, own / "kernels", Path(path))} == {
        0o700
    }
    for folder in (own, own / "kernels", Path(path)):
        folder.chmod(0o777)  # others may write
        assert compiled(home, temporary) == (1, 0, "-")
        folder.chmod(0o700)
    assert compiled(home, temporary)[:2] == (0, 1)
    folder.chmod(0o755)
    assert compiled(home, temporary)[:2] == (0, 1)
    assert folder.stat().st_mode & 0o777 == 0o700
