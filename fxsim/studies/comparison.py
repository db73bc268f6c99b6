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

from fxsim.cost import cache
from fxsim.errors import ConfigError, DataError, hint
from fxsim.hardware.accelerator import Accelerator
from fxsim.runs.directory import Run

KEYS = ["policy", "accelerator"]
_TEXT = ("policy", "accelerator", "weights_sha256")
# what a table of someone else's results must have, and may have
REQUIRED, OPTIONAL = ("policy", "test_accuracy"), ("accelerator", "seed", "cycles", "energy_uj")
RATIOS = {"speedup": "cycles", "energy_saving": "energy_uj", "edp_saving": "edp_js"}
_SIGNS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}


def averaged(table: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Means over seeds, and how they differ from the baseline's.

    Parameters
    ----------
    table : a row a policy, accelerator and seed, with test_accuracy as a fraction
    baseline : the policy that the others are compared with

    Returns
    -------
    A row a policy and accelerator. Added: seeds; test_accuracy_sd, the standard deviation over
    seeds; accuracy_change [points]; p_value, of that change, by the paired t-test where both have
    the same two or more seeds, else by Welch's; NaN where there are too few. The weights' hash is
    the first seed's.

    Examples
    --------
    >>> rows = [("a", "m", 0, 0.5), ("a", "m", 1, 0.7), ("b", "m", 0, 0.6), ("b", "m", 1, 0.9)]
    >>> table = pd.DataFrame(rows, columns=["policy", "accelerator", "seed", "test_accuracy"])
    >>> averaged(table, "a")["accuracy_change"].round(1).tolist()
    [0.0, 15.0]
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

    Parameters
    ----------
    one, other : values by seed

    Returns
    -------
    Of the paired t-test where both have the same seeds, else of Welch's; NaN for fewer than two
    values.

    Examples
    --------
    >>> p_value(pd.Series([0.5]), pd.Series([0.6, 0.7]))
    nan
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
    """Runs and tables of run directories, studies' directories and CSV files.

    A run is named after its directory, without seed; with the directory around it where two of the
    same name differ in policy, workload, data or epochs, or have the same seed.

    Parameters
    ----------
    sources : directories, and CSV or Parquet files

    Returns
    -------
    {name: runs}, and the tables of others.

    Raises
    ------
    DataError : for what is none of these
    """
    runs: list[tuple[str, Run]] = []
    tables = []
    for source in (path.resolve() if path.is_dir() else path for path in sources):
        if source.suffix in (".csv", ".parquet"):
            tables.append(_foreign(source))
            continue
        inside = sorted((source / "runs").glob("*/run.json")) if source.is_dir() else []
        runs += [
            (re.sub(r"-seed\d+$", "", path.parent.name), Run.load(path.parent))
            for path in inside or [source / "run.json"]
            if not path.parent.name.startswith(".")  # one that is being written
        ]
    runs_by_name: dict[str, list[Run]] = {}
    for name, several in _told_apart(runs).items():
        seeds = [run.manifest["seed"] for run in several]
        if len(set(seeds)) < len(seeds):
            twice = next(seed for seed in seeds if seeds.count(seed) > 1)
            raise DataError(f"{name}: seed {twice} is given twice; a run counts once")
        runs_by_name[name] = several
    return runs_by_name, tables


def _told_apart(runs: Sequence[tuple[str, Run]]) -> dict[str, list[Run]]:
    """Runs by name; where one name has several recipes, or a seed twice, by their place as well."""
    groups: dict[str, dict[tuple[str, str], list[Run]]] = {}
    for name, run in runs:
        around = run.directory.parent
        around = around.parent if around.name == "runs" else around
        groups.setdefault(name, {}).setdefault((_recipe(run), around.name), []).append(run)
    runs_by_name: dict[str, list[Run]] = {}
    for name, parts in groups.items():
        seeds = [run.manifest["seed"] for part in parts.values() for run in part]
        recipes = {recipe for recipe, _ in parts}
        if len(recipes) == 1 and len(set(seeds)) == len(seeds):
            runs_by_name[name] = [run for part in parts.values() for run in part]
            continue
        places = [place for _, place in parts]
        for number, ((_, place), part) in enumerate(parts.items(), 1):
            mark = f"{place}/{name}" if places.count(place) == 1 else f"{place}/{name}#{number}"
            runs_by_name[mark] = part
    return runs_by_name


def _recipe(run: Run) -> str:
    keys = ("workload", "dataset_sha256", "policy", "epochs")
    parts = [run.manifest[key] for key in keys] + [run.manifest.get("initial")]
    network = (run.directory / "workload.yaml").read_text(encoding="utf-8")
    return json.dumps([*parts, network], sort_keys=True)


def _foreign(path: Path) -> pd.DataFrame:
    """A table of results made elsewhere: a row a policy (and accelerator, and seed)."""
    try:
        table = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    except (OSError, ValueError) as problem:
        reason = str(problem).splitlines()[0]
        raise DataError(f"{path}: must be a table of results: {reason}") from None
    lacking = [column for column in REQUIRED if column not in table.columns]
    if lacking or table.empty:
        what = f"{lacking[0]!r} is missing" if lacking else "it has no row"
        raise DataError(
            f"{path}:1: must have the columns {', '.join(REQUIRED)} (and may have"
            f" {', '.join(OPTIONAL)}) and rows; {what}"
        )
    table = table.assign(accelerator=table.get("accelerator", "-"))
    for column in KEYS:
        blank = table[column].isna()
        if blank.any():
            raise DataError(f"{path}:{_line(blank)}: {column} must not be blank")
        table[column] = table[column].astype(str)
    if "seed" not in table:  # each further row of a policy is another seed
        table["seed"] = table.groupby(KEYS).cumcount()
    for column in (c for c in (*REQUIRED[1:], *OPTIONAL[1:]) if c in table):
        numbers = pd.to_numeric(table[column], errors="coerce")
        wrong = numbers.isna() & (table[column].notna() | (column == "test_accuracy"))
        if column == "test_accuracy":
            wrong |= ~numbers.between(0, 1)
        if wrong.any():
            expected = "a fraction from 0 to 1" if column == "test_accuracy" else "a number"
            value = table[column][wrong].iloc[0]
            raise DataError(f"{path}:{_line(wrong)}: {column} must be {expected}, not {value!r}")
        table[column] = numbers
    twice = table.duplicated([*KEYS, "seed"])
    if twice.any():
        raise DataError(f"{path}:{_line(twice)}: a policy, accelerator and seed must come once")
    return table


def _line(rows: pd.Series) -> int:
    """The line of a table's first such row, under its header."""
    return int(rows.to_numpy().argmax()) + 2


def of_runs(
    sources: Sequence[Path],
    machines: Sequence[Accelerator] = (),
    baseline: str | None = None,
    tell: Callable[[str], None] = lambda label: None,
) -> pd.DataFrame:
    """`averaged` over runs by whomever; speedups and savings are against the baseline.

    Parameters
    ----------
    sources : see `gather`
    machines : to evaluate on
    baseline : a run's name; the first if None
    tell : hears of each cost

    Returns
    -------
    A row a policy and accelerator.

    Raises
    ------
    ConfigError : for a baseline that there is not
    DataError : for sources that are none
    """
    runs, tables = gather(sources)
    rows: list[dict[str, Any]] = []
    places: list[Accelerator | None] = [*machines]
    for on in places or [None]:
        for name, several in runs.items():
            for run in several:
                row: dict[str, Any] = {
                    "policy": name,
                    "accelerator": on.name if on else "-",
                    "seed": run.manifest["seed"],
                    "test_accuracy": run.manifest["test_accuracy"],
                    **{f"{role}_bits": bits for role, bits in run.mean_bits().items()},
                }
                if on is not None and run.integer:
                    tell(f"{run.label} on {on.name}")
                    cost = cache.costs(run, on, folder=cache.beside(run))
                    row |= {
                        "cycles": cost.cycles,
                        "energy_uj": cost.energy_pj / 1e6,
                        "edp_js": cost.edp_js,
                    }
                rows.append({**row, "weights_sha256": run.manifest["weights_sha256"]})
    table = pd.concat([pd.DataFrame(rows), *tables], ignore_index=True)
    names = list(dict.fromkeys(table["policy"]))
    first = baseline or names[0]
    if first not in names:
        raise ConfigError(
            f"--baseline must be one of {', '.join(names)}, not {first!r}{hint(first, names)}"
        )
    clash = table.duplicated([*KEYS, "seed"])
    if clash.any():
        name = table["policy"][clash].iloc[0]
        raise DataError(f"{name}: is the name of a run and of a table's policy; rename one")
    for ratio, column in RATIOS.items():
        if column in table:
            table[ratio] = _ratios(table, column, first)
    return averaged(table, first)


def _ratios(table: pd.DataFrame, column: str, baseline: str) -> pd.Series:
    """The baseline's cost over each row's: the same seed's, or the mean where it lacks the seed."""
    base = table[table["policy"] == baseline]
    by_seed = base.set_index(["accelerator", "seed"])[column]
    mean = table["accelerator"].map(base.groupby("accelerator")[column].mean())
    places = pd.MultiIndex.from_frame(table[["accelerator", "seed"]])
    own = pd.Series(by_seed.reindex(places).to_numpy(), table.index)
    return own.fillna(mean) / table[column]


@dataclass(frozen=True, slots=True)
class Threshold:
    """A condition under which a comparison fails.

    Attributes
    ----------
    text : as it was written
    who : the policy it is of, or policy@accelerator; None: all but the baseline
    column, sign, limit : the condition

    Examples
    --------
    >>> Threshold.parse("dynasty:speedup<4").limit
    4.0
    """

    text: str
    who: str | None
    column: str
    sign: str
    limit: float

    @classmethod
    def parse(cls, text: str) -> Threshold:
        """Read a condition.

        Parameters
        ----------
        text : `speedup<4`, `dynasty:accuracy_change<-1` or `dynasty@int8_systolic:speedup<1`

        Returns
        -------
        The condition.

        Raises
        ------
        ConfigError : for text that is none

        Examples
        --------
        >>> Threshold.parse("speedup<4").who is None
        True
        """
        match = re.fullmatch(r"(?:([^:<>]+):)?\s*(\w+)\s*(<=|>=|<|>)\s*(\S+)", text.strip())
        try:
            threshold = cls(text, match[1], match[2], match[3], float(match[4]))  # type: ignore[index]
            if not math.isfinite(threshold.limit):
                raise ValueError
            return threshold
        except (TypeError, ValueError):
            raise ConfigError(
                "--fail-if must be [POLICY[@ACCELERATOR]:]COLUMN<NUMBER (or <=, >, >=), as in"
                f" speedup<4, not {text!r}"
            ) from None

    def met_by(self, table: pd.DataFrame, baseline: str) -> list[str]:
        """The rows that meet the condition.

        Parameters
        ----------
        table : of `averaged`
        baseline : the policy that the others are compared with

        Returns
        -------
        A line for each.

        Raises
        ------
        ConfigError : if no row that it is of has a number
        """
        numbers = [c for c in table.columns if c not in _TEXT]
        if self.column not in numbers:
            raise ConfigError(
                f"--fail-if {self.text}: there is no column {self.column!r}"
                f"{hint(self.column, numbers)}; there are {', '.join(numbers)}"
            )
        names = [(row.policy, f"{row.policy}@{row.accelerator}") for row in table.itertuples()]
        everyone = {name for pair in names for name in pair}
        if self.who is not None and self.who not in everyone:
            raise ConfigError(
                f"--fail-if {self.text}: there is no {self.who!r}{hint(self.who, everyone)}"
            )
        lines = []
        values = [
            (pair, value)
            for pair, value in zip(names, table[self.column], strict=True)
            if (self.who in pair if self.who else pair[0] != baseline)
        ]
        if all(value != value for _, value in values):
            raise ConfigError(f"--fail-if {self.text}: nothing that it is of has a {self.column}")
        for pair, value in values:
            if _SIGNS[self.sign](value, self.limit):
                lines.append(
                    f"{pair[1]}: {self.column} is {value:.4g}, and {self.text!r} was to fail"
                )
        return lines
