"""Loss and accuracy of runs, side by side: `curves.py RUN... --out reports/NAME`.

Writes NAME.csv (a row an epoch and run) and NAME.png.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd

from fxsim.runs.directory import Run

WINDOW = 20  # steps over which the training loss is averaged


def main() -> None:
    known = argparse.ArgumentParser(description=__doc__)
    known.add_argument("runs", type=Path, nargs="+")
    known.add_argument("--names", nargs="*", default=[], help="instead of the policies'")
    known.add_argument("--out", type=Path, required=True)
    given = known.parse_args()
    names = list(given.names)
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    tables = []
    for run in (Run.load(path) for path in given.runs):
        label = names.pop(0) if names else run.manifest["policy"]["kind"]
        smooth = run.metrics["loss"].rolling(WINDOW, min_periods=1).mean()
        left.plot(run.metrics["step"], smooth, label=label)
        right.plot(run.evaluations["epoch"] + 1, 100 * run.evaluations["test_accuracy"], "o-")
        bits = {f"{role}_bits": round(value, 2) for role, value in run.mean_bits().items()}
        tables.append(run.evaluations.assign(policy=label, **bits))
    left.set(xlabel="step", ylabel=f"training loss, mean of {WINDOW} steps")
    right.set(xlabel="epoch", ylabel="test accuracy [%]")
    right.xaxis.get_major_locator().set_params(integer=True)
    left.legend(frameon=False)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(given.out.with_suffix(".png"), dpi=150)
    pd.concat(tables).to_csv(given.out.with_suffix(".csv"), index=False)


if __name__ == "__main__":
    main()
