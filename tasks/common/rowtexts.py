"""Rows as CSV, JSON and Parquet: every row whole, every column under a name of its own."""

from __future__ import annotations

import csv
import io
import math
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from patchlight.tasks.common.rowvalues import rows_of, unique_names
from patchlight.tasks.common.safetext import as_json, plain

Tell = Callable[[str], None]
"""Takes what is to be said of rows, beside them."""

_FORMULA = re.compile(r"'*[=+\-@＝＋－＠\t\r\n]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_GROUP_BYTES = 64 << 20


def named(rows: pa.RecordBatchReader, tell: Tell) -> list[str]:
    """The names of columns, each once; tells which were changed."""
    names = unique_names(rows.schema.names)
    changed = [
        f"{old!r} is {new!r}"
        for old, new in zip(rows.schema.names, names, strict=True)
        if old != new
    ]
    if changed:
        tell(f"column names that repeat: {', '.join(changed)}")
    return names


def as_csv(rows: pa.RecordBatchReader, tell: Tell, *, raw: bool = False) -> Iterator[str]:
    """Yield CSV lines, header first; nested values are JSON.

    Args:
        rows: to be written.
        tell: is told what is not as it was.
        raw: whether texts that a spreadsheet takes for formulas stay as they are; see `no_formula`.
    """
    kept: Callable[[str], str] = _same if raw else no_formula
    # What a terminal acts on is exact for programs only.
    shown: Callable[[str], str] = plain if sys.stdout.isatty() else _same
    yield _csv_line([shown(kept(name)) for name in named(rows, tell)])
    lost = 0
    for row in rows_of(rows):
        texts = []
        for value in row:
            if isinstance(value, list | dict):
                finite, more = _finite(value)
                lost += more
                value = as_json(finite)
            texts.append(value)
        yield _csv_line([shown(kept(v)) if isinstance(v, str) else v for v in texts])
    _tell_lost(lost, tell)


def no_formula(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula: with ``'`` in front where it might.

    Those are texts that begin with ``=``, ``+``, ``-``, ``@``, a tab or a line break, or with ``'``
    and one of these; a plain number is left alone. Without one ``'`` it is as it was.

    >>> [no_formula(one) for one in ("=1+1", "-5", "- five", "'=x", "'tis")]
    ["'=1+1", '-5', "'- five", "''=x", "'tis"]
    """
    if _FORMULA.match(text) and not _NUMBER.fullmatch(text):
        return f"'{text}"
    return text


def as_json_lines(rows: pa.RecordBatchReader, tell: Tell) -> Iterator[str]:
    """Yield one JSON object a row; NaN and infinity are null, and it is told how many were."""
    names, lost = named(rows, tell), 0
    for row in rows_of(rows):
        values, more = _finite(dict(zip(names, row, strict=True)))
        lost += more
        yield as_json(values)
    _tell_lost(lost, tell)


def as_json_array(rows: pa.RecordBatchReader, tell: Tell) -> Iterator[str]:
    """Yield the lines of one JSON array with an object a row; else as `as_json_lines`."""
    line = "["
    for one in as_json_lines(rows, tell):
        yield line if line == "[" else f"{line},"
        line = one
    yield from ("[]",) if line == "[" else (line, "]")


def write_parquet(rows: pa.RecordBatchReader, path: Path, tell: Tell) -> int:
    """Write a Parquet file, in groups of about 64 MiB.

    Returns:
        Number of rows.
    """
    import pyarrow.parquet as pq

    names = named(rows, tell)
    schema = pa.schema([f.with_name(n) for f, n in zip(rows.schema, names, strict=True)])
    waiting: list[pa.RecordBatch] = []
    size = count = 0
    with pq.ParquetWriter(path, schema) as writer:
        for batch in rows:
            waiting.append(pa.RecordBatch.from_arrays(batch.columns, schema=schema))
            size += batch.nbytes
            count += batch.num_rows
            if size >= _GROUP_BYTES:
                writer.write_table(pa.Table.from_batches(waiting))
                waiting, size = [], 0
        writer.write_table(pa.Table.from_batches(waiting, schema))
    return count


def _finite(value: Any) -> tuple[Any, int]:
    """A value that JSON can hold, and how many numbers in it are null for that."""
    if isinstance(value, float):
        return (value, 0) if math.isfinite(value) else (None, 1)
    if isinstance(value, dict):
        pairs = {key: _finite(one) for key, one in value.items()}
        return {key: one for key, (one, _) in pairs.items()}, sum(n for _, n in pairs.values())
    if isinstance(value, list):
        if all(isinstance(one, float) and math.isfinite(one) for one in value):
            return value, 0  # a vector: most of what there is
        each = [_finite(one) for one in value]
        return [one for one, _ in each], sum(n for _, n in each)
    return value, 0


def _tell_lost(count: int, tell: Tell) -> None:
    if count:
        tell(f"{count} numbers that JSON does not have (NaN, infinity) are null")


def _same(text: str) -> str:
    return text


def _csv_line(values: Sequence[Any]) -> str:
    text = io.StringIO()
    # Only what is in the terminator is quoted: without it a newline in a value ends the row.
    csv.writer(text, lineterminator="\r\n").writerow(values)
    return text.getvalue().removesuffix("\r\n")
