"""Names that users give: what they may be, and how they become names of files."""

from __future__ import annotations

import hashlib
import re
from typing import Annotated

from pydantic import AfterValidator, Field

_LONGEST = 100


def _check(name: str) -> str:
    if not name.isprintable():
        raise ValueError("must be printable text on one line")
    if len(name) > _LONGEST:
        raise ValueError(f"must be of at most {_LONGEST} characters, not {len(name)}")
    if ".." in re.split(r"[/\\]", name) or re.match(r"[/\\~]|[A-Za-z]:[/\\]", name):
        raise ValueError(f"must be a name, not a path: {name!r}")
    return name


GivenName = Annotated[str, Field(min_length=1), AfterValidator(_check)]


def file_name(name: str) -> str:
    """A name as that of a file or folder, on any system.

    Parameters
    ----------
    name : any text

    Returns
    -------
    The same where it is of letters, digits and `._+=-`; else a name like it, with a few characters
    of its hash, so that different names stay apart.

    Examples
    --------
    >>> file_name("lenet5-mnist-uniform-seed0")
    'lenet5-mnist-uniform-seed0'
    >>> file_name("ds_cnn-npz:sub/kws.npz")
    'ds_cnn-npz_sub_kws.npz-9e9e79'
    """
    plain = re.sub(r"[^A-Za-z0-9._+=-]+", "_", name)
    plain = re.sub(r"^[.-]+|^$", "_", plain)[:_LONGEST]
    if plain == name:
        return name
    return f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"
