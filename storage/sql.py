"""SQL over a database, for looking and never for writing.

The tables' plain names show what queries see: ``documents`` that are complete or partial, and
the ``pages``, ``regions``, ``words`` and ``patches`` of those. ``raw_<table>`` shows every row.
``all_regions`` has the packed words and lines too, a row each.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import lance
import pyarrow as pa
from datafusion import DataFrame, SessionContext, SQLOptions

from patchlight.storage.database import Database
from patchlight.storage.engine import VISIBLE_FILTER
from patchlight.storage.regionrows import PACKED
from patchlight.storage.schema import Table
from patchlight.storage.sqlengine import (
    MEMORY_MB,
    bounded,
    register,
    rows_of,
    sql_context,
    sql_errors,
)
from patchlight.storage.sqlmemory import MemoryBound

ALL_REGIONS = "all_regions"
"""The view of the regions of all kinds: those of ``regions``, and words and lines."""

_SHARED = "page_key, doc_id, page_id, page"
_PACKED = """
SELECT page_id || ':' || lpad(number, greatest(5, length(number)), '0') AS region_id,
    {shared}, r['index'] AS "index", '{kind}' AS kind,
    CASE WHEN r['parent'] >= 0
        THEN page_id || ':' || lpad(parent, greatest(5, length(parent)), '0') END AS parent_id,
    r['reading_order'] AS reading_order, {none},
    r['x0'] AS x0, r['y0'] AS y0, r['x1'] AS x1, r['y1'] AS y1,
    r['text'] AS text, NULL AS terms, r['confidence'] AS confidence
FROM (
    SELECT *, CAST(r['index'] AS VARCHAR) AS number, CAST(r['parent'] AS VARCHAR) AS parent
    FROM (SELECT {shared}, unnest({column}) AS r FROM raw_words)
)
"""
"""The regions of one kind of the packed ones, with the columns of ``regions``."""


def _all_regions() -> str:
    """A view of the regions of all kinds, a row each."""
    none = ", ".join(
        f"NULL AS {name}" for name in ("table_id", "row", "col", "row_span", "col_span")
    )
    packed = [
        _PACKED.format(shared=_SHARED, kind=kind, column=column, none=none)
        for kind, column in PACKED.items()
    ]
    every = " UNION ALL ".join(["SELECT * FROM raw_regions", *packed])
    return f"CREATE VIEW raw_{ALL_REGIONS} AS {every}"


_OF_VISIBLE = (Table.PAGES, Table.REGIONS, Table.WORDS, Table.PATCHES, ALL_REGIONS)


class SqlSession:
    """One state of a database, to be asked with SQL any number of times."""

    def __init__(self, uri: str | Path, memory_mb: int = MEMORY_MB) -> None:
        """Open the tables.

        Args:
            uri: the database.
            memory_mb: MiB that a query may take; with less than 256 little can be done.

        Raises:
            DatabaseNotFound, SchemaMismatch, StorageUnavailable: as `Database.open`.
        """
        database = Database.open(uri)
        self._bound = MemoryBound(memory_mb)
        self._context = context = sql_context(self._bound)
        self._tables: dict[str, lance.LanceDataset] = {}
        for table in Table:
            self._tables[f"raw_{table}"] = database.table(table)
            register(context, f"raw_{table}", self._tables[f"raw_{table}"])
        context.sql(_all_regions())
        for name in (*Table, ALL_REGIONS):
            condition = "true"
            if name is Table.DOCUMENTS:
                condition = VISIBLE_FILTER
            elif name in _OF_VISIBLE:
                condition = f"doc_id IN (SELECT doc_id FROM raw_documents WHERE {VISIBLE_FILTER})"
            context.sql(f"CREATE VIEW {name} AS SELECT * FROM raw_{name} WHERE {condition}")

    def ask(self, query: str) -> pa.RecordBatchReader:
        """Answer one query: SELECT, WITH, EXPLAIN, SHOW or DESCRIBE.

        Args:
            query: one statement in DataFusion's SQL.

        Returns:
            The rows, read as they are asked for; doing so may raise `SqlError` too.

        Raises:
            SqlError: the query is wrong, takes too much memory, or would change or read anything
                but the tables.
        """
        context = self._context
        names = ", ".join((*Table, ALL_REGIONS))
        with sql_errors(
            query, f"Tables: {names}, and raw_<table>; 'DESCRIBE pages' shows columns."
        ):
            frame = bounded(
                context,
                lambda: context.sql_with_options(query, _only_look()),
                self._tables,
                self._bound,
            )
            schema = _nullable(frame.schema())
        batches = _batches(context, frame, schema, query, self._bound)
        return pa.RecordBatchReader.from_batches(schema, batches)


def run_sql(uri: str | Path, query: str, memory_mb: int = MEMORY_MB) -> pa.RecordBatchReader:
    """Answer one query on a database; arguments, result and errors are those of `SqlSession`."""
    return SqlSession(uri, memory_mb).ask(query)


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
