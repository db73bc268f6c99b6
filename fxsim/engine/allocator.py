"""Keeping freed memory: tensors come and go by the megabyte, and fresh pages cost time."""

from __future__ import annotations

import ctypes
import platform
from contextlib import suppress

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # of mallopt, glibc's malloc.h
LARGEST = 1 << 30  # bytes up to which blocks come from the heap, and stay there


def keep_freed() -> None:
    """Have glibc reuse freed blocks instead of giving them back; elsewhere, nothing happens.

    Changes speed only.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_MMAP_THRESHOLD, LARGEST)
        library.mallopt(_TRIM_THRESHOLD, (1 << 31) - 1)
