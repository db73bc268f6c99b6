"""Word lengths: layer by step, block by block, and how many words have which."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import colormaps
from numpy.typing import NDArray

from fxsim.identifiers import LAYER, OPERAND_ROLES, ROLE, STEP
from fxsim.report.html_repr import MOST_BITS, png_uri
from fxsim.report.style import Plot, dots, panel
from fxsim.runs.directory import Run
from fxsim.trace.reader import Trace
from fxsim.trace.schema import without_probes

COLUMNS = 160  # steps are averaged to at most so many
CORNER = 64  # blocks of a map that are shown, in each direction


def heat_maps(run: Run, name: str) -> list[Plot]:
    """Mean word length of every layer's operands (rows) over the steps (columns), by role."""
    trace = run.trace()
    operands = trace.operands
    operands = without_probes(operands)
    steps = int(operands[STEP].max()) + 1
    columns = min(COLUMNS, steps)
    bits = operands["word_bits"] / (operands["rows"] * operands["columns"])
    most = max(MOST_BITS, bits.max())
    figures = []
    for role in OPERAND_ROLES:
        rows = operands[ROLE] == role
        table = pd.DataFrame(
            {
                LAYER: operands[LAYER][rows],
                "bits": bits[rows],
                "bin": operands[STEP][rows] * columns // steps,
            }
        ).pivot_table(index=LAYER, columns="bin", values="bits", sort=False)
        table = table[sorted(table.columns)]
        forward = [layer for layer in trace.layers[LAYER] if layer in table.index]
        table = table.loc[[*forward, *(layer for layer in table.index if layer not in forward)]]
        figure, (axes,) = panel(0.8 + 0.15 * max(len(table), 6))
        image = axes.imshow(
            table.to_numpy(),
            aspect="auto",
            cmap="viridis",
            vmin=0,
            vmax=most,
            extent=(0, steps, len(table) - 0.5, -0.5),
            interpolation="nearest",
        )
        axes.set_yticks(range(len(table)), list(table.index), fontsize=7)
        axes.set(xlabel=STEP, title=role)
        figure.colorbar(image, ax=axes, label="mean bits", pad=0.02)
        caption = f"{name}: mean word length of each layer's {role} operand, step by step."
        figures.append(Plot(f"bits_{name}_{role}", caption, figure))
    return figures


def distribution(shares: pd.DataFrame) -> list[Plot]:
    """Which share of words has which length, a bar a policy, a panel a role.

    shares : see `fxsim.studies.results.bits_table`
    """
    figures = []
    mean = shares.groupby([ROLE, "policy", "bits"], sort=False)["share"].mean()
    lengths = sorted(shares["bits"].unique())
    shades = colormaps["viridis"](np.array(lengths) / max(MOST_BITS, lengths[-1]))
    for role in OPERAND_ROLES:
        if role not in shares[ROLE].unique():
            continue
        table = mean[role].unstack().fillna(0.0).reindex(columns=lengths, fill_value=0.0)
        table = table.reindex([p for p in shares["policy"].unique() if p in table.index])
        table = table / table.sum(axis=1).to_numpy()[:, None]
        figure, (axes,) = panel(1.1 + 0.3 * len(table))
        left = np.zeros(len(table))
        for length, shade in zip(lengths, shades, strict=True):
            values = table[length].to_numpy() * 100
            if values.any():
                axes.barh(
                    table.index, values, left=left, color=shade, label=f"{length}", height=0.7
                )
            left = left + values
        axes.set(xlabel="share of words [%]", title=role, xlim=(0, 100))
        axes.invert_yaxis()
        handles, labels = axes.get_legend_handles_labels()
        axes.legend(
            handles, labels, title="bits", loc="center left", bbox_to_anchor=(1, 0.5), frameon=False
        )
        caption = f"Words of the {role} operand by word length, over all layers and steps."
        figures.append(Plot(f"distribution_{role}", caption, figure))
    return figures


