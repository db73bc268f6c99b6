"""Inference in integers with the weights of a finished run, or of a checkpoint."""

from __future__ import annotations

import hashlib
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fxsim.cost.cache import TracedRun
from fxsim.engine import softmax
from fxsim.engine.normalisation import RunningStatistics
from fxsim.errors import ConfigError, DataError
from fxsim.identifiers import Phase, Role
from fxsim.persistence.atomic import atomic_file
from fxsim.persistence.code_hash import code_sha256
from fxsim.policies.base import IntegerPolicy
from fxsim.runs import synthetic_trace
from fxsim.runs.directory import Run
from fxsim.runs.inputs import RunInputs, prepare
from fxsim.trace.reader import Trace
from fxsim.training import checkpoint as checkpoints
from fxsim.training import folding, loop
from fxsim.training.context import Parameter, StepContext, Tracer
from fxsim.training.data.base import Batch
from fxsim.training.decisions import Decisions
from fxsim.training.model import Model
from fxsim.training.settings import integer_metrics


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """What a run, or a checkpoint of the same network, needs for inference."""

    inputs: RunInputs
    policy: IntegerPolicy[Any]
    model: Model
    step: int
    decisions: Decisions
    parameters: dict[str, Parameter]
    running: dict[str, RunningStatistics]
    gains: dict[tuple[str, Role], NDArray[np.int64]]

    def context(self, tracer: Tracer | None = None) -> StepContext:
        """Of a forward pass.

        Parameters
        ----------
        tracer : that watches it

        Returns
        -------
        A context; nothing in it changes what this holds.
        """
        return StepContext(
            self.inputs.seed,
            self.step,
            False,
            self.policy,
            self.decisions,
            self.parameters,
            dict(self.running),
            self.gains,
            tracer,
        )

    def samples(self, batch: int | None) -> int:
        """How many make a batch.

        Parameters
        ----------
        batch : that many; None: as in a training step

        Returns
        -------
        The number.
        """
        return batch or self.inputs.workload.training.settings(1).batch

    @classmethod
    def load(
        cls,
        directory: Path,
        checkpoint: Path | None = None,
        data_name: str | None = None,
        data_directory: Path | None = None,
        fold: bool = False,
    ) -> Trained:
        """Read it; see `evaluate` for the parameters and errors.

        Parameters
        ----------
        directory : the run's
        checkpoint : a checkpoint's directory, instead of the run's last state
        data_name, data_directory : another dataset; of the datasets' official files
        fold : take batch norms into the layers before them

        Returns
        -------
        The weights, the network, and the formats of the last recorded step.
        """
        run = Run.load(directory)
        kind = run.manifest["policy"]["kind"]
        if not run.integer:
            raise ConfigError(
                f"{directory}: a run under {kind} has no integer inference; its accuracy is in"
                " run.json"
            )
        run.verify("workload.yaml")
        run.verify("weights.npz" if checkpoint is None else "checkpoints/")
        policy = run.policy()
        assert isinstance(policy, IntegerPolicy)
        inputs = prepare(
            directory / "workload.yaml",
            kind,
            policy,
            run.manifest["seed"],
            data_directory=data_directory,
            data_name=data_name or run.manifest["dataset"],
            decided=True,
        )
        if fold and not policy.folds:
            raise ConfigError(
                f"{directory}: batch norms cannot be folded into the weights of {kind}, which"
                " have a grid or a scale of their own; leave --fold away"
            )
        if checkpoint is None:
            try:
                with np.load(directory / "weights.npz", allow_pickle=False) as file:
                    parameters, running = checkpoints.state_of({k: file[k] for k in file.files})
            except (OSError, ValueError, EOFError, zipfile.BadZipFile) as problem:
                raise DataError(
                    f"{directory}/weights.npz: must be a run's weights: {problem}"
                ) from None
            steps, newest = len(run.decisions), checkpoints.latest(directory / "checkpoints")
            gains = {} if newest is None else checkpoints.load(newest).gains
        else:
            state = checkpoints.load(checkpoint)
            parameters, running, gains = state.parameters, state.running, state.gains
            steps = state.step
        model = inputs.model
        if fold:
            model, parameters = folding.fold(model, parameters, running)
        # the last that was made, as the run's own evaluation
        step = min(steps, len(run.decisions)) - 1
        decided = run.decided(policy)(step)
        return cls(inputs, policy, model, step, decided, parameters, running, gains)


