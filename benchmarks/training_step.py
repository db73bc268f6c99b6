"""A bit-exact training step against the float32 twin (NumPy, BLAS), in one run.

A ratio is the float step's time over ours. The twin always runs BLAS on one thread, so the fair
comparison is at `--threads 1`, the default.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from side_by_side import arguments, ratio, report

from fxsim import shipped, workload
from fxsim.precision import Dynasty, Uniform
from fxsim.training import float32, loop
from fxsim.training.data import Dataset
from fxsim.training.model import Model


def step_ratio(model: Model, policy: Uniform | Dynasty, batch: int) -> float:
    """Two steps of each, one evaluation on a single image included, from the same weights."""
    rng = np.random.default_rng(0)
    images = rng.integers(-(2**12), 2**12, (batch, *model.input_shape)).astype(np.int16)
    labels = rng.integers(0, model.classes, batch)
    data = Dataset("random", images, labels, images[:1], labels[:1], model.classes, "random")
    settings = loop.TrainingSettings(2, batch, Fraction("0.05"))
    return ratio(
        lambda: loop.train(model, data, policy, settings, 0),
        lambda: float32.train(model, data, settings, 0),
        rounds=5,
    )


def main() -> None:
    given = arguments(__doc__)
    rows = []
    for name in ("digits_cnn", "lenet5"):
        described, model = workload.load(shipped.find("workloads", name))
        batch = described.training.batch
        for policy in (Uniform(), Dynasty(warmup=0)):
            work = f"{name}, batch {batch}, {policy.name}, vs float32 in NumPy"
            rows.append((work, step_ratio(model, policy, batch), 1.0))
    report(rows, given.json)


if __name__ == "__main__":
    main()
