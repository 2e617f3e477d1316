"""Tables as text for a terminal; text from documents cannot steer it."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from patchlight.tasks.common.safetext import as_json, plain

_UNBOUNDED_WIDTH = 10_000
LONGEST_CELL = 200
"""Characters of a cell; a longer text is cut."""


def as_table(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Lay rows out in columns; long cells are cut."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name in names:
        table.add_column(Text(plain(name)), overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    width = None if sys.stdout.isatty() else _UNBOUNDED_WIDTH
    text = io.StringIO()
    Console(file=text, width=width, color_system=None, markup=False).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def key_values(values: Mapping[str, Any]) -> str:
    """Lay out names and values, one a line."""
    width = max(map(len, values), default=0)
    return "\n".join(f"{name:<{width}}  {_cell(value)}" for name, value in values.items())


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e6 else f"{value:.0f}"
    if isinstance(value, list | dict):
        value = as_json(value)
    return cut(plain(str(value)), LONGEST_CELL)


def cut(text: str, longest: int) -> str:
    """Return a text, cut where it is longer than a number of characters."""
    return text if len(text) <= longest else text[: longest - 1] + "…"
