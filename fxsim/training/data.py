"""Datasets: scikit-learn's digits (bundled), MNIST and Fashion-MNIST (official idx files)."""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fxsim.arithmetic.draws import stream_key
from fxsim.arithmetic.formats import FixedPoint
from fxsim.engine.kernels import casting
from fxsim.engine.tensor import FixedTensor
from fxsim.errors import DataError, hint

INPUT_WORD = FixedPoint(16, 12)  # normalised pixels: -8 to 8
DATA_VARIABLE = "FXSIM_DATA"


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Images as codes of `INPUT_WORD`, (N, H, W, C) int16, and labels, (N,) int64."""

    name: str
    train_images: NDArray[np.int16]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.int16]
    test_labels: NDArray[np.int64]
    classes: int
    source: str

    @property
    def shape(self) -> tuple[int, ...]:
        """(H, W, C) of one image."""
        return self.train_images.shape[1:]

    def batches(self, seed: int, epoch: int, size: int) -> list[NDArray[np.int64]]:
        """The epoch's batches of training indices; a last, partial batch is dropped."""
        order = permutation(len(self.train_labels), stream_key(seed, epoch, "data", "order"))
        return [order[i : i + size] for i in range(0, len(order) - size + 1, size)]

    def digest(self) -> str:
        """SHA-256 of all codes and labels."""
        found = hashlib.sha256()
        for images in (self.train_images, self.test_images):
            found.update(np.ascontiguousarray(images, "<i2").tobytes())
        for labels in (self.train_labels, self.test_labels):
            found.update(np.ascontiguousarray(labels, "<i8").tobytes())
        return found.hexdigest()


def permutation(size: int, key: int) -> NDArray[np.int64]:
    """0..size-1 in the order of their draws from one stream."""
    draws = np.empty(size, np.uint64)
    casting.draws_range(0, size, draws, np.uint64(key))
    return np.argsort(draws, kind="stable").astype(np.int64)


def input_cast(
    images: NDArray[np.integer[Any]], largest: int, mean: float, std: float
) -> NDArray[np.int16]:
    """Normalise pixels of 0..largest and round to `INPUT_WORD`: the one float-to-integer cast."""
    pixels = np.arange(largest + 1)
    codes = np.rint(np.ldexp((pixels / largest - mean) / std, INPUT_WORD.frac))
    table = np.clip(codes, INPUT_WORD.min_code, INPUT_WORD.max_code).astype(np.int16)
    found: NDArray[np.int16] = table[images]
    return found


def batch(images: NDArray[np.int16], chosen: NDArray[np.int64] | slice) -> FixedTensor:
    """Some images as a wide tensor."""
    return FixedTensor.trusted(images[chosen].astype(np.int64), INPUT_WORD)


def _digits(directory: Path | None) -> Dataset:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = input_cast(bunch.images.astype(np.int64)[..., None], 16, 0.3053, 0.3761)
    labels = bunch.target.astype(np.int64)
    order = permutation(len(labels), stream_key(0, 0, "digits", "split"))
    train, test = order[360:], order[:360]
    return Dataset(
        "digits", images[train], labels[train], images[test], labels[test], 10,
        "Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998;"
        " the copy that scikit-learn bundles; 1,437 train and 360 test images",
    )  # fmt: skip


# SHA-256 of the decompressed official files.
_IDX = {
    "mnist": {
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
    "fashion-mnist": {
        "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
}
_FOLDERS = {
    "mnist": ("mnist", "MNIST/raw", "."),
    "fashion-mnist": ("fashion", "fashion-mnist", "FashionMNIST/raw", "."),
}


def _idx(name: str, directory: Path | None, mean: float, std: float, source: str) -> Dataset:
    if directory is None:
        raise DataError(
            f"dataset {name}: --data-dir (or {DATA_VARIABLE}) must name a directory with its idx"
            " files; it is not set"
        )
    arrays = [_read_idx(name, file, digest, directory) for file, digest in _IDX[name].items()]
    images = [input_cast(a[..., None], 255, mean, std) for a in arrays[::2]]
    labels = [a.astype(np.int64) for a in arrays[1::2]]
    return Dataset(name, images[0], labels[0], images[1], labels[1], 10, source)


def _read_idx(name: str, file: str, digest: str, directory: Path) -> NDArray[np.uint8]:
    path = _find_idx(name, file, directory)
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as problem:
        raise DataError(f"{path}: must be a readable gzip or idx file: {problem}") from None
    found = hashlib.sha256(raw).hexdigest()
    if found != digest:
        raise DataError(
            f"{path}: must be {name}'s official file, SHA-256 {digest[:16]}... decompressed,"
            f" not {found[:16]}...; is it another dataset's, or damaged?"
        )
    dimensions = raw[3]
    shape = [int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(dimensions)]
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def _find_idx(name: str, file: str, directory: Path) -> Path:
    for folder in _FOLDERS[name]:
        for suffix in ("", ".gz"):
            path = directory / folder / (file + suffix)
            if path.is_file():
                return path
    places = ", ".join(_FOLDERS[name])
    raise DataError(
        f"{directory}: must hold {file}.gz for dataset {name} (in {places}); it does not"
    )


DATASETS: dict[str, Callable[[Path | None], Dataset]] = {
    "digits": _digits,
    "mnist": lambda directory: _idx(
        "mnist", directory, 0.1307, 0.3081, "LeCun, Cortes, Burges, The MNIST database, 1998"
    ),
    "fashion-mnist": lambda directory: _idx(
        "fashion-mnist", directory, 0.2860, 0.3530, "Xiao, Rasul, Vollgraf, arXiv 1708.07747"
    ),
}


def unknown(name: str) -> str:
    """What is wrong with a dataset's name; empty if nothing is."""
    if name in DATASETS:
        return ""
    return f"dataset must be one of {', '.join(DATASETS)}, not {name!r}{hint(name, DATASETS)}"


def load(name: str, directory: Path | None = None) -> Dataset:
    """A dataset by name; `directory` (else the environment's FXSIM_DATA) holds its files."""
    if problem := unknown(name):
        raise DataError(problem)
    if directory is None and os.environ.get(DATA_VARIABLE):
        directory = Path(os.environ[DATA_VARIABLE])
    if directory is not None and not directory.is_dir():
        raise DataError(f"--data-dir must be a directory, not {str(directory)!r}")
    return DATASETS[name](directory)
