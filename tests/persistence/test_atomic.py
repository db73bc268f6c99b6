"""Outputs appear whole or not at all."""

from __future__ import annotations

import errno
import os

import pytest

from fxsim.persistence.atomic import atomic_directory, atomic_file


def test_a_file_appears_only_when_it_is_whole(tmp_path):
    path = tmp_path / "deep" / "result.txt"
    with atomic_file(path) as fresh:
        fresh.write_text("half")
        assert not path.exists()
    assert path.read_text() == "half"


@pytest.mark.parametrize("problem", [ValueError, KeyboardInterrupt])
def test_an_interrupted_file_leaves_what_was_there(tmp_path, problem):
    path = tmp_path / "result.txt"
    path.write_text("old")

    def interrupted():
        with atomic_file(path) as fresh:
            fresh.write_text("half")
            raise problem

    with pytest.raises(problem):
        interrupted()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["result.txt"]


@pytest.mark.parametrize("problem", [ValueError, KeyboardInterrupt])
def test_an_interrupted_directory_leaves_what_was_there(tmp_path, problem):
    place = tmp_path / "run"
    with atomic_directory(place) as fresh:
        (fresh / "a").write_text("old")

    def interrupted():
        with atomic_directory(place) as fresh:
            (fresh / "a").write_text("half")
            raise problem

    with pytest.raises(problem):
        interrupted()
    assert (place / "a").read_text() == "old"
    with atomic_directory(place) as fresh:
        (fresh / "b").write_text("new")
    assert [p.name for p in place.iterdir()] == ["b"]
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_a_full_disk_names_the_file(tmp_path):
    full, path = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), tmp_path / "table.csv"
    with (
        pytest.raises(OSError, match="No space left") as caught,
        atomic_file(tmp_path / "table.csv"),
    ):
        raise full
    assert caught.value.filename == str(path)
    assert list(tmp_path.iterdir()) == []
