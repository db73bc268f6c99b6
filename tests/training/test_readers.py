"""Readers of CIFAR, text, `.npz` and folders; augmentation; downloads from a server of our own."""

from __future__ import annotations

import hashlib
import http.server
import pickle
import tarfile
import threading
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from support import shared

from fxsim.errors import DataError
from fxsim.numerics import specification
from fxsim.numerics.draws import stream_key
from fxsim.training import data
from fxsim.training.data import fetch as fetching
from fxsim.training.data import unpickle
from fxsim.training.data.official import CIFAR

FILES_100 = {"train": 6, "test": 4}


def rows(count, seed):
    return np.random.default_rng(seed).integers(0, 256, (count, 3072)).astype(np.uint8)


def cifar100_files(protocol=2):
    """CIFAR-100's two files, small."""
    found = {}
    for name, count in FILES_100.items():
        fine = [(7 * i) % 100 for i in range(count)]
        plain = {b"data": rows(count, count), b"fine_labels": fine, b"coarse_labels": [1] * count}
        found[name] = pickle.dumps(plain, protocol)
    return found


def check_cifar100(found):
    assert found.shape == (32, 32, 3)
    assert (found.train_size, found.test_size, found.classes) == (6, 4, 100)
    planes = rows(6, 6)[2].reshape(3, 32, 32)
    assert np.array_equal(found.train_images[2], planes.transpose(1, 2, 0))
    assert found.train_labels.tolist() == [0, 7, 14, 21, 28, 35]


def test_cifar_python_extracted_and_as_archive(tmp_path):
    folder = tmp_path / "extracted" / "cifar-100-python"
    folder.mkdir(parents=True)
    for name, raw in cifar100_files().items():
        (folder / name).write_bytes(raw)
    check_cifar100(data.load("cifar100", tmp_path / "extracted"))
    (tmp_path / "packed").mkdir()
    with tarfile.open(tmp_path / "packed" / "cifar-100-python.tar.gz", "w:gz") as archive:
        archive.add(folder, "cifar-100-python")
    check_cifar100(data.load("cifar100", tmp_path / "packed"))


def test_cifar_binary(tmp_path):
    folder = tmp_path / "cifar-100-binary"
    folder.mkdir()
    for name, count in FILES_100.items():
        labels = np.array([[1, (7 * i) % 100] for i in range(count)], np.uint8)
        records = np.concatenate([labels, rows(count, count)], axis=1)
        (folder / f"{name}.bin").write_bytes(records.tobytes())
    check_cifar100(data.load("cifar100", tmp_path))
    (folder / "test.bin").write_bytes(b"short")
    with pytest.raises(DataError, match="must hold records of 3074 bytes, not 5 bytes"):
        data.load("cifar100", tmp_path)


class Evil:
    """A pickle that would run a command."""

    def __reduce__(self):
        return (print, ("executed",))


class Objects:
    def __reduce__(self):
        return (np.ndarray, ((2,), np.dtype("O")))


@pytest.mark.parametrize("hostile", [Evil(), {b"data": Evil()}, Objects(), [1], object()])
def test_the_unpickler_builds_nothing_but_data(hostile, capsys):
    with pytest.raises(DataError, match=r"batch: must (be a pickle of plain data|hold a dict)"):
        unpickle.loads(pickle.dumps(hostile), "batch")
    assert "executed" not in capsys.readouterr().out


def test_the_unpickler_reads_what_cifar_holds():
    plain = {"data": rows(2, 0), b"labels": [1, 2], "names": [b"a.png"], "label": b"batch"}
    for protocol in (2, 4):
        found = unpickle.loads(pickle.dumps(plain, protocol), "batch")
        assert np.array_equal(found["data"], plain["data"])
        assert found["labels"] == [1, 2]
    with pytest.raises(DataError, match="batch: must be a pickle of plain data"):
        unpickle.loads(b"\x80\x02 damaged", "batch")


@pytest.mark.slow
def test_cifar10_is_the_official_one():
    found = data.load("cifar10", shared("data"))
    assert (found.train_size, found.test_size, found.classes) == (50_000, 10_000, 10)
    assert np.bincount(found.train_labels).tolist() == [5000] * 10
    assert abs(found.test_batch(0, 2000)[0].codes.mean() / 2**12) < 0.05
    assert len(CIFAR["cifar10"].python) == 6


