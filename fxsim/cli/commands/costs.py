"""Commands that price, and show what is priced."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from fxsim.cli.options import Accelerators, Json, fail, one_of, shipped_names, telling
from fxsim.terminal.console import print_json, print_table, records, warn


def estimate(
    target: Annotated[
        str,
        typer.Argument(
            help="A run's directory, or a workload.", autocompletion=shipped_names("workloads")
        ),
    ],
    accelerator: Accelerators,
    policy: Annotated[
        str | None, typer.Option(help="For a workload: the policy of the step; uniform if absent.")
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(min=1, help="Samples of a workload's step, or of inference."),
    ] = None,
    mode: Annotated[
        str | None,
        typer.Option(
            help="training or inference. Training unless the network can only be priced forward."
        ),
    ] = None,
    fold: Annotated[
        bool, typer.Option("--fold", help="For inference: fold batch norms into weights.")
    ] = False,
    by: Annotated[
        str | None,
        typer.Option(
            help="Rows: pass, layer, operation, step, component, level, operand; several with"
            " commas. By pass if absent."
        ),
    ] = None,
    show: Annotated[
        str, typer.Option(help="cost, roofline, power, or the mappings and their bounds.")
    ] = "cost",
    objective: Annotated[
        str, typer.Option(help="What the mapper minimises: cycles, energy or edp.")
    ] = "edp",
    node: Annotated[
        float | None, typer.Option(help="Scale on-chip energies and areas to this node, in nm.")
    ] = None,
    mapping: Annotated[
        Path | None, typer.Option(help="Use the mappings of this YAML file as they are.")
    ] = None,
    save_mapping: Annotated[
        Path | None, typer.Option(help="Write the mappings to this YAML file.")
    ] = None,
    json_: Json = False,
) -> None:
    """Price a recorded run on accelerators without training again, or one step of a workload.

    With --mode inference, price one forward pass instead: weights lie in memory as operands, at
    their bits.

    Example: fxsim estimate reports/quickstart/runs/dynasty-seed0 -a int8_systolic

    Example: fxsim estimate resnet20 --batch 8 -a eyeriss --by layer,component --objective edp

    Example: fxsim estimate resnet20 --batch 1 -a eyeriss --mode inference --fold
    """
    from functools import partial

    from fxsim.cost import breakdown
    from fxsim.cost.model import evaluate_cost
    from fxsim.hardware import library
    from fxsim.identifiers import Phase
    from fxsim.mapping import mapping as mappings
    from fxsim.mapping.search import OBJECTIVES
    from fxsim.runs.estimate import trace_of

    columns = [
        one_of("--by", name, (*breakdown.GROUPINGS, *breakdown.PARTS))
        for name in (by or "pass").split(",")
    ]
    if len(set(columns)) < len(columns):
        fail(f"--by must name each of its rows once, not {by}")
    if one_of("--show", show, breakdown.VIEWS) != "cost" and by:
        fail(f"--by takes --show cost apart, not {show}")
    goal = one_of("--objective", objective, OBJECTIVES)
    phase = None if mode is None else Phase(one_of("--mode", mode, tuple(map(str, Phase))))
    machines = [library.machine(name, node) for name in accelerator]
    names = [on.name for on in machines]
    if len(set(names)) < len(names):
        fail(f"-a must name machines of different names, not {', '.join(names)}")
    if (save_mapping or mapping) and len(machines) > 1:
        fail(f"mappings are of one accelerator, not of {len(machines)}")
    stored_mappings = mappings.load(mapping, names[0]) if mapping else None
    warn([f"{on.name}: {doubt}" for on in machines for doubt in on.doubts()])
    tables = {}
    with telling() as progress:
        trace, label = trace_of(target, policy, progress, batch, phase, fold)
        for on in machines:
            tell = partial(progress.task, f"pricing on {on.name}")
            cost = evaluate_cost(trace, on, goal, stored_mappings, tell)
            tables[on.name] = breakdown.view(cost, show, columns)
            if save_mapping:
                mappings.save(save_mapping, on.name, cost.mappings)
                progress.note(f"wrote {save_mapping}")
    if json_:
        print_json({name: records(table) for name, table in tables.items()})
        return
    at_node = "" if node is None else f" at {node:g} nm"
    for name, table in tables.items():
        if table.empty:  # of searched mappings
            typer.echo(f"{label} on {name}: every mapping was given, none was searched")
        else:
            print_table(breakdown.readable(table), f"{label} on {name}{at_node}")


def explain(
    accelerator: Annotated[
        str,
        typer.Argument(
            help="An accelerator's name or YAML file.",
            autocompletion=shipped_names("accelerators"),
        ),
    ],
    json_: Json = False,
) -> None:
    """Draw an accelerator: its memories, its array, what it can do at which bits, its sources.

    Example: fxsim explain accelerators/dynasty.yaml
    """
    from fxsim.hardware import drawing, library

    machine = library.machine(accelerator)
    if json_:
        print_json(json.loads(machine.model_dump_json()))
    else:
        typer.echo(drawing.text(machine))
