"""The SQL engine, on tables that others have opened: one place knows DataFusion.

Queries are bounded in memory (`storage.sqlmemory`), and any of them can be given up.
"""

from __future__ import annotations

import asyncio
import os
import queue
import re
import shutil
import tempfile
import threading
import weakref
from ast import literal_eval
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

import lance
import pyarrow as pa
from datafusion import DataFrame, RuntimeEnvBuilder, SessionConfig, SessionContext, udf
from datafusion.plan import LogicalPlan

from patchlight.storage import sqljson
from patchlight.storage.engine import engine_message, shortened
from patchlight.storage.errors import SqlError
from patchlight.storage.schema import JOINED, Table
from patchlight.storage.sqlmemory import MemoryBound

_MOST_PARTITIONS = 8
"""Parts of a query that are worked on side by side; each holds rows of its own."""

_PROBLEM = re.compile(
    sqljson.JsonProblem.__name__ + r"""\(((['"])(?:\\.|(?!\2).)*\2)\)""", re.DOTALL
)
"""What one of our functions says, in the engine's message that quotes it with its traceback."""

_DISK_IS_FULL = ("disk space during the spilling", "No space left on device")
"""In the engine's messages, for want of types."""

_LOOK_S = 0.2
"""How often a query that waits for its reader looks whether it was given up."""
_LOOK_AT_MEMORY_S = 0.05
_CANCEL_S = 1.0
"""How long a query that was given up may take to tidy up."""


def matching_pages(
    tables: Mapping[Table, lance.LanceDataset], condition: str, memory_mb: int
) -> pa.Array:
    """The page_ids of the pages that a condition is true of.

    Args:
        tables: those of `schema.JOINED`.
        condition: a SQL expression on the columns of all; ``doc_id`` and ``fingerprints`` are
            those of the document, and what has no row in ``metadata`` is null.
        memory_mb: MiB that it may take.

    Raises:
        SqlError: it is not one, names a column that none has, or takes too much memory.
    """
    bound = MemoryBound(memory_mb)
    context = sql_context(bound)
    named: dict[str, str] = {}
    for table in JOINED:
        register(context, f"raw_{table}", tables[table])
        for name in tables[table].schema.names:
            named.setdefault(name, f'raw_{table}."{name}"')
    # Called as what people know it by: messages name it.
    context.sql(
        f"CREATE VIEW pages AS SELECT {', '.join(named.values())} FROM raw_pages "
        "JOIN raw_documents ON raw_pages.doc_id = raw_documents.doc_id "
        "LEFT JOIN raw_metadata ON raw_metadata.doc_id = raw_documents.doc_id"
    )
    with sql_errors(condition, "A condition is an expression like: name LIKE 'a%' AND page = 1."):
        # The engine parses a filter as one expression up to its end: no clause fits behind it.
        frame = context.table("pages").filter(condition).select("page_id")
        rows = pa.Table.from_batches(rows_of(context, frame, bound), frame.schema())
    return rows["page_id"].cast(pa.string()).combine_chunks()


def sql_context(bound: MemoryBound) -> SessionContext:
    """A session without tables, bounded in memory; its temporary files go with it."""
    spilled = tempfile.mkdtemp(prefix="patchlight-sql-")
    runtime = RuntimeEnvBuilder().with_disk_manager_specified(spilled)
    partitions = min(_MOST_PARTITIONS, len(os.sched_getaffinity(0)))
    config = SessionConfig().with_information_schema(True).with_target_partitions(partitions)
    context = SessionContext(config, runtime.with_fair_spill_pool(bound.pool))
    # Half of what is free: others use the disk, too.
    most = shutil.disk_usage(spilled).free // 2 >> 20
    context.sql(f"SET datafusion.runtime.max_temp_directory_size = '{max(1, most)}M'").collect()
    # The engine would leave there what a query that was given up has written.
    weakref.finalize(context, shutil.rmtree, spilled, ignore_errors=True)
    _add_json_functions(context)
    return context


