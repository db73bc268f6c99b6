"""Timing two callables in turn, and printing or writing the ratios."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fxsim.engine.threads import set_threads
from fxsim.persistence.atomic import atomic_file

SETTLE_S = 0.03  # BLAS's workers spin so long on the cores that the other side needs
Row = tuple[str, float, float]  # work, ratio, target


def ratio(ours: Callable[[], Any], other: Callable[[], Any], rounds: int = 7) -> float:
    """Time of `other` over time of `ours`, best of interleaved rounds: above 1, ours is faster.

    Each runs once untimed before it is timed, and only after the other's threads have settled.
    """
    best = [float("inf"), float("inf")]
    ours(), other()
    for _ in range(rounds):
        for i, work in enumerate((ours, other)):
            time.sleep(SETTLE_S)
            work()
            started = time.perf_counter()
            work()
            best[i] = min(best[i], time.perf_counter() - started)
    return best[1] / best[0]


def parser(description: str) -> argparse.ArgumentParser:
    """`--threads N` (1 by default) and `--json PATH`."""
    found = argparse.ArgumentParser(description=description)
    found.add_argument("--threads", type=int, default=1)
    found.add_argument("--json", type=Path)
    return found


def use(given: argparse.Namespace) -> None:
    """Set what `parser` asked for."""
    set_threads(given.threads)


def arguments(description: str) -> argparse.Namespace:
    """The parser's arguments, set."""
    found = parser(description).parse_args()
    use(found)
    return found


def report(rows: list[Row], path: Path | None, least: bool = True) -> None:
    """Print (work, ratio, target) rows, and write them where asked.

    least : targets are what ratios must reach; else what they must not exceed
    """
    table = [
        {
            "work": work,
            "ratio": round(value, 3),
            "target": target,
            "meets": value >= target if least else value <= target,
        }
        for work, value, target in rows
    ]
    for row in table:
        meets = "meets" if row["meets"] else "misses"
        print(f"{row['work']:<66} {row['ratio']:>7.2f}x  {meets} {row['target']:.3g}x")
    if path is not None:
        with atomic_file(path) as fresh:
            fresh.write_text(json.dumps(table, indent=2))
