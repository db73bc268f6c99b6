"""Random draws as a pure function of (seed, step, layer, role, element index).

A stream key is mixed from the names of the draw; element i's draw is splitmix64's output number i
of that key. No draw depends on call order or on a thread.

Source of the mixer: Steele, Lea, Flood, "Fast splittable pseudorandom number generators",
OOPSLA 2014, doi:10.1145/2660193.2660195 (variant 13 of Stafford's finalisers).
"""

from __future__ import annotations

import hashlib

GOLDEN = 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1
DRAW_BITS = 16


def stream_key(seed: int, step: int, layer: str, role: str) -> int:
    """The 64-bit key of one stream of draws."""
    digest = hashlib.sha256(f"{seed}/{step}/{layer}/{role}".encode()).digest()
    return int.from_bytes(digest[:8], "little")


def draw64(key: int, index: int) -> int:
    """Draw number `index` of a stream: 64 uniform bits."""
    z = (key + (index + 1) * GOLDEN) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def draw(key: int, index: int) -> int:
    """The top `DRAW_BITS` bits of a draw, as a rounding unit uses them."""
    return draw64(key, index) >> (64 - DRAW_BITS)
