"""The only writer of a database.

Every write is an upsert by key, so repeating one changes nothing. Within a batch the last row
of a key wins; the engine would store both.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from storage import convert
from storage.convert import PageTables
from storage.database import Database
from storage.errors import StorageUnavailable
from storage.records import Document, Failure, Run, TermStatistics, page_id
from storage.schema import KEYS, Table, schema_of
from storage.tables import connect, engine_errors, one_of, quoted

logger = logging.getLogger("patchlight.storage")

_KEYS_PER_DELETE = 1000
"""Keys named in one delete: keeps the engine's expressions small."""

_WIDE = (Table.REGIONS, Table.PATCHES)
_WIDE_ROWS_PER_FILE = 4096
"""Pages in a file of a wide table, some 100 kB each: what one `optimize` rewrites stays below
twice this, however large the table."""
_NARROW_ROWS_PER_FILE = 1 << 18

_COMMITS_PER_OPTIMIZE = 128
"""A commit takes some 0.5 ms more for each one since files were last merged."""

_KEEP_VERSIONS = timedelta(days=1)
"""A query run that goes on for longer, while another run ingests, may lose the versions it
pinned, and says so. Until then merged files take their place on the disk twice or more."""


class Committer:
    """Writes to a database. Threads may share one; other processes may write at the same time.

    When a method returns, what it was given is durable. Each raises `StorageUnavailable` when
    the database cannot be written, and ``ValueError`` for rows that do not fit the schema.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection = connect(database.uri, database.storage_options)
        self._lock = threading.Lock()
        self._commits = 0

    def commit_pages(self, pages: PageTables) -> None:
        """Store pages, whole, in place of what was stored of them.

        A row in ``pages`` means that the page is whole: it is written last, and one that
        another pipeline left is taken away first. Killed in between, the page is not there.

        Args:
            pages: as `convert.page_tables` gives them, for the database's dim and vector type.

        Raises:
            ValueError: their vectors are of another length or type.
        """
        self._check_vectors(pages.patches)
        with self._lock:
            self._drop_outdated(pages.pages)
            self._upsert(Table.REGIONS, pages.regions)
            self._upsert(Table.PATCHES, pages.patches)
            self._upsert(Table.PAGES, pages.pages)
            self._commits += 1
            if self._commits >= _COMMITS_PER_OPTIMIZE:
                self._optimize()

    def drop_pages(self, doc_id: str, pages: Iterable[int]) -> None:
        """Remove what is stored of pages, e.g. by an earlier run with other options.

        Args:
            doc_id: their document.
            pages: 1-based numbers; those that are not there are ignored.
        """
        keys = [page_id(doc_id, page) for page in pages]
        with self._lock:
            for table in (Table.PAGES, Table.PATCHES, Table.REGIONS):
                self._delete_keys(table, keys)

    def commit_documents(self, documents: Iterable[Document]) -> None:
        """Store documents; complete and partial ones become visible, with all their pages."""
        with self._lock:
            self._upsert(Table.DOCUMENTS, convert.documents_table(documents))

    def commit_failures(self, failures: Iterable[Failure]) -> None:
        """Store failures; a newer one of the same thing and stage replaces the older."""
        with self._lock:
            self._upsert(Table.FAILURES, convert.failures_table(failures))

    def clear_failures(self, failure_ids: Iterable[str]) -> None:
        """Remove failures that are no longer true.

        Args:
            failure_ids: keys, as `records.failure_id` gives them; unknown ones are ignored.
        """
        with self._lock:
            self._delete_keys(Table.FAILURES, list(failure_ids))

    def commit_run(self, run: Run) -> None:
        """Store a run's state, in place of its former one."""
        with self._lock:
            self._upsert(Table.RUNS, convert.runs_table([run]))

    def commit_statistics(self, statistics: TermStatistics) -> None:
        """Store a snapshot of the corpus statistics; it becomes the latest. None is removed."""
        with self._lock:
            self._upsert(Table.STATISTICS, convert.statistics_table(statistics, datetime.now(UTC)))

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
            self._delete(Table.RETRIEVALS, f"run_id = {quoted(run_id)}")
        for batch in batches:
            if pc.any(pc.not_equal(batch["run_id"], run_id)).as_py():
                raise ValueError(f"retrievals of another run than {run_id}")
            with self._lock:
                self._upsert(Table.RETRIEVALS, batch)

    def optimize(self) -> None:
        """Merge the small files that commits leave, and forget versions a day old.

        Rewrites a bounded amount. A table that cannot be treated, because another process
        writes to it at the same time, stays as it is, with a warning in the log.
        """
        with self._lock:
            self._optimize()

    def _optimize(self) -> None:
        for table in Table:
            rows = _WIDE_ROWS_PER_FILE if table in _WIDE else _NARROW_ROWS_PER_FILE
            try:
                dataset = self._database.table(table)
                with engine_errors(self._database.uri, table):
                    dataset.optimize.compact_files(target_rows_per_fragment=rows)
                    dataset.cleanup_old_versions(older_than=_KEEP_VERSIONS)
            except StorageUnavailable as error:
                logger.warning("files were not merged: %s", error)
        self._commits = 0

    def _check_vectors(self, patches: pa.Table) -> None:
        # The engine would cast int8 to float16 without a word, and every score would be wrong.
        own = schema_of(Table.PATCHES, self._database.encoder.dim, self._database.form.type)
        given, expected = (s.field("vectors").type for s in (patches.schema, own))
        if given != expected:
            raise ValueError(f"patch vectors of type {given}, the database holds {expected}")

    def _drop_outdated(self, pages: pa.Table) -> None:
        made_with = defaultdict(list)
        for key, fingerprint in zip(
            pages["page_id"].to_pylist(), pages["fingerprint"].to_pylist(), strict=True
        ):
            made_with[fingerprint].append(key)
        for fingerprint, keys in made_with.items():
            outdated = f"{one_of('page_id', keys)} AND fingerprint <> {quoted(fingerprint)}"
            self._delete(Table.PAGES, outdated)

    def _upsert(self, table: Table, rows: pa.Table) -> None:
        key = KEYS[table]
        rows = _last_of_each(rows, key)
        if not rows.num_rows:
            return
        with engine_errors(self._database.uri, table):
            (
                self._connection.open_table(table.value)
                .merge_insert(key)
                .when_matched_update_all()
                .when_not_matched_insert_all()
                .execute(rows)
            )

    def _delete_keys(self, table: Table, keys: Sequence[str]) -> None:
        for start in range(0, len(keys), _KEYS_PER_DELETE):
            chosen = keys[start : start + _KEYS_PER_DELETE]
            self._delete(table, one_of(KEYS[table], chosen))

    def _delete(self, table: Table, condition: str) -> None:
        dataset = self._database.table(table)
        with engine_errors(self._database.uri, table):
            if dataset.count_rows(condition):  # a delete of nothing would make a version too
                self._connection.open_table(table.value).delete(condition)


def _last_of_each(rows: pa.Table, key: str) -> pa.Table:
    """The rows without those whose key a later row has too."""
    last = {value: position for position, value in enumerate(rows[key].to_pylist())}
    return rows if len(last) == rows.num_rows else rows.take(sorted(last.values()))
