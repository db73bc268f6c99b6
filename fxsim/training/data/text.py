"""Text as tokens, and a synthetic task for sequence-to-sequence models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fxsim.engine.kernels import casting
from fxsim.errors import DataError
from fxsim.numerics.draws import stream_key
from fxsim.training.data.base import Dataset, TokenDataset
from fxsim.training.data.official import TINY_SHAKESPEARE
from fxsim.training.data.request import Request, checked, read

POSITIONS = 64  # of a window, unless the network says otherwise
TEST_SHARE = 10  # the last tenth of a text is for testing
MOST_TEST_WINDOWS = 500


def tiny_shakespeare(request: Request) -> Dataset:
    """40,000 lines of Shakespeare, one character a token."""
    directory = request.files_directory()
    for place in ("tinyshakespeare/input.txt", "input.txt", "tinyshakespeare.txt"):
        path = directory / place
        if path.is_file():
            raw = checked(path, read(path), TINY_SHAKESPEARE, request.name)
            source = "Karpathy, The Unreasonable Effectiveness of Recurrent Neural Networks, 2015"
            return _windows(request, path, raw, source)
    raise DataError(
        f"{directory}: must hold tinyshakespeare/input.txt for dataset tinyshakespeare; it does not"
    )


def text_file(request: Request) -> Dataset:
    """Any text in UTF-8, one character a token."""
    path = request.path
    assert path is not None
    if not path.is_file():
        raise DataError(f"{path}: must be a text file; there is none")
    return _windows(request, path, read(path), f"the user's file {path.name}")


def _windows(request: Request, path: Path, raw: bytes, source: str) -> Dataset:
    """Windows of a text; each label is the character that follows.

    Training windows overlap by half; test windows do not, and are the first 500 of them.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as problem:
        raise DataError(f"{path}: must be text in UTF-8: {problem}") from None
    letters = sorted(set(text))
    length = request.shape[0] if request.shape else POSITIONS
    if len(text) < 4 * TEST_SHARE * length:
        raise DataError(
            f"{path}: must hold at least {4 * TEST_SHARE * length} characters for windows of"
            f" {length}, not {len(text)}"
        )
    table = {letter: i for i, letter in enumerate(letters)}
    tokens = np.array([table[letter] for letter in text], np.int64)
    cut = len(tokens) - len(tokens) // TEST_SHARE
    windows: list[NDArray[np.int64]] = []
    for part, step in ((tokens[:cut], max(length // 2, 1)), (tokens[cut:], length)):
        view = np.lib.stride_tricks.sliding_window_view(part, length + 1)[::step]
        chosen = view if step < length else view[:MOST_TEST_WINDOWS]
        windows += [np.ascontiguousarray(chosen[:, :-1]), np.ascontiguousarray(chosen[:, 1:])]
    train, train_labels, test, test_labels = windows
    return TokenDataset(request.name, train, train_labels, test, test_labels, len(letters), source)


REVERSAL_LETTERS = 10
_START = REVERSAL_LETTERS  # the token before the first of the answer


def reversal(request: Request) -> Dataset:
    """Sequences to be given back in reverse: source, then start token and the answer so far."""
    whole = request.shape[0] if request.shape else 16
    if whole % 2:
        raise DataError(f"dataset reversal: samples have source and answer, not {whole} positions")
    length = whole // 2
    sequences: list[NDArray[np.int64]] = []
    for part, count in (("train", 8192), ("test", 512)):
        draws = np.empty(count * length, np.uint64)
        key = np.uint64(stream_key(0, 0, "reversal", part))
        casting.draws_range(0, draws.size, draws, key)
        source = (draws % REVERSAL_LETTERS).astype(np.int64).reshape(count, length)
        answer = np.ascontiguousarray(source[:, ::-1])
        start = np.full((count, 1), _START, np.int64)
        sequences += [np.concatenate([source, start, answer[:, :-1]], axis=1), answer]
    train, train_labels, test, test_labels = sequences
    return TokenDataset(
        request.name,
        train,
        train_labels,
        test,
        test_labels,
        REVERSAL_LETTERS + 1,
        "synthetic, ours: random digits, reversed",
    )
