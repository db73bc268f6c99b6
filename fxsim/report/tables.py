"""Tables of a report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from fxsim.cost.model import ENERGIES
from fxsim.identifiers import OPERATION, PASS, Operation, Pass

PASSES = (Pass.FORWARD, Pass.GRAD_INPUT, Pass.GRAD_WEIGHT, Pass.BACKWARD, Pass.UPDATE)
_PASS_LABELS = {Pass.BACKWARD: "backward (vector unit)"}


def stacks(costs: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(cycles, energy [pJ]) by component and by pass, averaged over seeds.

    Index (policy, accelerator); columns (grouping, part), grouping "component" or "pass".
    """
    keys = ["policy", "accelerator"]
    seeds = costs.groupby(keys, sort=False)["seed"].nunique()
    cycles = pd.DataFrame(_cycle_parts(costs))
    by_component = cycles.groupby([costs[k] for k in keys], sort=False).sum().div(seeds, axis=0)
    energy = costs.groupby(keys, sort=False)[list(ENERGIES)].sum().div(seeds, axis=0)
    energy.columns = [c.removesuffix("_pj") for c in energy.columns]
    energy_pj = energy_of(costs)
    return (
        _joined(by_component, _by_pass(costs, costs["cycles"], seeds)),
        _joined(energy, _by_pass(costs, energy_pj, seeds)),
    )


def _cycle_parts(costs: pd.DataFrame) -> dict[str, pd.Series]:
    """Where each row's cycles go: parts that sum to the whole."""
    product, cast = costs[OPERATION] == Operation.PRODUCT, costs[OPERATION] == Operation.CAST
    return {
        "array": costs["elastic_cycles"],
        "edges, fill, drain": costs["ragged_cycles"] + costs["fill_cycles"],
        "lockstep": costs["lockstep_cycles"],
        "vector unit": costs["vector_cycles"].where(~cast, 0),
        "casts and analytics": costs["vector_cycles"].where(cast, 0),
        "memory, products": costs["stall_cycles"].where(product, 0),
        "memory, elementwise": costs["stall_cycles"].where(~product, 0),
    }


def _by_pass(costs: pd.DataFrame, values: pd.Series, seeds: pd.Series) -> pd.DataFrame:
    keys = [costs["policy"], costs["accelerator"], costs[PASS]]
    table = values.groupby(keys, sort=False).sum().unstack().div(seeds, axis=0)
    return table[[p for p in PASSES if p in table]].rename(columns=_PASS_LABELS)


def _joined(component: pd.DataFrame, by_pass: pd.DataFrame) -> pd.DataFrame:
    return pd.concat({"component": component, PASS: by_pass}, axis=1)


def lockstep(costs: pd.DataFrame) -> pd.DataFrame:
    """Array cycles of products against those of a perfectly elastic array, by machine and policy.

    The difference is lockstep, ragged folds, and filling and draining the array.
    """
    products = costs[costs[OPERATION] == Operation.PRODUCT]
    sums = products.groupby(["policy", "accelerator"], sort=False)[
        ["macs", "array_cycles", "elastic_cycles", "lockstep_cycles"]
    ].sum()
    sums["array_utilisation"] = sums["elastic_cycles"] / sums["array_cycles"]
    return sums.reset_index()


def energy_of(costs: pd.DataFrame) -> pd.Series:
    """All energy of each row [pJ]."""
    return costs[list(ENERGIES)].sum(axis=1)


