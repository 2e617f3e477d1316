"""SQL over a database, for looking and never for writing.

The tables' plain names show what queries see: ``documents`` that are complete or partial, and
the ``pages``, ``regions``, ``words`` and ``patches`` of those. ``raw_<table>`` shows every row.
``all_regions`` has the packed words and lines too, a row each. `storage.sqlviews` has the views
that answer the usual questions; one is made when a statement names it. All is of one state of the
database, and so is what functions make that others hand in (`storage.sqlcalls`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType

import lance
import pyarrow as pa
from datafusion import DataFrame, SessionContext, SQLOptions

from patchlight.storage import sqlviews
from patchlight.storage.database import Database, State
from patchlight.storage.engine import engine_errors
from patchlight.storage.schema import Table
from patchlight.storage.sqlcalls import RowsFunction, TableCalls
from patchlight.storage.sqlengine import (
    bounded,
    register,
    rows_of,
    sql_context,
    sql_errors,
)
from patchlight.storage.sqlmemory import MEMORY_MB, MemoryBound

_NAMED = re.compile(r"\w+")
_LISTS_VIEWS = {"show", "describe", "information_schema"}
"""Words of statements that may tell of every view."""

RowsFunctions = Mapping[str, Callable[[State], RowsFunction]]
"""Functions that statements may call for rows: by name, in lower case, what makes one of a state
when a statement first names it."""


class SqlSession:
    """One state of a database, to be asked with SQL any number of times."""

    def __init__(
        self,
        uri: str | Path,
        memory_mb: int = MEMORY_MB,
        helps: Mapping[str, str] = MappingProxyType({}),
        functions: RowsFunctions = MappingProxyType({}),
    ) -> None:
        """Open the tables.

        Args:
            uri: the database.
            memory_mb: MiB that a query may take; with less than 256 little can be done.
            helps: what helps against failures, by category, as ``failure_causes`` shows it.
            functions: what statements may call for rows.

        Raises:
            DatabaseNotFound, SchemaMismatch, StorageUnavailable: as `Database.open` and `State`.
        """
        self._state = State(Database.open(uri))
        self._bound = MemoryBound(memory_mb)
        self._context = context = sql_context(self._bound)
        self._tables: dict[str, lance.LanceDataset] = {}
        for table in Table:
            self._tables[f"raw_{table}"] = self._state.table(table)
            register(context, f"raw_{table}", self._tables[f"raw_{table}"])
        for name, text in sqlviews.tables().items():
            context.sql(f"CREATE VIEW {name} AS {text}")
        self._questions = sqlviews.questions(helps)
        self._functions = functions
        self._calls: dict[str, TableCalls] = {}

    def ask(self, query: str) -> pa.RecordBatchReader:
        """Answer one query: SELECT, WITH, EXPLAIN, SHOW or DESCRIBE.

        Args:
            query: one statement in DataFusion's SQL.

        Returns:
            The rows, read as they are asked for; doing so may raise `SqlError` too.

        Raises:
            SqlError: the query is wrong, takes too much memory, or would change or read anything
                but the tables.
            PatchlightError: what a function raises that the query calls.
        """
        self._make_views(query)
        self._make_rows(query)
        with _planning(query):
            frame = bounded(self._context, lambda: self._plan(query), self._tables, self._bound)
            schema = _nullable(frame.schema())
        batches = _batches(self._context, frame, schema, query, self._bound)
        return pa.RecordBatchReader.from_batches(schema, batches)

    def _plan(self, query: str) -> DataFrame:
        return self._context.sql_with_options(query, _only_look())

    def _make_rows(self, query: str) -> None:
        """Make the rows of the functions that a statement calls."""

        def plan() -> None:
            with _planning(query):
                self._plan(query)

        spelled = [word for word in _NAMED.findall(query) if word.lower() in self._functions]
        for word in spelled:
            name = word.lower()
            if name not in self._calls:
                rows = self._functions[name](self._state)
                self._calls[name] = TableCalls(self._context, name, rows)
            self._calls[name].spell(word)
        for name in {word.lower() for word in spelled}:
            with self._bound.apart():
                self._calls[name].make_rows(plan)

    def _make_views(self, query: str) -> None:
        """Make the views of the usual questions that a statement may ask for, once each."""
        words = {word.lower() for word in _NAMED.findall(query)}
        every = bool(words & _LISTS_VIEWS)
        for name in [name for name in self._questions if every or name in words]:
            self._context.sql(f"CREATE VIEW {name} AS {self._questions.pop(name)}")
        if (every or sqlviews.STORAGE in words) and not self._context.table_exist(sqlviews.STORAGE):
            self._context.from_arrow(self._storage(), sqlviews.STORAGE)

    def _storage(self) -> pa.Table:
        """What the tables take, by their manifests: no row of them is read."""
        rows = []
        for table in Table:
            dataset = self._tables[f"raw_{table}"]
            with engine_errors(self._state.uri, table):
                fragments = dataset.get_fragments()
                sizes = [file.file_size_bytes for f in fragments for file in f.data_files()]
                known = None if None in sizes else sum(sizes)
                row = (table, dataset.count_rows(), len(sizes), known, len(dataset.versions()))
            rows.append(dict(zip(_STORAGE.names, row, strict=True)))
        return pa.Table.from_pylist(rows, _STORAGE)


_STORAGE = pa.schema(
    [("table_name", pa.string())]
    + [(name, pa.int64()) for name in ("rows", "files", "bytes", "versions")]
)


def run_sql(uri: str | Path, query: str, memory_mb: int = MEMORY_MB) -> pa.RecordBatchReader:
    """Answer one query on a database; arguments, result and errors are those of `SqlSession`."""
    return SqlSession(uri, memory_mb).ask(query)


def _planning(query: str) -> AbstractContextManager[None]:
    names = ", ".join((*Table, sqlviews.ALL_REGIONS))
    return sql_errors(
        query,
        f"Tables: {names}, and raw_<table>; 'SHOW TABLES' names the views too, 'DESCRIBE pages' "
        "shows columns.",
    )


def _only_look() -> SQLOptions:
    return SQLOptions().with_allow_ddl(False).with_allow_dml(False).with_allow_statements(False)


def _nullable(schema: pa.Schema) -> pa.Schema:
    """The schema without promises that there is no null: the engine's batches break them."""
    return pa.schema([field.with_nullable(True) for field in schema])


def _batches(
    context: SessionContext,
    frame: DataFrame,
    schema: pa.Schema,
    query: str,
    bound: MemoryBound,
) -> Iterator[pa.RecordBatch]:
    with sql_errors(query, "Change the query and try again."):
        for batch in rows_of(context, frame, bound):
            yield pa.RecordBatch.from_arrays(batch.columns, schema=schema)
