"""A mapping: the loops of a nest in their order, and which of them each memory level holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import yaml
from pydantic import BaseModel, ConfigDict, Field

from fxsim.config import yaml_document
from fxsim.hardware.dataflow import Loop, Operand
from fxsim.hardware.pe import Width
from fxsim.persistence.atomic import atomic_file


class ProductId(NamedTuple):
    """What a mapping is of.

    Attributes
    ----------
    layer, pass_ : the product
    part : its number, where a product is worked off in nests that leave zeros out; 0: the whole
    words : (left, right) word lengths, where units pack words by them; None: of any

    Examples
    --------
    >>> str(ProductId("conv1", "grad_input", part=2))
    'conv1, grad_input, part 2'
    """

    layer: str
    pass_: str
    part: int = 0
    words: tuple[int, int] | None = None

    def __str__(self) -> str:
        """As people read it."""
        part = f", part {self.part}" if self.part else ""
        words = f", {self.words[0]} x {self.words[1]} bits" if self.words else ""
        return f"{self.layer}, {self.pass_}{part}{words}"

    def plain(self) -> dict[str, Any]:
        """As YAML holds it.

        Returns
        -------
        A dictionary; what is as usual is left out.
        """
        document: dict[str, Any] = {"layer": self.layer, "pass": self.pass_}
        if self.part:
            document["part"] = self.part
        if self.words:
            document["words"] = list(self.words)
        return document


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
    where : the place in a file that it was read from, for errors

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
    where: str = field(default="", compare=False, repr=False)

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
    pass_: Annotated[Literal["forward", "grad_input", "grad_weight"], Field(alias="pass")]
    part: Annotated[int, Field(ge=0)] = 0
    words: tuple[Width, Width] | None = None
    loops: tuple[dict[Loop, Annotated[int, Field(ge=1)]], ...]
    inside: dict[str, dict[Operand, Annotated[int, Field(ge=0)]]] = {}
    first_tile: Annotated[int, Field(ge=0)] = 0
    mode: tuple[Width, Width] | None = None


class _MappingFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    accelerator: str
    mappings: tuple[_MappingEntry, ...]


def save(path: Path, accelerator: str, mappings: dict[ProductId, Mapping]) -> None:
    """Store mappings, to be looked at, edited, and used again.

    Parameters
    ----------
    path : the YAML file to write
    accelerator : the name of the machine that they are for
    mappings : by what they are of
    """
    entries = [{**product.plain(), **mapping.plain()} for product, mapping in mappings.items()]
    document = {"kind": "mapping", "accelerator": accelerator, "mappings": entries}
    with atomic_file(path) as fresh:
        text = yaml.safe_dump(document, sort_keys=False, default_flow_style=None, width=100)
        fresh.write_text(text, encoding="utf-8")


def load(path: Path, accelerator: str | None = None) -> dict[ProductId, Mapping]:
    """Read stored mappings.

    Parameters
    ----------
    path : a YAML file
    accelerator : the name of the machine that they must be for; None: any

    Returns
    -------
    Them, by what they are of.

    Raises
    ------
    ConfigError : for what is no mapping, or of another machine, naming its line
    """
    document = yaml_document.read(path)
    file = document.validate(_MappingFile, "mapping")
    if accelerator not in (None, file.accelerator):
        document.fail(
            ("accelerator",),
            f"accelerator must be {accelerator!r}, which is priced, not {file.accelerator!r}",
        )
    mappings: dict[ProductId, Mapping] = {}
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
            place = ("mappings", i, "first_tile")
            document.fail(
                place,
                f"{_dotted(place)} must be at most the {len(loops)} loops, not {entry.first_tile}",
            )
        product = ProductId(entry.layer, entry.pass_, entry.part, entry.words)
        if product in mappings:
            document.fail(("mappings", i), f"mappings.{i}: {product} is given twice")
        for level, operands in entry.inside.items():
            for operand, count in operands.items():
                if count > len(loops):
                    home = ("mappings", i, "inside", level, operand)
                    document.fail(
                        home,
                        f"{_dotted(home)} must be at most the {len(loops)} loops, not {count}",
                    )
        inside = {
            level: {str(o): n for o, n in loops_inside.items()}
            for level, loops_inside in entry.inside.items()
        }
        where = str(document.mark(("mappings", i)))
        mappings[product] = Mapping(tuple(loops), entry.first_tile, inside, entry.mode, where)
    return mappings


def _dotted(at: tuple[str | int, ...]) -> str:
    return ".".join(map(str, at))
