"""Reading a file of what people know of their documents: a row a document, their own columns."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from patchlight.storage.schema import KEYS, Table, schema_of
from patchlight.tasks.common import rowfiles
from patchlight.tasks.common.errors import MetadataFileError
from patchlight.tasks.ingest.columntypes import Kind, TypeProblem, fitted, kind_of

KEY_COLUMNS = (
    "doc_id",
    "sha256",
    "uri",
    "path",
    "file",
    "filename",
    "file_name",
    "name",
)
"""Columns that say which document a row is of. The first of these that a file has counts."""

_KINDS = "a metadata file is .jsonl, .csv or .parquet"

_LITERALS = frozenset({"null", "true", "false"})
"""Names that SQL knows as values."""

_OURS = frozenset(
    name for table in (Table.DOCUMENTS, Table.PAGES) for name in schema_of(table, dim=1).names
)
"""Names that conditions know as something else."""


@dataclass(frozen=True, slots=True)
class MetadataFile:
    """What a file says, not yet of any document.

    Attributes:
        path: the file.
        key: column that says which document a row is of.
        lines: (R,) 1-based line (JSONL, CSV with its header) or row (Parquet) of each row.
        keys: (R,) what it calls its document.
        columns: name, as stored -> (R,) values; None where one is missing.
        renamed: name in the file -> as it is stored, where that is another.
        left_out: further columns that would say which document it is.
        written: whether all values are texts that may mean something else.
    """

    path: str
    key: str
    lines: Sequence[int]
    keys: Sequence[str]
    columns: Mapping[str, Sequence[Any]]
    renamed: Mapping[str, str]
    left_out: Sequence[str]
    written: bool

    def place(self, row: int) -> str:
        """Return file and line of a row, for messages."""
        return _place(self.path, self.lines[row])


def read_metadata(path: str) -> MetadataFile:
    """Read a file of JSONL, CSV or Parquet.

    Raises:
        MetadataFileError: it cannot be read, a row is wrong, a name is one that we have, or
            nothing says which documents it is of; names file and line.
    """
    if path == rowfiles.STDIN:
        raise MetadataFileError("'-': metadata is read twice, and so from a file; name one")
    lines: list[int] = []
    rows: list[dict[str, Any]] = []
    is_csv = rowfiles.format_of(path) == "csv"
    for line, row in rowfiles.read_rows(path, MetadataFileError, _KINDS):
        if isinstance(row, str):
            raise MetadataFileError(f"{_place(path, line)}: {row}")
        if is_csv:
            if None in row.values():
                raise MetadataFileError(f"{_place(path, line)}: has fewer fields than the header")
            row = {name: value.strip() or None for name, value in row.items()}
        lines.append(line)
        rows.append(row)
    if not rows:
        raise MetadataFileError(f"{path}: there is no row in it")
    given = list(dict.fromkeys(name for row in rows for name in row))
    stored = _stored_names(path, given)
    key, *others = sorted(
        (name for name in given if stored[name] in KEY_COLUMNS),
        key=lambda name: KEY_COLUMNS.index(stored[name]),
    ) or [""]
    if not key:
        raise MetadataFileError(
            f"{path}: no column says which document a row is of: it has {_listed(given)}. Name "
            "one 'path' (a path, a URI or a file name), or 'doc_id' or 'sha256'"
        )
    own = [name for name in given if name != key and name not in others]
    if not own:
        raise MetadataFileError(f"{path}: has no column beside {key!r} to be stored")
    _check_names(path, own, stored)
    return MetadataFile(
        path=path,
        key=key,
        lines=lines,
        keys=[_key(path, line, key, row.get(key)) for line, row in zip(lines, rows, strict=True)],
        columns={stored[name]: [row.get(name) for row in rows] for name in own},
        renamed={name: stored[name] for name in own if stored[name] != name},
        left_out=others,
        written=is_csv,
    )


def typed(
    file: MetadataFile, stored: pa.Schema, exact_as_numbers: Collection[str] = ()
) -> pa.Table:
    """Return the columns of a file in the types they are stored in.

    One that has no value, and is not stored, is left out: it has no type.

    Args:
        file: as it was read.
        stored: the columns that the database has already, and no others.
        exact_as_numbers: those of whole numbers that may become numbers without losing a digit.

    Raises:
        MetadataFileError: a value fits neither the others of its column nor what is stored.
    """
    columns = {}
    for name, values in file.columns.items():
        there = kind_of(stored.field(name).type) if name in stored.names else None
        try:
            made = fitted(values, there, written=file.written)
        except TypeProblem as error:
            raise MetadataFileError(
                f"{file.place(error.at)}: column {name!r}: {error.problem}. Correct it, or give "
                "the column another name"
            ) from error
        if made:
            kind, columns[name] = made
            if (there, kind) == (Kind.WHOLE, Kind.NUMBER) and name not in exact_as_numbers:
                raise MetadataFileError(
                    f"{file.path}: column {name!r}: the database has whole numbers there that "
                    "would lose digits beside others. Give the column another name"
                )
    return pa.table(columns)


def _place(path: str, number: int) -> str:
    what = "row" if rowfiles.format_of(path) == "parquet" else "line"
    return f"{path}, {what} {number}"


def _key(path: str, line: int, column: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or not _is_name(value):
        raise MetadataFileError(
            f"{_place(path, line)}: {column!r} must be a text that says which document it is"
        )
    return value.strip()


def _is_name(text: str) -> bool:
    """Whether a text may be a file name, which may hold halves of characters for its odd bytes."""
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def _stored_names(path: str, given: Iterable[str]) -> dict[str, str]:
    """Names as they are stored: such that SQL needs no quotation marks around them."""
    stored: dict[str, str] = {}
    for name in given:
        plain = re.sub(r"\W+", "_", unicodedata.normalize("NFC", str(name))).strip("_").lower()
        if not plain:
            raise MetadataFileError(f"{path}: a column has no name: {name!r}")
        plain = f"_{plain}" if plain[0].isdigit() else plain
        for other, same in stored.items():
            if same == plain:
                raise MetadataFileError(
                    f"{path}: columns {other!r} and {name!r} would both be {plain!r}; rename one"
                )
        stored[name] = plain
    return stored


def _check_names(path: str, names: Iterable[str], stored: Mapping[str, str]) -> None:
    for name in names:
        if stored[name] in _LITERALS:
            raise MetadataFileError(f"{path}: column {name!r} is a value of SQL; rename it")
        if stored[name] in _OURS or stored[name] in KEYS.values():
            raise MetadataFileError(
                f"{path}: column {name!r} has the name of one that documents or pages have "
                f"already; rename it, e.g. to 'my_{stored[name]}'"
            )


def _listed(names: Sequence[str], most: int = 10) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more
