"""Where the shipped workloads, accelerators and studies are, in a wheel and in a checkout."""

from __future__ import annotations

from pathlib import Path

from fxsim.errors import ConfigError, hint

_PACKAGE = Path(__file__).parents[1]


def folder(kind: str) -> Path:
    """The shipped folder "accelerators", "workloads" or "reports"."""
    inside = _PACKAGE / "shipped_files" / kind
    return inside if inside.is_dir() else _PACKAGE.parent / kind


def names(kind: str) -> dict[str, Path]:
    """{name: file} of what is shipped of a kind."""
    return {path.stem: path for path in sorted(folder(kind).glob("*.yaml"))}


def find(kind: str, name: str, beside: Path | None = None) -> Path:
    """A file by its path (also relative to `beside`), or by its shipped name."""
    for path in (Path(name), *([beside / name] if beside else [])):
        if path.is_file():
            return path
    shipped = names(kind)
    if name in shipped:
        return shipped[name]
    relative = Path(name)
    if relative.parts[:1] == (kind,) and relative.stem in shipped and relative.suffix == ".yaml":
        return shipped[relative.stem]
    raise ConfigError(
        f"{name}: must be a file or one of the shipped {kind} ({', '.join(shipped)}),"
        f" it is neither{hint(relative.stem, shipped)}"
    )
