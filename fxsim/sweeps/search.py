"""Which points come next: all of a grid, or generations that seek the Pareto front."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

from fxsim.errors import missing_extra
from fxsim.sweeps.spec import COLUMNS, Axis, GridSearch, Sweep

Values = dict[str, Any]
Row = Mapping[str, Any]
BETTER = {name: 1 if name == "accuracy" else -1 for name in COLUMNS}


def generations(sweep: Sweep) -> Iterator[list[Values]]:
    """Generations of points; after each, send its rows, in order, failed ones with an `error`."""
    if isinstance(sweep.spec.search, GridSearch):
        names = [axis.name for axis in sweep.axes]
        lists = [axis.values or [] for axis in sweep.axes]
        yield [dict(zip(names, point, strict=True)) for point in itertools.product(*lists)]
        return
    yield from _searched(sweep)


def _searched(sweep: Sweep) -> Any:
    search, spec = sweep.spec.search, sweep.spec
    assert not isinstance(search, GridSearch)
    try:
        import optuna
        from optuna.trial import TrialState
    except ModuleNotFoundError:
        what = f"{sweep.path}: search.kind: pareto"
        raise missing_extra(what, "sweeps", "kind: grid") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)

    samplers = optuna.samplers
    sampler = {
        "nsga2": lambda: samplers.NSGAIISampler(
            population_size=search.generation, seed=search.seed
        ),
        "tpe": lambda: samplers.TPESampler(
            n_startup_trials=search.generation,
            multivariate=True,
            constant_liar=True,
            seed=search.seed,
        ),
        "random": lambda: samplers.RandomSampler(seed=search.seed),
    }[search.sampler]()
    directions: Any = ["maximize" if BETTER[name] > 0 else "minimize" for name in spec.objectives]
    study = optuna.create_study(directions=directions, sampler=sampler)
    spaces = {axis.name: _distribution(axis) for axis in sweep.axes}
    for begun in range(0, search.points, search.generation):
        trials = [study.ask(spaces) for _ in range(min(search.generation, search.points - begun))]
        rows = yield [
            {axis.name: _value(axis, trial.params[axis.name]) for axis in sweep.axes}
            for trial in trials
        ]
        for trial, row in zip(trials, rows, strict=True):
            if row.get("error"):
                study.tell(trial, state=TrialState.FAIL)
                continue
            for name, excess in zip(spec.limits, excesses(spec.limits, row), strict=True):
                trial.set_constraint(name, excess)
            study.tell(trial, [row[COLUMNS[name]] for name in spec.objectives])


def excesses(limits: Mapping[Any, float], row: Row) -> list[float]:
    """By how much a row is beyond each limit; not positive where it is within."""
    return [(row[COLUMNS[name]] - limit) * -BETTER[name] for name, limit in limits.items()]


def _distribution(axis: Axis) -> Any:
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    span = axis.range
    if span is None:
        return CategoricalDistribution(list(range(len(axis.values or []))))
    if span.powers_of_two:
        values = axis.values or [1]
        return IntDistribution(round(math.log2(values[0])), round(math.log2(values[-1])))
    if span.whole:
        step = 1 if span.log else int(span.step or 1)
        return IntDistribution(int(span.low), int(span.high), log=span.log, step=step)
    return FloatDistribution(span.low, span.high, log=span.log, step=span.step)


def _value(axis: Axis, given: Any) -> Any:
    if axis.range is None:
        return (axis.values or [])[given]
    return 2**given if axis.range.powers_of_two else given
