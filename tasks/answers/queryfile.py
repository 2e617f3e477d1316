"""Reading a batch of queries from JSONL, CSV or Parquet, row by row."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from patchlight.tasks.common.errors import QueryFileError

STDIN = "-"

_NEAR_MISSES = {
    "page": "pages",
    "pages": "pages",
    "pageno": "pages",
    "pagenum": "pages",
    "pagenumber": "pages",
    "pagenumbers": "pages",
    "qid": "query_id",
    "queryid": "query_id",
    "questionid": "query_id",
    "doc": "doc",
    "docs": "doc",
    "query": "query",
    "docid": "doc",
    "docname": "doc",
    "documentid": "doc",
    "document": "doc",
    "documentname": "doc",
    "docids": "doc",
    "file": "doc",
    "filename": "doc",
}
"""Names, lower case without punctuation, that are surely meant as one of ours."""

_LAST_PAGE = 2**31 - 1
_OURS = ("query_id", "query", "doc", "pages")
_WRITTEN = frozenset({"run_id", "statistics", "tokens", "query_tokens"})
"""Names of our own in a result line, which a carried column must not have."""


@dataclass(frozen=True, slots=True)
class QueryRow:
    """One question.

    Attributes:
        line: 1-based line (JSONL, CSV with its header) or row (Parquet) in the file.
        query_id: unique in the file.
        query: the question.
        doc: document to look in: an id, a URI or a file name; None for all.
        pages: 1-based pages to look on; None for all.
        carried: the row's other columns.
        place: file and line, for messages.
    """

    line: int
    query_id: str
    query: str
    doc: str | None
    pages: tuple[int, ...] | None
    carried: Mapping[str, Any] = field(default_factory=dict)
    place: str = field(default="the question", compare=False)


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be answered.

    Attributes:
        line: as in ``QueryRow``.
        query_id: what the row gives as one, or an empty string.
        message: what is wrong and what to do, with file and line.
    """

    line: int
    query_id: str
    message: str


def read_queries(path: str) -> Iterator[QueryRow | BadRow]:
    """Read a query file; ``-`` is JSONL on stdin. Rows come in the file's order.

    Raises:
        QueryFileError: the file cannot be read as what its name says it is.
    """
    seen: dict[str, int] = {}
    name = "stdin" if path == STDIN else path
    for line, row in _rows(path):
        if isinstance(row, str):
            yield BadRow(line, "", f"{name}, line {line}: {row}")
            continue
        result = _parse(name, line, row)
        if isinstance(result, QueryRow):
            first = seen.setdefault(result.query_id, line)
            if first != line:
                result = BadRow(
                    line,
                    result.query_id,
                    f"{name}, line {line}: query_id {result.query_id!r} is already used in line "
                    f"{first}; give each row its own",
                )
        yield result


def in_blocks(
    rows: Iterable[QueryRow | BadRow], size: int
) -> Iterator[tuple[list[QueryRow], list[BadRow]]]:
    """Yield the rows in blocks of at most ``size``, good and bad ones apart."""
    source = iter(rows)
    while block := list(islice(source, size)):
        yield (
            [row for row in block if isinstance(row, QueryRow)],
            [row for row in block if isinstance(row, BadRow)],
        )


