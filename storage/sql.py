"""SQL over a database, for looking and never for writing.

The tables' plain names show what queries see: ``documents`` that are complete or partial, and
the ``pages``, ``regions`` and ``patches`` of those. ``raw_<table>`` shows every row.
``regions`` has one row a region; as they are stored, one row a page, they are in
``stored_regions``.
"""

from __future__ import annotations

import asyncio
import queue
import shutil
import tempfile
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import lance
import pyarrow as pa
from datafusion import DataFrame, RuntimeEnvBuilder, SessionConfig, SessionContext, SQLOptions

from storage.database import Database
from storage.engine import VISIBLE_FILTER, StorageOptions, engine_message, shortened
from storage.errors import SqlError
from storage.schema import Table

_MEMORY_BYTES = 2 << 30
"""What one query may hold; beyond it sorts and joins go to temporary files or fail."""

_LOOK_S = 0.2
"""How often a query that waits for its reader looks whether it was given up."""
_CANCEL_S = 1.0
"""How long a query that was given up may take to tidy up."""

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
        schema = _nullable(frame.schema())
    return pa.RecordBatchReader.from_batches(schema, _batches(context, frame, schema, query))


def matching_pages(
    documents: lance.LanceDataset, pages: lance.LanceDataset, condition: str
) -> pa.Array:
    """The page_ids of the pages that a condition is true of.

    Args:
        documents: table ``documents``.
        pages: table ``pages``.
        condition: a SQL expression on the columns of both; ``doc_id`` and ``fingerprints`` are
            those of the document.

    Raises:
        SqlError: it is not one, or names a column that neither has.
    """
    context = _context()
    _register(context, "d", documents)
    _register(context, "p", pages)
    shared = set(documents.schema.names)
    own = ", ".join(f"p.{name}" for name in pages.schema.names if name not in shared)
    context.sql(f"CREATE VIEW pages AS SELECT d.*, {own} FROM p JOIN d ON p.doc_id = d.doc_id")
    with _sql_errors(condition, "A condition is an expression like: name LIKE 'a%' AND page = 1."):
        # The engine parses a filter as one expression up to its end: no clause fits behind it.
        frame = context.table("pages").filter(condition).select("page_id")
        rows = pa.Table.from_batches(_rows(context, frame), frame.schema())
    return rows["page_id"].cast(pa.string()).combine_chunks()


def _context() -> SessionContext:
    spilled = tempfile.mkdtemp(prefix="patchlight-sql-")
    runtime = RuntimeEnvBuilder().with_disk_manager_specified(spilled)
    context = SessionContext(
        SessionConfig().with_information_schema(True), runtime.with_fair_spill_pool(_MEMORY_BYTES)
    )
    # The engine would leave there what a query that was given up has written.
    weakref.finalize(context, shutil.rmtree, spilled, ignore_errors=True)
    return context


def _register(context: SessionContext, name: str, dataset: lance.LanceDataset) -> None:
    provider = lance.FFILanceTableProvider(dataset, with_row_id=False, with_row_addr=False)
    context.register_table(name, provider)


def _nullable(schema: pa.Schema) -> pa.Schema:
    """The schema without promises that there is no null: the engine's batches break them."""
    return pa.schema([field.with_nullable(True) for field in schema])


def _batches(
    context: SessionContext, frame: DataFrame, schema: pa.Schema, query: str
) -> Iterator[pa.RecordBatch]:
    with _sql_errors(query, "Change the query and try again."):
        for batch in _rows(context, frame):
            yield pa.RecordBatch.from_arrays(batch.columns, schema=schema)


def _rows(context: SessionContext, frame: DataFrame) -> Iterator[pa.RecordBatch]:
    """The rows of a frame, made by a thread of their own.

    The engine may compute for ever between two looks at the signals. Here it is only waited
    for, so that Ctrl-C ends every query; one that is given up is cancelled.

    Args:
        context: of the frame; the tables in it live as long as this does.
        frame: the query.
    """
    made: queue.Queue[pa.RecordBatch | BaseException | None] = queue.Queue(maxsize=1)
    given_up = threading.Event()
    loop = asyncio.new_event_loop()

    def hand_over(item: pa.RecordBatch | BaseException | None) -> None:
        while not given_up.is_set():
            with suppress(queue.Full):
                made.put(item, timeout=_LOOK_S)
                return

    async def pump() -> None:
        async for batch in frame.execute_stream():
            hand_over(batch.to_pyarrow())

    def work(_held: SessionContext) -> None:
        try:
            loop.run_until_complete(pumping)
            hand_over(None)
        except BaseException as error:  # it is raised in the thread that waits
            hand_over(error)
        finally:
            loop.close()

    pumping = loop.create_task(pump())
    # A daemon: the end of the process does not wait for a query that was given up.
    thread = threading.Thread(target=work, args=(context,), name="sql", daemon=True)
    thread.start()
    try:
        while (item := made.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        given_up.set()
        with suppress(RuntimeError):  # the loop is closed: there is nothing to cancel
            loop.call_soon_threadsafe(pumping.cancel)
        thread.join(_CANCEL_S)


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
