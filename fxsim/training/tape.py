"""The tape: what a forward pass did, so that errors can be sent back through it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(eq=False, slots=True)
class Value(Generic[T]):
    """A tensor in the graph.

    needs : whether anything below it is trained, so that its error is wanted
    """

    tensor: T
    needs: bool = True

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the tensor, batch first."""
        shape: tuple[int, ...] = self.tensor.shape  # type: ignore[attr-defined]
        return shape


Backward = Callable[[list[Any]], Sequence[Any]]


@dataclass(eq=False, slots=True)
class Tape(Generic[T]):
    """Operations in the order in which they ran; `add` sums two errors of one value."""

    add: Callable[[T, T], T]
    entries: list[tuple[list[Value[T]], list[Value[T]], Backward]] = field(default_factory=list)

    def record(self, outputs: list[Value[T]], inputs: list[Value[T]], backward: Backward) -> None:
        """An operation ran.

        `backward` takes the outputs' errors (None: nothing depends on one) and gives the inputs',
        in order (None: not wanted).
        """
        self.entries.append((outputs, inputs, backward))

    def backward(self, last: Value[T], error: T) -> None:
        """Send the error of the last value back; each operation is forgotten once it is undone."""
        errors: dict[int, T] = {id(last): error}
        while self.entries:
            outputs, inputs, undo = self.entries.pop()
            output_errors = [errors.pop(id(out), None) for out in outputs]
            if all(part is None for part in output_errors):
                continue
            for value, back in zip(inputs, undo(output_errors), strict=True):
                if back is None or not value.needs:
                    continue
                sum_so_far = errors.get(id(value))
                errors[id(value)] = back if sum_so_far is None else self.add(sum_so_far, back)
