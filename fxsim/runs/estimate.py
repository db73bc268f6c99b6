"""The trace to price: a recorded run's, or that of one training step of a workload."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from fxsim.config import resources
from fxsim.errors import ConfigError, hint
from fxsim.policies.registry import POLICIES
from fxsim.runs import initial_bit_costs, synthetic_trace
from fxsim.runs.directory import Run
from fxsim.trace.reader import Trace
from fxsim.training import workload as workloads


class Noter(Protocol):
    """Hears what goes on."""

    def note(self, text: str) -> None:
        """Something begins.

        Parameters
        ----------
        text : a line about it
        """


def trace_of(
    target: str, policy_kind: str, noter: Noter, batch: int | None = None
) -> tuple[Trace, str]:
    """The trace of a run's directory, or of one training step of a workload.

    Parameters
    ----------
    target : a run's directory, or a workload by name or file
    policy_kind : that the workload's step is made under
    noter : hears what goes on
    batch : of the workload's step; None: its own

    Returns
    -------
    The trace, and a label for people.

    Raises
    ------
    ConfigError : for a target or policy that there is not
    """
    if (Path(target) / "run.json").is_file():
        run = Run.load(Path(target))
        return run.trace(), run.label
    if Path(target).is_dir():
        raise ConfigError(f"{target}: must be a run's directory; it holds no run.json")
    if policy_kind not in POLICIES or not POLICIES[policy_kind].integer:
        integer = [name for name, policy in POLICIES.items() if policy.integer]
        raise ConfigError(
            f"--policy must be one of {', '.join(integer)}, not {policy_kind!r}"
            f"{hint(policy_kind, integer)}"
        )
    workload, model = workloads.load(resources.find("workloads", target))
    noter.note(f"{workload.name}: executing one training step on random inputs")
    policy: Any = POLICIES[policy_kind]()
    settings = workload.training.settings()
    settings = replace(settings, batch=batch or settings.batch)
    costs = initial_bit_costs.of(model, policy.bit_cost_request, settings)
    trace = synthetic_trace.one_step(model, policy, settings, costs)
    return trace, f"the first step of {workload.name}, batch {settings.batch}, {policy_kind}"
