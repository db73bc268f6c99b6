"""Prices without training: recorded runs on other machines, one step of a workload, comparisons."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from fxsim import rehearsal, shipped
from fxsim import workload as workloads
from fxsim.accelerator import schema
from fxsim.accelerator.schema import Accelerator
from fxsim.cost.price import ENERGIES, price
from fxsim.errors import ConfigError, hint
from fxsim.precision import POLICIES
from fxsim.runs import Run
from fxsim.trace import Trace

GROUPINGS = ("pass", "layer", "operation", "step")
_SUMMED = ("macs", "cycles", "array_cycles", "memory_cycles", "vector_cycles", "dram_bits")


class Noter(Protocol):
    """Hears what goes on."""

    def note(self, text: str) -> None:
        """A line about it."""


def machine(name: str) -> Accelerator:
    """An accelerator by shipped name or file."""
    return schema.load(shipped.find("accelerators", name))


def trace_of(
    target: str, policy_kind: str, noter: Noter, batch: int | None = None
) -> tuple[Trace, str]:
    """The trace of a run's directory, or of one training step of a workload; and its label."""
    if (Path(target) / "run.json").is_file():
        run = Run.load(Path(target))
        return run.trace(), run.label
    if Path(target).is_dir():
        raise ConfigError(f"{target}: must be a run's directory; it holds no run.json")
    integer = {name: p for name, p in POLICIES.items() if p.integer}
    if policy_kind not in integer:
        raise ConfigError(
            f"--policy must be one of {', '.join(integer)}, not {policy_kind!r}"
            f"{hint(policy_kind, integer)}"
        )
    workload, model = workloads.load(shipped.find("workloads", target))
    noter.note(f"{workload.name}: executing one training step on random inputs")
    policy: Any = integer[policy_kind]()
    settings = workload.training.settings()
    settings = replace(settings, batch=batch or settings.batch)
    trace = rehearsal.one_step(model, policy, settings)
    return trace, f"the first step of {workload.name}, batch {settings.batch}, {policy_kind}"


def breakdown(trace: Trace, on: Accelerator, by: str) -> pd.DataFrame:
    """Cycles, off-chip bits and energy of a trace [pJ], a row a group, and their total."""
    table = price(trace, on).table
    grouped = table.groupby(by, sort=by == "step")
    sums = grouped[[*_SUMMED, *ENERGIES]].sum().reset_index()
    sums["energy_pj"] = sums[list(ENERGIES)].sum(axis=1)
    total = sums.sum(numeric_only=True).to_frame().T.assign(**{by: "total"})
    columns = [by, *_SUMMED, *ENERGIES, "energy_pj"]
    return pd.concat([sums.astype({by: object}), total], ignore_index=True)[columns]


def comparison(runs: list[Run], machines: list[Accelerator]) -> pd.DataFrame:
    """A row a run and machine, in the runs' order."""
    rows: list[dict[str, Any]] = []
    places: list[Accelerator | None] = [*machines]
    for on in places or [None]:
        base: tuple[float, float] | None = None
        for run in runs:
            row: dict[str, Any] = {
                "run": run.label,
                "accelerator": on.name if on else "-",
                "test_accuracy": run.manifest["test_accuracy"],
                **{f"{role}_bits": bits for role, bits in run.mean_bits().items()},
            }
            if on is not None and run.integer:
                cost = price(run.trace(), on)
                base = base or (cost.cycles, cost.energy_pj)
                row |= {
                    "cycles": cost.cycles,
                    "energy_pj": cost.energy_pj,
                    "speedup": base[0] / cost.cycles,
                    "energy_saving": base[1] / cost.energy_pj,
                }
            rows.append({**row, "weights_sha256": run.manifest["weights_sha256"]})
    return pd.DataFrame(rows)


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """Numbers as text, three significant figures or more; blanks for what there is not."""
    return pd.DataFrame({name: [_text(name, v) for v in table[name]] for name in table})


def _text(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value[:12] if name.endswith("sha256") else value
    if value != value:
        return "-"
    if name in ("speedup", "energy_saving"):
        return f"{value:.2f}x"
    if name == "test_accuracy":
        return f"{100 * value:.2f} %"
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.2f}"
