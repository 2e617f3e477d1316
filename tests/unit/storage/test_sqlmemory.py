"""A query takes no more memory than it may, however wide the rows are that it reads."""

from __future__ import annotations

import shutil
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest
from datafusion import SessionContext

from patchlight.storage.errors import SqlError
from patchlight.storage.sqlengine import bounded, register, rows_of, sql_context
from patchlight.storage.sqlmemory import MOST_ROWS, MemoryBound, held_bytes

ROWS = 400
WIDE = 32 << 10
"""Numbers in a row: 64 KiB."""


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> lance.LanceDataset:
    numbers = pa.array(np.zeros(ROWS * WIDE, np.float16))
    table = pa.table(
        {"n": range(ROWS), "vectors": pa.FixedSizeListArray.from_arrays(numbers, WIDE)}
    )
    return lance.write_dataset(table, tmp_path_factory.mktemp("wide") / "t.lance")


def largest(context: SessionContext, wide: lance.LanceDataset, bound: MemoryBound, q: str) -> int:
    frame = bounded(context, lambda: context.sql(q), {"t": wide}, bound)
    sizes: list[int] = [batch.num_rows for batch in rows_of(context, frame, bound)]
    assert sum(sizes) == ROWS
    return max(sizes)


def test_rows_on_their_way_are_few_where_they_are_wide(
    wide: lance.LanceDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANCE_DEFAULT_BATCH_SIZE", "")  # is put back behind the test
    monkeypatch.setenv("LANCE_DEFAULT_IO_BUFFER_SIZE", "")
    bound = MemoryBound(512)
    context = sql_context(bound)
    register(context, "t", wide)
    joined = "SELECT a.* FROM t a JOIN t b ON a.n = b.n"
    assert largest(context, wide, bound, "SELECT * FROM t") <= 128
    assert largest(context, wide, bound, joined) <= 128
    assert largest(context, wide, bound, "SELECT * FROM t WHERE n IN (SELECT n FROM t)") <= 128
    # The columns that are asked for count, not those that are there.
    assert largest(context, wide, bound, "SELECT n FROM t") == ROWS
    assert bound.rows_at_a_time([(wide, ["n"])]) == MOST_ROWS
    assert bound.rows_at_a_time([(wide, ["n", "vectors"])]) == 127
    assert bound.rows_at_a_time([]) == MOST_ROWS


def test_what_is_held_is_looked_at() -> None:
    bound = MemoryBound(64)
    bound.check()
    held = np.ones(96 << 20, np.uint8)
    with pytest.raises(SqlError, match="PATCHLIGHT_SQL_MEMORY_MB"):
        bound.check()
    assert held_bytes() > held.nbytes


@pytest.mark.parametrize(
    "query",
    [
        "SELECT array_agg(a.value || 'x') FROM range(0, 100000000) a",
        "SELECT value, repeat('x', 20000) AS t FROM range(0, 20000) ORDER BY t, value",
    ],
    ids=["group", "sort"],
)
def test_a_query_that_needs_more_ends_with_what_to_do(query: str) -> None:
    bound = MemoryBound(64)
    context = sql_context(bound)
    frame = context.sql(query)
    said = "more memory than the 64 MiB.* add WHERE or LIMIT.* set PATCHLIGHT_SQL_MEMORY_MB to more"
    with pytest.raises(SqlError, match=said):
        list(rows_of(context, frame, bound))


def test_what_was_made_apart_counts_for_no_query() -> None:
    """The encoder that ``grounded`` loads may take more than a query may."""
    bound = MemoryBound(64)
    with bound.apart():
        held = np.ones(96 << 20, np.uint8)
    bound.check()
    more = np.ones(96 << 20, np.uint8)
    with pytest.raises(SqlError):
        bound.check()
    assert held_bytes() > held.nbytes + more.nbytes


def test_a_query_may_not_fill_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = shutil.disk_usage(tmp_path)._replace(free=20 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    bound = MemoryBound(256)
    context = sql_context(bound)
    rows = "SELECT repeat(CAST(b.value AS VARCHAR), 8) AS y FROM range(300) a, range(30000) b"
    frame = context.sql(f"{rows} ORDER BY y")
    with pytest.raises(SqlError, match=r"half of the room that was free in .* TMPDIR"):
        list(rows_of(context, frame, bound))
