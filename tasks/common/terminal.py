"""Tables as text for a terminal; text from documents cannot steer it."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from patchlight.tasks.common.safetext import as_json, plain

_UNBOUNDED_WIDTH = 10_000
_LONGEST_CELL = 200


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


def values_of(rows: pa.Table | pa.RecordBatch) -> Iterable[tuple[Any, ...]]:
    """Return the values of each row; two columns may have one name."""
    return zip(*(column.to_pylist() for column in rows.columns), strict=True)


def as_csv(rows: pa.RecordBatchReader) -> Iterable[str]:
    """Yield CSV lines, header first; nested values are JSON; exact unless for a terminal."""
    for_people = sys.stdout.isatty()
    yield _csv_line(rows.schema.names)
    for batch in rows:
        for row in values_of(batch):
            values = [as_json(v) if isinstance(v, list | dict) else v for v in row]
            yield _csv_line([plain(v) if for_people and isinstance(v, str) else v for v in values])


def as_json_lines(rows: pa.RecordBatchReader) -> Iterable[str]:
    """Yield one JSON object a row."""
    for batch in rows:
        for row in batch.to_pylist():
            yield as_json(row)


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
    return cut(plain(str(value)), _LONGEST_CELL)


def cut(text: str, longest: int) -> str:
    """Return a text, cut where it is longer than a number of characters."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _csv_line(values: Sequence[Any]) -> str:
    text = io.StringIO()
    # Only what is in the terminator is quoted: without it a newline in a value ends the row.
    csv.writer(text, lineterminator="\r\n").writerow(values)
    return text.getvalue().removesuffix("\r\n")
