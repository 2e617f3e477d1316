"""Reading a batch of queries from JSONL, CSV or Parquet, row by row."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from patchlight.tasks.common import rowfiles
from patchlight.tasks.common.errors import QueryFileError

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

_KINDS = "a query file is .jsonl, .csv or .parquet (or '-' for JSONL on stdin)"
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
    name = rowfiles.name_of(path)
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


def _rows(path: str) -> Iterator[tuple[int, rowfiles.Row]]:
    """Yield number and row; what is missing in a table's row is as if it had no such column."""
    missing = {"csv": (None, ""), "parquet": (None,)}.get(rowfiles.format_of(path), ())
    for line, row in rowfiles.read_rows(path, QueryFileError, _KINDS):
        if missing and not isinstance(row, str):
            row = {name: value for name, value in row.items() if value not in missing}
        yield line, row


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