def evaluate(
    directory: Path,
    checkpoint: Path | None = None,
    data_name: str | None = None,
    data_directory: Path | None = None,
    predictions: Path | None = None,
    fold: bool = False,
    tell: Callable[[int], Callable[[str], None]] | None = None,
) -> dict[str, float]:
    """Inference in integers with a run's last state, or a checkpoint of the same network.

    Operands have the formats of the last recorded step's decisions.

    Parameters
    ----------
    directory : the run's
    checkpoint : a checkpoint's directory, instead of the run's last state
    data_name, data_directory : another dataset; of the datasets' official files
    predictions : a CSV to write: sample, label, prediction, probability of the prediction
    fold : take batch norms into the layers before them, see `fxsim.training.folding`
    tell : hears of how many batches there are, then of each

    Returns
    -------
    {test_loss, test_accuracy}.

    Raises
    ------
    ConfigError : for a float run, or weights that cannot be folded
    DataError : for a run or checkpoint that is damaged
    """
    trained = Trained.load(directory, checkpoint, data_name, data_directory, fold)
    dataset = trained.inputs.dataset
    rows: list[pd.DataFrame] = []
    batches = -(-dataset.test_size // loop.EVALUATION_BATCH)
    announce = tell(batches) if tell else lambda label: None

    def one(batch: Batch) -> dict[str, float]:
        announce("test samples")
        logits, _ = trained.model.forward(trained.context(), batch[0])
        probability = softmax.softmax(logits.tensor)
        shares = probability.matrix()
        chosen = shares.argmax(axis=1)
        rows.append(
            pd.DataFrame(
                {
                    "label": np.ascontiguousarray(batch[1]).reshape(-1),
                    "prediction": chosen,
                    "probability": shares[np.arange(len(chosen)), chosen] / 2**30,
                }
            )
        )
        return integer_metrics(probability, batch[1])

    metrics = loop.mean_metrics(dataset, one)
    if predictions is not None:
        table = pd.concat(rows, ignore_index=True)
        with atomic_file(predictions) as fresh:
            table.to_csv(fresh, index_label="sample")
    return metrics


def traced(trained: Trained, batch: int | None = None) -> Trace:
    """The trace of one forward pass over the first test samples, to be priced.

    Weights are stored as operands: they are fetched at their bits, and not cast again. Nothing is
    kept for a backward pass.

    Parameters
    ----------
    trained : the run
    batch : samples; None: those of a training step

    Returns
    -------
    The trace.

    Raises
    ------
    DataError : if there are fewer test samples
    """
    dataset, count = trained.inputs.dataset, trained.samples(batch)
    if count > dataset.test_size:
        raise DataError(
            f"batch must be at most the {dataset.test_size} test samples of {dataset.name},"
            f" not {count}"
        )
    with synthetic_trace.traced(trained.policy) as traces:
        trained.model.forward(trained.context(traces.writer), dataset.test_batch(0, count)[0])
    return traces.trace


@dataclass(frozen=True, eq=False)
class InferenceOf:
    """A run's inference, where costs of a run are asked for (`fxsim.cost.cache.TracedRun`).

    Attributes
    ----------
    run : that was trained
    batch : samples; None: those of a training step
    data_directory : of the datasets' official files
    """

    run: Run
    batch: int | None = None
    data_directory: Path | None = None

    @property
    def directory(self) -> Path:
        """The run's."""
        return self.run.directory

    @property
    def manifest(self) -> dict[str, Any]:
        """The run's, with inputs that tell its inference apart."""
        parts = [self.run.manifest["inputs_sha256"], "inference", str(self.batch)]
        parts.append(code_sha256(sys.modules[__name__]))
        return {
            **self.run.manifest,
            "inputs_sha256": hashlib.sha256("\0".join(parts).encode()).hexdigest(),
        }

    def trace(self) -> Trace:
        """Of one forward pass; it is made when it is asked for.

        Returns
        -------
        The trace.
        """
        return traced(Trained.load(self.directory, data_directory=self.data_directory), self.batch)


def priced(
    run: Run, phase: Phase, batch: int | None = None, data_directory: Path | None = None
) -> TracedRun:
    """What of a run is priced: its training, or its inference.

    Parameters
    ----------
    run : an integer run
    phase : which of the two
    batch : samples of inference; None: those of a training step
    data_directory : of the datasets' official files

    Returns
    -------
    What `fxsim.cost.cache.costs` takes.
    """
    return run if phase is Phase.TRAINING else InferenceOf(run, batch, data_directory)
