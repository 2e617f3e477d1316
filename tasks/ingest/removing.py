"""Removing documents from a database, with all that is stored of them."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from patchlight.storage import statistics
from patchlight.storage.cleaning import KEEP_PINNED
from patchlight.storage.committer import Committer
from patchlight.storage.database import Database
from patchlight.storage.processes import is_alive
from patchlight.storage.records import Document, DocumentStatus, Failure, Run, Source, failure_id
from patchlight.storage.watching import process_of
from patchlight.tasks.common.errors import DocumentInWork, InputError
from patchlight.tasks.common.runs import Others, leased, new_run_id, pause
from patchlight.tasks.documents.lookup import fits, name_of
from patchlight.tasks.documents.sources import shown
from patchlight.tasks.encoders import registry
from patchlight.tasks.ingest import transitions
from patchlight.tasks.ingest.termcounts import bring_up_to_date

logger = logging.getLogger("patchlight.runs")


@dataclass(slots=True)
class Removal:
    """What is to be removed.

    Attributes:
        documents: documents, each once.
        failures: failures of files as a whole, at the sources of these documents or of files
            that never became one.
    """

    documents: list[Document] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


def find(database: Database, wanted: Sequence[str]) -> Removal:
    """Find what is to be removed.

    Args:
        database: the database.
        wanted: documents, as ``lookup.fits`` takes them.

    Raises:
        InputError: one of them is not there, or may be several.
    """
    documents = database.documents()
    of_files = [failure for failure in database.failures() if not failure.page]
    chosen: dict[str, Document] = {}
    uris: set[str] = set()
    for name in wanted:
        document = _one(name, documents)
        if document:
            chosen[document.doc_id] = document
        else:
            uris.add(_failed_source(name, of_files))
    left = {s.uri for d in documents if d.doc_id not in chosen for s in d.sources}
    uris |= {source.uri for document in chosen.values() for source in document.sources} - left
    failures = [f for f in of_files if f.uri in uris or (f.doc_id and f.doc_id in chosen)]
    return Removal(list(chosen.values()), failures)


def remove(database: Database, removal: Removal, keep_pinned: timedelta = KEEP_PINNED) -> int:
    """Remove documents and failures, and bring the corpus statistics up to date.

    Killed at any point, doing it again finishes it. If a run that may be dead works on one of
    them, it waits until that is known, no longer than that run's lease.

    Args:
        database: the database.
        removal: what.
        keep_pinned: how long versions stay that a run has pinned, after it has ended.

    Returns:
        Documents that were removed.

    Raises:
        DocumentInWork: another run works on one of them.
        LeaseLost: another run took this one for dead.
        StorageUnavailable: the database cannot be written.
    """
    ids = [document.doc_id for document in removal.documents]
    run_id = new_run_id("delete", None)
    others = Others(database, run_id)
    _wait_until_free(database, ids, run_id, others)
    summary: dict[str, Any] = {"documents_removed": 0}
    with leased(database, "delete", run_id, {"documents": ids}, lambda: (True, summary)) as lease:
        live = others.at_work()
        committer = Committer(database, run_id, keep_pinned)

        def take(doc_id: str, row: Document | None) -> Document | None:
            if row is None or transitions.is_held(row, run_id, live):
                return None
            return replace(row, status=DocumentStatus.UNFINISHED, run_id=run_id)

        rows = committer.change_documents(ids, take)
        taken = [doc_id for doc_id, row in rows.items() if transitions.is_owned(row, run_id)]
        lease.check()
        summary["documents_removed"] = committer.remove_documents(taken)
        committer.clear_failures([failure_id(failure) for failure in removal.failures])
        _count_anew(database, committer)
        committer.optimize()
        # One that an ingest has taken since the check is left to it.
        if held := _held(database, ids, run_id, others.live()):
            raise _in_work(*held[0], len(held))
    return int(summary["documents_removed"])


def _one(name: str, documents: Sequence[Document]) -> Document | None:
    """The document that is meant; None if there is none."""
    found = [d for d in documents if fits(name, d.doc_id, d.sources)]
    if len(found) > 1:
        listed = ", ".join(f"{d.doc_id[:12]} ({name_of(d)})" for d in found)
        raise InputError(f"{shown(name)!r} is ambiguous: {listed}; give the id or the URI")
    return found[0] if found else None


def _failed_source(name: str, failures: Sequence[Failure]) -> str:
    """URI of a file that never became a document."""
    uris = {f.uri for f in failures if fits(name, f.doc_id, (Source(f.uri, ""),))}
    if len(uris) > 1:
        raise InputError(f"{shown(name)!r} is ambiguous: {', '.join(sorted(uris))}; give the URI")
    if not uris:
        raise InputError(
            f"there is no document {shown(name)!r}; give its id, URI, path or name as "
            "'patchlight sql \"SELECT doc_id, uri, name FROM raw_documents\"' lists them"
        )
    return uris.pop()


def _wait_until_free(database: Database, ids: Collection[str], run_id: str, others: Others) -> None:
    """Wait until no run that may be dead has one of the documents in work.

    Raises:
        DocumentInWork: a run that is alive has.
    """
    patience, said = others.patience(), set()
    while held := _held(database, ids, run_id, others.live()):
        for document, run in held:
            if is_alive(process_of(run)) or patience.has_heard(run):
                raise _in_work(document, run, len(held))
            if run.run_id not in said:
                said.add(run.run_id)
                logger.warning(
                    "%s: run %s on %s may work on it, or be dead; watching it for up to %d s",
                    name_of(document),
                    run.run_id,
                    run.host,
                    run.lease_s,
                )
        pause()


def _held(
    database: Database, ids: Collection[str], run_id: str, live: Mapping[str, Run]
) -> list[tuple[Document, Run]]:
    """Those of some documents that other runs have in work, with these runs."""
    rows = database.document_rows(ids).values()
    return [(row, live[row.run_id]) for row in rows if transitions.is_held(row, run_id, live)]


def _in_work(document: Document, run: Run, held: int) -> DocumentInWork:
    """Say that a run has a document in work, of so many that are held."""
    return DocumentInWork(
        f"{name_of(document)}: run {run.run_id} works on it"
        + (f", and {held - 1} more of these documents are in work" if held > 1 else "")
        + "; wait until it is done ('patchlight status' shows it), then delete again"
    )


def _count_anew(database: Database, committer: Committer) -> None:
    """Bring the corpus statistics up to date, where the encoder has any."""
    if statistics.newest(database) is None:
        return
    terms = registry.for_queries(database.encoder).terms
    if terms:
        bring_up_to_date(database, committer, terms)
