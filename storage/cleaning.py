"""Keeping a database small and quick: merging files, and forgetting what nobody reads.

Merging is safe beside everything else. Cleaning removes files for good, so it looks first who is
at work: it leaves what a living run reads, and does nothing beside another run that writes.

Which of two versions is older, their numbers say. How long ago one was replaced is a time between
two dates, that of the commit and now, each by the clock of who wrote it. Where one of these clocks
is wrong, old versions leave earlier or later than they should, and nothing else happens: the newest
version stays, and what a run pins that is not known to be dead stays, too. A query that has opened
versions and not yet pinned them finds out if they left, and says so.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import lance

from patchlight.storage import indexes, merging
from patchlight.storage.database import Database
from patchlight.storage.engine import engine_errors
from patchlight.storage.errors import StorageUnavailable
from patchlight.storage.locks import is_local, nobody_writing, writing
from patchlight.storage.processes import is_gone
from patchlight.storage.records import Run
from patchlight.storage.schema import Table
from patchlight.storage.watching import RUNNING, process_of

logger = logging.getLogger("patchlight.storage")

KEEP_VERSIONS = timedelta(minutes=10)
"""How long a version that was replaced stays for those who have opened it and pinned nothing.
Until then the files that were merged take their place on the disk twice or more."""

KEEP_PINNED = timedelta(days=1)
"""How long what a run has pinned stays after its end."""

_ROWS: Mapping[Table, tuple[int, int]] = {
    Table.WORDS: (4096, 128),
    Table.PATCHES: (4096, 128),
    Table.PAGES: (1 << 16, 2048),
    Table.TERM_COUNTS: (4096, 128),
    Table.STATISTICS: (1024, 4),
}
"""Rows in a file of a wide table, and how many a merge holds at once: some 10 to 100 kB each, and
of statistics some MB."""
_NARROW_ROWS = 1 << 19, 8192

_WRITING_KINDS = ("ingest", "delete")
_FOREVER = timedelta(days=36500)


def merge_files(database: Database, tables: Iterable[Table] = tuple(Table)) -> None:
    """Merge the small files that commits leave, and bring indexes up; in proportion to what is new.

    A table that cannot be treated, because another process writes to it at the same time, stays
    as it is, with a warning in the log.

    Args:
        database: the database.
        tables: which of its tables.
    """

    def merge(table: Table) -> None:
        full, batch = _ROWS.get(table, _NARROW_ROWS)
        with writing(database.uri), engine_errors(database.uri, table):
            dataset = database.table(table)
            left = _left_alone(dataset, full)
            dataset.optimize.compact_files(
                target_rows_per_fragment=full,
                batch_size=batch,
                materialize_deletions_threshold=0.0,
                excluded_fragment_ids=left,
            )
            indexes.refresh(database.table(table), table)

    _each_table(tables, merge, "files were not merged")


def clean(
    database: Database,
    run_id: str,
    keep: timedelta = KEEP_VERSIONS,
    keep_pinned: timedelta = KEEP_PINNED,
    tables: Iterable[Table] = tuple(Table),
) -> None:
    """Remove versions that were replaced a while ago, and files that killed writers left.

    Kept are the versions that runs pin which are not known to be dead, or have ended within
    ``keep_pinned``, and those that were the newest within ``keep``.
    Nothing is removed beside another such run that writes, nor, in a folder, of a table while
    any process writes. In an object store, where that cannot be told, files that killed writers
    left stay for a week. What cannot be removed stays, with a warning in the log.

    Args:
        database: the database.
        run_id: the run that asks.
        keep: how long a version that was replaced stays.
        keep_pinned: how long one stays that a run has pinned, after that has ended.
        tables: which of its tables.
    """

    def tidy(table: Table) -> None:
        with nobody_writing(database.uri) as alone:
            if is_local(database.uri) and not alone:
                return
            # Asked under the lock: a run that comes now and pins versions waits for its end,
            # and then finds them gone, if they are.
            now = datetime.now(UTC)
            runs = database.runs()
            live = [run for run in runs if _may_live(run)]
            if any(run.kind in _WRITING_KINDS and run.run_id != run_id for run in live):
                return
            with engine_errors(database.uri, table):
                dataset = database.table(table)
                lately = [r for r in runs if r.ended_at and r.ended_at > now - keep_pinned]
                if old := _replaced_before(now - keep, dataset, _pinned(table, live + lately)):
                    dataset.cleanup_old_versions(versions=old)
                if alone:
                    dataset.cleanup_old_versions(older_than=_FOREVER, delete_unverified=True)

    _each_table(tables, tidy, "old files were not removed")


def _left_alone(dataset: lance.LanceDataset, full: int) -> list[int]:
    """The files that a merge is not to touch."""
    files = dataset.get_fragments()
    newest = merging.tail([file.count_rows() for file in files], full)
    return [
        file.fragment_id
        for file in files[: len(files) - newest]
        if not merging.is_hollow(file.physical_rows, file.num_deletions)
    ]


def _each_table(tables: Iterable[Table], treat: Callable[[Table], None], problem: str) -> None:
    """Treat some tables; housekeeping may not fail the run whose work is all stored."""
    for table in tables:
        try:
            treat(table)
        except StorageUnavailable as error:
            logger.warning("%s: %s", problem, error)


def _may_live(run: Run) -> bool:
    """Whether a run may be at work: a lease that ran out may only have waited for this lock."""
    return run.status == RUNNING and not is_gone(process_of(run))


def _pinned(table: Table, runs: Collection[Run]) -> set[int]:
    return {run.pins[table.value] for run in runs if table.value in run.pins}


def _replaced_before(
    limit: datetime, dataset: lance.LanceDataset, pinned: Collection[int]
) -> list[int]:
    """Versions that were not the newest any more at a time, without those that are pinned."""
    versions = sorted(dataset.versions(), key=lambda version: int(version["version"]))
    return [
        version["version"]
        for version, newer in pairwise(versions)
        # The engine gives local time without a zone.
        if newer["timestamp"].astimezone(UTC) < limit and version["version"] not in pinned
    ]
