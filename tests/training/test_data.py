from __future__ import annotations

import gzip

import numpy as np
import pytest
from support import shared

from fxsim.errors import DataError
from fxsim.training import data


def test_digits_are_split_once_and_for_all():
    found = data.load("digits")
    assert found.shape == (8, 8, 1)
    assert (len(found.train_labels), len(found.test_labels)) == (1437, 360)
    assert found.digest() == data.load("digits").digest()


def test_batches_are_a_permutation_of_seed_and_epoch():
    found = data.load("digits")
    one, again = data.batches(found, 3, 0, 32), data.batches(found, 3, 0, 32)
    assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))
    assert len(one) == 1437 // 32
    assert len(np.unique(np.concatenate(one))) == 32 * len(one)
    assert not np.array_equal(one[0], data.batches(found, 3, 1, 32)[0])
    assert not np.array_equal(one[0], data.batches(found, 4, 0, 32)[0])


@pytest.mark.parametrize(("name", "folder"), [("mnist", "mnist"), ("fashion-mnist", "fashion")])
def test_official_idx_files_load(name, folder):
    shared("data", folder, "train-images-idx3-ubyte.gz")
    found = data.load(name, shared("data"))
    assert (found.train_images.shape, found.test_images.shape) == (
        (60000, 28, 28, 1),
        (10000, 28, 28, 1),
    )
    assert set(found.train_labels) == set(range(10))
    words = found.train_batch(np.arange(60000), 0, 0)[0].codes
    assert abs(words.mean() / 2**12) < 0.01
    assert abs(words.std() / 2**12 - 1) < 0.01


def test_another_datasets_file_is_refused_by_its_checksum(tmp_path):
    (tmp_path / "mnist").mkdir()
    with gzip.open(tmp_path / "mnist" / "train-images-idx3-ubyte.gz", "wb") as file:
        file.write(b"\0\0\x08\x03 not the official digits")
    with pytest.raises(DataError, match=r"must be mnist's official file, SHA-256 ba891046e6505d7a"):
        data.load("mnist", tmp_path)


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(b"\x1f\x8b damaged")
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte.gz: must be a readable gzip"):
        data.load("mnist", tmp_path)


def test_a_file_that_stops_deflating_is_named(tmp_path):
    whole = gzip.compress(bytes(range(256)) * 50)
    damaged = whole[:20] + bytes(len(whole) - 20)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(damaged)
    with pytest.raises(DataError, match=r"must be a readable gzip or idx file"):
        data.load("mnist", tmp_path)


def test_missing_data_say_what_to_give(tmp_path, monkeypatch):
    monkeypatch.delenv("FXSIM_DATA", raising=False)
    with pytest.raises(DataError, match=r"--data-dir \(or FXSIM_DATA\) must name a directory"):
        data.load("mnist")
    with pytest.raises(DataError, match=r"must hold train-images-idx3-ubyte.gz for dataset mnist"):
        data.load("mnist", tmp_path)
    monkeypatch.setenv("FXSIM_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="must be a directory, not"):
        data.load("mnist")
    with pytest.raises(DataError, match=r"not 'fashion_mnist'; did you mean 'fashion-mnist'\?"):
        data.load("fashion_mnist")
