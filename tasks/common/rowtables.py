"""Rows laid out to be read, as they come: in columns, or below each other where they are wide."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any

import pyarrow as pa
from rich.cells import cell_len, set_cell_size

from patchlight.tasks.common.rowvalues import rows_of
from patchlight.tasks.common.safetext import as_json, plain
from patchlight.tasks.common.terminal import LONGEST_CELL, cut

_ROWS_MEASURED = 200
"""Rows that the widths of columns follow from; nothing is held of the others."""
_GAP = "  "
_PLAN = ["plan_type", "plan"]


def as_lines(rows: pa.RecordBatchReader, width: int | None = None) -> Iterator[str]:
    """Yield the lines of a table, header first; texts are cut at 200 characters.

    Where the first rows do not fit into the width, every row is a block of lines with a column
    each. Plans of the engine are shown whole, as a text.

    Args:
        rows: what is laid out.
        width: characters of a line; None for that of the terminal, and as many as there are where
            there is none.
    """
    if width is None and sys.stdout.isatty():
        width = shutil.get_terminal_size().columns
    names = [plain(name) for name in rows.schema.names]
    if names == _PLAN:
        yield from _plans(rows)
        return
    cells = ([_cell(value) for value in row] for row in rows_of(rows))
    first = list(islice(cells, _ROWS_MEASURED))
    widths = [max(map(cell_len, column)) for column in zip(names, *first, strict=True)]
    if width is not None and sum(widths) + len(_GAP) * (len(names) - 1) > width:
        yield from _records(names, chain(first, cells), width)
        return
    to_right = [_is_number(field.type) for field in rows.schema]
    # The last column is as wide as it likes: nothing stands behind it.
    yield _line(names, widths, to_right)
    yield _GAP.join("─" * wide for wide in widths)
    for row in chain(first, cells):
        yield _line(row, widths, to_right)


def _records(names: Sequence[str], rows: Iterator[list[str]], width: int) -> Iterator[str]:
    longest = max(map(cell_len, names))
    for number, row in enumerate(rows, 1):
        yield f"─[ {number} ]".ljust(min(width, 40), "─")
        for name, value in zip(names, row, strict=True):
            yield f"{set_cell_size(name, longest)}: {value}".rstrip()


def _line(cells: Sequence[str], widths: Sequence[int], to_right: Sequence[bool]) -> str:
    placed = [
        " " * (wide - cell_len(cell)) + cell if right else cell + " " * (wide - cell_len(cell))
        for cell, wide, right in zip(cells, widths, to_right, strict=True)
    ]
    return _GAP.join(placed).rstrip()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list | dict):
        value = as_json(_beginning(value))
    return cut(plain(str(value)), LONGEST_CELL)


def _beginning(value: Any) -> Any:
    """What a cell shows of a nested value, and more; a page may have a hundred thousand numbers."""
    if isinstance(value, list):
        # Of two characters each, with a comma: longer than a cell, so that it is seen to be cut.
        return [_beginning(one) for one in value[: LONGEST_CELL // 2]]
    if isinstance(value, dict):
        return {key: _beginning(one) for key, one in value.items()}
    return value


def _plans(rows: pa.RecordBatchReader) -> Iterator[str]:
    for kind, plan in rows_of(rows):
        yield f"{plain(kind)}:"
        yield from (f"  {plain(line)}" for line in plan.splitlines())


def _is_number(kind: pa.DataType) -> bool:
    of = pa.types
    return bool(of.is_integer(kind) or of.is_floating(kind) or of.is_decimal(kind))
