"""The trace to price: a recorded run's, or one training step or inference of a workload."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from fxsim.config import resources
from fxsim.errors import ConfigError, hint
from fxsim.identifiers import ROLE, Phase, Role
from fxsim.policies.registry import POLICIES
from fxsim.runs import inference, initial_bit_costs, synthetic_trace
from fxsim.runs.directory import Run
from fxsim.trace.reader import Trace
from fxsim.training import workload as workloads
from fxsim.training.layer_specs import CostOnlySpec
from fxsim.training.layers.normalisation import BatchNorm


class Noter(Protocol):
    """Hears what goes on."""

    def note(self, text: str) -> None:
        """Something begins.

        Parameters
        ----------
        text : a line about it
        """


def trace_of(
    target: str,
    policy_kind: str | None,
    noter: Noter,
    batch: int | None = None,
    phase: Phase | None = None,
    fold: bool = False,
) -> tuple[Trace, str]:
    """The trace of a run's directory, or of one step or forward pass of a workload.

    Parameters
    ----------
    target : a run's directory, or a workload by name or file
    policy_kind : that the workload's step is made under; None: uniform
    noter : hears what goes on
    batch : samples of the workload's step, or of inference; None: those of the workload's step
    phase : training or inference; None: training, if the network can be trained
    fold : for inference: take batch norms into the layers before them

    Returns
    -------
    The trace, and a label for people.

    Raises
    ------
    ConfigError : for a target or policy that there is not, or what does not go together
    DataError : for a run's inference, where its dataset is not there
    """
    if (Path(target) / "run.json").is_file():
        run = Run.load(Path(target))
        if policy_kind is not None:
            raise ConfigError(
                f"--policy is of a workload's step; {target} is a run that was trained under its"
                " own"
            )
        if phase is not Phase.INFERENCE:
            _unfolded(fold)
            if batch is not None:
                raise ConfigError(
                    f"--batch is of a workload's step, or of --mode inference; {target} is a run"
                    " that was trained with its own"
                )
            return run.trace(), f"Training of {run.label}"
        noter.note(f"{run.label}: executing inference on test samples")
        trained = inference.Trained.load(run.directory, fold=fold)
        trace, batch = inference.traced(trained, batch), trained.samples(batch)
        folded = len(trained.model.layers) < len(trained.inputs.model.layers)
        return trace, _inference_label(f"{run.label}, batch {batch}", trace, folded)
    if Path(target).is_dir():
        raise ConfigError(f"{target}: must be a run's directory; it holds no run.json")
    policy_kind = policy_kind or "uniform"
    if policy_kind not in POLICIES or not POLICIES[policy_kind].integer:
        integer = [name for name, policy in POLICIES.items() if policy.integer]
        raise ConfigError(
            f"--policy must be one of {', '.join(integer)}, not {policy_kind!r}"
            f"{hint(policy_kind, integer)}"
        )
    workload, model = workloads.load(resources.find("workloads", target))
    without = workloads.without_unknown(workload.unknown_work)
    policy: Any = POLICIES[policy_kind]()
    settings = workload.training.settings()
    settings = replace(settings, batch=batch or settings.batch)
    costs = initial_bit_costs.of(model, policy.bit_cost_request, settings)
    label = f"{workload.name}, batch {settings.batch}, {policy_kind}{without}"
    if phase is None:
        only_priced = any(isinstance(x, CostOnlySpec) for x in workload.layers)
        phase = Phase.INFERENCE if only_priced else Phase.TRAINING
    if phase is Phase.TRAINING:
        _unfolded(fold)
        noter.note(f"{workload.name}: executing one training step on random inputs")
        trace = synthetic_trace.one_step(model, policy, settings, costs)
        return trace, f"The first training step of {label}"
    if fold and not policy.folds:
        raise ConfigError(
            f"--fold: batch norms cannot be folded into the weights of {policy_kind}, which have a"
            " grid or a scale of their own"
        )
    noter.note(f"{workload.name}: executing inference on random inputs")
    trace = synthetic_trace.inference(model, policy, settings.batch, costs, fold)
    norms = any(isinstance(layer, BatchNorm) for layer in model.layers)
    return trace, _inference_label(label, trace, fold and norms)


def _unfolded(fold: bool) -> None:
    if fold:
        raise ConfigError("--fold takes batch norms into weights for --mode inference")


def _inference_label(label: str, trace: Trace, folded: bool) -> str:
    weights = trace.operands[trace.operands[ROLE] == Role.WEIGHT]
    size = int(weights[["word_bits", "metadata_bits"]].to_numpy().sum()) / 8
    norms = ", batch norms folded" if folded else ""
    return f"Inference of {label}{norms}; weights of {size / 1e3:,.1f} kB at their bits"
