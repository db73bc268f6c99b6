"""Datasets by name, from files in their official formats.

A new dataset is a reader that takes a `Request` and returns a `Dataset`, and an entry here.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from fxsim.errors import DataError, hint
from fxsim.training.data import images, text
from fxsim.training.data.base import Batch, Dataset, batches, permutation
from fxsim.training.data.request import DATA_VARIABLE, Request

DATASETS: dict[str, Callable[[Request], Dataset]] = {
    "digits": images.digits,
    "mnist": images.mnist,
    "fashion-mnist": images.fashion_mnist,
    "cifar10": images.cifar10,
    "cifar100": images.cifar100,
    "tinyshakespeare": text.tiny_shakespeare,
    "reversal": text.reversal,
}
PREFIXES = {"text": text.text_file, "npz": images.npz_file, "folder": images.folder}


def unknown(name: str) -> str:
    """What is wrong with a dataset's name; empty if nothing is."""
    if name in DATASETS or (name.partition(":")[0] in PREFIXES and ":" in name):
        return ""
    names = [*DATASETS, *(f"{prefix}:PATH" for prefix in PREFIXES)]
    return f"dataset must be one of {', '.join(names)}, not {name!r}{hint(name, names)}"


def load(
    name: str,
    directory: Path | None = None,
    shape: tuple[int, ...] | None = None,
    augment: bool = True,
) -> Dataset:
    """A dataset by name; `directory` (else the environment's FXSIM_DATA) holds its files.

    shape : of one sample, as the network wants it: texts are cut, folders' images scaled to it
    augment : whether training images are cropped and mirrored, where that is usual
    """
    if problem := unknown(name):
        raise DataError(problem)
    if directory is None and os.environ.get(DATA_VARIABLE):
        directory = Path(os.environ[DATA_VARIABLE])
    if directory is not None and not directory.is_dir():
        raise DataError(f"--data-dir must be a directory, not {str(directory)!r}")
    kind, colon, path = name.partition(":")
    request = Request(name, directory, shape, augment, Path(path) if colon else None)
    return (PREFIXES[kind] if colon else DATASETS[name])(request)


__all__ = ["DATASETS", "Batch", "Dataset", "batches", "load", "permutation", "unknown"]