def json_lines(path: str | Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Yield number and object of each line of a JSONL file, or what is wrong with the line.

    Blank lines are skipped.

    Raises:
        QueryFileError: the file cannot be read.
    """
    with _text(str(path)) as file:
        yield from _json_rows(file)


def _rows(path: str) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Yield line number and row, or what is wrong with the line."""
    suffix = ".jsonl" if path == STDIN else Path(path).suffix.lower()
    if suffix in {".jsonl", ".ndjson"}:
        yield from json_lines(path)
    elif suffix == ".csv":
        with _text(path) as file:
            yield from _csv_rows(path, file)
    elif suffix == ".parquet":
        yield from _parquet_rows(path)
    else:
        raise QueryFileError(
            f"{path}: a query file is .jsonl, .csv or .parquet (or '-' for JSONL on stdin)"
        )


@contextmanager
def _text(path: str) -> Iterator[IO[str]]:
    name = "stdin" if path == STDIN else path
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
    except OSError as error:
        raise QueryFileError(f"{name}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise QueryFileError(f"{name}: is not UTF-8 text ({error}); save it as UTF-8") from error


def _json_rows(file: IO[str]) -> Iterator[tuple[int, dict[str, Any] | str]]:
    for line, text in enumerate(file, 1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except json.JSONDecodeError as error:
            yield line, f"is not JSON ({error.msg}, column {error.colno})"
            continue
        except (ValueError, RecursionError) as error:  # a number or a nesting without end
            yield line, f"is not JSON that can be read ({error})"
            continue
        yield line, row if isinstance(row, dict) else 'is not a JSON object, e.g. {"query_id": …}'


def _csv_rows(path: str, file: IO[str]) -> Iterator[tuple[int, dict[str, Any] | str]]:
    reader: Any = csv.DictReader(file)
    try:
        for row in reader:
            if None in row:
                yield reader.line_num, "has more fields than the header"
            else:
                yield reader.line_num, {k: v for k, v in row.items() if v not in (None, "")}
    except csv.Error as error:
        raise QueryFileError(f"{path}, line {reader.line_num}: is not CSV ({error})") from error


def _parquet_rows(path: str) -> Iterator[tuple[int, dict[str, Any] | str]]:
    try:
        file = pq.ParquetFile(path)
        number = 0
        for batch in file.iter_batches(batch_size=1024):
            for row in batch.to_pylist():
                number += 1
                # Pandas writes NaN where a value is missing, and NaN is not equal to itself.
                yield number, {k: v for k, v in row.items() if v is not None and v == v}
    except (OSError, pa.ArrowException) as error:
        raise QueryFileError(f"{path}: cannot be read as Parquet ({error})") from error


def _parse(name: str, line: int, row: dict[str, Any]) -> QueryRow | BadRow:
    query_id = row.get("query_id")
    shown = query_id if isinstance(query_id, str) else "" if query_id is None else str(query_id)
    problem = _problem(row)
    if problem:
        return BadRow(line, shown, f"{name}, line {line}: {problem}")
    try:
        pages = None if row.get("pages") is None else _pages(row["pages"])
    except (TypeError, ValueError) as error:
        return BadRow(line, shown, f"{name}, line {line}: {error}")
    place = f"{name}, line {line}"
    carried = {key: value for key, value in row.items() if key not in _OURS}
    doc = row.get("doc")
    return QueryRow(line, shown, row["query"].strip(), doc or None, pages, carried, place)


def _problem(row: Mapping[str, Any]) -> str | None:
    """What is wrong with a row's columns, or None."""
    for key in row:
        meant = _NEAR_MISSES.get("".join(c for c in str(key).lower() if c.isalnum()))
        if meant and key not in _OURS:
            return f"column {key!r} is not known; did you mean {meant!r}?"
        if key in _WRITTEN:
            return f"column {key!r} is one that results have themselves; rename it"
    try:
        json.dumps(dict(row), ensure_ascii=False, allow_nan=False, default=str).encode()
    except (ValueError, TypeError) as error:
        return f"holds a value that results cannot carry ({error})"
    query_id, query, doc = row.get("query_id"), row.get("query"), row.get("doc")
    if not isinstance(query_id, str | int) or isinstance(query_id, bool):
        return "needs a 'query_id' (a text or a whole number)"
    if not str(query_id).strip():
        return "needs a 'query_id' (a text or a whole number)"
    if not isinstance(query, str) or not query.strip():
        return "needs a 'query' (a text)"
    if doc is not None and not isinstance(doc, str):
        return "'doc' must be a text: a document's id, URI or file name"
    return None


def _pages(value: Any) -> tuple[int, ...]:
    """Read ``3``, ``[1, 3]``, ``"1, 3"`` or ``"[1, 3]"``."""
    problem = f"'pages' must be page numbers from 1 on, e.g. [1, 3], got {value!r}"
    if isinstance(value, str):
        try:
            value = [int(part) for part in value.strip().strip("[]").replace(",", " ").split()]
        except ValueError as error:
            raise ValueError(problem) from error
    numbers = value if isinstance(value, list) else [value]
    if not numbers or not all(
        isinstance(n, int) and not isinstance(n, bool) and 1 <= n <= _LAST_PAGE for n in numbers
    ):
        raise ValueError(problem)
    return tuple(sorted(set(numbers)))
