"""What made something: the versions that the summary of a run names."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version


@cache
def product_version() -> str:
    """Version of patchlight as it is installed; ``unknown`` for code that is run uninstalled."""
    try:
        return version("patchlight")
    except PackageNotFoundError:
        return "unknown"


def current_versions(**parts: int) -> dict[str, str]:
    """Versions that a summary names under ``made_by``.

    Args:
        parts: name -> version of what else its numbers depend on.
    """
    return {"patchlight": product_version(), **{name: str(v) for name, v in parts.items()}}
