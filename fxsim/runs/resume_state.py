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
import warnings
from pathlib import Path
from typing import Any, TextIO

from filelock import FileLock, Timeout

from fxsim.errors import ConfigError, DataError, FxsimWarning
from fxsim.identifiers import STEP
from fxsim.persistence.atomic import atomic_file, naming_file
from fxsim.trace.writer import TraceWriter
from fxsim.training import checkpoint
from fxsim.training.loop import Progress

SECONDS = 30.0  # between checkpoints inside an epoch
KEEP = 3
TABLES = ("metrics", "evaluations", "decisions")


class ResumeState:
    """The files of one unfinished run, which nobody else touches until `with` ends.

    Raises ConfigError if another process holds them.
    """

    def __init__(self, run: Path, inputs_sha256: str, keep: int = KEEP) -> None:
        self._keep, self._inputs_sha256 = keep, inputs_sha256
        self.directory = unfinished(run)
        self._lock = FileLock(self.directory / "lock", timeout=0)
        try:
            while not self._is_held():
                self._lock.release()
                self.directory.mkdir(parents=True, exist_ok=True)
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
        if self.directory.is_dir() and {*os.listdir(self.directory)} <= {"lock", "inputs.json"}:
            self.remove()  # nothing was begun
        self._lock.release()

    def _is_held(self) -> bool:
        """Whether the lock is that of the file there: it may have gone with its folder."""
        handle = self._lock._context.lock_file_fd  # the library has no name for it
        try:
            return handle is not None and os.path.samestat(
                os.fstat(handle), os.stat(self.directory / "lock")
            )
        except FileNotFoundError:
            return False

    def remove(self) -> None:
        """Forget everything: the run is finished, or begins again."""
        for file in self._files.values():
            file.close()
        self._files.clear()
        shutil.rmtree(self.directory, ignore_errors=True)

    def clear(self) -> None:
        """Forget everything but that this process trains the run."""
        for path in self.directory.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != "lock":
                path.unlink()

    def begin(self, resume: bool, force: bool) -> None:
        """Whether the run may begin, or go on; ConfigError with what to do if not."""
        if force:
            self.clear()
        digest = self._begun_with()
        newest = checkpoint.latest(self.checkpoints)
        step = int(newest.name.removeprefix(checkpoint.PREFIX)) if newest else 0
        begun = step > 0 or (self.directory / "metrics.csv").is_file()
        if not begun and digest != self._inputs_sha256:
            self.clear()  # stopped before it did anything
            with atomic_file(self.directory / "inputs.json") as fresh:
                text = json.dumps({"inputs_sha256": self._inputs_sha256})
                fresh.write_text(text, encoding="utf-8")
        elif digest != self._inputs_sha256:
            raise ConfigError(
                f"{self.directory}: holds an unfinished run of other inputs (code, workload, data,"
                f" policy, epochs or seed), at step {step}; --force begins again without it"
            )
        elif not resume and step:
            raise ConfigError(
                f"{self.directory}: holds this run, unfinished at step {step}; --resume goes on"
                " from there, --force begins again"
            )

    def _begun_with(self) -> str:
        """The hash of the inputs that the files are of; empty if there are none."""
        try:
            text = (self.directory / "inputs.json").read_text(encoding="utf-8")
            return str(json.loads(text)["inputs_sha256"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def drop_other(self) -> None:
        """Forget what an unfinished run of other inputs left; a finished one is replaced, too."""
        if self._begun_with() not in ("", self._inputs_sha256):
            self.clear()

    def resumed(self) -> Progress | None:
        """The state of the newest checkpoint, with its rows; what is newer is cut off."""
        progress = self._newest()
        if progress is None:
            for table in TABLES:
                (self.directory / f"{table}.csv").unlink(missing_ok=True)
            shutil.rmtree(self.trace, ignore_errors=True)
            return None
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

    def _newest(self) -> Progress | None:
        """The newest checkpoint that can be read; None if there is none at all."""
        damaged: list[Path] = []
        while (path := checkpoint.latest(self.checkpoints)) is not None:
            try:
                return checkpoint.load(path)
            except DataError as problem:
                warnings.warn(f"{problem}; the one before it is taken", FxsimWarning, stacklevel=2)
                shutil.rmtree(path)
                damaged.append(path)
        if damaged:
            raise DataError(
                f"{damaged[0]}: none of the run's checkpoints can be read; --force begins again"
            )
        return None

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
        with naming_file(self.directory / f"{table}.csv"):
            self._files[table].write(line + "\n")
            self._files[table].flush()


def unfinished(run: Path) -> Path:
    """Where the unfinished state of a run lies."""
    return run.with_name(f"{run.name}.unfinished")


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