def largest_layers(trace: Trace, count: int) -> list[str]:
    """The layers with the most multiply-accumulates."""
    macs = trace.layers.set_index(LAYER)["macs"]
    return [str(layer) for layer in macs.sort_values(ascending=False, kind="stable").index[:count]]


def _grids(trace: Trace, layer: str) -> dict[str, list[tuple[int, NDArray[np.uint8]]]]:
    """{role: (step, bits of the map's first corner, wide rather than high)} at sampled steps."""
    grids: dict[str, list[tuple[int, NDArray[np.uint8]]]] = {}
    for step in trace.sampled():
        maps = trace.block_maps(step)
        for role in OPERAND_ROLES:
            if (layer, role) in maps:
                bits = maps[layer, role].bits
                bits = bits if bits.shape[0] <= bits.shape[1] else bits.T
                grids.setdefault(role, []).append((step, bits[:CORNER, :CORNER]))
    return grids


def _most(grids: dict[str, list[tuple[int, NDArray[np.uint8]]]]) -> int:
    """The longest word of some maps, or that of the brightest colour."""
    return max(MOST_BITS, *(int(grid.max()) for steps in grids.values() for _, grid in steps))


def block_maps(trace: Trace, name: str, layer: str, shown: int = 4) -> Plot:
    """The blocks of one layer's operands at a few sampled steps (a corner, where large)."""
    grids = _grids(trace, layer)
    count = min(shown, max(len(grid) for grid in grids.values()))
    most = _most(grids)
    figure, axes = panel(0.5 + 1.0 * len(grids), count, len(grids))
    for j, (role, steps) in enumerate(grids.items()):
        for i in range(count):
            step, grid = steps[i * (len(steps) - 1) // max(count - 1, 1)]
            part = axes[j * count + i]
            image = part.imshow(grid, cmap="viridis", vmin=0, vmax=most, aspect="auto")
            part.set_xticks([])
            part.set_yticks([])
            if j == 0:
                part.set_title(f"step {step}", fontsize=8)
            if i == 0:
                part.set_ylabel(role)
    figure.colorbar(image, ax=axes, label="bits of a block", shrink=0.8)
    return Plot(f"blocks_{name}_{layer}", f"{name}, layer {layer}: one cell a block.", figure)


def film(trace: Trace, layer: str) -> list[dict[str, object]]:
    """A layer's block maps over all sampled steps, as images that a slider moves through.

    A dictionary a role: role, steps, width and height of a map, and `image`, a data URI of the
    maps one below the other.
    """
    frames: list[dict[str, object]] = []
    grids = _grids(trace, layer)
    most = _most(grids)
    for role, steps in grids.items():
        height, width = steps[0][1].shape
        uri = png_uri(np.concatenate([grid for _, grid in steps]), most)
        frames.append(
            {
                ROLE: role,
                "steps": [step for step, _ in steps],
                "width": width,
                "height": height,
                "image": uri,
            }
        )
    return frames


def numbers(table: pd.DataFrame, hues: dict[str, str]) -> list[Plot]:
    """Rounding noise and saturation by layer, a dot a policy.

    table : see `fxsim.studies.results.numbers_table`
    """
    table = without_probes(table)
    mean = table.groupby([ROLE, "policy", LAYER], sort=False)[["noise_db", "saturated"]].mean()
    figures = []
    for column, label, what, scale in (
        ("noise_db", "noise over signal [dB]", "What rounding (and saturation) changed", 1),
        ("saturated", "saturated words [%]", "Words that saturated", 100),
    ):
        for role in OPERAND_ROLES:
            if role not in mean.index.get_level_values(0):
                continue
            values = mean.loc[role][column].unstack(sort=False)
            if not (values.abs() > 0).any(axis=None):
                continue
            caption = f"{what} in the {role} operand, by layer."
            figures.append(dots(values * scale, hues, label, role, f"{column}_{role}", caption))
    return figures
