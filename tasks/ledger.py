"""What an ingest run knows of the database: its documents and failures, by what they are of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from storage.records import Document, DocumentStatus, Failure, Source, failure_id


class Ledger:
    """Documents by id and by source, failures by document and by source.

    Not safe to share between threads without a lock.

    Args:
        documents: all documents of the database.
        failures: all its failures.
    """

    def __init__(self, documents: Iterable[Document], failures: Iterable[Failure]) -> None:
        self._documents: dict[str, Document] = {}
        self._at_uri: dict[str, set[str]] = {}
        self._failures: dict[str, Failure] = {}
        self._failed_pages: dict[str, set[str]] = {}
        self._failed_at: dict[str, set[str]] = {}
        for document in documents:
            self.put(document)
        for failure in failures:
            key = failure_id(failure)
            self._failures[key] = failure
            self._failed_at.setdefault(failure.uri, set()).add(key)
            if failure.page:
                self._failed_pages.setdefault(failure.doc_id, set()).add(key)

    def document(self, doc_id: str) -> Document | None:
        """Return a document as it was last put; None if there is none."""
        return self._documents.get(doc_id)

    def put(self, document: Document) -> None:
        """Note a document's present state."""
        self._documents[document.doc_id] = document
        for source in document.sources:
            self._at_uri.setdefault(source.uri, set()).add(document.doc_id)

    def displaced_by(self, document: Document) -> list[Document]:
        """Return the documents that lose a source because its bytes are this document now.

        One that has no source left is ``replaced``; it keeps its last source for the record.
        """
        here = {source.uri for source in document.sources}
        ids = {doc_id for uri in here for doc_id in self._at_uri.get(uri, ())}
        displaced = []
        for doc_id in sorted(ids - {document.doc_id}):
            other = self._documents[doc_id]
            left = tuple(source for source in other.sources if source.uri not in here)
            if left and len(left) < len(other.sources):
                displaced.append(replace(other, sources=left))
            elif not left and other.status is not DocumentStatus.REPLACED:
                displaced.append(replace(other, status=DocumentStatus.REPLACED))
        return displaced

    def failed_before(self, failure: Failure) -> int:
        """Return how often the same thing was tried before and failed."""
        before = self._failures.get(failure_id(failure))
        return before.attempts if before else 0

    def page_failures(self, doc_id: str) -> list[Failure]:
        """Return the failures of a document's pages, by page."""
        keys = self._failed_pages.get(doc_id, ())
        return sorted((self._failures[key] for key in keys), key=lambda failure: failure.page)

    def disproved_by(self, document: Document, still_failed: set[int]) -> list[str]:
        """Return keys of failures that a document's coming proves wrong.

        Args:
            document: what is there now.
            still_failed: pages of it that still could not be done.
        """
        pages = [
            failure_id(failure)
            for failure in self.page_failures(document.doc_id)
            if failure.page not in still_failed
        ]
        here = {source.uri for source in document.sources}
        sources = [
            key
            for uri in sorted(here)
            for key in sorted(self._failed_at.get(uri, ()))
            if self._is_past(self._failures[key], document.doc_id, here)
        ]
        return pages + sources

    def _is_past(self, failure: Failure, doc_id: str, here: set[str]) -> bool:
        """Whether a failure is of a source, or of other bytes that were only there before."""
        if failure.page == 0:
            return True
        other = self._documents.get(failure.doc_id)
        only_here = other is None or all(source.uri in here for source in other.sources)
        return failure.doc_id != doc_id and only_here


def joined(known: Sequence[Source], found: Sequence[Source]) -> tuple[Source, ...]:
    """Return sources in order of first sight, each URI once."""
    uris = {source.uri for source in known}
    return (*known, *(source for source in found if source.uri not in uris))


def current_sources(known: Document | None) -> tuple[Source, ...]:
    """Return the sources that still hold a document's bytes."""
    return () if known is None or known.status is DocumentStatus.REPLACED else known.sources
