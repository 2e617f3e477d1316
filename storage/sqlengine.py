"""The SQL engine, on tables that others have opened: one place knows DataFusion.

Queries are bounded in memory, and any of them can be given up.
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

import lance
import pyarrow as pa
from datafusion import DataFrame, RuntimeEnvBuilder, SessionConfig, SessionContext

from patchlight.storage.engine import engine_message, shortened
from patchlight.storage.errors import SqlError

_MEMORY_BYTES = 2 << 30
"""What one query may hold; beyond it sorts and joins go to temporary files or fail."""

_LOOK_S = 0.2
"""How often a query that waits for its reader looks whether it was given up."""
_CANCEL_S = 1.0
"""How long a query that was given up may take to tidy up."""


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
    context = sql_context()
    register(context, "d", documents)
    register(context, "p", pages)
    shared = set(documents.schema.names)
    own = ", ".join(f"p.{name}" for name in pages.schema.names if name not in shared)
    context.sql(f"CREATE VIEW pages AS SELECT d.*, {own} FROM p JOIN d ON p.doc_id = d.doc_id")
    with sql_errors(condition, "A condition is an expression like: name LIKE 'a%' AND page = 1."):
        # The engine parses a filter as one expression up to its end: no clause fits behind it.
        frame = context.table("pages").filter(condition).select("page_id")
        rows = pa.Table.from_batches(rows_of(context, frame), frame.schema())
    return rows["page_id"].cast(pa.string()).combine_chunks()


def sql_context() -> SessionContext:
    """A session without tables, bounded in memory; its temporary files go with it."""
    spilled = tempfile.mkdtemp(prefix="patchlight-sql-")
    runtime = RuntimeEnvBuilder().with_disk_manager_specified(spilled)
    context = SessionContext(
        SessionConfig().with_information_schema(True), runtime.with_fair_spill_pool(_MEMORY_BYTES)
    )
    # The engine would leave there what a query that was given up has written.
    weakref.finalize(context, shutil.rmtree, spilled, ignore_errors=True)
    return context


def register(context: SessionContext, name: str, dataset: lance.LanceDataset) -> None:
    """Give a session a table, by the name that queries are to know it by."""
    provider = lance.FFILanceTableProvider(dataset, with_row_id=False, with_row_addr=False)
    context.register_table(name, provider)


def rows_of(context: SessionContext, frame: DataFrame) -> Iterator[pa.RecordBatch]:
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
def sql_errors(query: str, advice: str) -> Iterator[None]:
    """Turn what the engine raises inside the block into `SqlError`.

    Args:
        query: what was asked, for the message.
        advice: what to do, as the message's last sentence.
    """
    try:
        yield
    except SqlError:
        raise
    except Exception as error:  # the engine raises plain Exception for some errors
        raise SqlError(
            f"{shortened(query.strip(), 200)!r}: {engine_message(error)}. {advice}"
        ) from error
