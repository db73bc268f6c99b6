"""What there is: policies, workloads, accelerators, studies, datasets and engine paths."""

from __future__ import annotations

from fxsim.config import resources, yaml_document
from fxsim.engine import instruction_set
from fxsim.policies.registry import POLICIES
from fxsim.training.data import DATASETS, PREFIXES

READERS = {**DATASETS, **{f"{prefix}:PATH": reader for prefix, reader in PREFIXES.items()}}


def everything() -> dict[str, dict[str, str]]:
    """{kind: {name: description}}."""
    entries = {"policies": {n: f"{p.summary} [{p.source}]" for n, p in POLICIES.items()}}
    for kind, key in (("workloads", "source"), ("accelerators", "source"), ("reports", "title")):
        for name, path in resources.names(kind).items():
            data = yaml_document.read(path).data
            place = {"study": "studies", "sweep": "sweeps"}.get(data["kind"], kind)
            entries.setdefault(place, {})[name] = " ".join(str(data.get(key, "")).split())
    entries["datasets"] = {
        name: str(reader.__doc__).splitlines()[0] for name, reader in READERS.items()
    }
    chosen = instruction_set.chosen()
    entries["engine paths"] = {
        machine.value: "in use"
        if machine is chosen
        else f"{instruction_set.VARIABLE}={machine.value}"
        for machine in instruction_set.available()
    }
    return entries
