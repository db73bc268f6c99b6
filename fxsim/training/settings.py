"""How a network is trained, and the metrics that a step leaves."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fxsim.engine.tensor import FixedTensor
from fxsim.training.schedule import Schedule

LN_2 = 0.6931471805599453


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """What a run is, besides network, data and policy. Rates are exact decimals.

    clip_norm : gradients are scaled so that their common norm is at most this; None: never
    label_smoothing : share of the target that goes to all classes alike
    """

    epochs: int
    batch: int
    learning_rate: Fraction
    momentum: Fraction = Fraction(9, 10)
    weight_decay: Fraction = Fraction(0)
    schedule: Schedule = field(default_factory=Schedule)
    optimizer: str = "sgd"
    nesterov: bool = False
    betas: tuple[Fraction, Fraction] = (Fraction(9, 10), Fraction(999, 1000))
    epsilon: Fraction = Fraction(1, 10**8)
    clip_norm: Fraction | None = None
    loss: str = "cross_entropy"
    label_smoothing: Fraction = Fraction(0)


class Watcher(Protocol):
    """Hears how a run goes on; the command line draws its progress from it."""

    def step(self, step: int, steps: int, metrics: dict[str, Any]) -> None:
        """A step ended."""


def decays(name: str) -> bool:
    """Whether weight decay applies: to matrices and PACT's levels, not to biases, gammas, betas."""
    return name.endswith((".weight", ".clip.alpha"))


def integer_metrics(probability: FixedTensor, labels: NDArray[np.int64]) -> dict[str, float]:
    """Mean cross-entropy [nats] and accuracy, the same on every machine: no libm is asked.

    Each sample's log2 is cut to 16 fractional bits, so the loss is at most 2**-16 high.
    """
    flat = probability.matrix()
    flat_labels = np.ascontiguousarray(labels).reshape(-1)
    hit = flat[np.arange(len(flat_labels)), flat_labels]
    octaves = int(_log2(np.maximum(hit, 1).astype(np.int64)).sum())
    bits = probability.format.frac - octaves / (len(flat_labels) << 16)
    return {"loss": bits * LN_2, "accuracy": float((flat.argmax(axis=1) == flat_labels).mean())}


def _log2(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """floor(log2(code) * 2**16) of codes of 1 to 2**30, by squaring."""
    whole = np.zeros_like(codes)
    for step in (16, 8, 4, 2, 1):
        high = codes >> (whole + step) > 0
        whole += step * high
    rest, logarithm = codes << (30 - whole), whole
    for _ in range(16):
        rest = rest * rest >> 30
        carry = rest >> 31
        rest >>= carry
        logarithm = (logarithm << 1) | carry
    return logarithm
