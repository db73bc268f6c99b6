"""The policies by the `kind` that studies and the command line name them by.

A policy's module is loaded when the policy is first asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fxsim.policies.base import Policy


class Registry(MutableMapping[str, "type[Policy]"]):
    """{kind: class}; a class may stand for itself, or as `module:name`."""

    def __init__(self, places: dict[str, str]) -> None:
        self._classes: dict[str, str | type[Policy]] = dict(places)

    def __getitem__(self, kind: str) -> type[Policy]:
        entry = self._classes[kind]
        if isinstance(entry, str):
            module, _, name = entry.partition(":")
            entry = self._classes[kind] = getattr(import_module(module), name)
        return entry

    def __setitem__(self, kind: str, policy: type[Policy]) -> None:
        self._classes[kind] = policy

    def __delitem__(self, kind: str) -> None:
        del self._classes[kind]

    def __contains__(self, kind: object) -> bool:
        return kind in self._classes

    def __iter__(self) -> Iterator[str]:
        return iter(self._classes)

    def __len__(self) -> int:
        return len(self._classes)


POLICIES = Registry(
    {
        "float32": "fxsim.policies.float32:Float32",
        "uniform": "fxsim.policies.uniform:Uniform",
        "adapt": "fxsim.policies.adapt:Adapt",
        "adaqat": "fxsim.policies.adaqat:Adaqat",
        "dynasty": "fxsim.policies.dynasty:Dynasty",
        "cost_aware": "fxsim.policies.cost_aware:CostAware",
        "apt": "fxsim.policies.apt:Apt",
        "muppet": "fxsim.policies.muppet:Muppet",
        "wage": "fxsim.policies.wage:Wage",
        "niti": "fxsim.policies.niti:Niti",
        "dorefa_pact": "fxsim.policies.dorefa_pact:DorefaPact",
    }
)
