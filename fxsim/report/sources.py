"""What a report says of where its numbers come from."""

from __future__ import annotations

import inspect
from collections.abc import Iterable

from fxsim.cost import model
from fxsim.hardware import drawing
from fxsim.hardware.accelerator import Accelerator
from fxsim.policies.registry import POLICIES
from fxsim.report.page import Source


def assumptions() -> list[str]:
    """The list in the pricing module's docstring, which is the one place where it stands."""
    listed = (model.__doc__ or "").split("\n- ")[1:]
    return [" ".join(item.split()) for item in listed]


def of_policy(name: str, kind: str) -> Source:
    """A policy's paper, what is known of it and what is reconstructed."""
    policy = POLICIES[kind]
    return Source(name, f"{policy.summary} [{policy.source}]", inspect.getdoc(policy) or "")


def of_machine(machine: Accelerator) -> Source:
    """An accelerator's source, and that of each of its parts."""
    return Source(machine.name, machine.source, parts=drawing.sources(machine))


def of_policies(kinds: Iterable[tuple[str, str]]) -> list[Source]:
    """Of (name, kind) pairs, each kind once, under all its names."""
    names: dict[str, list[str]] = {}
    for name, kind in kinds:
        names.setdefault(kind, []).append(name)
    return [of_policy(", ".join(names_of_kind), kind) for kind, names_of_kind in names.items()]
