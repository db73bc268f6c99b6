"""Windows that slide over an axis: of convolutions and of pooling."""

from __future__ import annotations

from dataclasses import dataclass

from fxsim.errors import ShapeError

_LEAST = {"size": 1, "stride": 1, "before": 0, "after": 0, "dilation": 1}


@dataclass(frozen=True, slots=True)
class Window:
    """A window along one axis.

    size : its taps; stride : from window to window; dilation : from tap to tap
    before, after : zeros in front of what it slides over, and behind
    """

    size: int
    stride: int = 1
    before: int = 0
    after: int = 0
    dilation: int = 1

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            if getattr(self, name) < least:
                raise ShapeError(
                    f"window: {name} must be at least {least}, not {getattr(self, name)}"
                )

    @property
    def reach(self) -> int:
        """From its first tap to its last, both included."""
        return self.dilation * (self.size - 1) + 1

    def outputs(self, length: int) -> int:
        """Windows that fit on an axis; below 1 if none does."""
        return (length + self.before + self.after - self.reach) // self.stride + 1

    def first(self, tap: int) -> int:
        """The place that a tap of the first window reads; below 0 in front of the axis."""
        return tap * self.dilation - self.before

    def inside(self, tap: int, length: int) -> list[int]:
        """The windows whose tap lies on the axis, not beside it."""
        return [
            window
            for window in range(self.outputs(length))
            if 0 <= window * self.stride + self.first(tap) < length
        ]


Windows = tuple[Window, Window]  # along rows, along columns
