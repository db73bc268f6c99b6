"""Nodes of an ONNX graph: their attributes, and how messages name them."""

from __future__ import annotations

from typing import Any


def described(node: Any) -> str:
    """A node's operator and name."""
    domain = f"{node.domain}." if domain_of(node) else ""
    name = node.name or next(filter(None, node.output), "?")
    return printable(f"{domain}{node.op_type} {name!r}")


def printable(text: str) -> str:
    """Text that stays on its line."""
    return "".join(c if c.isprintable() else "?" for c in text)


def domain_of(node: Any) -> str:
    """The domain of its operator; ONNX's own has two names."""
    return "" if node.domain == "ai.onnx" else str(node.domain)


def attributes(node: Any) -> dict[str, Any]:
    """A node's attributes as Python values; text as text."""
    from onnx import helper

    values = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return {k: v.decode(errors="replace") if isinstance(v, bytes) else v for k, v in values.items()}


def id_of(node: Any) -> str:
    """What names a node among the others: its first result."""
    return str(next(filter(None, node.output)))
