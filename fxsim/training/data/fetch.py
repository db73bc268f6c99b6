"""Downloading datasets from where they are published: resumed, checked, renamed when whole."""

from __future__ import annotations

import hashlib
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fxsim.errors import DataError, hint

CHUNK = 1 << 18
TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class Download:
    """A published file: where it lies, where it goes, and its checksum, "algorithm:hex"."""

    url: str
    place: str
    checksum: str


def _idx(base: str, folder: str, digests: dict[str, str]) -> tuple[Download, ...]:
    return tuple(
        Download(base + file, f"{folder}/{file}", f"md5:{digest}")
        for file, digest in digests.items()
    )


# md5: as torchvision publishes them; sha256: of the file itself.
DOWNLOADS: dict[str, tuple[Download, ...]] = {
    "mnist": _idx(
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "mnist",
        {
            "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
        },
    ),
    "fashion-mnist": _idx(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "fashion",
        {
            "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
        },
    ),
    "cifar10": (
        Download(
            "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
            "cifar10/cifar-10-batches-py.tar.gz",
            "md5:c58f30108f718f92721af3b95e74349a",
        ),
    ),
    "cifar100": (
        Download(
            "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
            "cifar100/cifar-100-python.tar.gz",
            "md5:eb9058c3a382ffc7106e4002c42a8d85",
        ),
    ),
    "tinyshakespeare": (
        Download(
            "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/"
            "input.txt",
            "tinyshakespeare/input.txt",
            "sha256:86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        ),
    ),
}


def fetch(
    name: str, directory: Path, tell: Callable[[str, int, int], None] = lambda *_: None
) -> list[Path]:
    """All files of a dataset in a directory; what lies there whole is not fetched again.

    tell : hears (file, bytes so far, bytes in all or 0)
    Raises DataError in one line: unknown name, no connection, another checksum.
    """
    if name not in DOWNLOADS:
        names = ", ".join(DOWNLOADS)
        raise DataError(
            f"dataset to fetch must be one of {names}, not {name!r}{hint(name, DOWNLOADS)}"
        )
    return [_one(download, directory, tell) for download in DOWNLOADS[name]]


def _one(download: Download, directory: Path, tell: Callable[[str, int, int], None]) -> Path:
    path = directory / download.place
    if path.is_file() and _digest(path, download.checksum) == download.checksum:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        _continue(download.url, part, lambda done, total: tell(path.name, done, total))
    except (OSError, urllib.error.URLError) as problem:
        reason = str(getattr(problem, "reason", problem)).splitlines()[0]
        remark = (
            f"; what has come lies in {part} and is continued next time" if part.exists() else ""
        )
        raise DataError(f"{download.url}: could not be fetched: {reason}{remark}") from None
    digest = _digest(part, download.checksum)
    if digest != download.checksum:
        part.unlink()
        raise DataError(
            f"{download.url}: must have the checksum {download.checksum}, not {digest}; fetch again"
        )
    part.replace(path)
    return path


def _continue(url: str, part: Path, tell: Callable[[int, int], None]) -> None:
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as problem:
        if problem.code == 416:  # nothing is left to send
            return
        raise
    with response:
        resumed = response.status == 206
        done = have if resumed else 0
        total = done + int(response.headers.get("Content-Length") or 0)
        with part.open("ab" if resumed else "wb") as file:
            while chunk := response.read(CHUNK):
                file.write(chunk)
                done += len(chunk)
                tell(done, total)
        if response.headers.get("Content-Length") and done < total:
            raise OSError(f"the connection ended after {done} of {total} bytes")


def _digest(path: Path, like: str) -> str:
    algorithm = like.partition(":")[0]
    with path.open("rb") as file:
        return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"
