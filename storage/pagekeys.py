"""Keys of pages: given out once each, and the rows that nothing refers to any more.

A page's key is new each time the page is written. Its regions, words and vectors are appended under
that key before its row in ``pages`` names it, so a reader never sees parts of two writings, and a
write that was cut off leaves rows that nothing refers to. Which keys these may have is noted in
``page_keys`` before they are used; when the run that noted them is done or dead, the rows of keys
that no page has are removed, and the note after them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import pyarrow.compute as pc

from patchlight.storage import sequences
from patchlight.storage.convert import page_keys_table
from patchlight.storage.database import Database
from patchlight.storage.engine import engine_errors, quoted
from patchlight.storage.schema import PARTS, Table
from patchlight.storage.writer import Writer

_FEWEST, _MOST = 256, 65_536
"""Keys a run takes at once: twice as many each time. What is left of them is lost."""


class PageKeys:
    """Gives out keys to one run. Threads may share one.

    Args:
        database: the database.
        writer: writes there.
        run_id: the run.
    """

    def __init__(self, database: Database, writer: Writer, run_id: str) -> None:
        self._database = database
        self._writer = writer
        self._run_id = run_id
        self._lock = threading.Lock()
        self._free = range(0)
        self._size = _FEWEST // 2
        self._own: list[range] = []

    def take(self, count: int) -> range:
        """Return keys that nobody had before or will have after.

        Raises:
            StorageUnavailable: the database cannot be written.
        """
        with self._lock:
            if len(self._free) < count:
                self._size = min(2 * self._size, _MOST)
                self._free = self._block(max(count, self._size))
            keys, self._free = self._free[:count], self._free[count:]
            return keys

    def note(self, keys: Iterable[int]) -> None:
        """Note keys of which rows may soon be there that nothing refers to."""
        others = [key for key in keys if not any(key in own for own in self._own)]
        self._note(runs_of(others))

    def forget(self) -> None:
        """Take back what was noted: no row is left that nothing refers to."""
        self._writer.delete(Table.PAGE_KEYS, f"run_id = {quoted(self._run_id)}")
        self._own, self._free = [], range(0)

    def _note(self, blocks: Sequence[range]) -> None:
        rows = [(f"{b.start:020d}-{self._run_id}", b.start, len(b), self._run_id) for b in blocks]
        self._writer.upsert(Table.PAGE_KEYS, page_keys_table(rows))

    def _block(self, count: int) -> range:
        first = sequences.take(self._database, sequences.PAGE_KEYS, count)
        keys = range(first, first + count)
        self._note([keys])
        self._own.append(keys)
        return keys


def remove_parts(writer: Writer, keys: Collection[int]) -> None:
    """Remove the rows of keys of which none is in ``pages``."""
    if not keys:
        return
    condition = _among(keys)
    for table in PARTS:
        writer.delete(table, condition)


def remove_unreferenced(
    database: Database, writer: Writer, at_work: Callable[[], Collection[str]]
) -> int:
    """Remove the rows that runs left under keys that no page has, and what was noted of them.

    Args:
        database: the database.
        writer: writes there.
        at_work: says which runs may still write; what they noted stays. Asked once the notes are
            read: a run that begins meanwhile has its row before it notes anything.

    Returns:
        How many keys had such rows.
    """
    noted = _noted(database)
    if not noted:
        return 0
    kept = at_work()
    blocks = [row for row in noted if row["run_id"] not in kept]
    if not blocks:
        return 0
    condition = " OR ".join(
        f"(page_key >= {row['first']} AND page_key < {row['first'] + row['count']})"
        for row in blocks
    )
    named = _keys_in(database, Table.PAGES, condition)
    left: set[int] = set()
    for table in PARTS:
        left |= _keys_in(database, table, condition) - named
    remove_parts(writer, left)
    writer.delete_keys(Table.PAGE_KEYS, [row["block"] for row in blocks])
    return len(left)


def remove_strays(database: Database, writer: Writer) -> int:
    """Remove rows of keys that no page has and no run has noted, whoever left them.

    A run that went on after another had taken over what it wrote may leave some. Costs nothing
    where every page has one row in each table that holds one a page.

    Args:
        database: the database.
        writer: writes there.

    Returns:
        How many keys had such rows.
    """
    with engine_errors(database.uri, "(all)"):
        one_a_page = (Table.PAGES, Table.WORDS, Table.PATCHES)
        counts = {database.table(table).count_rows() for table in one_a_page}
    if len(counts) == 1:
        return 0
    # In this order: a key that is in use is noted before there are rows, until a page has it.
    stored: set[int] = set().union(*(_keys_in(database, table, None) for table in PARTS))
    noted = [range(row["first"], row["first"] + row["count"]) for row in _noted(database)]
    named = _keys_in(database, Table.PAGES, None)
    left = {key for key in stored - named if not any(key in block for block in noted)}
    remove_parts(writer, left)
    return len(left)


def runs_of(keys: Iterable[int]) -> list[range]:
    """Return keys as ranges without gaps, rising.

    >>> runs_of([4, 1, 2, 3, 9])
    [range(1, 5), range(9, 10)]
    """
    found: list[range] = []
    for key in sorted(set(keys)):
        if found and found[-1].stop == key:
            found[-1] = range(found[-1].start, key + 1)
        else:
            found.append(range(key, key + 1))
    return found


def _among(keys: Collection[int]) -> str:
    """SQL condition that a page's key is one of some."""
    return " OR ".join(
        f"page_key = {run.start}"
        if len(run) == 1
        else f"(page_key >= {run.start} AND page_key < {run.stop})"
        for run in runs_of(keys)
    )


def _noted(database: Database) -> list[dict[str, Any]]:
    dataset = database.table(Table.PAGE_KEYS)
    with engine_errors(database.uri, Table.PAGE_KEYS):
        rows: list[dict[str, Any]] = dataset.to_table().to_pylist()
    return rows


def _keys_in(database: Database, table: Table, condition: str | None) -> set[int]:
    dataset = database.table(table)
    with engine_errors(database.uri, table):
        keys = dataset.to_table(["page_key"], condition)["page_key"]
    return set(pc.unique(keys).to_pylist())
