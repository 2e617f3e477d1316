"""Opening the tables of a database; the one place that knows paths and the engine's errors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import lance

from patchlight.storage.errors import DatabaseNotFound, StorageError, StorageUnavailable
from patchlight.storage.objectstore import storage_options
from patchlight.storage.records import VISIBLE
from patchlight.storage.schema import Table

if TYPE_CHECKING:
    import lancedb

_KEYS_PER_CONDITION = 1000
"""Keys named in one condition: keeps the engine's expressions small."""

_METADATA_CACHE = 32 << 20
_INDEX_CACHE = 256 << 20
"""Bytes that a connection keeps. The engine's own 1 GiB of metadata fills up with that of versions
which nobody reads again: a commit adds some 500 kB."""

VISIBLE_FILTER = f"status IN ({', '.join(repr(status.value) for status in VISIBLE)})"
"""Condition on ``documents`` for those that queries see."""


def database_uri(uri: str | Path) -> str:
    """Absolute path of a local database, or the URI of one in an object store.

    Args:
        uri: a path, a ``file://`` URI, or another URI that LanceDB knows (``s3://...``).
    """
    text = str(uri)
    parts = urlsplit(text)
    if parts.scheme == "file":
        return str(Path(unquote(parts.path)).absolute())
    if "://" in text:
        return text.rstrip("/")
    return str(Path(text).expanduser().absolute())


def table_uri(uri: str, table: Table) -> str:
    """Where a table of a database lies."""
    return f"{uri}/{table}.lance"


def open_table(
    uri: str,
    table: Table,
    version: int | None = None,
) -> lance.LanceDataset | None:
    """Open a table for reading.

    Args:
        uri: the database, as `database_uri` gives it.
        table: which.
        version: the version to read; None for the newest.

    Returns:
        The table, or None if it does not exist.

    Raises:
        StorageUnavailable: it is there but cannot be opened.
    """
    with engine_errors(uri, table):
        try:
            return lance.dataset(
                table_uri(uri, table),
                version=version,
                storage_options=storage_options(),
            )
        except ValueError as error:
            # The engine has no error type of its own for this; its text is all there is.
            if version is None and str(error).startswith("Dataset at path"):
                return None
            raise


def existing_table(uri: str, table: Table) -> lance.LanceDataset:
    """The newest version of a table that every database has, for reading.

    Raises:
        DatabaseNotFound: it is not there: making the database was interrupted.
        StorageUnavailable: it cannot be opened.
    """
    dataset = open_table(uri, table)
    if dataset is None:
        raise DatabaseNotFound(
            f"database {uri} has no table {table}: making it was interrupted. "
            "Run 'patchlight ingest' on it again."
        )
    return dataset


def connect(uri: str) -> lancedb.DBConnection:
    """Open a database for writing.

    Raises:
        StorageUnavailable: the place cannot be used.
    """
    import lancedb  # takes 3 seconds that those who only read need not spend

    session = lancedb.Session(
        index_cache_size_bytes=_INDEX_CACHE, metadata_cache_size_bytes=_METADATA_CACHE
    )
    with engine_errors(uri, "(all)"):
        return lancedb.connect(uri, storage_options=storage_options(), session=session)


def quoted(text: str) -> str:
    """A text as a SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def one_of(column: str, values: Iterable[str]) -> str:
    """SQL condition that a text column has one of the values; never true for no values."""
    literals = ", ".join(map(quoted, values))
    return f"{column} IN ({literals})" if literals else "false"


def some_at_a_time(keys: Iterable[str]) -> Iterator[list[str]]:
    """Keys in lists that a condition can name without growing out of hand; no list is empty."""
    rest = iter(keys)
    while some := list(islice(rest, _KEYS_PER_CONDITION)):
        yield some


@contextmanager
def engine_errors(uri: str, table: Table | str) -> Iterator[None]:
    """Turn what the engine raises inside the block into `StorageUnavailable`.

    The engine reports trouble with files as ``OSError``, ``RuntimeError`` or ``ValueError``,
    so nothing else that raises these belongs into the block.
    """
    try:
        yield
    except StorageError:
        raise
    except (OSError, RuntimeError, ValueError) as error:
        raise StorageUnavailable(
            f"table {table} of database {uri}: {engine_message(error)}. Check that the disk has "
            "room and that the files are whole and yours to read and write, then try again."
        ) from error


def engine_message(error: Exception) -> str:
    """The engine's message in one line, without its source positions, cut at 600 characters."""
    text = " ".join(str(error).split()).split(", /", 1)[0].rstrip(".")
    return shortened(text, 600)


def shortened(text: str, limit: int) -> str:
    """The text, cut at ``limit`` characters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"
