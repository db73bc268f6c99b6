"""An operand of a product: codes and a bound on them."""

from __future__ import annotations

from dataclasses import dataclass

from fxsim.engine.tensor import Codes, FixedTensor


@dataclass(frozen=True, slots=True, eq=False)
class Operand:
    """Codes, a bound on their magnitude, and their fractional bits."""

    codes: Codes
    peak: int
    frac: int

    @classmethod
    def of(cls, tensor: FixedTensor) -> Operand:
        """The operand that a tensor's format describes."""
        bits = tensor.format.bits
        peak = 1 << (bits - 1) if tensor.format.signed else (1 << bits) - 1
        return cls(tensor.codes, peak, tensor.format.frac)

    def like(self, codes: Codes) -> Operand:
        """Other codes with the same bounds."""
        return Operand(codes, self.peak, self.frac)
