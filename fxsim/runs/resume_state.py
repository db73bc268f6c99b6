"""What an unfinished run leaves on disk, so that it can go on after anything, `kill -9` included.

Beside the place of the run, `<run>.unfinished/` holds:

inputs.json       the hash of everything that decides the run's bits
metrics.csv       a row a step, appended while the run goes on (pandas reads it at any time)
evaluations.csv   a row an epoch; decisions.csv : a row a step
checkpoints/      see `fxsim.training.checkpoint`
trace/            the trace's tables, in parts

Rows are on disk before a checkpoint that counts on them; what is newer than the checkpoint that a
run goes on from is cut off, and computed again to the same bits.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any, TextIO

from filelock import FileLock, Timeout

from fxsim.errors import ConfigError, DataError
from fxsim.identifiers import STEP
from fxsim.persistence.atomic import atomic_file
from fxsim.trace.writer import TraceWriter
from fxsim.training import checkpoint
from fxsim.training.loop import Progress

SECONDS = 30.0  # between checkpoints inside an epoch
KEEP = 3
TABLES = ("metrics", "evaluations", "decisions")


class ResumeState:
    """The files of one unfinished run. Use it in `with`; `remove` takes them away at the end."""

    def __init__(self, run: Path, inputs_sha256: str, keep: int = KEEP) -> None:
        self._keep = keep
        self.directory = unfinished(run)
        self.directory.mkdir(parents=True, exist_ok=True)
        if not (self.directory / "inputs.json").is_file():
            with atomic_file(self.directory / "inputs.json") as fresh:
                fresh.write_text(json.dumps({"inputs_sha256": inputs_sha256}), encoding="utf-8")
        self._lock = FileLock(self.directory / "lock", timeout=0)
        try:
            self._lock.acquire()
        except Timeout:
            raise ConfigError(
                f"{self.directory}: another process is training this run; wait for it, or stop it"
            ) from None
        self._files: dict[str, TextIO] = {}
        self._columns: dict[str, list[str]] = {}
        self._saved = time.monotonic()

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints lie."""
        return self.directory / "checkpoints"

    @property
    def trace(self) -> Path:
        """Where the trace grows."""
        return self.directory / "trace"

    def __enter__(self) -> ResumeState:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            file.close()
        self._lock.release()

    def resumed(self) -> Progress | None:
        """The state of the newest checkpoint, with its rows; what is newer is cut off."""
        path = checkpoint.latest(self.checkpoints)
        if path is None:
            for table in TABLES:
                (self.directory / f"{table}.csv").unlink(missing_ok=True)
            shutil.rmtree(self.trace, ignore_errors=True)
            return None
        progress = checkpoint.load(path)
        for table in TABLES:
            rows = _rows(self.directory / f"{table}.csv", progress.step)
            if table != "evaluations" and len(rows) != progress.step:
                raise DataError(
                    f"{self.directory / table}.csv: must hold a row for each of the"
                    f" {progress.step} steps before the checkpoint, not {len(rows)}; --force"
                    " begins again"
                )
            self._replace(table, rows)
            setattr(progress, table, rows)
        progress.decisions = [
            {name: value for name, value in row.items() if name != STEP}
            for row in progress.decisions
        ]
        return progress

    def _replace(self, table: str, rows: list[dict[str, Any]]) -> None:
        """Cut a table to these rows, in one piece."""
        path = self.directory / f"{table}.csv"
        if not rows:
            path.unlink(missing_ok=True)
            return
        with atomic_file(path) as fresh, fresh.open("w", encoding="utf-8", newline="") as file:
            file.write(",".join(rows[0]) + "\n")
            file.writelines(",".join(map(repr, row.values())) + "\n" for row in rows)
        self._columns[table] = list(rows[0])

    def after(self, progress: Progress, ended: bool, writer: TraceWriter) -> None:
        """A step ended: append its rows, and now and then a checkpoint."""
        self._append("metrics", progress.metrics[-1])
        self._append("decisions", {STEP: progress.step - 1, **progress.decisions[-1]})
        if ended:
            self._append("evaluations", progress.evaluations[-1])
        if ended or time.monotonic() - self._saved > SECONDS:
            self.checkpoint(progress, writer)

    def checkpoint(self, progress: Progress, writer: TraceWriter) -> None:
        """Everything up to here on disk, then a checkpoint."""
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
        writer.flush(progress.step)
        checkpoint.save(progress, self.checkpoints, self._keep)
        self._saved = time.monotonic()

    def _append(self, table: str, row: dict[str, Any]) -> None:
        if table not in self._files:
            path = self.directory / f"{table}.csv"
            self._files[table] = path.open("a", encoding="utf-8", newline="")
            if table not in self._columns:
                self._columns[table] = list(row)
                self._files[table].write(",".join(row) + "\n")
        line = ",".join(repr(row[name]) for name in self._columns[table])
        self._files[table].write(line + "\n")
        self._files[table].flush()


def drop_other(run: Path, inputs_sha256: str) -> None:
    """Forget what an unfinished run of other inputs left; a finished one is replaced, too."""
    try:
        text = (unfinished(run) / "inputs.json").read_text(encoding="utf-8")
        digest = json.loads(text)["inputs_sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    if digest != inputs_sha256:
        remove(run)


def remove(run: Path) -> None:
    """The run is finished: forget what it left while it was not."""
    shutil.rmtree(unfinished(run), ignore_errors=True)


def unfinished(run: Path) -> Path:
    """Where the unfinished state of a run lies."""
    return run.with_name(f"{run.name}.unfinished")


def check(run: Path, inputs_sha256: str, resume: bool, force: bool) -> None:
    """Whether a run may begin, or go on; ConfigError with what to do if not."""
    place = unfinished(run)
    if force:
        shutil.rmtree(place, ignore_errors=True)
    if not place.is_dir():
        return
    try:
        digest = json.loads((place / "inputs.json").read_text(encoding="utf-8"))["inputs_sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        digest = ""
    newest = checkpoint.latest(place / "checkpoints")
    step = int(newest.name.removeprefix(checkpoint.PREFIX)) if newest else 0
    if not digest and not step:
        shutil.rmtree(place, ignore_errors=True)  # stopped before it began
        return
    if digest != inputs_sha256:
        raise ConfigError(
            f"{place}: holds an unfinished run of other inputs (code, workload, data, policy,"
            f" epochs or seed), at step {step}; --force begins again without it"
        )
    if not resume and step:
        raise ConfigError(
            f"{place}: holds this run, unfinished at step {step}; --resume goes on from there,"
            " --force begins again"
        )


def _rows(path: Path, step: int) -> list[dict[str, Any]]:
    """A table's rows of steps before `step`."""
    rows: list[dict[str, Any]] = []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                if None in row.values() or None in row:
                    break  # cut short when the run was killed
                if int(row[STEP]) < step:
                    rows.append({name: _number(text) for name, text in row.items()})
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError) as problem:
        raise DataError(f"{path}: must be a table of an unfinished run: {problem}") from None
    return rows


def _number(text: str) -> int | float:
    return int(text) if text.lstrip("-").isdigit() else float(text)
