"""Files of rows that people hand in: JSONL, CSV and Parquet, read row by row."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from patchlight.tasks.common.errors import InputError

STDIN = "-"

Row = dict[str, Any] | str
"""Column -> value; or what is wrong with the row. Missing is an empty text or None in CSV (None
where the line ends before), and None in Parquet; in JSON a name is not there."""

_LINE_FORMATS = frozenset({".jsonl", ".ndjson"})
_TABLE_FORMATS = frozenset({".csv", ".parquet"})


def format_of(path: str) -> str:
    """Return ``jsonl``, ``csv`` or ``parquet``; empty for a file that is none of these.

    Args:
        path: the file; ``-`` is JSONL on stdin.
    """
    suffix = ".jsonl" if path == STDIN else Path(path).suffix.lower()
    if suffix in _LINE_FORMATS:
        return "jsonl"
    return suffix[1:] if suffix in _TABLE_FORMATS else ""


def name_of(path: str) -> str:
    """Return what messages call a file."""
    return "stdin" if path == STDIN else path


def read_rows(path: str, error: type[InputError], what: str) -> Iterator[tuple[int, Row]]:
    """Yield the number of each row, and the row.

    Args:
        path: the file, ``-`` for JSONL on stdin; its suffix says what it is.
        error: raised where the file cannot be read.
        what: says which files are taken, where its suffix says nothing.

    Yields:
        1-based line (JSONL, CSV with its header) or row (Parquet), and the row.
    """
    match format_of(path):
        case "jsonl":
            yield from json_lines(path, error)
        case "csv":
            with _text(path, error) as file:
                yield from _csv_rows(path, file, error)
        case "parquet":
            yield from _parquet_rows(path, error)
        case _:
            raise error(f"{path}: {what}")


def json_lines(path: str | Path, error: type[InputError]) -> Iterator[tuple[int, Row]]:
    """Yield number and object of each line of a JSONL file; blank lines are skipped.

    Args:
        path: the file, ``-`` for stdin.
        error: raised where it cannot be read.
    """
    with _text(str(path), error) as file:
        yield from _json_rows(file)


@contextmanager
def _text(path: str, error: type[InputError]) -> Iterator[IO[str]]:
    try:
        if path == STDIN:  # whatever the locale says, it is UTF-8
            file = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig", newline="")
            try:
                yield file
            finally:
                file.detach()
        else:
            with Path(path).open(encoding="utf-8-sig", newline="") as file:
                yield file
    except OSError as cause:
        problem = f"{name_of(path)}: cannot be read ({cause.strerror or cause})"
        raise error(problem) from cause
    except UnicodeDecodeError as cause:
        problem = f"{name_of(path)}: is not UTF-8 text ({cause}); save it as UTF-8"
        raise error(problem) from cause


def _json_rows(file: IO[str]) -> Iterator[tuple[int, Row]]:
    for line, text in enumerate(file, 1):
        if not text.strip():
            continue
        try:
            row = json.loads(text, object_pairs_hook=_once_each)
        except json.JSONDecodeError as error:
            yield line, f"is not JSON ({error.msg}, column {error.colno})"
            continue
        except (ValueError, RecursionError) as error:  # a number or a nesting without end
            yield line, f"is not JSON that can be read ({error})"
            continue
        yield line, row if isinstance(row, dict) else 'is not a JSON object, e.g. {"name": …}'


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) < len(pairs):
        given = [name for name, _ in pairs]
        twice = next(name for name in given if given.count(name) > 1)
        raise ValueError(f"the name {twice!r} is there twice")
    return names


def _csv_rows(path: str, file: IO[str], error: type[InputError]) -> Iterator[tuple[int, Row]]:
    header = file.readline()
    lines = chain([header] if header else [], file)
    reader: Any = csv.DictReader(lines, delimiter=_delimiter(header), strict=True)
    try:
        _check_distinct(f"{path}, line 1", reader.fieldnames or [], error)
        for row in reader:
            yield reader.line_num, "has more fields than the header" if None in row else row
    except csv.Error as cause:
        raise error(f"{path}, line {reader.line_num}: is not CSV ({cause})") from cause


def _check_distinct(place: str, names: Sequence[str], error: type[InputError]) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise error(f"{place}: column {repeated[0]!r} is there twice; rename one")


def _delimiter(header: str) -> str:
    """A comma, unless the header has none and parts its names in another usual way."""
    if "," in header:
        return ","
    return next((mark for mark in (";", "\t") if mark in header), ",")


def _parquet_rows(path: str, error: type[InputError]) -> Iterator[tuple[int, Row]]:
    try:
        file = pq.ParquetFile(path)
        _check_distinct(path, file.schema_arrow.names, error)
        number = 0
        for batch in file.iter_batches(batch_size=1024):
            for row in pa.table(list(map(_in_microseconds, batch)), batch.schema.names).to_pylist():
                number += 1
                # Pandas writes NaN where a value is missing, and NaN is not equal to itself.
                yield number, {k: v if v == v else None for k, v in row.items()}
    except (OSError, OverflowError, ValueError, pa.ArrowException) as cause:
        raise error(f"{path}: cannot be read as Parquet ({cause})") from cause
    except KeyError as cause:  # of pytz and zoneinfo
        raise error(f"{path}: cannot be read as Parquet: there is no time zone {cause}") from cause


def _in_microseconds(column: pa.Array) -> pa.Array:
    """Times such that Python has a type for them."""
    if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
        return column.cast(pa.timestamp("us", column.type.tz), safe=False)
    return column
