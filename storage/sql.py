"""SQL over a database, for looking and never for writing.

The tables' plain names show what queries see: ``documents`` that are complete or partial, and
the ``pages``, ``regions`` and ``patches`` of those. ``raw_<table>`` shows every row.
``regions`` has one row a region; as they are stored, one row a page, they are in
``stored_regions``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import lance
import pyarrow as pa
from datafusion import RecordBatch, RuntimeEnvBuilder, SessionConfig, SessionContext, SQLOptions

from storage.database import Database
from storage.errors import SqlError
from storage.schema import Table
from storage.tables import VISIBLE_FILTER, StorageOptions, engine_message, shortened

_MEMORY_BYTES = 2 << 30
"""What one query may hold; beyond it sorts and joins go to temporary files or fail."""

_STORED_REGIONS = "stored_regions"

_RAW_REGIONS = f"""
CREATE VIEW raw_regions AS
SELECT page_id || ':' || lpad(number, greatest(5, length(number)), '0') AS region_id,
    doc_id, page_id, page, r['index'] AS "index", r['kind'] AS kind,
    CASE WHEN r['parent'] >= 0
        THEN page_id || ':' || lpad(parent, greatest(5, length(parent)), '0') END AS parent_id,
    r['reading_order'] AS reading_order,
    r['x0'] AS x0, r['y0'] AS y0, r['x1'] AS x1, r['y1'] AS y1,
    r['text'] AS text, r['confidence'] AS confidence
FROM (
    SELECT *, CAST(r['index'] AS VARCHAR) AS number, CAST(r['parent'] AS VARCHAR) AS parent
    FROM (SELECT page_id, doc_id, page, unnest(regions) AS r FROM {_STORED_REGIONS})
)
"""

_OF_VISIBLE = (Table.PAGES, Table.REGIONS, Table.PATCHES)


def run_sql(
    uri: str | Path, query: str, storage_options: StorageOptions | None = None
) -> pa.RecordBatchReader:
    """Answer one query: SELECT, WITH, EXPLAIN, SHOW or DESCRIBE.

    Args:
        uri: the database.
        query: one statement in DataFusion's SQL.
        storage_options: options of the object store.

    Returns:
        The rows, read as they are asked for; doing so may raise `SqlError` too.

    Raises:
        SqlError: the query is wrong, or would change or read anything but the tables.
        DatabaseNotFound, SchemaMismatch, StorageUnavailable: as `Database.open`.
    """
    database = Database.open(uri, storage_options)
    context = _context()
    for table in Table:
        name = _STORED_REGIONS if table is Table.REGIONS else f"raw_{table}"
        _register(context, name, database.table(table))
    context.sql(_RAW_REGIONS)
    for table in Table:
        condition = "true"
        if table is Table.DOCUMENTS:
            condition = VISIBLE_FILTER
        elif table in _OF_VISIBLE:
            condition = f"doc_id IN (SELECT doc_id FROM raw_documents WHERE {VISIBLE_FILTER})"
        context.sql(f"CREATE VIEW {table} AS SELECT * FROM raw_{table} WHERE {condition}")
    only_look = (
        SQLOptions().with_allow_ddl(False).with_allow_dml(False).with_allow_statements(False)
    )
    names = ", ".join(Table)
    with _sql_errors(query, f"Tables: {names}, and raw_<table>; 'DESCRIBE pages' shows columns."):
        frame = context.sql_with_options(query, only_look)
        stream = frame.execute_stream()
    return pa.RecordBatchReader.from_batches(frame.schema(), _batches(stream, query))


def matching_pages(
    documents: lance.LanceDataset, pages: lance.LanceDataset, condition: str
) -> pa.Array:
    """The page_ids of the pages that a condition is true of.

    Args:
        documents: table ``documents``.
        pages: table ``pages``.
        condition: a SQL expression on the columns of both.

    Raises:
        SqlError: it is not one, or names a column that neither has.
    """
    context = _context()
    _register(context, "d", documents)
    _register(context, "p", pages)
    own = ", ".join(f"p.{name}" for name in pages.schema.names if name != "doc_id")
    context.sql(f"CREATE VIEW pages AS SELECT d.*, {own} FROM p JOIN d ON p.doc_id = d.doc_id")
    with _sql_errors(condition, "A condition is an expression like: name LIKE 'a%' AND page = 1."):
        # The engine parses a filter as one expression up to its end: no clause fits behind it.
        rows = context.table("pages").filter(condition).select("page_id").to_arrow_table()
    return rows["page_id"].cast(pa.string()).combine_chunks()


def _context() -> SessionContext:
    runtime = RuntimeEnvBuilder().with_disk_manager_os().with_fair_spill_pool(_MEMORY_BYTES)
    return SessionContext(SessionConfig().with_information_schema(True), runtime)


def _register(context: SessionContext, name: str, dataset: lance.LanceDataset) -> None:
    provider = lance.FFILanceTableProvider(dataset, with_row_id=False, with_row_addr=False)
    context.register_table(name, provider)


def _batches(stream: Iterable[RecordBatch], query: str) -> Iterator[pa.RecordBatch]:
    with _sql_errors(query, "Change the query and try again."):
        for batch in stream:
            yield batch.to_pyarrow()


@contextmanager
def _sql_errors(query: str, advice: str) -> Iterator[None]:
    try:
        yield
    except SqlError:
        raise
    except Exception as error:  # the engine raises plain Exception for some errors
        raise SqlError(
            f"{shortened(query.strip(), 200)!r}: {engine_message(error)}. {advice}"
        ) from error
