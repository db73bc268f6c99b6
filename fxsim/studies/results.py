"""What a study found, as tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from fxsim.cost import paper_metrics
from fxsim.identifiers import LAYER, OPERAND_ROLES, ROLE, LayerId
from fxsim.studies import comparison
from fxsim.studies.study import StudyResult


def summary(result: StudyResult) -> pd.DataFrame:
    """Accuracy, bits, cost, speedup and saving of every run on every machine.

    Float policies have no cycles on integer arrays (NaN). Speedup and saving are against the
    baseline.

    Parameters
    ----------
    result : of a study

    Returns
    -------
    A row a policy, accelerator and seed: accuracy as a fraction, bits, cycles and microjoules of
    what the study prices (`PricedSpec`), array area [mm2], node [nm].
    """
    rows: list[dict[str, Any]] = []
    for (name, seed), run_ in result.runs.items():
        for machine in result.study.machines.values():
            cost = result.costs.get((name, seed, machine.name))
            base = result.base(seed, machine.name)
            bits = run_.mean_bits()
            rows.append(
                {
                    "policy": name,
                    "accelerator": machine.name,
                    "node_nm": machine.technology.node_nm,
                    "seed": seed,
                    "test_accuracy": run_.manifest["test_accuracy"],
                    **{f"{r}_bits": bits.get(r, 32.0) for r in OPERAND_ROLES},
                    "cycles": cost.cycles if cost else float("nan"),
                    "energy_uj": cost.energy_pj / 1e6 if cost else float("nan"),
                    "edp_js": cost.edp_js if cost else float("nan"),
                    "speedup": base.seconds / cost.seconds if cost and base else float("nan"),
                    "energy_saving": base.energy_pj / cost.energy_pj
                    if cost and base
                    else float("nan"),
                    "array_area_mm2": machine.array_area_mm2,
                    "weights_sha256": run_.manifest["weights_sha256"],
                }
            )
    return pd.DataFrame(rows)


def averages(result: StudyResult) -> pd.DataFrame:
    """`summary` as means over seeds.

    Parameters
    ----------
    result : of a study

    Returns
    -------
    A row a policy and accelerator, see `fxsim.studies.comparison.averaged`.
    """
    return comparison.averaged(summary(result), result.study.spec.baseline)


def cost_table(result: StudyResult) -> pd.DataFrame:
    """All costs, steps summed.

    Parameters
    ----------
    result : of a study

    Returns
    -------
    A row a policy, seed, accelerator, layer, pass and operation.
    """
    return _joined(result, "operations")


def memory_table(result: StudyResult) -> pd.DataFrame:
    """What memories move, steps summed.

    Parameters
    ----------
    result : of a study

    Returns
    -------
    A row as in `cost_table`, memory level and operand: bits read and written, and the energy of
    both [pJ].
    """
    return _joined(result, "memory")


def roofline_table(result: StudyResult) -> pd.DataFrame:
    """Where each layer and pass stands under its machine's roofline.

    Parameters
    ----------
    result : of a study

    Returns
    -------
    A row a policy, seed, accelerator, layer and pass; see `fxsim.cost.model.TraceCost.roofline`.
    """
    return _joined(result, "roofline")


def layer_order(result: StudyResult) -> Callable[[pd.Series], pd.Series]:
    """The places of layers in the network, to sort by; a layer's parts and probes follow it.

    Parameters
    ----------
    result : of a study

    Returns
    -------
    A key for `pandas.DataFrame.sort_values`.
    """
    places = {layer["name"]: i for i, layer in enumerate(result.study.workload.data["layers"])}

    def place(layers: pd.Series) -> pd.Series:
        return layers.map(lambda name: places.get(LayerId.parse(name).layer, len(places)))

    return place


def _joined(result: StudyResult, part: str) -> pd.DataFrame:
    parts = []
    order = layer_order(result)
    for (name, seed, machine), costs in result.costs.items():
        table = getattr(costs, part).sort_values(LAYER, key=order, kind="stable")
        names = pd.DataFrame({"policy": name, "seed": seed, "accelerator": machine}, table.index)
        parts.append(pd.concat([names, table], axis=1))
    return pd.concat(parts, ignore_index=True)


def paper_metrics_table(result: StudyResult) -> pd.DataFrame:
    """What each integer run cost as papers count it; see `fxsim.cost.paper_metrics.figures`.

    The accuracy to be reached is that of the float policy's run with the same seed, or the
    baseline's where there is none.

    Parameters
    ----------
    result : of a study

    Returns
    -------
    A row a policy and seed.
    """
    floats = [name for name, (_, policy) in result.study.policies.items() if not policy.integer]
    standard = floats[0] if floats else result.study.spec.baseline
    rows = []
    for (name, seed), run_ in result.runs.items():
        if run_.integer:
            target = result.runs[standard, seed].manifest["test_accuracy"]
            reached = [float(accuracy) for accuracy in run_.evaluations["test_accuracy"]]
            counted = paper_metrics.figures(run_.trace(), run_.decisions, reached, target)
            rows.append({"policy": name, "seed": seed, **counted})
    return pd.DataFrame(rows)


def accuracy_table(result: StudyResult) -> pd.DataFrame:
    """Test accuracy and loss after every epoch.

    Parameters
    ----------
    result : of a study

    Returns
    -------
    A row a policy, seed and epoch.
    """
    parts = [
        run.evaluations.assign(policy=policy, seed=seed)
        for (policy, seed), run in result.runs.items()
    ]
    return pd.concat(parts, ignore_index=True)


def bits_table(result: StudyResult) -> pd.DataFrame:
    """How many words were cast to each length.

    Parameters
    ----------
    result : of a study

    Returns
    -------
    A row a policy, seed, role and word length; `share` is of the role's words in all steps.
    """
    parts = []
    for (name, seed), run in result.runs.items():
        if not run.integer:
            continue
        table = run.trace().operands
        counts: dict[tuple[str, int], int] = {}
        for role, lengths, words in zip(
            table[ROLE], table["bits"], table["elements_by_bits"], strict=True
        ):
            for length, count in zip(lengths, words, strict=True):
                counts[role, int(length)] = counts.get((role, int(length)), 0) + int(count)
        parts += [
            {"policy": name, "seed": seed, ROLE: role, "bits": bits, "words": count}
            for (role, bits), count in sorted(counts.items())
        ]
    counted = pd.DataFrame(parts)
    totals = counted.groupby(["policy", "seed", ROLE])["words"].transform("sum")
    return counted.assign(share=counted["words"] / totals)


def numbers_table(result: StudyResult) -> pd.DataFrame:
    """What casting lost.

    Parameters
    ----------
    result : of a study

    Returns
    -------
    A row a policy, seed, layer and role. `saturated` and `zeros` are shares of all words of all
    steps; `noise_db` is the energy of rounding and saturation over that of the tensor [dB], at the
    sampled steps (NaN: not recorded, or exact).
    """
    parts = []
    for (name, seed), run in result.runs.items():
        if not run.integer:
            continue
        trace = run.trace()
        keys = [LAYER, ROLE]
        table = trace.operands.assign(words=trace.operands["rows"] * trace.operands["columns"])
        sums = table.groupby(keys, sort=False)[["words", "saturated", "zeros"]].sum()
        powers = trace.maps.groupby(keys, sort=False)[["noise", "signal"]].sum(min_count=1)
        ratio = powers["noise"] / powers["signal"]
        noise = 10 * np.log10(ratio.where(ratio > 0).astype(float))
        shares = pd.DataFrame(
            {
                "saturated": sums["saturated"] / sums["words"],
                "zeros": sums["zeros"] / sums["words"],
                "noise_db": noise.reindex(sums.index),
            }
        )
        parts.append(shares.reset_index().assign(policy=name, seed=seed))
    return pd.concat(parts, ignore_index=True)[
        ["policy", "seed", LAYER, ROLE, "saturated", "zeros", "noise_db"]
    ]
