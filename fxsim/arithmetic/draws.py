"""Random draws as a pure function of (seed, step, layer, role, element index).

A stream key is mixed from the names of the draw; element i's draw is splitmix64's output number i
of that key (`fxsim.arithmetic.reference.draw`). No draw depends on call order or on a thread.

Source of the mixer: Steele, Lea, Flood, "Fast splittable pseudorandom number generators",
OOPSLA 2014, doi:10.1145/2660193.2660195 (variant 13 of Stafford's finalisers).
"""

from __future__ import annotations

import hashlib


def stream_key(seed: int, step: int, layer: str, role: str) -> int:
    """The 64-bit key of one stream of draws."""
    digest = hashlib.sha256(f"{seed}/{step}/{layer}/{role}".encode()).digest()
    return int.from_bytes(digest[:8], "little")