def test_augmentation_is_a_function_of_seed_epoch_and_index(tmp_path):
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for name, raw in cifar100_files().items():
        (folder / name).write_bytes(raw)
    found = data.load("cifar100", tmp_path)
    one = found.train_batch(np.array([3, 1]), 5, 2)[0].codes
    assert np.array_equal(found.train_batch(np.array([1]), 5, 2)[0].codes[0], one[1])
    assert not np.array_equal(found.train_batch(np.array([3, 1]), 5, 3)[0].codes, one)
    key = stream_key(5, 2, "data", "augmentation")
    padded = np.pad(found.train_images, ((0, 0), (4, 4), (4, 4), (0, 0)))
    for n, got in zip((3, 1), one, strict=True):
        drawn = specification.draw32(key, n)
        top, left = (drawn & 0xFFFF) * 9 >> 16, (drawn >> 16 & 0x7FFF) * 9 >> 15
        crop = padded[n, top : top + 32, left : left + 32]
        if drawn >> 31:
            # a mirrored output column x reads input column 31 - x, shifted by the same crop
            crop = crop[:, ::-1]
        assert np.array_equal(found.table[crop, np.arange(3)], got)
    plain = data.load("cifar100", tmp_path, augment=False)
    assert np.array_equal(
        plain.train_batch(np.array([3]), 5, 2)[0].codes[0],
        found.table[found.train_images[3], np.arange(3)],
    )


def test_npz(tmp_path):
    path = tmp_path / "mine.npz"
    images = np.arange(4 * 5 * 5, dtype=np.uint8).reshape(4, 5, 5)
    arrays = {
        "train_images": images,
        "train_labels": np.array([0, 1, 2, 1]),
        "test_images": images[:2],
        "test_labels": np.array([0, 2]),
    }
    np.savez(path, **arrays)
    found = data.load(f"npz:{path}")
    assert (found.shape, found.classes, found.test_size) == ((5, 5, 1), 3, 2)
    np.savez(path, **{**arrays, "test_labels": np.array([0.5, 1.0])})
    with pytest.raises(DataError, match=r"mine.npz: test_labels must be 2 integers"):
        data.load(f"npz:{path}")
    np.savez(path, **{**arrays, "train_images": images.astype(float)})
    with pytest.raises(DataError, match=r"train_images must be \(N, H, W\) or .* float64"):
        data.load(f"npz:{path}")
    np.savez(path, **{**arrays, "test_images": np.zeros((2, 6, 6), np.uint8)})
    with pytest.raises(DataError, match="train_images and test_images must be of one shape"):
        data.load(f"npz:{path}")
    np.savez(path, **{**arrays, "test_labels": np.array([-1, 1])})
    with pytest.raises(DataError, match="test_labels must be 0 or more, not -1"):
        data.load(f"npz:{path}")
    del arrays["test_images"]
    np.savez(path, **arrays)
    with pytest.raises(DataError, match="must hold an array 'test_images'"):
        data.load(f"npz:{path}")
    with pytest.raises(DataError, match=r"nowhere.npz: must be a readable .npz file"):
        data.load(f"npz:{tmp_path}/nowhere.npz")


