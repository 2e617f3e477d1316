"""SQL over a database, for looking and never for writing.

The tables' plain names show what queries see: ``documents`` that are complete or partial, and
the ``pages``, ``regions`` and ``patches`` of those. ``raw_<table>`` shows every row.
``regions`` has one row a region; as they are stored, one row a page, they are in
``stored_regions``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from datafusion import DataFrame, SessionContext, SQLOptions

from patchlight.storage.database import Database
from patchlight.storage.engine import VISIBLE_FILTER
from patchlight.storage.schema import Table
from patchlight.storage.sqlengine import register, rows_of, sql_context, sql_errors

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


def run_sql(uri: str | Path, query: str) -> pa.RecordBatchReader:
    """Answer one query: SELECT, WITH, EXPLAIN, SHOW or DESCRIBE.

    Args:
        uri: the database.
        query: one statement in DataFusion's SQL.

    Returns:
        The rows, read as they are asked for; doing so may raise `SqlError` too.

    Raises:
        SqlError: the query is wrong, or would change or read anything but the tables.
        DatabaseNotFound, SchemaMismatch, StorageUnavailable: as `Database.open`.
    """
    database = Database.open(uri)
    context = sql_context()
    for table in Table:
        name = _STORED_REGIONS if table is Table.REGIONS else f"raw_{table}"
        register(context, name, database.table(table))
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
    with sql_errors(query, f"Tables: {names}, and raw_<table>; 'DESCRIBE pages' shows columns."):
        frame = context.sql_with_options(query, only_look)
        schema = _nullable(frame.schema())
    return pa.RecordBatchReader.from_batches(schema, _batches(context, frame, schema, query))


def _nullable(schema: pa.Schema) -> pa.Schema:
    """The schema without promises that there is no null: the engine's batches break them."""
    return pa.schema([field.with_nullable(True) for field in schema])


def _batches(
    context: SessionContext, frame: DataFrame, schema: pa.Schema, query: str
) -> Iterator[pa.RecordBatch]:
    with sql_errors(query, "Change the query and try again."):
        for batch in rows_of(context, frame):
            yield pa.RecordBatch.from_arrays(batch.columns, schema=schema)
