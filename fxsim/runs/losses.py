"""What a run lost on its way, as lines for people: see `fxsim.trace.reader` for what counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fxsim.config import yaml_document
from fxsim.identifiers import PASS, Role

if TYPE_CHECKING:
    from fxsim.runs.directory import Run

_AT_CHANCE = 1.25  # times the share of one class of them all; ours


def lines(run: Run) -> list[str]:
    """A line for each loss of an integer run, and before them one if it learned nothing."""
    trace = run.trace()
    losses = [
        f"{row.layer} {row.pass_}: its {row.accumulator_bits}-bit accumulator overflowed and"
        f" altered {row.altered:,} of {row.sums:,} sums ({_percent(row.altered / row.sums)}) in"
        f" {row.steps} steps, first at step {row.first_step}, sum {row.first_sum}; widen it with"
        " accumulator_bits"
        for row in trace.accumulator_overflows().rename(columns={PASS: "pass_"}).itertuples()
    ]
    levels = "alpha" in run.manifest["policy"]
    for row in trace.operand_losses().itertuples():
        remedy = {
            "saturated": "leave the word; a coarser or dynamic scale, or more bits, holds them",
            "zero": "are 0; a finer or dynamic scale, or more bits, keeps them",
        }[str(row.loss)]
        if levels and row.loss == "zero" and row.role == Role.ACTIVATION:
            remedy = "are below half a level of their clipping level; a smaller alpha keeps them"
        losses.append(
            f"{row.layer} {row.role}: {_share(row.words, row.elements)} {remedy}; so at the last"
            f" step, since step {row.since}"
        )
    for row in trace.update_losses().itertuples():
        what = {
            "saturated": "left the words of gradient, momentum, moments or master and were limited;"
            " a coarser or dynamic scale, or more bits, holds them",
            "vanished": "moved no weight, because they or their step were rounded to zero; more"
            " bits or a finer scale of gradient, momentum and master, or update_rounding:"
            " STOCHASTIC, keeps them",
        }[str(row.loss)]
        losses.append(
            f"{row.layer} update: {_share(row.words, row.elements)} {what}; in {row.steps} steps,"
            f" first at step {row.since}"
        )
    return _chance(run, losses) + losses


def _chance(run: Run, losses: list[str]) -> list[str]:
    """That a run learned nothing, and the likely cause."""
    classes = int(yaml_document.read(run.directory / "workload.yaml").data["classes"])
    accuracy = run.manifest["test_accuracy"]
    if accuracy * classes > _AT_CHANCE:
        return []
    cause = (
        f"the likely cause is the first of {len(losses)} losses: {losses[0].partition(';')[0]}"
        if losses
        else "no loss of words was recorded, so look at the learning rate, or train longer"
    )
    return [
        f"test accuracy {_percent(accuracy)} is that of chance, one of {classes} classes; {cause}"
    ]


def _share(words: int, elements: int) -> str:
    return f"{words:,} of {elements:,} words ({_percent(words / elements)})"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
