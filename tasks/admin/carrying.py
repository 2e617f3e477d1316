"""Carrying over what a database of schema 3 holds to one of the present schema.

Done again after it was cut off, it does what is left and comes to the same: a page is stored whole
or not at all, and the narrow tables are written in one commit each.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from patchlight.storage import identity, sequences
from patchlight.storage.committer import Committer
from patchlight.storage.convert import runs_table
from patchlight.storage.database import Database
from patchlight.storage.errors import (
    DatabaseInUse,
    DatabaseNotFound,
    StorageUnavailable,
)
from patchlight.storage.leases import ABANDONED, ABANDONED_BY, Lease
from patchlight.storage.records import DocumentStatus, Run
from patchlight.storage.schema import Table
from patchlight.storage.schema3 import Contents, OldDatabase
from patchlight.storage.watching import RUNNING
from patchlight.storage.writer import Writer
from patchlight.tasks.common.console import progress
from patchlight.tasks.common.runs import Others, leased, new_run_id
from patchlight.tasks.common.terms import terms
from patchlight.tasks.ingest import termcounts
from patchlight.tasks.regions.arrangement import arrangement_of

logger = logging.getLogger("patchlight.migration")

KIND = "migrate"
"""Kind of a migration's row in ``runs``."""

_PAGES_AT_ONCE = 128
"""Pages in memory: some 10 to 300 kB each as they are stored, and a few times that as objects."""

_RUNS_AT_ONCE = 1000
_COUNTED = (
    Table.DOCUMENTS,
    Table.PAGES,
    Table.REGIONS,
    Table.FAILURES,
    Table.RETRIEVALS,
)


@dataclass(slots=True)
class MigrationReport:
    """What a migration did.

    Attributes:
        db: where the new database is.
        old: where the old one is now; empty if there is none.
        done: whether there was anything to do.
        went_on: whether an earlier migration had been cut off.
        carried: table -> rows that the new database has of the old one.
        left_out: what is not carried over -> how many.
        unfinished: documents that are not whole: the next ingest goes on with them.
        seconds: what it took.
    """

    db: str
    old: str = ""
    done: bool = True
    went_on: bool = False
    carried: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    unfinished: list[str] = field(default_factory=list)
    seconds: float = 0.0


def made_of(database: Database) -> list[dict[str, Any]]:
    """What migrations wrote to a database, by their rows in ``runs``; first one first."""
    try:
        runs = database.runs()
    except DatabaseNotFound:  # the table was not made yet
        return []
    return [json.loads(run.parameters) for run in runs if run.kind == KIND]


def fill(place: str, old: OldDatabase, report: MigrationReport) -> None:
    """Make all of the new database but its row in ``meta``.

    Args:
        place: where it is made; no other migration is at work there.
        old: what it is made of.
        report: told what was done.

    Raises:
        DatabaseInUse: another migration is at work, from another machine.
        LeaseLost: another migration took this one for dead.
        StorageUnavailable: a database cannot be read or written.
    """
    identity.prepare(place, old.identity)
    database, run_id = Database(place, old.identity), new_run_id(KIND, None)
    asked = {"from": old.uri, "versions": dict(old.versions)}
    if not made_of(database) and (count := len(old.runs())):
        sequences.take(database, sequences.RUNS, count)  # they began before this run
    with leased(database, KIND, run_id, asked, lambda: (True, asdict(report))) as lease:
        others = Others(database, run_id)
        others.settle()
        if at_work := others.at_work():
            raise DatabaseInUse(
                f"another migration is at work on {place}: run {next(iter(at_work))}. Wait until "
                "it is done"
            )
        committer, contents = Committer(database, run_id), old.contents()
        committer.take_over(others.at_work)
        _fill_pages(database, old, contents, committer, lease)
        lease.check()
        _fill_others(database, old, contents, committer, run_id, report)
        logger.info("merging files and making indexes")
        committer.optimize(keep=timedelta(0))


