"""What no mapping can beat."""

from __future__ import annotations

import numpy as np

from fxsim.mapping.kernels import evaluation, layout
from fxsim.mapping.nest import RELEVANT
from fxsim.mapping.problem import Problem


def lower_bound(problem: Problem) -> tuple[float, float]:
    """What no mapping can beat: the roofline with compulsory traffic.

    Every level holds everything, so each word passes each level once; the array is at work in
    every step, and filled as often as its stationary operand demands.

    Parameters
    ----------
    problem : a nest at its word lengths, on a machine

    Returns
    -------
    (cycles, energy [pJ]).

    Examples
    --------
    >>> import fxsim
    >>> from fxsim.mapping.nest import Nest
    >>> from fxsim.mapping.problem import WordBits
    >>> problem = Problem(fxsim.machine("dynasty"), Nest.matrix(64, 32, 16), WordBits(8, 8, 32))
    >>> lower_bound(problem)[0]
    79.0
    """
    r, state = problem.record.copy(), layout.state()
    r["capacity"], r["whole"], r["fixed"] = np.inf, 0, -1
    open_loops = np.flatnonzero(problem.sizes > problem.spatial)
    state["loops"] = len(open_loops)
    state["dims"][: len(open_loops)] = open_loops
    state["ends"][: len(open_loops)] = problem.sizes[open_loops]
    evaluation.prepare(r)
    if problem.machine.dataflow.tiles == "whole":  # sums enter and leave the array once a tile
        r["taken"][:, 2] = r["once"][2]
    evaluation.count(r, state)
    longest = float(r["steps"] * r["step_cycles"])
    if (stationary := problem.machine.dataflow.stationary) is not None and r["overhead"]:
        relevant = list(RELEVANT[stationary])
        folds = np.prod(-(-problem.sizes[relevant] // problem.spatial[relevant]))
        longest += float(folds * r["overhead"] - 1)
    energy, top = 0.0, len(problem.names) - 1
    for level in range(top + 1):
        read, written = (float(state["moved"][level, :, side] @ r["bits"]) for side in (0, 1))
        if level == top and r["result_bits"] and not r["first_read"]:
            written += float(state["result"][layout.RESULTS] * r["result_bits"])
        energy += read * float(r["read_pj"][level]) + written * float(r["write_pj"][level])
        longest = max(longest, float(evaluation.port_time(level, read, written, r)))
    cycles = max(longest, 1.0)
    state["result"][layout.MEMORY_PJ], state["result"][layout.CYCLES] = energy, cycles
    return cycles, float(evaluation.energy_pj(r, state["result"]))
