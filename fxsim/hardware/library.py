"""Accelerators by the name of a shipped file, or by path, at the node of the file or another."""

from __future__ import annotations

from fxsim.config import resources
from fxsim.hardware import accelerator, scaling
from fxsim.hardware.accelerator import Accelerator


def machine(name: str, node_nm: float | None = None) -> Accelerator:
    """An accelerator by shipped name or file, scaled to another technology if a node is given."""
    loaded = accelerator.load(resources.find("accelerators", name))
    return loaded if node_nm is None else scaling.scaled(loaded, node_nm)
