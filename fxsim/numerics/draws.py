"""Random draws: a pure function of (seed, step, layer, role, element index), or a shift register.

A stream key is mixed from the names of the draw; element i's draw is a hash of the key and i
(`fxsim.numerics.specification.draw32`), so that no draw depends on call order or on a thread.
Weights are initialised from splitmix64 (`draw64`; Steele, Lea, Flood, "Fast splittable
pseudorandom number generators", OOPSLA 2014, doi:10.1145/2660193.2660195).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from fxsim.errors import FormatError

DRAW_BITS = 16  # of a draw, where nothing else is said

# Taps of maximal-length registers. Source: Xilinx XAPP 052 (1996), table 3.
MAXIMAL_TAPS = {
    4: (4, 3),
    8: (8, 6, 5, 4),
    12: (12, 6, 4, 1),
    16: (16, 15, 13, 4),
    20: (20, 17),
    24: (24, 23, 22, 17),
    32: (32, 22, 2, 1),
}


def stream_key(seed: int, step: int, layer: str, role: str) -> int:
    """The key of one stream of draws.

    Parameters
    ----------
    seed, step : of the run
    layer, role : the tensor that draws

    Returns
    -------
    64 bits, a hash of these names.

    Examples
    --------
    >>> stream_key(0, 1, "conv1", "weight") == stream_key(0, 1, "conv1", "error")
    False
    """
    digest = hashlib.sha256(f"{seed}/{step}/{layer}/{role}".encode()).digest()
    return int.from_bytes(digest[:8], "little")


@dataclass(frozen=True, slots=True)
class Lfsr:
    """A Fibonacci linear-feedback shift register, as hardware draws: cheap, and its bits repeat.

    Parameters
    ----------
    width : 2 to 48 bits
    taps : positions from 1 to `width`, that of `width` among them
    seed : the first state, not 0; element 0 sees the state after one step

    Raises
    ------
    FormatError : for what is outside these limits

    Examples
    --------
    >>> Lfsr(16, (16, 15, 13, 4)).width
    16
    """

    width: int
    taps: tuple[int, ...]
    seed: int = 1

    def __post_init__(self) -> None:
        if not 2 <= self.width <= 48:
            raise FormatError(f"Lfsr: width must be 2 to 48, not {self.width}")
        if self.width not in self.taps or not all(1 <= tap <= self.width for tap in self.taps):
            raise FormatError(
                f"Lfsr: taps must be positions 1 to {self.width}, {self.width} among them, not"
                f" {self.taps}"
            )
        if not 0 < self.seed < 1 << self.width:
            raise FormatError(
                f"Lfsr: seed must be 1 to 2**{self.width} - 1 (0 never changes), not {self.seed}"
            )

    @classmethod
    def maximal(cls, width: int, seed: int = 1) -> Lfsr:
        """A register that visits every state but 0.

        Parameters
        ----------
        width : one for which the taps are known (`MAXIMAL_TAPS`) [bits]
        seed : the first state

        Returns
        -------
        The register.

        Raises
        ------
        FormatError : for a width whose taps are not known

        Examples
        --------
        >>> Lfsr.maximal(16).taps
        (16, 15, 13, 4)
        """
        if width not in MAXIMAL_TAPS:
            widths = ", ".join(map(str, MAXIMAL_TAPS))
            raise FormatError(f"Lfsr: maximal taps are known for widths {widths}, not {width}")
        return cls(width, MAXIMAL_TAPS[width], seed)
