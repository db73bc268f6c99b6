"""The last part of a training step: gradients, clipped, move the parameters."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np

from fxsim.engine import update, update_rules
from fxsim.engine.tensor import FixedTensor
from fxsim.errors import naming
from fxsim.identifiers import ParameterId, Pass
from fxsim.numerics.formats import FixedPoint
from fxsim.numerics.state_formats import MASTER, UpdateFormats
from fxsim.training.context import Parameter, StepContext, VectorWork
from fxsim.training.decisions import GridDecisions, NitiDecisions, WageDecisions
from fxsim.training.settings import TrainingSettings, decays


def update_parameters(context: StepContext, settings: TrainingSettings) -> None:
    """Move all parameters by the step's gradients, and tell the tracer what that took."""
    gradients = dict(context.gradients())
    if settings.clip_norm is not None:
        factor = update.clip_factor(list(gradients.values()), settings.clip_norm)
        if factor is not None:
            gradients = {n: update.clipped(g, *factor) for n, g in gradients.items()}
    context.taken = gradients
    on_a_grid = isinstance(context.decisions, GridDecisions)
    for name, gradient in gradients.items():
        if on_a_grid and ParameterId.parse(name).is_weight:
            _on_a_grid(context, name, gradient)
            _record(context, name, 2, 1, context.stored_bits + gradient.format.bits)
            continue
        formats = context.policy.update_formats
        if not ParameterId.parse(name).is_weight:
            formats = replace(formats, master=MASTER)
        with naming(f"update of {name!r}"):
            moved = _optimised(context, settings, name, gradient, formats)
        context.parameters[name] = Parameter(moved.master, moved.momentum, moved.square)
        bits = formats.master.bits + moved.momentum.format.bits + gradient.format.bits
        bits += moved.square.format.bits if moved.square is not None else 0
        adds, multiplies = (4, 3) if settings.optimizer == "sgd" else (6, 8)
        _record(context, name, adds, multiplies, bits, moved)


def _record(
    context: StepContext,
    name: str,
    adds: int,
    multiplies: int,
    element_bits: int,
    moved: update.Updated | None = None,
) -> None:
    """Tell of the update of a parameter; element_bits : of an element's state and gradient."""
    size = context.taken[name].codes.size
    bits = element_bits * size
    saturated = context.clipped_gradients.get(name, 0)
    vanished = context.zeroed_gradients.get(name, 0)
    if moved is not None:
        saturated += moved.overflowed + moved.saturated
        vanished += moved.vanished
    work = VectorWork(
        size,
        adds,
        multiplies,
        bits,
        bits,
        stash_write_bits=bits,
        stash_read_bits=bits,
        saturated=saturated,
        vanished=vanished,
    )
    context.vector(ParameterId.parse(name).owner, Pass.UPDATE, work)


def _on_a_grid(context: StepContext, name: str, gradient: FixedTensor) -> None:
    """WAGE's or NITI's update, with the step's decisions as constants."""
    parameter, decided = context.parameters[name], context.decisions
    assert isinstance(decided, GridDecisions)
    grid, bits = decided.grid[ParameterId.parse(name).owner], decided.stored_bits
    if isinstance(decided, WageDecisions):
        key = context.key(name, "update")
        parameter.master = update_rules.wage(
            parameter.master, gradient, decided.rate, grid, bits, key
        )
    elif isinstance(decided, NitiDecisions):
        parameter.master = update_rules.niti(
            parameter.master, gradient, decided.gradient_bits, grid, bits
        )


def _optimised(
    context: StepContext,
    settings: TrainingSettings,
    name: str,
    gradient: FixedTensor,
    formats: UpdateFormats,
) -> update.Updated:
    """SGD's or Adam's step of one parameter."""
    parameter = context.parameters[name]
    rate = update.rate_of(context.decisions.learning_rate)
    decay = settings.weight_decay if decays(name) else Fraction(0)
    key = context.key(name, "update")
    if settings.optimizer == "sgd":
        sgd = update.SgdConstants(settings.momentum, rate, decay, settings.nesterov, formats)
        keys = context.key(name, "momentum"), key
        return update.sgd(parameter.master, parameter.momentum, gradient, sgd, keys)
    first, second = parameter.momentum, parameter.square
    if second is None:  # the first step
        empty = np.zeros(parameter.master.shape, np.int64)
        first, second = (
            FixedTensor.trusted(empty, FixedPoint(form.bits, form.frac or 0))
            for form in (formats.first, formats.second)
        )
    decoupled = settings.optimizer == "adamw"
    adam = update.AdamConstants.of(
        settings.betas, settings.epsilon, rate, decay, decoupled, context.step
    )
    draws = context.key(name, "first moment"), context.key(name, "second moment"), key
    return update.adam(parameter.master, first, second, gradient, adam, formats, draws)
