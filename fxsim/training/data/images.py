"""Image datasets: digits, MNIST, Fashion-MNIST (idx), CIFAR (python and binary), .npz, folders."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fxsim.engine.tensor import FixedTensor
from fxsim.errors import DataError
from fxsim.numerics.draws import stream_key
from fxsim.numerics.specification import draw32
from fxsim.training.data.base import (
    INPUT_WORD,
    Augmentation,
    Batch,
    Dataset,
    ImageDataset,
    Ints,
    input_table,
    permutation,
)
from fxsim.training.data.official import CIFAR, IDX
from fxsim.training.data.request import Request, checked, members, read
from fxsim.training.data.unpickle import loads

CROPS = Augmentation(pad=4, mirror=True)
_FOLDERS = {
    "mnist": ("mnist", "MNIST/raw", "."),
    "fashion-mnist": ("fashion", "fashion-mnist", "FashionMNIST/raw", "."),
    "cifar10": ("cifar10", "."),
    "cifar100": ("cifar100", "."),
}


DIGITS = Path(__file__).parent / "digits.csv.gz"  # see digits.md beside it


def digits(request: Request) -> Dataset:
    """UCI's 8x8 handwritten digits, carried along: 1,437 train and 360 test images."""
    table = np.loadtxt(DIGITS, np.uint8, delimiter=",")
    images, labels = table[:, :-1].reshape(-1, 8, 8, 1), table[:, -1].astype(np.int64)
    order = permutation(len(labels), stream_key(0, 0, "digits", "split"))
    train, test = order[360:], order[:360]
    return ImageDataset(
        "digits",
        images[train],
        labels[train],
        images[test],
        labels[test],
        10,
        "Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998;"
        " as scikit-learn bundles it; 1,437 train and 360 test images",
        input_table(16, (0.3053,), (0.3761,)),
    )


def mnist(request: Request) -> Dataset:
    """LeCun's MNIST."""
    source = "LeCun, Cortes, Burges, The MNIST database, 1998"
    return _idx(request, 0.1307, 0.3081, source)


def fashion_mnist(request: Request) -> Dataset:
    """Zalando's Fashion-MNIST."""
    return _idx(request, 0.2860, 0.3530, "Xiao, Rasul, Vollgraf, arXiv 1708.07747")


def _idx(request: Request, mean: float, deviation: float, source: str) -> Dataset:
    directory, name = request.files_directory(), request.name
    arrays = []
    for file, digest in IDX[name].items():
        path = _find(name, (file, f"{file}.gz"), directory)
        arrays.append(_idx_array(checked(path, read(path), digest, name)))
    images, labels = (a[..., None] for a in arrays[::2]), (a.astype(np.int64) for a in arrays[1::2])
    (train, test), (train_labels, test_labels) = images, labels
    table = input_table(255, (mean,), (deviation,))
    return ImageDataset(name, train, train_labels, test, test_labels, 10, source, table)


def _idx_array(raw: bytes) -> NDArray[np.uint8]:
    dimensions = raw[3]
    shape = [int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(dimensions)]
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def _find(name: str, files: tuple[str, ...], directory: Path) -> Path:
    """The first of some files, in any of a dataset's usual folders."""
    for folder in _FOLDERS[name]:
        for file in files:
            path = directory / folder / file
            if path.exists():
                return path
    places = ", ".join(_FOLDERS[name])
    raise DataError(
        f"{directory}: must hold {files[-1]} for dataset {name} (in {places}); it does not"
    )


def cifar10(request: Request) -> Dataset:
    """Krizhevsky's CIFAR-10."""
    means, deviations = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
    return _cifar(request, 10, means, deviations)


def cifar100(request: Request) -> Dataset:
    """Krizhevsky's CIFAR-100, fine labels."""
    means, deviations = (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)
    return _cifar(request, 100, means, deviations)


