"""A mapping: the loops of a nest in their order, and which of them each memory level holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field

from fxsim.config import yaml_document
from fxsim.hardware.dataflow import Loop, Operand
from fxsim.hardware.pe import Width
from fxsim.persistence.atomic import atomic_file


@dataclass(frozen=True, slots=True)
class Mapping:
    """How a nest is worked off.

    Parameters
    ----------
    loops : (loop, extent), innermost first: a loop takes the tile so far to `extent` turns of its
        dimension; array and units cover the tile before the first one
    first_tile : where tiles are moved whole (`dataflow.tiles`), how many loops lie inside one,
        which must be there before the array starts; else that is the words of the first step
    inside : {memory level: {operand: how many of the loops lie inside its tile}}; levels that are
        not named hold as much as fits
    mode : (left, right) word lengths as which units run narrower words, None: as they are

    Examples
    --------
    >>> print(Mapping((("K", 8), ("C", 16))))
    for C up to 16:
      for K up to 8:
          multiply-accumulate on the array
    """

    loops: tuple[tuple[str, int], ...]
    first_tile: int = 0
    inside: dict[str, dict[str, int]] = field(default_factory=dict)
    mode: tuple[int, int] | None = None

    def __str__(self) -> str:
        """The loop nest, outermost first, with what each level keeps inside."""
        lines = []
        for depth, at in enumerate(range(len(self.loops), -1, -1)):
            keeps = [
                f"{level} keeps {operand}"
                for level, operands in self.inside.items()
                for operand, loops in operands.items()
                if loops == at
            ]
            if keeps:
                lines.append("  " * depth + "# " + ", ".join(keeps))
            if at:
                loop, extent = self.loops[at - 1]
                before = next((e for d, e in reversed(self.loops[: at - 1]) if d == loop), None)
                step = f" in steps of {before}" if before else ""
                lines.append("  " * depth + f"for {loop} up to {extent}{step}:")
        lines.append("  " * (len(self.loops) + 1) + "multiply-accumulate on the array")
        return "\n".join(lines)

    def plain(self) -> dict[str, Any]:
        """As YAML holds it, outermost loop first.

        Returns
        -------
        A dictionary of lists, dictionaries and numbers.

        Examples
        --------
        >>> Mapping((("K", 8), ("C", 16))).plain()["loops"]
        [{'C': 16}, {'K': 8}]
        """
        document: dict[str, Any] = {
            "loops": [{loop: extent} for loop, extent in reversed(self.loops)],
            "inside": {level: dict(operands) for level, operands in self.inside.items()},
        }
        if self.first_tile:
            document["first_tile"] = self.first_tile
        if self.mode:
            document["mode"] = list(self.mode)
        return document


class _MappingEntry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    layer: str
    pass_: Annotated[
        str, Field(alias="pass", pattern=r"^(forward|grad_input|grad_weight)(#[2-9]|#[1-9]\d+)?$")
    ]
    loops: tuple[dict[Loop, Annotated[int, Field(ge=1)]], ...]
    inside: dict[str, dict[Operand, Annotated[int, Field(ge=0)]]] = {}
    first_tile: Annotated[int, Field(ge=0)] = 0
    mode: tuple[Width, Width] | None = None


class _MappingFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    accelerator: str
    mappings: tuple[_MappingEntry, ...]


def save(path: Path, accelerator: str, mappings: dict[tuple[str, str], Mapping]) -> None:
    """Store mappings, to be looked at, edited, and used again.

    Parameters
    ----------
    path : the YAML file to write
    accelerator : the name of the machine that they are for
    mappings : {(layer, pass): mapping}
    """
    entries = [
        {"layer": layer, "pass": pass_, **mapping.plain()}
        for (layer, pass_), mapping in mappings.items()
    ]
    document = {"kind": "mapping", "accelerator": accelerator, "mappings": entries}
    with atomic_file(path) as fresh:
        text = yaml.safe_dump(document, sort_keys=False, default_flow_style=None, width=100)
        fresh.write_text(text, encoding="utf-8")


def load(path: Path) -> dict[tuple[str, str], Mapping]:
    """Read stored mappings.

    Parameters
    ----------
    path : a YAML file

    Returns
    -------
    {(layer, pass): mapping}.

    Raises
    ------
    ConfigError : for what is no mapping, naming its line
    """
    document = yaml_document.read(path)
    file = document.validate(_MappingFile, "mapping")
    mappings: dict[tuple[str, str], Mapping] = {}
    for i, entry in enumerate(file.mappings):
        reached: dict[str, int] = {}
        loops = []
        for j, turn in enumerate(reversed(entry.loops)):
            at = ("mappings", i, "loops", len(entry.loops) - 1 - j)
            if len(turn) != 1:
                document.fail(at, f"{_dotted(at)} must be one loop, not {len(turn)}")
            ((loop, extent),) = turn.items()
            before = reached.get(loop, 1)
            if extent <= before:
                document.fail(
                    at,
                    f"{_dotted(at)}: {loop} must reach more than the {before} turns inside it,"
                    f" not {extent}",
                )
            reached[loop] = extent
            loops.append((str(loop), extent))
        if entry.first_tile > len(loops):
            where = ("mappings", i, "first_tile")
            document.fail(
                where,
                f"{_dotted(where)} must be at most the {len(loops)} loops, not {entry.first_tile}",
            )
        key = (entry.layer, entry.pass_)
        if key in mappings:
            document.fail(("mappings", i), f"mappings.{i}: {key[0]}, {key[1]} is given twice")
        for level, operands in entry.inside.items():
            for operand, count in operands.items():
                if count > len(loops):
                    place = ("mappings", i, "inside", level, operand)
                    document.fail(
                        place,
                        f"{_dotted(place)} must be at most the {len(loops)} loops, not {count}",
                    )
        inside = {
            level: {str(o): n for o, n in loops_inside.items()}
            for level, loops_inside in entry.inside.items()
        }
        mappings[key] = Mapping(tuple(loops), entry.first_tile, inside, entry.mode)
    return mappings


def _dotted(at: tuple[str | int, ...]) -> str:
    return ".".join(map(str, at))
