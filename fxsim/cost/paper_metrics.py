"""What a run cost as papers count it, to stand beside our own cycles and energy.

- AdaPT's analytical model (Kummer et al., arXiv 2107.13490, as its code has it): work is MACs times
  the weights' word length and density, plus what adapting costs; its backward pass is charged at
  32 bits. Its own formulas of MACs are dimensionally odd: exact counts stand here.
- BitOPs: MACs times the bits of both operands, of the forward pass; and the compression of the
  weights against 32 bits (as AdaQAT, arXiv 2404.16876, and its field report).
"""

from __future__ import annotations

from math import log2

import numpy as np
import pandas as pd

from fxsim.identifiers import LAYER, PASS, ROLE, STEP, Pass, Role
from fxsim.trace.reader import Trace
from fxsim.trace.schema import of_probes, without_probes

FLOAT_BITS = 32


def figures(
    trace: Trace, decisions: pd.DataFrame, accuracies: list[float], target: float
) -> dict[str, float]:
    """AdaPT's figures and BitOPs of one run.

    decisions : a row a step; of AdaPT they hold lookback and resolution, others adapt for nothing
    accuracies : test accuracy by epoch; target : the one whose first epoch counts as reached

    training_speedup, iso_accuracy_speedup (NaN: never reached), inference_speedup : against 32 bits
    size_ratio : mean over layers of word length * density / 32, not weighted, as AdaPT has it
    memory_ratio : 1 + 2 * the size of the quantised weights over that of float32
    weight_kib, weight_compression : of the last step's weights, all layers weighted by their size
    gbitops : of one sample's forward pass, last step [1e9]
    """
    steps = _weights(trace)
    macs = _forward(trace)
    table = steps.merge(macs, on=[STEP, "owner"])
    float_work = FLOAT_BITS * table["macs"]
    overhead = _overhead(table, decisions)
    work = table["density"] * (table["macs"] * table["bits"] + overhead)
    spent = work.sum() + _probes(trace)
    training = 2 * float_work.sum() / (spent + float_work.sum())
    reached = next((i + 1 for i, accuracy in enumerate(accuracies) if accuracy >= target), None)
    share = reached / len(accuracies) if reached else float("nan")
    last = table[table[STEP] == table[STEP].max()]
    sizes = (last["bits"] * last["elements"]).sum()
    ratio = sizes / (FLOAT_BITS * last["elements"].sum())
    by_layer = last["bits"] * last["density"]
    return {
        "training_speedup": float(training),
        "iso_accuracy_speedup": float(training / share),
        "inference_speedup": float(
            FLOAT_BITS * last["macs"].sum() / (last["macs"] * last["bits"] * last["density"]).sum()
        ),
        "size_ratio": float(by_layer.sum() / (FLOAT_BITS * len(last))),
        "memory_ratio": float(1 + 2 * ratio),
        "weight_kib": float(sizes / 8192),
        "weight_compression": float(1 / ratio),
        "gbitops": _bitops(trace) / 1e9,
    }


def _weights(trace: Trace) -> pd.DataFrame:
    """A row a step and layer that owns weights: elements, mean bits, density."""
    o = trace.operands
    own = without_probes(o[o[ROLE] == Role.WEIGHT])
    elements = own["rows"] * own["columns"]
    return pd.DataFrame(
        {
            STEP: own[STEP],
            "owner": own[LAYER],
            "elements": elements,
            "bits": own["word_bits"] / elements,
            "density": 1 - own["zeros"] / elements,
        }
    )


def _forward(trace: Trace) -> pd.DataFrame:
    """A row a step and owner of weights: multiply-accumulates of the forward pass."""
    p = trace.products
    ahead = without_probes(p[(p[PASS] == Pass.FORWARD) & (p["right"] == Role.WEIGHT)])
    owners = trace.layers.set_index(LAYER)["weight_of"]
    rows = pd.DataFrame(
        {
            STEP: ahead[STEP],
            "owner": ahead[LAYER].map(owners),
            "macs": ahead["m"] * ahead["n"] * ahead["k"] * ahead["repeats"],
        }
    )
    return rows.groupby([STEP, "owner"], as_index=False, sort=False).sum()


def _probes(trace: Trace) -> float:
    """The work of a policy's forward passes more: MACs times the weights' word length."""
    p = of_probes(trace.products)
    total = 0.0
    for row in p.itertuples():
        joint = np.array(row.joint_macs).reshape(len(row.left_bits), len(row.right_bits))
        total += float((joint.sum(axis=0) * np.array(row.right_bits)).sum())
    return total


def _overhead(table: pd.DataFrame, decisions: pd.DataFrame) -> np.ndarray:
    """AdaPT's adaptation, spread over the lookback [bit operations a step]."""
    operations = np.zeros(len(table))
    for i, row in enumerate(table.itertuples()):
        name = f"lookback.{row.owner}"
        if name in decisions:
            lookback = float(decisions[name].iloc[row.step])
            bins = float(decisions[f"resolution.{row.owner}"].iloc[row.step])
            operations[i] = adaptation(row.elements, row.bits, row.density, lookback, bins)
    return operations


def adaptation(elements: int, bits: float, density: float, lookback: float, bins: float) -> float:
    """32 / lookback * (3 n (2 log2(bits - 8) or 1) bins * density + (lookback + 1) n + 1)."""
    searches = 2 * log2(bits - 8) if bits > 9 else 1.0
    step = 3 * elements * searches * bins * density + (lookback + 1) * elements + 1
    return FLOAT_BITS * step / lookback


def _bitops(trace: Trace) -> float:
    """Of one sample's forward pass in the last step: MACs times both word lengths."""
    p = trace.products
    last = p[(p[STEP] == p[STEP].max()) & (p[PASS] == Pass.FORWARD)]
    last = without_probes(last)
    total = 0.0
    for row in last.itertuples():
        joint = np.array(row.joint_macs).reshape(len(row.left_bits), len(row.right_bits))
        total += float((joint * np.outer(row.left_bits, row.right_bits)).sum())
    samples = int(trace.layers["batch"].iloc[0])
    return total / samples
