"""All changes of a database but those of leases.

Every write is an upsert by key, so repeating one changes nothing; but what a page consists of is
appended under a key that is new each time (`storage.pagekeys`). A document's row is the key to
all that belongs to it: it is changed only by `Committer.change_documents`, which never undoes
what another process did, and it is ``unfinished`` while anything else of the document changes.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from patchlight.storage import convert, metadata, statistics
from patchlight.storage.cleaning import KEEP_PINNED, KEEP_VERSIONS, clean, merge_files
from patchlight.storage.convert import PageTables
from patchlight.storage.database import Database
from patchlight.storage.engine import one_of, quoted, some_at_a_time
from patchlight.storage.errors import StorageUnavailable
from patchlight.storage.pagewriter import PageWriter
from patchlight.storage.records import (
    Document,
    DocumentStatus,
    Failure,
    StatisticsStep,
    TermCounts,
    page_id,
)
from patchlight.storage.schema import RECORDS, Table, schema_of
from patchlight.storage.writer import Writer

logger = logging.getLogger("patchlight.storage")

Change = Callable[[str, Document | None], Document | None]
"""What is to become of a document: from its id and its row, or None if there is none, to its new
row, or None to leave it as it is."""

_CHANGE_ATTEMPTS = 50
"""Eight processes that changed one document without a pause lost one attempt in three."""
_LONGEST_PAUSE_S = 0.3
_NEXT_REVISION = "target.revision = source.revision - 1"

_COMMITS_PER_MERGE = 128
"""A commit takes some 0.5 ms more for each one since files were last merged."""

_CLEAN_EVERY_S = 600
"""Looking which versions are old takes some 0.3 ms for each, and an ingest may run for days."""


class Committer:
    """Writes to a database. Threads may share one; other processes may write at the same time.

    When a method returns, what it was given is durable. Each raises `StorageUnavailable` when
    the database cannot be written, and ``ValueError`` for rows that do not fit the schema.

    Args:
        database: the database.
        run_id: the run that the changes are made by.
        keep_pinned: how long versions stay that a run has pinned, after it has ended.
    """

    def __init__(
        self, database: Database, run_id: str, keep_pinned: timedelta = KEEP_PINNED
    ) -> None:
        self._database = database
        self._keep_pinned = keep_pinned
        self._run_id = run_id
        self._writer = Writer(database)
        self._pages = PageWriter(database, self._writer, run_id)
        self._lock = threading.Lock()
        self._changing = threading.Lock()
        self._commits = 0
        self._cleaned_at_s = time.monotonic()

    def commit_pages(self, pages: PageTables) -> None:
        """Store pages in place of what was stored of them; regions or patches may be kept.

        Killed in between, each page is as it was, or as it is to be.

        Args:
            pages: as `convert.page_tables` gives them, for the database's dim and vector type;
                of documents that are not visible.

        Raises:
            ValueError: their vectors are of another length or type, or a page is there twice.
        """
        self._check_vectors(pages.patches)
        with self._lock:
            self._pages.write(pages)
            self._commits += 1
            if self._commits >= _COMMITS_PER_MERGE:
                self._merge_files()
                if time.monotonic() - self._cleaned_at_s > _CLEAN_EVERY_S:
                    self._clean(KEEP_VERSIONS)

    def drop_pages(self, doc_id: str, pages: Iterable[int]) -> None:
        """Remove what is stored of pages, e.g. by an earlier run with other options.

        Args:
            doc_id: their document.
            pages: 1-based numbers; those that are not there are ignored.
        """
        with self._lock:
            self._pages.drop([page_id(doc_id, page) for page in pages])

    def take_over(self, at_work: Callable[[], Collection[str]]) -> None:
        """Remove what runs left that were cut off while they wrote pages.

        Args:
            at_work: says which other runs may still write, when it is asked.
        """
        with self._lock:
            self._pages.take_over(at_work)

    def change_documents(
        self, doc_ids: Iterable[str], change: Change
    ) -> dict[str, Document | None]:
        """Change documents such that no change of another process is undone.

        All are written in one commit. If another process changes one of them at the same moment,
        that one is read again and ``change`` is asked again.

        Args:
            doc_ids: the documents.
            change: says what each is to become; may be called several times for one, must not
                write to the database, and may raise, which ends this with nothing written since
                the last attempt. Revision and changed_by of what it returns are set here.

        Returns:
            Each document as it is now; None for one that is not there.

        Raises:
            StorageUnavailable: the database cannot be written, or others change the same
                documents all the time.
            ValueError: it returned another document than it was asked about.
        """
        left = list(dict.fromkeys(doc_ids))
        after: dict[str, Document | None] = dict.fromkeys(left)
        with self._changing:
            for attempt in range(_CHANGE_ATTEMPTS):
                rows = self._database.document_rows(left)
                wanted = []
                for doc_id in left:
                    row = after[doc_id] = rows.get(doc_id)
                    changed = change(doc_id, row)
                    if changed is None:
                        continue
                    if changed.doc_id != doc_id:
                        raise ValueError(f"document {doc_id} was changed to {changed.doc_id}")
                    revision = 1 + (row.revision if row else 0)
                    wanted.append(replace(changed, revision=revision, changed_by=self._run_id))
                stored = self._write_revisions(wanted)
                after |= stored
                left = [document.doc_id for document in wanted if document.doc_id not in stored]
                if not left:
                    return after
                time.sleep(random.uniform(0, min(0.01 * 2**attempt, _LONGEST_PAUSE_S)))
        raise StorageUnavailable(
            f"table {Table.DOCUMENTS} of database {self._database.uri}: other runs changed the "
            f"same documents {_CHANGE_ATTEMPTS} times, {left[0]} among them. "
            "Wait until they are done, then try again."
        )

    def remove_documents(self, doc_ids: Iterable[str], *, with_retrievals: bool = True) -> int:
        """Remove documents with all that is stored of them.

        They are invisible from the first step on, in the name of this committer's run. Killed at
        any point, doing it again finishes it.

        Args:
            doc_ids: the documents, none of them in work by another run; unknown ones are
                ignored.
            with_retrievals: whether what query runs found in them goes too.

        Returns:
            How many were removed; less than were there if another run took one over meanwhile.
        """
        rows = self.change_documents(doc_ids, self._being_removed)
        removed = 0
        for some in some_at_a_time(doc_id for doc_id, row in rows.items() if row):
            theirs = one_of("doc_id", some)
            with self._lock:
                self._pages.drop(self._database.pages_of(some))
                self._writer.delete(Table.FAILURES, theirs)
                self._writer.delete(Table.METADATA, theirs)
                if with_retrievals:
                    self._writer.delete(Table.RETRIEVALS, theirs)
                removed += self._writer.delete(
                    Table.DOCUMENTS,
                    f"{theirs} AND status = '{DocumentStatus.UNFINISHED}' "
                    f"AND changed_by = {quoted(self._run_id)}",
                )
        return removed

    def commit_failures(self, failures: Iterable[Failure]) -> None:
        """Store failures; a newer one of the same thing and stage replaces the older."""
        with self._lock:
            self._writer.upsert(Table.FAILURES, convert.failures_table(failures))

    def clear_failures(self, failure_ids: Iterable[str]) -> None:
        """Remove failures that are no longer true.

        Args:
            failure_ids: keys, as `records.failure_id` gives them; unknown ones are ignored.
        """
        with self._lock:
            self._writer.delete_keys(Table.FAILURES, failure_ids)

    def commit_metadata(self, rows: pa.Table) -> int:
        """Store what people know of documents, with room for its columns; see `metadata.store`."""
        if not rows.num_rows or rows.num_columns == 1:
            return 0
        with self._lock:
            metadata.make_room(self._database, rows.schema)
            return metadata.store(self._database, rows)

    def drop_metadata(self, doc_ids: Iterable[str]) -> None:
        """Remove what people know of documents."""
        with self._lock:
            self._writer.delete_keys(Table.METADATA, doc_ids)

    def commit_term_counts(self, counts: Iterable[TermCounts]) -> None:
        """Store what documents add to the corpus statistics; it is not counted yet."""
        with self._lock:
            self._writer.upsert(Table.TERM_COUNTS, convert.term_counts_table(counts, None))

    def drop_term_counts(self, counts_ids: Iterable[str]) -> None:
        """Remove what documents would add that is counted in no snapshot."""
        with self._lock:
            self._writer.delete_keys(Table.TERM_COUNTS, counts_ids)

    def commit_statistics(self, step: StatisticsStep) -> bool:
        """Store a snapshot of the corpus statistics; it becomes the latest. None is removed.

        Returns:
            Whether it was stored; not if another run has stored one of that revision.
        """
        with self._lock:
            rows = convert.statistics_table(step, datetime.now(UTC))
            return bool(self._writer.upsert_where(Table.STATISTICS, rows, "false"))

    def settle_statistics(self, step: StatisticsStep) -> None:
        """Note with the documents what a stored snapshot counts of them."""
        with self._lock:
            statistics.settle(self._database, self._writer, step)

    def replace_retrievals(self, run_id: str, batches: Iterable[pa.Table]) -> None:
        """Store what a run found, in place of what an earlier attempt of it left.

        Holds one batch in memory. Until it returns, the run has the rows written so far and
        none of an earlier attempt.

        Args:
            run_id: the run; every row must be of it.
            batches: as `convert.retrievals_table` gives them; keys distinct within the run.

        Raises:
            ValueError: a row is of another run.
        """
        with self._lock:
            self._writer.delete(Table.RETRIEVALS, f"run_id = {quoted(run_id)}")
        for batch in batches:
            if pc.any(pc.not_equal(batch["run_id"], run_id)).as_py():
                raise ValueError(f"the retrievals are of another run than {run_id}")
            with self._lock:
                self._writer.upsert(Table.RETRIEVALS, batch)

    def tidy_records(self) -> None:
        """Do as `optimize` does for what every run writes: its row, its numbers, what it found.

        Else these tables would grow by a version or two for each run that changes nothing.
        """
        with self._lock:
            merge_files(self._database, RECORDS)
            clean(self._database, self._run_id, KEEP_VERSIONS, self._keep_pinned, RECORDS)

    def optimize(self, keep: timedelta = KEEP_VERSIONS) -> None:
        """Merge the small files that commits leave, and remove what nobody reads any more.

        What cannot be done now, because other processes are at work, is left for another time.

        Args:
            keep: how long versions that were replaced stay; see `cleaning.clean`.
        """
        with self._lock:
            try:
                self._pages.end()
            except StorageUnavailable as error:  # a later run does it
                logger.warning("rows that nothing refers to were not removed: %s", error)
            self._merge_files()
            self._clean(keep)

    def _merge_files(self) -> None:
        merge_files(self._database)
        self._commits = 0

    def _clean(self, keep: timedelta) -> None:
        clean(self._database, self._run_id, keep, self._keep_pinned)
        self._cleaned_at_s = time.monotonic()

    def _check_vectors(self, patches: pa.Table) -> None:
        # The engine would cast int8 to float16 without a word, and every score would be wrong.
        own = schema_of(Table.PATCHES, self._database.encoder.dim, self._database.form.type)
        given, expected = (s.field("vectors").type for s in (patches.schema, own))
        if given != expected:
            raise ValueError(f"patch vectors of type {given}, the database holds {expected}")

    def _write_revisions(self, documents: list[Document]) -> dict[str, Document]:
        """Store those of which no other process has stored the same or a later revision."""
        if not documents:
            return {}
        rows = convert.documents_table(documents)
        with self._lock:
            written = self._writer.upsert_where(Table.DOCUMENTS, rows, _NEXT_REVISION)
        given = {document.doc_id: document for document in convert.documents_of(rows)}
        if written == len(given):
            return given
        stored = self._database.document_rows(given) if written else {}
        return {key: own for key, own in given.items() if stored.get(key) == own}

    def _being_removed(self, doc_id: str, row: Document | None) -> Document | None:
        if row is None:
            return None
        return replace(row, status=DocumentStatus.UNFINISHED, run_id=self._run_id)