def _fill_pages(
    database: Database, old: OldDatabase, contents: Contents, committer: Committer, lease: Lease
) -> None:
    stored = database.table(Table.PAGES).to_table(["page_id"])["page_id"].combine_chunks()
    left, total = contents.pages.without(stored), len(contents.pages.page_ids)
    if len(stored):
        logger.info("%d of %d pages are there already", len(stored), total)
    with progress("migrating", total, "pages") as done:
        done(len(stored))
        for pages in old.page_tables(left, arrangement_of, terms, _PAGES_AT_ONCE):
            lease.check()
            committer.commit_pages(pages)
            done(len(pages.pages))
    if (found := database.table(Table.PAGES).count_rows()) != total:
        raise StorageUnavailable(
            f"database {database.uri} has {found} pages, and should have {total}: its files were "
            "changed by something else. Remove it, and run 'patchlight migrate' again"
        )


def _fill_others(
    database: Database,
    old: OldDatabase,
    contents: Contents,
    committer: Committer,
    run_id: str,
    report: MigrationReport,
) -> None:
    writer, runs = Writer(database), old.runs()
    writer.replace_all(Table.DOCUMENTS, old.documents(contents))
    writer.replace_all(Table.FAILURES, old.failures(contents))
    writer.replace_all(Table.RETRIEVALS, old.rows(Table.RETRIEVALS))
    snapshots, kept = _fill_statistics(database, old, committer, runs)
    taken = min(run.number for run in database.runs() if run.kind == KIND) - 1
    for start in range(0, len(runs), _RUNS_AT_ONCE):
        some = [_ended(run, run_id, taken) for run in runs[start : start + _RUNS_AT_ONCE]]
        writer.upsert(Table.RUNS, runs_table(some))
    counted = (
        Table.DOCUMENTS,
        Table.PAGES,
        Table.REGIONS,
        Table.FAILURES,
        Table.RETRIEVALS,
        Table.STATISTICS,
    )
    report.carried = {table.value: database.table(table).count_rows() for table in counted}
    report.carried[Table.RUNS.value] = len(runs)
    failures = old.columns(Table.FAILURES, "failure_id").num_rows
    left_out = {
        "documents whose files hold other bytes now": len(contents.replaced),
        "pages of these": contents.pages_replaced,
        "failures of these, or of no document": failures - report.carried[Table.FAILURES.value],
        "pages of no document": contents.pages_of_none,
        "pages without regions or vectors": contents.pages_not_whole,
        "rows of regions or vectors without a page": contents.parts_of_none,
        "counts of terms that no run names": snapshots - kept,
    }
    report.left_out = {what: count for what, count in left_out.items() if count}
    report.unfinished = [
        document.sources[0].name if document.sources else document.doc_id
        for document in database.documents()
        if document.status is DocumentStatus.UNFINISHED
    ]


def _ended(run: Run, by: str, taken: int) -> Run:
    """An old run as it is carried over: one that was cut off is abandoned.

    Args:
        run: with its number.
        by: the migration's run.
        taken: numbers that were taken for old runs; later ones, of a second try, share the last.
    """
    run = replace(run, number=min(run.number, taken))
    if run.status != RUNNING:
        return run
    logger.info("run %s had been cut off; it is abandoned", run.run_id)
    summary = json.dumps(json.loads(run.summary) | {ABANDONED_BY: by})
    return replace(run, status=ABANDONED, ended_at=datetime.now(UTC), summary=summary, pins={})


def _fill_statistics(
    database: Database, old: OldDatabase, committer: Committer, runs: Sequence[Run]
) -> tuple[int, int]:
    """Carry over what runs name, and count the documents anew, which are counted one by one now.

    Returns:
        How many snapshots there were, and how many of them are carried over.
    """
    rows = old.columns(Table.STATISTICS, "snapshot", "created_at").to_pylist()
    named: set[str] = set().union(*(_named(json.loads(run.summary)) for run in runs))
    rows.sort(key=lambda row: (row["created_at"], row["snapshot"]))
    kept = [row["snapshot"] for row in rows if row["snapshot"] in named]
    writer = Writer(database)
    writer.replace_all(Table.TERM_COUNTS, ())
    writer.replace_all(
        Table.STATISTICS, old.statistics({name: at for at, name in enumerate(kept, 1)})
    )
    if rows:  # its encoder weights terms; all that do have these
        termcounts.count_anew(database, committer, terms, after=len(kept))
    return len(rows), len(kept)


def _named(summary: Any) -> set[str]:
    """Snapshots of the statistics that a run's summary names, however deep."""
    if not isinstance(summary, dict):
        return set()
    own = summary.get("statistics")
    names = {own} if isinstance(own, str) else set()
    return names.union(*(_named(value) for value in summary.values()))