def by_level(memory: pd.DataFrame, costs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """{"energy": [pJ], "bits"} of policies on accelerators, a column a memory level.

    memory, costs : see `fxsim.studies.results`
    """
    keys = ["policy", "accelerator"]
    seeds = costs.groupby(keys, sort=False)["seed"].nunique()
    moved = memory.assign(
        energy=memory["read_pj"] + memory["write_pj"],
        bits=memory["read_bits"] + memory["written_bits"],
    )
    sums = moved.groupby([*keys, "level"], sort=False)[["energy", "bits"]].sum()
    return {
        name: sums[name].unstack(sort=False).fillna(0.0).div(seeds, axis=0).loc[seeds.index]
        for name in ("energy", "bits")
    }


def bounds(roofline: pd.DataFrame) -> pd.DataFrame:
    """What bounds products, as shares of their cycles, a row a policy and accelerator; text."""
    keys = ["policy", "accelerator"]
    sums = roofline.groupby([*keys, "bound_by"], sort=False)["cycles"].sum().unstack(sort=False)
    shares = sums.fillna(0.0).div(sums.sum(axis=1), axis=0)
    return shares.map("{:.1%}".format).reset_index().rename_axis(columns=None)


def utilisation(lockstep: pd.DataFrame) -> pd.DataFrame:
    """`lockstep` as text."""
    text = lockstep.astype(object)
    for column in ("macs", "array_cycles", "elastic_cycles", "lockstep_cycles"):
        text[column] = [f"{value / 1e6:.1f} M" for value in lockstep[column]]
    text["array_utilisation"] = [f"{value:.1%}" for value in lockstep["array_utilisation"]]
    return text.rename(columns=lambda name: name.replace("_", " "))


_FORMS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "policy": ("policy", str),
    "accelerator": ("accelerator", str),
    "node_nm": ("node [nm]", lambda v: f"{v:g}"),
    "test_accuracy": ("test accuracy", lambda v: f"{100 * v:.2f} %"),
    "test_accuracy_sd": ("\u00b1", lambda v: f"{100 * v:.2f}"),
    "accuracy_change": ("points", lambda v: f"{v:+.2f}"),
    "p_value": ("p", lambda v: f"{v:.2g}"),
    "weight_bits": ("W bits", lambda v: f"{v:.2f}"),
    "activation_bits": ("A bits", lambda v: f"{v:.2f}"),
    "error_bits": ("E bits", lambda v: f"{v:.2f}"),
    "cycles": ("cycles", lambda v: f"{v / 1e6:,.2f} M" if v >= 1e6 else f"{v:,.0f}"),
    "energy_uj": ("energy [uJ]", lambda v: f"{v:,.0f}" if v >= 1000 else f"{v:.4g}"),
    "speedup": ("speedup", lambda v: f"{v:.2f}x"),
    "energy_saving": ("energy saving", lambda v: f"{v:.2f}x"),
    "edp_saving": ("EDP saving", lambda v: f"{v:.2f}x"),
    "array_area_mm2": ("array area [mm2]", lambda v: f"{v:.3f}"),
    "seeds": ("seeds", str),
    "weights_sha256": ("weights SHA-256", lambda v: v[:12]),
}


def readable(averages: pd.DataFrame) -> pd.DataFrame:
    """A table of policies on accelerators as text, without columns of no value and one node."""
    return pd.DataFrame(
        {
            label: [form(v) if v == v and v is not None else "-" for v in averages[column]]
            for column, (label, form) in _FORMS.items()
            if column in averages
            and averages[column].notna().any()
            and (column != "node_nm" or averages[column].nunique() > 1)
        }
    )


def paper_metrics(counted: pd.DataFrame) -> pd.DataFrame:
    """`fxsim.studies.results.paper_metrics_table`, means over seeds, as text."""
    labels = {
        "training_speedup": "training speedup",
        "iso_accuracy_speedup": "at iso-accuracy",
        "inference_speedup": "inference speedup",
        "size_ratio": "size ratio",
        "memory_ratio": "memory ratio",
        "weight_kib": "weights [KiB]",
        "weight_compression": "weight compression",
        "gbitops": "GBitOPs a sample",
    }
    grouped = counted.drop(columns="seed").groupby("policy", sort=False)
    means = grouped.agg(lambda seeds: seeds.mean(skipna=False))  # "-" if a seed never got there
    text = means.map(lambda value: "-" if value != value else f"{value:.3g}")
    return text.rename(columns=labels).reset_index()
