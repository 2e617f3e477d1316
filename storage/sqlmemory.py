"""How much memory a query takes: what it reads at once, and a look at what it holds.

The engine's own pool counts what sorts, joins and groups hold. It does not count rows on their way:
what is read, is filtered, is joined to something, or waits. These are rows by the thousand, and a
row of vectors is as large as a thousand rows of words. So the number of rows on their way follows
from how wide they are, and whoever waits for the engine looks at what the process really holds.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from patchlight.storage.errors import SqlError

if TYPE_CHECKING:
    import lance

MEMORY_MB = 2048
"""MiB that one query may take, where nothing else is said."""
MOST_ROWS = 8192
"""The engine's own number of rows that it works on at once."""
_LEAST_ROWS = 8
_IN_FLIGHT = 64
"""Share of the memory that one batch of rows may take: dozens are on their way."""
_SAMPLED = 16
"""Rows looked at, to know how wide rows are."""

_ROWS_READ = "LANCE_DEFAULT_BATCH_SIZE"
_BYTES_READ = "LANCE_DEFAULT_IO_BUFFER_SIZE"
_LEAST_READ = 32 << 20

_STATM = Path("/proc/self/statm")


class MemoryBound:
    """What a query may add to the memory of its process.

    Attributes:
        bytes: how much.
        pool: the part of it that sorts, joins and groups may hold; beyond it they use temporary
            files, or fail.
    """

    def __init__(self, mebibytes: int) -> None:
        """Start to count.

        Args:
            mebibytes: the bound, at least 1; with less than 256 little can be done.
        """
        self.bytes = mebibytes << 20
        self.pool = self.bytes // 2
        self._before = held_bytes()

    def check(self) -> None:
        """Look at what is held now.

        Raises:
            SqlError: more than the bound.
        """
        if held_bytes() - self._before > self.bytes:
            raise SqlError(self.exceeded())

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Do what has bounds of its own: what it leaves in memory counts for no query.

        Tables are read there in the portions that are usual.
        """
        before = held_bytes()
        self.tell_reader(MOST_ROWS)
        try:
            yield
        finally:
            self._before += max(0, held_bytes() - before)

    def exceeded(self) -> str:
        """Say that there is too little, and what to do."""
        return (
            f"the query needs more memory than the {self.bytes >> 20} MiB it may take. Name the "
            "columns that are needed (vectors and texts are large), add WHERE or LIMIT, sort or "
            "join fewer rows, or set PATCHLIGHT_SQL_MEMORY_MB to more."
        )

    def rows_at_a_time(self, read: Iterable[tuple[lance.LanceDataset, list[str]]]) -> int:
        """How many rows the engine is to read and work on at once, in any step of a query.

        Args:
            read: the tables that it reads, and the columns of each.

        Returns:
            A number from 8 to `MOST_ROWS`.
        """
        widest = 1
        for table, columns in read:
            widest = max(widest, _row_bytes(table, columns))
        fits = self.bytes // _IN_FLIGHT // widest
        return max(_LEAST_ROWS, min(MOST_ROWS, fits))

    def tell_reader(self, rows: int) -> None:
        """Have tables that are read from now on in this process be read in portions.

        The table provider takes them from the environment only, when a query is planned.

        Args:
            rows: how many are read at once.
        """
        os.environ[_ROWS_READ] = str(rows)
        os.environ[_BYTES_READ] = str(max(_LEAST_READ, self.bytes // 16))


def held_bytes() -> int:
    """Memory of this process that is its own and in use; 0 where the system does not tell."""
    try:
        _, resident, shared, *_ = map(int, _STATM.read_text().split())
    except OSError:
        return 0
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE")


def _row_bytes(table: lance.LanceDataset, columns: list[str]) -> int:
    """Bytes of the largest of some rows, spread over a table."""
    count = table.count_rows()
    if not count or not columns:
        return 1
    at = np.unique(np.linspace(0, count - 1, _SAMPLED).astype(np.int64))
    rows = table.take(at.tolist(), columns=columns)
    return max(int(rows.slice(i, 1).nbytes) for i in range(rows.num_rows))
