"""Runs side by side: means over seeds, differences, significance, thresholds for scripts."""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from fxsim import prices
from fxsim.accelerator.schema import Accelerator
from fxsim.errors import ConfigError, DataError, hint
from fxsim.runs import Run

KEYS = ["policy", "accelerator"]
_TEXT = ("policy", "accelerator", "weights_sha256")
# what a table of someone else's results must have, and may have
REQUIRED, OPTIONAL = ("policy", "test_accuracy"), ("accelerator", "seed", "cycles", "energy_uj")
RATIOS = {"speedup": "cycles", "energy_saving": "energy_uj", "edp_saving": "edp_js"}
_SIGNS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt,
}  # fmt: skip


def averaged(table: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """A row a policy and accelerator: means over seeds, and how they differ from the baseline's.

    table : a row a policy, accelerator and seed, with test_accuracy as a fraction
    Added: seeds; test_accuracy_sd, the standard deviation over seeds; accuracy_change [points];
    p_value, of that change, by the paired t-test where both have the same two or more seeds, else
    by Welch's; NaN where there are too few. The weights' hash is the first seed's.
    """
    grouped = table.groupby(KEYS, sort=False)
    numbers = grouped.mean(numeric_only=True).drop(columns="seed")
    numbers["seeds"] = grouped["seed"].nunique()
    numbers["test_accuracy_sd"] = grouped["test_accuracy"].std()
    if "weights_sha256" in table:
        numbers["weights_sha256"] = grouped["weights_sha256"].first()
    changes, chances = [], []
    for key in numbers.index:
        one = _by_seed(table, *key)
        other = _by_seed(table, baseline, key[1])
        changes.append(100 * (one.mean() - other.mean()) if len(other) else np.nan)
        chances.append(p_value(one, other) if key[0] != baseline else np.nan)
    numbers["accuracy_change"], numbers["p_value"] = changes, chances
    return numbers.reset_index()


def _by_seed(table: pd.DataFrame, policy: str, accelerator: str) -> pd.Series:
    rows = table[(table["policy"] == policy) & (table["accelerator"] == accelerator)]
    return rows.drop_duplicates("seed").set_index("seed")["test_accuracy"]


def p_value(one: pd.Series, other: pd.Series) -> float:
    """The chance of such a difference of means, or a larger one, if there were none.

    one, other : values by seed
    """
    if min(len(one), len(other)) < 2:
        return math.nan
    if set(one.index) == set(other.index):
        difference = one - other.reindex(one.index)
        if difference.std() == 0:
            return 1.0 if difference.iloc[0] == 0 else 0.0
        return float(stats.ttest_rel(one, other.reindex(one.index)).pvalue)
    if one.std() == other.std() == 0:
        return 1.0 if one.iloc[0] == other.iloc[0] else 0.0
    return float(stats.ttest_ind(one, other, equal_var=False).pvalue)


def gather(sources: Sequence[Path]) -> tuple[dict[str, list[Run]], list[pd.DataFrame]]:
    """(runs by name, tables of others) of run directories, studies' directories and CSV files.

    A run is named after its directory, without seed, or after its policy and parameters where two
    directories of the same name differ in these.
    """
    runs: list[tuple[str, Run]] = []
    tables = []
    for source in sources:
        if source.suffix in (".csv", ".parquet"):
            tables.append(_foreign(source))
            continue
        inside = sorted((source / "runs").glob("*/run.json")) if source.is_dir() else []
        runs += [
            (re.sub(r"-seed\d+$", "", path.parent.name), Run.load(path.parent))
            for path in inside or [source / "run.json"]
        ]
    recipes: dict[str, set[str]] = {}
    for name, run in runs:
        recipes.setdefault(name, set()).add(_recipe(run))
    found: dict[str, list[Run]] = {}
    for name, run in runs:
        number = sorted(recipes[name]).index(_recipe(run))
        found.setdefault(f"{name}#{number + 1}" if len(recipes[name]) > 1 else name, []).append(run)
    for name, several in found.items():
        seeds = [run.manifest["seed"] for run in several]
        if len(set(seeds)) < len(seeds):
            twice = next(seed for seed in seeds if seeds.count(seed) > 1)
            raise DataError(f"{name}: seed {twice} is given twice; a run counts once")
    return found, tables


def _recipe(run: Run) -> str:
    keys = ("workload", "dataset", "policy", "epochs")
    return json.dumps([run.manifest[key] for key in keys], sort_keys=True)


def _foreign(path: Path) -> pd.DataFrame:
    """A table of results made elsewhere: a row a policy (and accelerator, and seed)."""
    try:
        table = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    except (OSError, ValueError) as problem:
        reason = str(problem).splitlines()[0]
        raise DataError(f"{path}: must be a table of results: {reason}") from None
    lacking = [column for column in REQUIRED if column not in table.columns]
    if lacking:
        raise DataError(
            f"{path}:1: must have the columns {', '.join(REQUIRED)} (and may have"
            f" {', '.join(OPTIONAL)}); {lacking[0]!r} is missing"
        )
    return table.assign(accelerator=table.get("accelerator", "-"), seed=table.get("seed", 0))


def of_runs(
    sources: Sequence[Path],
    machines: Sequence[Accelerator] = (),
    baseline: str | None = None,
    tell: Callable[[str], None] = lambda label: None,
) -> pd.DataFrame:
    """`averaged` over runs by whomever; speedups and savings are against the baseline.

    sources : see `gather`; machines : to price on; baseline : a run's name; the first if None
    """
    runs, tables = gather(sources)
    rows: list[dict[str, Any]] = []
    places: list[Accelerator | None] = [*machines]
    for on in places or [None]:
        for name, several in runs.items():
            for run in several:
                row: dict[str, Any] = {
                    "policy": name, "accelerator": on.name if on else "-",
                    "seed": run.manifest["seed"], "test_accuracy": run.manifest["test_accuracy"],
                    **{f"{role}_bits": bits for role, bits in run.mean_bits().items()},
                }  # fmt: skip
                if on is not None and run.integer:
                    tell(f"{run.label} on {on.name}")
                    cost = prices.costs(run, on, kept=prices.beside(run))
                    row |= {
                        "cycles": cost.cycles, "energy_uj": cost.energy_pj / 1e6,
                        "edp_js": cost.edp_js,
                    }  # fmt: skip
                rows.append({**row, "weights_sha256": run.manifest["weights_sha256"]})
    table = pd.concat([pd.DataFrame(rows), *tables], ignore_index=True)
    known = list(dict.fromkeys(table["policy"]))
    first = baseline or known[0]
    if first not in known:
        raise ConfigError(
            f"--baseline must be one of {', '.join(known)}, not {first!r}{hint(first, known)}"
        )
    for ratio, column in RATIOS.items():
        if column in table:
            base = table[table["policy"] == first].groupby("accelerator")[column].mean()
            if base.notna().any():
                table[ratio] = table["accelerator"].map(base) / table[column]
    return averaged(table, first)


@dataclass(frozen=True, slots=True)
class Threshold:
    """A condition under which a comparison fails.

    who : the policy it is of, or policy@accelerator; None: all but the baseline
    """

    text: str
    who: str | None
    column: str
    sign: str
    limit: float

    @classmethod
    def parse(cls, text: str) -> Threshold:
        """From `speedup<4`, `dynasty:accuracy_change<-1` or `dynasty@int8_systolic:speedup<1`."""
        match = re.fullmatch(r"(?:([^:<>]+):)?\s*(\w+)\s*(<=|>=|<|>)\s*(\S+)", text.strip())
        try:
            return cls(text, match[1], match[2], match[3], float(match[4]))  # type: ignore[index]
        except (TypeError, ValueError):
            raise ConfigError(
                "--fail-if must be [POLICY[@ACCELERATOR]:]COLUMN<NUMBER (or <=, >, >=), as in"
                f" speedup<4, not {text!r}"
            ) from None

    def met_by(self, table: pd.DataFrame, baseline: str) -> list[str]:
        """A line for each row of a comparison that meets it; NaN never does."""
        numbers = [c for c in table.columns if c not in _TEXT]
        if self.column not in numbers:
            raise ConfigError(
                f"--fail-if {self.text}: there is no column {self.column!r}"
                f"{hint(self.column, numbers)}; there are {', '.join(numbers)}"
            )
        names = [(row.policy, f"{row.policy}@{row.accelerator}") for row in table.itertuples()]
        known = {name for pair in names for name in pair}
        if self.who is not None and self.who not in known:
            raise ConfigError(
                f"--fail-if {self.text}: there is no {self.who!r}{hint(self.who, known)}"
            )
        found = []
        for pair, value in zip(names, table[self.column], strict=True):
            mine = self.who in pair if self.who else pair[0] != baseline
            if mine and _SIGNS[self.sign](value, self.limit):
                found.append(
                    f"{pair[1]}: {self.column} is {value:.4g}, and {self.text!r} was to fail"
                )
        return found
