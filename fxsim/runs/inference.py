"""Inference in integers with the weights of a finished run, or of a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fxsim.engine import softmax
from fxsim.errors import ConfigError, DataError
from fxsim.persistence.atomic import atomic_file
from fxsim.runs.directory import Run
from fxsim.runs.inputs import prepare
from fxsim.training import checkpoint as checkpoints
from fxsim.training import folding, loop
from fxsim.training.context import StepContext
from fxsim.training.data.base import Batch
from fxsim.training.settings import integer_metrics


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
    run = Run.load(directory)
    kind = run.manifest["policy"]["kind"]
    if not run.integer:
        raise ConfigError(
            f"{directory}: a {kind} run has no integer inference; its accuracy is in run.json"
        )
    policy: Any = run.policy()
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
            f"{directory}: batch norms cannot be folded into the weights of a {kind} run, which"
            " have a grid or a scale of their own; leave --fold away"
        )
    if checkpoint is None:
        try:
            with np.load(directory / "weights.npz", allow_pickle=False) as file:
                parameters, running = checkpoints.state_of({k: file[k] for k in file.files})
        except (OSError, ValueError) as problem:
            raise DataError(
                f"{directory}/weights.npz: must be a run's weights: {problem}"
            ) from None
        steps, newest = len(run.decisions), checkpoints.latest(directory / "checkpoints")
        gains = {} if newest is None else checkpoints.load(newest).gains
    else:
        state = checkpoints.load(checkpoint)
        parameters, running, steps, gains = state.parameters, state.running, state.step, state.gains
    model = inputs.model
    if fold:
        model, parameters = folding.fold(model, parameters, running)
    step = min(steps, len(run.decisions)) - 1  # the last that was made, as the run's own evaluation
    decisions = run.decided(policy)(step)
    rows: list[pd.DataFrame] = []
    batches = -(-inputs.dataset.test_size // loop.EVALUATION_BATCH)
    announce = tell(batches) if tell else lambda label: None

    def one(batch: Batch) -> dict[str, float]:
        announce("test samples")
        context = StepContext(
            inputs.seed, step, False, policy, decisions, parameters, dict(running), gains
        )
        logits, _ = model.forward(context, batch[0])
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

    metrics = loop.mean_metrics(inputs.dataset, one)
    if predictions is not None:
        table = pd.concat(rows, ignore_index=True)
        with atomic_file(predictions) as fresh:
            table.to_csv(fresh, index_label="sample")
    return metrics
