"""Kernels are compiled once, however many processes need them."""

from __future__ import annotations

import subprocess
import sys

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
