"""The accuracy baseline: the same graph in float32."""

from __future__ import annotations

from typing import ClassVar

from fxsim.policies.base import Policy


class Float32(Policy):
    """Trains in IEEE 754 binary32 (`fxsim.training.float32`); there are no bits to decide.

    Integer arrays cannot execute it, so it has no cycles and no energy on them.
    """

    summary: ClassVar[str] = "the same graph in float32, the accuracy baseline"
    source: ClassVar[str] = "IEEE 754-2019, binary32"
    integer: ClassVar[bool] = False

    @property
    def name(self) -> str:
        return "float32"
