"""What a dataset is to training: batches by index, the same ones for the same seed and epoch."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fxsim.engine.kernels import casting
from fxsim.engine.kernels import images as imaging
from fxsim.engine.tensor import FixedTensor
from fxsim.engine.threads import split
from fxsim.numerics.draws import stream_key
from fxsim.numerics.formats import FixedPoint

INPUT_WORD = FixedPoint(16, 12)  # normalised pixels: -8 to 8
Ints = NDArray[np.int64]
Batch = tuple[FixedTensor | Ints, Ints]


class Dataset(Protocol):
    """Training and test samples, batch by batch."""

    @property
    def name(self) -> str:
        """As in commands."""

    @property
    def classes(self) -> int:
        """How many labels there are."""

    @property
    def source(self) -> str:
        """Where it comes from."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample."""

    @property
    def label_shape(self) -> tuple[int, ...]:
        """Of one sample's labels: () for classes, (positions,) for sequences."""

    @property
    def tokens(self) -> bool:
        """Whether samples are tokens, integers for an embedding, not images."""

    @property
    def train_size(self) -> int:
        """Training samples."""

    @property
    def test_size(self) -> int:
        """Test samples."""

    def train_batch(self, chosen: Ints, seed: int, epoch: int) -> Batch:
        """(inputs, labels) of some training samples, augmented by (seed, epoch, index) alone."""

    def test_batch(self, start: int, stop: int) -> Batch:
        """(inputs, labels) of a range of test samples."""

    def digest(self) -> str:
        """SHA-256 of everything that decides a batch."""


def batches(data: Dataset, seed: int, epoch: int, size: int) -> list[Ints]:
    """The epoch's batches of training indices; a last, partial batch is dropped."""
    order = permutation(data.train_size, stream_key(seed, epoch, "data", "order"))
    return [order[i : i + size] for i in range(0, len(order) - size + 1, size)]


def permutation(size: int, key: int) -> Ints:
    """0..size-1 in the order of their draws from one stream."""
    draws = np.empty(size, np.uint64)
    casting.draws_range(0, size, draws, np.uint64(key))
    return np.argsort(draws, kind="stable").astype(np.int64)


def input_table(largest: int, means: tuple[float, ...], deviations: tuple[float, ...]) -> Any:
    """(largest + 1, channels) normalised pixels as `INPUT_WORD`: the one float-to-integer cast."""
    pixels = np.arange(largest + 1)[:, None]
    exact = np.ldexp((pixels / largest - np.array(means)) / np.array(deviations), INPUT_WORD.frac)
    return np.clip(np.rint(exact), INPUT_WORD.min_code, INPUT_WORD.max_code).astype(np.int16)


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Random crops of an image padded by `pad` pixels, and mirroring.

    Source: He et al., arXiv 1512.03385, section 4.2 (pad 4, flip).
    """

    pad: int = 0
    mirror: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class ImageDataset:
    """Images in memory, (N, H, W, C), and labels, (N,).

    table : (pixel values, C) codes of `INPUT_WORD`; None where images are such codes themselves
    """

    name: str
    train_images: NDArray[Any]
    train_labels: Ints
    test_images: NDArray[Any]
    test_labels: Ints
    classes: int
    source: str
    table: NDArray[np.int16] | None = None
    augmentation: Augmentation = Augmentation()

    @property
    def shape(self) -> tuple[int, ...]:
        return self.train_images.shape[1:]

    @property
    def label_shape(self) -> tuple[int, ...]:
        return ()

    @property
    def tokens(self) -> bool:
        return False

    @property
    def train_size(self) -> int:
        return len(self.train_labels)

    @property
    def test_size(self) -> int:
        return len(self.test_labels)

    def train_batch(self, chosen: Ints, seed: int, epoch: int) -> Batch:
        key = stream_key(seed, epoch, "data", "augmentation")
        return self._take(self.train_images, chosen, self.augmentation, key), self.train_labels[
            chosen
        ]

    def test_batch(self, start: int, stop: int) -> Batch:
        stop = min(stop, self.test_size)
        chosen = np.arange(start, stop)
        return self._take(self.test_images, chosen, Augmentation(), 0), self.test_labels[chosen]

    def _take(self, images: NDArray[Any], chosen: Ints, how: Augmentation, key: int) -> FixedTensor:
        if self.table is None:
            return FixedTensor.trusted(images[chosen].astype(np.int16), INPUT_WORD)
        out = np.empty((len(chosen), *self.shape), np.int16)
        split(
            imaging.take_range,
            len(chosen),
            out[:1].size,
            images,
            chosen,
            self.table,
            how.pad,
            how.mirror,
            np.uint64(key),
            out,
        )
        return FixedTensor.trusted(out, INPUT_WORD)

    def digest(self) -> str:
        sha = hashlib.sha256(repr(self.augmentation).encode())
        for array in (self.train_images, self.test_images):
            narrow = "<i2" if array.dtype.itemsize > 1 else "u1"
            sha.update(np.ascontiguousarray(array, narrow).tobytes())
        for labels in (self.train_labels, self.test_labels):
            sha.update(np.ascontiguousarray(labels, "<i8").tobytes())
        if self.table is not None:
            sha.update(np.ascontiguousarray(self.table, "<i2").tobytes())
        return sha.hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class TokenDataset:
    """Sequences of tokens: samples are windows of a text, or pairs given as they are.

    train, test : (N, length) inputs; train_labels, test_labels : (N, positions)
    """

    name: str
    train: Ints
    train_labels: Ints
    test: Ints
    test_labels: Ints
    classes: int
    source: str

    @property
    def shape(self) -> tuple[int, ...]:
        return self.train.shape[1:]

    @property
    def label_shape(self) -> tuple[int, ...]:
        return self.train_labels.shape[1:]

    @property
    def tokens(self) -> bool:
        return True

    @property
    def train_size(self) -> int:
        return len(self.train)

    @property
    def test_size(self) -> int:
        return len(self.test)

    def train_batch(self, chosen: Ints, seed: int, epoch: int) -> Batch:
        return self.train[chosen], self.train_labels[chosen]

    def test_batch(self, start: int, stop: int) -> Batch:
        return self.test[start:stop], self.test_labels[start:stop]

    def digest(self) -> str:
        sha = hashlib.sha256()
        for array in (self.train, self.train_labels, self.test, self.test_labels):
            sha.update(np.ascontiguousarray(array, "<i8").tobytes())
        return sha.hexdigest()
