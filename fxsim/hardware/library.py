"""Accelerators by the name of a shipped file, or by path, at the node of the file or another."""

from __future__ import annotations

from fxsim.config import resources
from fxsim.hardware import accelerator, scaling
from fxsim.hardware.accelerator import Accelerator


def machine(name: str, node_nm: float | None = None) -> Accelerator:
    """An accelerator by name, scaled to another technology if a node is given.

    Parameters
    ----------
    name : of a shipped one, or a YAML file
    node_nm : the technology node to scale to [nm]; None: the file's

    Returns
    -------
    The machine.

    Raises
    ------
    ConfigError : for a name that there is not, a file that is no machine, a node that is unknown

    Examples
    --------
    >>> machine("dynasty").area_mm2 > machine("dynasty", node_nm=7).area_mm2
    True
    """
    loaded = accelerator.load(resources.find("accelerators", name))
    return loaded if node_nm is None else scaling.scaled(loaded, node_nm)