def _cifar(
    request: Request, classes: int, means: tuple[float, ...], deviations: tuple[float, ...]
) -> Dataset:
    name, release = request.name, CIFAR[request.name]
    places = tuple(f"{release.folder}{suffix}" for suffix in ("", ".tar.gz", ".tar.xz", ".tar"))
    binary = tuple(f"{release.binary_folder}{suffix}" for suffix in ("", ".tar.gz"))
    path = _find(name, (*binary, *places), request.files_directory())
    is_binary = path.name.startswith(release.binary_folder)
    files = release.binary if is_binary else release.python
    raw = (
        {file: read(path / file) for file in files}
        if path.is_dir()
        else members(path, tuple(files))
    )
    parts = []
    for file, digest in files.items():
        if digest:
            checked(path / file, raw[file], digest, name)
        one = _cifar_binary if is_binary else _cifar_python
        parts.append(one(raw[file], f"{path}/{file}", classes))
    images, labels = (np.concatenate([part[i] for part in parts[:-1]]) for i in range(2))
    source = "Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009"
    return ImageDataset(
        name,
        images,
        labels,
        *parts[-1],
        classes,
        source,
        input_table(255, means, deviations),
        CROPS if request.augment else Augmentation(),
    )


def _planes(rows: Any, where: str) -> NDArray[np.uint8]:
    """(N, 3072) planar pixels to (N, 32, 32, 3)."""
    if not isinstance(rows, np.ndarray) or rows.dtype != np.uint8 or rows.shape[1:] != (3072,):
        raise DataError(f"{where}: must hold rows of 3072 bytes of pixels")
    return np.ascontiguousarray(rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


def _cifar_python(raw: bytes, where: str, classes: int) -> tuple[NDArray[np.uint8], Ints]:
    batch = loads(raw, where)
    key = "fine_labels" if classes == 100 else "labels"
    labels = batch.get(key)
    if not isinstance(labels, list) or "data" not in batch:
        raise DataError(f"{where}: must hold 'data' and a list of {key!r}")
    return _planes(batch["data"], where), np.array(labels, np.int64)


def _cifar_binary(raw: bytes, where: str, classes: int) -> tuple[NDArray[np.uint8], Ints]:
    lead = 2 if classes == 100 else 1  # CIFAR-100: coarse label, then fine label
    rows = np.frombuffer(raw, np.uint8)
    if rows.size % (3072 + lead):
        raise DataError(f"{where}: must hold records of {3072 + lead} bytes, not {rows.size} bytes")
    rows = rows.reshape(-1, 3072 + lead)
    return _planes(rows[:, lead:], where), rows[:, lead - 1].astype(np.int64)


_NPZ = ("train_images", "train_labels", "test_images", "test_labels")


def npz_file(request: Request) -> Dataset:
    """The user's own arrays: train_images, train_labels, test_images, test_labels.

    Images (N, H, W), (N, H, W, C) uint8, normalised by their own mean and deviation; labels from 0.
    """
    path = request.path
    assert path is not None
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [key for key in _NPZ if key not in file]
            if missing:
                raise DataError(f"{path}: must hold an array {missing[0]!r}")
            train, train_labels, test, test_labels = (file[key] for key in _NPZ)
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as problem:
        raise DataError(f"{path}: must be a readable .npz file: {problem}") from None
    images = []
    for name, array in (("train_images", train), ("test_images", test)):
        if array.dtype != np.uint8 or array.ndim not in (3, 4):
            raise DataError(
                f"{path}: {name} must be (N, H, W) or (N, H, W, C) uint8, not {array.shape}"
                f" {array.dtype}"
            )
        images.append(array if array.ndim == 4 else array[..., None])
    if images[0].shape[1:] != images[1].shape[1:] or not min(len(train), len(test)):
        raise DataError(
            f"{path}: train_images and test_images must be of one shape, and some, not"
            f" {train.shape} and {test.shape}"
        )
    for name, array, count in (
        ("train_labels", train_labels, len(train)),
        ("test_labels", test_labels, len(test)),
    ):
        if array.shape != (count,) or array.dtype.kind not in "iu":
            raise DataError(f"{path}: {name} must be {count} integers, not {array.shape}")
        if array.min() < 0:
            raise DataError(f"{path}: {name} must be 0 or more, not {array.min()}")
    values = images[0].reshape(-1, images[0].shape[3]) / 255
    deviations = np.maximum(values.std(axis=0), 1e-3)
    table = input_table(255, tuple(values.mean(axis=0)), tuple(deviations))
    classes = int(max(train_labels.max(), test_labels.max())) + 1
    return ImageDataset(
        request.name,
        images[0],
        train_labels.astype(np.int64),
        images[1],
        test_labels.astype(np.int64),
        classes,
        f"the user's file {path.name}",
        table,
    )


@dataclass(frozen=True, slots=True, eq=False)
class FolderDataset:
    """ImageNet-style folders, train/CLASS/*.jpg and val/CLASS/*.jpg, read batch by batch."""

    name: str
    shape: tuple[int, ...]
    train_files: tuple[Path, ...]
    train_labels: Ints
    test_files: tuple[Path, ...]
    test_labels: Ints
    classes: int
    source: str
    table: NDArray[np.int16]
    mirror: bool

    @property
    def label_shape(self) -> tuple[int, ...]:
        return ()

    @property
    def tokens(self) -> bool:
        return False

    @property
    def train_size(self) -> int:
        return len(self.train_files)

    @property
    def test_size(self) -> int:
        return len(self.test_files)

    def train_batch(self, chosen: Ints, seed: int, epoch: int) -> Batch:
        key = stream_key(seed, epoch, "data", "augmentation")
        pixels = [self._image(self.train_files[i]) for i in chosen]
        if self.mirror:
            turned = [draw32(key, int(i)) >> 31 for i in chosen]
            pixels = [p[:, ::-1] if t else p for p, t in zip(pixels, turned, strict=True)]
        return self._normalised(pixels), self.train_labels[chosen]

    def test_batch(self, start: int, stop: int) -> Batch:
        files = self.test_files[start:stop]
        labels = self.test_labels[start : start + len(files)]
        return self._normalised([self._image(file) for file in files]), labels

    def _normalised(self, pixels: list[NDArray[np.uint8]]) -> FixedTensor:
        return FixedTensor.trusted(self.table[np.stack(pixels), np.arange(3)], INPUT_WORD)

    def _image(self, path: Path) -> NDArray[np.uint8]:
        """Scaled so that the shorter side fits 8/7 of the input, and cut from the middle."""
        from PIL import Image, UnidentifiedImageError

        height, width, _ = self.shape
        try:
            with Image.open(path) as opened:
                image = opened.convert("RGB")
        except (OSError, UnidentifiedImageError) as problem:
            raise DataError(f"{path}: must be a readable image: {problem}") from None
        scale = max(height / image.height, width / image.width) * 8 / 7
        size = (max(round(image.width * scale), width), max(round(image.height * scale), height))
        pixels = np.asarray(image.resize(size, Image.Resampling.BILINEAR))
        top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
        return pixels[top : top + height, left : left + width].copy()

    def digest(self) -> str:
        """Of names, sizes and times of change: contents may be hundreds of gigabytes."""
        sha = hashlib.sha256(f"{self.shape} {self.mirror}".encode())
        for files in (self.train_files, self.test_files):
            for file in files:
                status = file.stat()
                line = f"{file.parent.name}/{file.name} {status.st_size} {status.st_mtime_ns}"
                sha.update(line.encode() + b"\0")
        return sha.hexdigest()


def folder(request: Request) -> Dataset:
    """Images in PATH/train/CLASS/ and PATH/val/CLASS/ (or test), streamed."""
    root = request.path
    assert root is not None
    test = next((root / part for part in ("val", "test") if (root / part).is_dir()), root / "val")
    samples = []
    classes: list[str] = []
    for part in (root / "train", test):
        if not part.is_dir():
            raise DataError(f"{part}: must be a directory with a folder of images for each class")
        names = sorted(entry.name for entry in part.iterdir() if entry.is_dir())
        classes = classes or names
        extra = [name for name in names if name not in classes]
        if extra:
            raise DataError(f"{part}/{extra[0]}: must be one of the classes in {root / 'train'}")
        pairs = [
            (file, classes.index(name))
            for name in names
            for file in sorted((part / name).iterdir())
            if file.suffix.lower() in (".jpg", ".jpeg", ".png")
        ]
        if not pairs:
            raise DataError(f"{part}: must hold .jpg or .png images in folders, one a class")
        samples.append((tuple(f for f, _ in pairs), np.array([n for _, n in pairs], np.int64)))
    table = input_table(255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    shape = request.shape or (224, 224, 3)
    if len(shape) != 3 or shape[2] != 3:
        raise DataError(f"{request.name}: images are height x width x 3, not {list(shape)}")
    return FolderDataset(
        request.name,
        shape,
        *samples[0],
        *samples[1],
        len(classes),
        f"the user's folder {root.name}",
        table,
        request.augment,
    )
