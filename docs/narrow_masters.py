"""Draws what narrow master weights cost: rounding steps to nearest stalls, stochastically learns.

    python docs/narrow_masters.py

Source of the effect: Gupta et al., "Deep Learning with Limited Numerical Precision", arXiv
1502.02551, figures 1 and 2. It trains `digits_cnn` for 12 epochs a point (minutes in all), and
writes `docs/figures/narrow_masters.svg` and `.csv`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pandas as pd

import fxsim
from fxsim.report.style import MARKERS, colours, legend, panel, styled, svg

FIGURES = Path(__file__).parent / "figures"
BITS = (6, 7, 8, 10, 12, 14, 16)  # one sign, one whole, the rest fractional: +-2
SEEDS = (0, 1, 2)


def accuracies() -> pd.DataFrame:
    """A row a rounding, word length and seed: test accuracy after 12 epochs."""
    rows = []
    with tempfile.TemporaryDirectory() as place:
        for rounding in ("RND_CONV", "STOCHASTIC"):
            for bits in BITS:
                master = {"bits": bits, "frac": bits - 2, "rounding": rounding}
                for seed in SEEDS:
                    run = fxsim.simulate(
                        "digits_cnn",
                        "uniform",
                        {"master": master},
                        seed=seed,
                        epochs=12,
                        out=Path(place) / f"{rounding}-{bits}-{seed}",
                        quiet=True,
                    )
                    accuracy = run.manifest["test_accuracy"]
                    rows.append(
                        {"rounding": rounding, "bits": bits, "seed": seed, "accuracy": accuracy}
                    )
                    print(rounding, bits, seed, f"{100 * accuracy:.2f} %", flush=True)
    return pd.DataFrame(rows)


def main() -> None:
    """Train, and draw."""
    table = accuracies()
    table.to_csv(FIGURES / "narrow_masters.csv", index=False, lineterminator="\n")
    with styled():
        figure, (axes,) = panel(3.6)
        names = {"RND_CONV": "to nearest", "STOCHASTIC": "stochastically"}
        hues = colours(list(names)).values()
        for (rounding, name), hue, marker in zip(names.items(), hues, MARKERS, strict=False):
            own = 100 * table[table["rounding"] == rounding].groupby("bits")["accuracy"].agg(
                ["mean", "min", "max"]
            )
            axes.plot(own.index, own["mean"], color=hue, marker=marker, label=f"rounded {name}")
            axes.fill_between(own.index, own["min"], own["max"], color=hue, alpha=0.2, lw=0)
        axes.set(xlabel="bits of master weights, two of them whole", ylabel="test accuracy [%]")
        axes.grid()
        legend(axes, len(names))
        (FIGURES / "narrow_masters.svg").write_text(
            svg(figure).replace("<svg", '<svg style="background:#fff"', 1), encoding="utf-8"
        )


if __name__ == "__main__":
    main()