def bounded(
    context: SessionContext,
    plan: Callable[[], DataFrame],
    tables: Mapping[str, lance.LanceDataset],
    bound: MemoryBound,
) -> DataFrame:
    """Plan a query such that the rows on their way through it fit into memory.

    Args:
        context: the session.
        plan: plans it.
        tables: those of the session, by name.
        bound: the memory.
    """
    frame = plan()
    scans = _scans(frame.optimized_logical_plan())
    rows = bound.rows_at_a_time((tables[name], read) for name, read in scans if name in tables)
    bound.tell_reader(rows)
    context.sql(f"SET datafusion.execution.batch_size = {rows}").collect()
    return plan()


def register(context: SessionContext, name: str, dataset: lance.LanceDataset) -> None:
    """Give a session a table, by the name that queries are to know it by."""
    provider = lance.FFILanceTableProvider(dataset, with_row_id=False, with_row_addr=False)
    context.register_table(name, provider)


def rows_of(
    context: SessionContext, frame: DataFrame, bound: MemoryBound
) -> Iterator[pa.RecordBatch]:
    """The rows of a frame, made by a thread of their own.

    The engine may compute for ever between two looks at the signals. Here it is only waited
    for, so that Ctrl-C ends every query; one that is given up is cancelled.

    Args:
        context: of the frame; the tables in it live as long as this does.
        frame: the query.
        bound: what it may hold.

    Raises:
        SqlError: it holds more.
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
        while True:
            bound.check()
            try:
                item = made.get(timeout=_LOOK_AT_MEMORY_S)
            except queue.Empty:
                continue
            if item is None:
                return
            if isinstance(item, BaseException):
                if any(sign in str(item) for sign in _DISK_IS_FULL):
                    raise SqlError(_too_much_on_disk()) from item
                if "Resources exhausted" in str(item):
                    raise SqlError(bound.exceeded()) from item
                raise item
            yield item
    finally:
        given_up.set()
        with suppress(RuntimeError):  # the loop is closed: there is nothing to cancel
            loop.call_soon_threadsafe(pumping.cancel)
        thread.join(_CANCEL_S)


def _too_much_on_disk() -> str:
    return (
        "the query needs more temporary files than half of the room that was free in "
        f"{tempfile.gettempdir()}. Add WHERE or LIMIT, sort or join fewer rows, or name a folder "
        "with more room by TMPDIR."
    )


def _scans(plan: LogicalPlan) -> Iterator[tuple[str, list[str]]]:
    """The tables that a plan reads, and the columns of each."""
    try:
        scan = plan.to_variant()
    except Exception:  # plain, of a step that has no form in Python; none of these is a scan
        scan = None
    if type(scan).__name__ == "TableScan":
        yield scan.table_name(), [name for _, name in scan.projection()]
    for below in plan.inputs():
        yield from _scans(below)


@contextmanager
def sql_errors(query: str, advice: str) -> Iterator[None]:
    """Turn what the engine raises inside the block into `SqlError`.

    Args:
        query: what was asked, for the message.
        advice: what to do, as the message's last sentence.
    """
    try:
        yield
    except SqlError as error:
        raise SqlError(f"{shortened(query.strip(), 200)!r}: {error}") from error
    except Exception as error:  # the engine raises plain Exception for some errors
        ours = _PROBLEM.search(str(error))
        said = literal_eval(ours[1]) if ours else f"{engine_message(error)}. {advice}"
        raise SqlError(f"{shortened(query.strip(), 200)!r}: {said}") from error


def _add_json_functions(context: SessionContext) -> None:
    text, texts = pa.string(), pa.list_(pa.field("item", pa.string()))

    def add(name: str, function: Callable[..., object], takes: int, gives: pa.DataType) -> None:
        def rows(*columns: pa.Array) -> pa.Array:
            values = [column.to_pylist() for column in columns]
            return pa.array(sqljson.each_once(function, *values), gives)

        context.register_udf(udf(rows, [text] * takes, gives, "immutable", name))

    add("json_extract", sqljson.extract, 2, text)
    add("json_extract_string", sqljson.extract_string, 2, text)
    add("json_exists", sqljson.exists, 2, pa.bool_())
    add("json_array_length", sqljson.array_length, 1, pa.uint64())
    add("json_keys", sqljson.keys, 1, texts)
    add("json_type", sqljson.type_of, 1, text)
    add("json_valid", sqljson.valid, 1, pa.bool_())
