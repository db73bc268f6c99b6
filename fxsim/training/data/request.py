"""What a dataset's reader is asked for, and finding official files."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from fxsim.errors import DataError

DATA_VARIABLE = "FXSIM_DATA"


@dataclass(frozen=True, slots=True)
class Request:
    """A dataset's name, where its files may lie, and what the network wants of it."""

    name: str
    directory: Path | None
    shape: tuple[int, ...] | None = None
    augment: bool = True
    path: Path | None = None

    def files_directory(self) -> Path:
        """The directory with the dataset's files, which must be given."""
        if self.directory is None:
            raise DataError(
                f"dataset {self.name}: --data-dir (or {DATA_VARIABLE}) must name a directory with"
                f" its files; it is not set (fxsim data fetch {self.name} downloads them)"
            )
        return self.directory


def checked(path: Path, raw: bytes, digest: str, name: str) -> bytes:
    """The bytes, if they are the official ones."""
    actual = hashlib.sha256(raw).hexdigest()
    if actual != digest:
        raise DataError(
            f"{path}: must be {name}'s official file, SHA-256 {digest[:16]}... decompressed,"
            f" not {actual[:16]}...; is it another dataset's, or damaged?"
        )
    return raw


def read(path: Path) -> bytes:
    """A file, decompressed if it is a .gz."""
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as problem:
        raise DataError(f"{path}: must be a readable gzip or idx file: {problem}") from None


def members(archive: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    """Files of a tar archive, by the last part of their names; nothing is written to disk."""
    contents: dict[str, bytes] = {}
    try:
        with tarfile.open(archive) as opened:
            for member in opened:
                name = member.name.rpartition("/")[2]
                if member.isfile() and name in names:
                    stream = opened.extractfile(member)
                    contents[name] = stream.read() if stream is not None else b""
    except (OSError, EOFError, tarfile.TarError, lzma.LZMAError, zlib.error) as problem:
        raise DataError(f"{archive}: must be a readable tar archive: {problem}") from None
    missing = [name for name in names if name not in contents]
    if missing:
        raise DataError(f"{archive}: must hold {missing[0]}; it does not")
    return contents


__all__ = ["DATA_VARIABLE", "Request", "checked", "members", "read"]