def test_folders_are_streamed(tmp_path):
    from PIL import Image

    rng = np.random.default_rng(0)
    for part in ("train", "val"):
        for label in ("cat", "dog"):
            place = tmp_path / part / label
            place.mkdir(parents=True)
            for i in range(2):
                pixels = rng.integers(0, 256, (40, 50, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(place / f"{i}.png")
    found = data.load(f"folder:{tmp_path}", shape=(16, 16, 3))
    assert (found.train_size, found.classes) == (4, 2)
    images, labels = found.train_batch(np.array([0, 3]), 1, 0)
    assert images.shape == (2, 16, 16, 3)
    assert labels.tolist() == [0, 1]
    assert np.array_equal(found.train_batch(np.array([3]), 1, 0)[0].codes[0], images.codes[1])
    assert found.test_batch(2, 9)[1].tolist() == [1, 1]
    (tmp_path / "val" / "dog" / "0.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"0.png: must be a readable image"):
        found.test_batch(0, 4)
    (tmp_path / "val" / "cow").mkdir()
    (tmp_path / "val" / "cow" / "0.png").write_bytes(b"")
    with pytest.raises(DataError, match="val/cow: must be one of the classes"):
        data.load(f"folder:{tmp_path}")
    with pytest.raises(DataError, match="must be a directory with a folder of images"):
        data.load(f"folder:{tmp_path}/nowhere")


def test_texts_are_windows_and_what_follows(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("abcde" * 200)
    found = data.load(f"text:{path}", shape=(8,))
    assert (found.shape, found.classes) == ((8,), 5)
    assert found.train[0].tolist() == [0, 1, 2, 3, 4, 0, 1, 2]
    assert found.train_labels[0].tolist() == [1, 2, 3, 4, 0, 1, 2, 3]
    assert found.train[1, 0] == 4  # windows overlap by half
    assert len(found.test) == (100 - 1) // 8
    path.write_text("short")
    with pytest.raises(DataError, match="must hold at least 320 characters"):
        data.load(f"text:{path}", shape=(8,))
    with pytest.raises(DataError, match="must be a text file; there is none"):
        data.load(f"text:{tmp_path}/nowhere.txt")


def test_tiny_shakespeare_has_65_letters():
    found = data.load("tinyshakespeare", shared("data"), (32,))
    assert (found.classes, found.shape) == (65, (32,))


def test_reversal_is_its_answer():
    found = data.load("reversal", shape=(16,))
    assert np.array_equal(found.train[:, 7::-1], found.train_labels)
    assert np.array_equal(found.train[:, 9:], found.train_labels[:, :-1])


# --- downloads -------------------------------------------------------------------------------

BODY = bytes(range(256)) * 300


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves BODY, breaking off the first answer half way; understands Range."""

    asked: ClassVar[list[str | None]] = []
    breaks = 1

    def do_GET(self):
        wanted = self.headers.get("Range")
        Handler.asked.append(wanted)
        start = int(wanted.split("=")[1].rstrip("-")) if wanted else 0
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(BODY) - start))
        self.end_headers()
        stop = len(BODY)
        if Handler.breaks:
            Handler.breaks -= 1
            stop = len(BODY) // 2
        self.wfile.write(BODY[start:stop])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    Handler.asked, Handler.breaks = [], 1
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{running.server_port}/file.bin"
        digest = hashlib.sha256(BODY).hexdigest()
        download = fetching.Download(url, "place/file.bin", f"sha256:{digest}")
        monkeypatch.setitem(fetching.DOWNLOADS, "ours", (download,))
        yield
        running.shutdown()
        thread.join()


def test_a_download_is_resumed_checked_and_not_repeated(server, tmp_path):
    with pytest.raises(DataError, match=r"could not be fetched: .* is continued next time"):
        fetching.fetch("ours", tmp_path)
    part = tmp_path / "place" / "file.bin.part"
    have = part.stat().st_size
    assert 0 < have < len(BODY)
    assert fetching.fetch("ours", tmp_path) == [tmp_path / "place" / "file.bin"]
    assert Handler.asked == [None, f"bytes={have}-"]
    assert (tmp_path / "place" / "file.bin").read_bytes() == BODY
    assert not part.exists()
    fetching.fetch("ours", tmp_path)
    assert len(Handler.asked) == 2


def test_a_download_with_another_checksum_is_refused(server, tmp_path, monkeypatch):
    Handler.breaks = 0
    (whole,) = fetching.DOWNLOADS["ours"]
    other = fetching.Download(whole.url, whole.place, "md5:" + "0" * 32)
    monkeypatch.setitem(fetching.DOWNLOADS, "ours", (other,))
    with pytest.raises(DataError, match=r"must have the checksum md5:0000.*, not md5:"):
        fetching.fetch("ours", tmp_path)
    assert list((tmp_path / "place").iterdir()) == []


def test_offline_is_one_line(tmp_path, monkeypatch):
    gone = fetching.Download("http://127.0.0.1:9/file", "file", "md5:0")
    monkeypatch.setitem(fetching.DOWNLOADS, "ours", (gone,))
    with pytest.raises(DataError) as caught:
        fetching.fetch("ours", tmp_path)
    assert "\n" not in str(caught.value)
    assert "could not be fetched" in str(caught.value)
    with pytest.raises(DataError, match="did you mean 'cifar10'"):
        fetching.fetch("cifar1", tmp_path)


def test_every_download_has_a_checksum():
    for files in fetching.DOWNLOADS.values():
        for download in files:
            algorithm, _, digest = download.checksum.partition(":")
            assert len(digest) == hashlib.new(algorithm).digest_size * 2
            assert Path(download.place).name
