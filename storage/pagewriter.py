"""Writing pages, and removing them, such that no reader sees a part of one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import pyarrow as pa

from patchlight.storage.convert import PageTables, with_page_keys
from patchlight.storage.database import Database
from patchlight.storage.engine import engine_errors
from patchlight.storage.errors import StorageUnavailable
from patchlight.storage.pagekeys import PageKeys, remove_parts, remove_strays, remove_unreferenced
from patchlight.storage.schema import PARTS, Table
from patchlight.storage.writer import Writer

_ONE_A_PAGE = (Table.WORDS, Table.PATCHES)
_ONE_A_PAGE_FOR = {
    Table.REGIONS: Table.WORDS,
    Table.WORDS: Table.WORDS,
    Table.PATCHES: Table.PATCHES,
}
"""Tables that tell which pages a part was made of: one without regions has no row in ``regions``,
whether they were made anew or not."""


class PageWriter:
    """Writes the pages of one run. Threads take turns.

    What a page consists of is appended under a key that is new each time, and its row in ``pages``
    written last: killed in between, the page is as it was. Rows that nothing refers to any more are
    removed after that; a later run removes those of a killed one (`storage.pagekeys`).

    Args:
        database: the database.
        writer: writes there.
        run_id: the run.
    """

    def __init__(self, database: Database, writer: Writer, run_id: str) -> None:
        self._database = database
        self._writer = writer
        self._run_id = run_id
        self._keys = PageKeys(database, writer, run_id)
        self._unneeded: set[int] = set()

    def write(self, pages: PageTables) -> None:
        """Store pages in place of what was stored of them; what is kept of it is copied.

        Raises:
            ValueError: a page is there twice.
            StorageUnavailable: the database cannot be written, or what is to be kept is not there.
        """
        page_ids = pages.pages["page_id"].to_pylist()
        if len(set(page_ids)) < len(page_ids):
            raise ValueError("a page is to be stored twice at once")
        if not page_ids:
            return
        old = self._database.page_keys(page_ids)
        self._keys.note(old.values())
        new = dict(zip(page_ids, self._keys.take(len(page_ids)), strict=True))
        self._unneeded |= set(new.values())  # until they are in ``pages``
        made = {table: set(pages.of(table)["page_id"].to_pylist()) for table in _ONE_A_PAGE}
        for table in PARTS:
            given = made[_ONE_A_PAGE_FOR[table]]
            kept = [page for page in page_ids if page not in given]
            rows = [with_page_keys(pages.of(table), new)]
            if kept:
                rows.append(self._stored(table, kept, old, new))
            self._writer.append(table, pa.concat_tables(rows))
        self._writer.upsert(Table.PAGES, with_page_keys(pages.pages, new))
        self._unneeded -= set(new.values())
        self._remove(old.values())

    def drop(self, page_ids: Collection[str]) -> None:
        """Remove pages; those that are not there are ignored."""
        old = self._database.page_keys(page_ids)
        self._keys.note(old.values())
        self._writer.delete_keys(Table.PAGES, old)
        self._remove(old.values())

    def take_over(self, at_work: Callable[[], Collection[str]]) -> None:
        """Remove what runs left that were cut off while they wrote pages.

        Args:
            at_work: says which other runs may still write, when it is asked.
        """
        kept = lambda: {*at_work(), self._run_id}  # noqa: E731
        remove_unreferenced(self._database, self._writer, kept)

    def end(self) -> None:
        """Remove what is left that nothing refers to; nothing is under way."""
        self._remove(())
        self._keys.forget()
        remove_strays(self._database, self._writer)

    def _remove(self, keys: Collection[int]) -> None:
        self._unneeded |= set(keys)
        remove_parts(self._writer, self._unneeded)
        self._unneeded.clear()

    def _stored(
        self,
        table: Table,
        page_ids: Collection[str],
        old: Mapping[str, int],
        new: Mapping[str, int],
    ) -> pa.Table:
        """The rows of pages as they are stored, under new keys."""
        if lost := [page for page in page_ids if page not in old]:
            raise StorageUnavailable(
                f"table {Table.PAGES} of database {self._database.uri}: page {lost[0]}, of which a "
                "part is to be kept, is gone. Run the ingest again."
            )
        keys = ", ".join(str(old[page]) for page in page_ids)
        dataset = self._database.table(table)
        with engine_errors(self._database.uri, table):
            rows = dataset.to_table(filter=f"page_key IN ({keys})")
        return with_page_keys(rows, new)
