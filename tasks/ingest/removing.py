"""Removing documents from a database, with all that is stored of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from patchlight.storage import statistics
from patchlight.storage.committer import Committer
from patchlight.storage.database import Database
from patchlight.storage.leases import abandon_expired, is_live
from patchlight.storage.records import Document, DocumentStatus, Failure, Source, failure_id
from patchlight.tasks.common.errors import DocumentInWork, InputError
from patchlight.tasks.common.runs import leased, new_run_id
from patchlight.tasks.documents.lookup import fits, name_of
from patchlight.tasks.documents.sources import shown
from patchlight.tasks.encoders import registry
from patchlight.tasks.ingest import transitions
from patchlight.tasks.ingest.termcounts import bring_up_to_date


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


def remove(database: Database, removal: Removal) -> int:
    """Remove documents and failures, and bring the corpus statistics up to date.

    Killed at any point, doing it again finishes it.

    Args:
        database: the database.
        removal: what.

    Returns:
        Documents that were removed.

    Raises:
        DocumentInWork: another run works on one of them.
        LeaseLost: another run took this one for dead.
        StorageUnavailable: the database cannot be written.
    """
    ids = [document.doc_id for document in removal.documents]
    _check_free(database, ids)
    run_id = new_run_id("delete", None)
    summary: dict[str, Any] = {"documents_removed": 0}
    with leased(database, "delete", run_id, {"documents": ids}, lambda: (True, summary)) as lease:
        abandon_expired(database, run_id, datetime.now(UTC))
        committer = Committer(database, run_id)
        live = _live(database, run_id)

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
        _check_free(database, ids, run_id)
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


def _check_free(database: Database, ids: Collection[str], run_id: str = "") -> None:
    live = _live(database, run_id)
    rows = database.document_rows(ids).values()
    held = [row for row in rows if transitions.is_held(row, run_id, live)]
    if held:
        raise DocumentInWork(
            f"{name_of(held[0])}: run {held[0].run_id} works on it"
            + (f", and on {len(held) - 1} more of these documents" if held[1:] else "")
            + "; wait until it is done ('patchlight status' shows it), then delete again"
        )


def _live(database: Database, run_id: str) -> set[str]:
    now = datetime.now(UTC)
    return {run.run_id for run in database.runs() if run.run_id != run_id and is_live(run, now)}


def _count_anew(database: Database, committer: Committer) -> None:
    """Bring the corpus statistics up to date, where the encoder has any."""
    if statistics.newest(database) is None:
        return
    terms = registry.for_queries(database.encoder).terms
    if terms:
        bring_up_to_date(database, committer, terms)
