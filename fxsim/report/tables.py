"""Tables of a report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from fxsim.cost.price import ENERGIES

PASSES = ("forward", "grad_input", "grad_weight", "backward", "update")
_PASS_LABELS = {"backward": "backward (vector unit)"}


def stacks(costs: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(cycles in millions, energy in microjoules) by component and by pass, averaged over seeds.

    Index (policy, accelerator); columns (grouping, part), grouping "component" or "pass".
    """
    keys = ["policy", "accelerator"]
    seeds = costs.groupby(keys, sort=False)["seed"].nunique()
    cycles = pd.DataFrame(_cycle_parts(costs))
    by_component = cycles.groupby([costs[k] for k in keys], sort=False).sum().div(seeds, axis=0)
    energy = costs.groupby(keys, sort=False)[list(ENERGIES)].sum().div(seeds, axis=0) / 1e6
    energy.columns = [c.removesuffix("_pj") for c in energy.columns]
    energy_pj = costs[list(ENERGIES)].sum(axis=1)
    return (
        _joined(by_component / 1e6, _by_pass(costs, costs["cycles"] / 1e6, seeds)),
        _joined(energy, _by_pass(costs, energy_pj / 1e6, seeds)),
    )


def _cycle_parts(costs: pd.DataFrame) -> dict[str, pd.Series]:
    """Where each row's cycles go: parts that sum to the whole."""
    product, cast = costs["operation"] == "product", costs["operation"] == "cast"
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
    keys = [costs["policy"], costs["accelerator"], costs["pass"]]
    table = values.groupby(keys, sort=False).sum().unstack().div(seeds, axis=0)
    return table[[p for p in PASSES if p in table]].rename(columns=_PASS_LABELS)


def _joined(component: pd.DataFrame, by_pass: pd.DataFrame) -> pd.DataFrame:
    return pd.concat({"component": component, "pass": by_pass}, axis=1)


def lockstep(costs: pd.DataFrame) -> pd.DataFrame:
    """Array cycles of products against those of a perfectly elastic array, by machine and policy.

    The difference is lockstep, ragged folds, and filling and draining the array.
    """
    products = costs[costs["operation"] == "product"]
    sums = products.groupby(["policy", "accelerator"], sort=False)[
        ["macs", "array_cycles", "elastic_cycles"]
    ].sum()
    sums["array_utilisation"] = sums["elastic_cycles"] / sums["array_cycles"]
    return sums.reset_index()


LABELS = {
    "policy": "policy",
    "accelerator": "accelerator",
    "test_accuracy": "test accuracy",
    "weight_bits": "W bits",
    "activation_bits": "A bits",
    "error_bits": "E bits",
    "cycles": "cycles",
    "energy_uj": "energy [uJ]",
    "speedup": "speedup",
    "energy_saving": "energy saving",
    "array_area_mm2": "array area [mm2]",
    "weights_sha256": "weights SHA-256",
}


def readable(averages: pd.DataFrame) -> pd.DataFrame:
    """`fxsim.study.averaged` as text, for the terminal and the page."""
    formats: dict[str, Callable[[Any], str]] = {
        "test_accuracy": lambda v: f"{100 * v:.2f} %",
        "weight_bits": lambda v: f"{v:.2f}",
        "activation_bits": lambda v: f"{v:.2f}",
        "error_bits": lambda v: f"{v:.2f}",
        "cycles": lambda v: f"{v / 1e6:.2f} M",
        "energy_uj": lambda v: f"{v:,.0f}",
        "speedup": lambda v: f"{v:.2f}x",
        "energy_saving": lambda v: f"{v:.2f}x",
        "array_area_mm2": lambda v: f"{v:.3f}",
        "weights_sha256": lambda v: v[:12],
    }
    columns = {}
    for column, label in LABELS.items():
        values = averages[column]
        form = formats.get(column, str)
        columns[label] = [form(v) if v == v else "-" for v in values]
    return pd.DataFrame(columns)


def literature(counted: pd.DataFrame) -> pd.DataFrame:
    """`fxsim.study.literature_table`, means over seeds, as text."""
    labels = {
        "training_speedup": "training speedup", "iso_accuracy_speedup": "at iso-accuracy",
        "inference_speedup": "inference speedup", "size_ratio": "size ratio",
        "memory_ratio": "memory ratio", "weight_kib": "weights [KiB]",
        "weight_compression": "weight compression", "gbitops": "GBitOPs a sample",
    }  # fmt: skip
    grouped = counted.drop(columns="seed").groupby("policy", sort=False)
    means = grouped.agg(lambda seeds: seeds.mean(skipna=False))  # "-" if a seed never got there
    text = means.map(lambda value: "-" if value != value else f"{value:.3g}")
    return text.rename(columns=labels).reset_index()
