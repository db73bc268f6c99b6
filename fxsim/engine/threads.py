"""Sharing a kernel's rows among threads, so that results cannot depend on their number."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

_LEAST_WORK = 1 << 15  # elements of work below which a second thread costs more than it saves

_pool: ThreadPoolExecutor | None = None
_threads = 1


def set_threads(threads: int) -> None:
    """Use this many threads from now on (1 or more)."""
    global _pool, _threads
    if threads < 1:
        raise ValueError(f"threads must be at least 1, not {threads}")
    if _pool is not None:
        _pool.shutdown()
    _pool = ThreadPoolExecutor(threads - 1) if threads > 1 else None
    _threads = threads


def available_threads() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def split(kernel: Callable[..., Any], rows: int, work_per_row: int, *args: Any) -> list[Any]:
    """Call `kernel(start, stop, *args)` on contiguous ranges that cover `rows`; their results.

    Ranges are disjoint and a kernel writes inside its own range only, so the split is invisible
    in the output.
    """
    parts = max(1, min(_threads, rows * work_per_row // _LEAST_WORK, rows))
    if parts == 1 or _pool is None:
        return [kernel(0, rows, *args)]
    edges = [rows * part // parts for part in range(parts + 1)]
    waiting = [
        _pool.submit(kernel, edges[part], edges[part + 1], *args) for part in range(1, parts)
    ]
    return [kernel(edges[0], edges[1], *args), *(job.result() for job in waiting)]
