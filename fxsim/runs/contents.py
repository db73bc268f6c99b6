"""What the files of a run hold, as its manifest records it: hashes, and the rows of tables."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from fxsim.errors import DataError

Contents = dict[str, dict[str, Any]]


def contents_of(directory: Path) -> Contents:
    """{file below the directory: its SHA-256, and of a table its rows}."""
    contents: Contents = {}
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            entry: dict[str, Any] = {"sha256": _sha256(path)}
            if path.suffix == ".parquet":
                entry["rows"] = pq.read_metadata(path).num_rows
            contents[path.relative_to(directory).as_posix()] = entry
    return contents


def recorded(directory: Path) -> Contents:
    """What a run's manifest says of its files; DataError if it says nothing."""
    try:
        files = json.loads((directory / "run.json").read_text(encoding="utf-8"))["files"]
        return {str(name): dict(entry) for name, entry in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise DataError(f"{directory}: its run.json must say what its files hold") from None


def verify(directory: Path, contents: Mapping[str, Any], below: str = "") -> None:
    """Check the files whose names begin with some text; all of them if it is empty.

    Raises
    ------
    DataError : for a file that is not there, or is not the one that the run wrote
    """
    for name, entry in contents.items():
        if name.startswith(below):
            path = directory / name
            if not path.is_file():
                raise DataError(f"{path}: the run wrote this file; it is not there")
            if _sha256(path) != entry["sha256"]:
                rows = f", a table of {entry['rows']} rows" if "rows" in entry else ""
                raise DataError(
                    f"{path}: must be the file that the run wrote{rows}; its SHA-256 is another"
                )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
