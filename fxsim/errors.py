"""The errors that fxsim raises deliberately.

The command line prints any `FxsimError` as one line, without a traceback, and exits with code 2.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class FxsimError(Exception):
    """Base of every deliberate error: something outside fxsim's code must change."""


class ConfigError(FxsimError):
    """A YAML file or an option says something it must not."""


class FormatError(FxsimError):
    """A number does not fit a format, or a format cannot do what was asked of it."""


class ShapeError(FxsimError):
    """The shapes of two operands do not go together."""


class DataError(FxsimError):
    """A dataset, trace or run is missing, damaged or not what it claims to be."""


class ReplayError(FxsimError):
    """A replayed run did not reproduce the recorded bits."""


class ThresholdError(FxsimError):
    """A comparison met a condition under which it was to fail."""


class FxsimWarning(UserWarning):
    """Something went on in another way than was asked; the command line prints one line."""


@contextmanager
def naming(what: str) -> Iterator[None]:
    """Put a name in front of what a FormatError says that is raised inside.

    Parameters
    ----------
    what : whose numbers they are

    Raises
    ------
    FormatError : the one raised inside, with the name

    Examples
    --------
    >>> with naming("activation of layer 'conv1'"):
    ...     raise FormatError("2 of 8 codes do not fit")
    Traceback (most recent call last):
    fxsim.errors.FormatError: activation of layer 'conv1': 2 of 8 codes do not fit
    """
    try:
        yield
    except FormatError as problem:
        raise FormatError(f"{what}: {problem}") from None


def missing_extra(what: str, extra: str, instead: str = "") -> ConfigError:
    """The error of what needs a package that is optional.

    Parameters
    ----------
    what : what asked for it, as the user wrote it
    extra : the extra of our package that brings it
    instead : what does without, if anything

    Examples
    --------
    >>> print(missing_extra("fxsim import", "onnx"))
    fxsim import needs packages that are not installed: pip install -e '.[onnx]'
    """
    other = f"; {instead} does without" if instead else ""
    return ConfigError(
        f"{what} needs packages that are not installed: pip install -e '.[{extra}]'{other}"
    )


def hint(word: str, candidates: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the closest known word, or an empty string."""
    close = difflib.get_close_matches(str(word), list(candidates), 1)
    return f"; did you mean {close[0]!r}?" if close else ""
