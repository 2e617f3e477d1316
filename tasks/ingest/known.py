"""What an ingest run knows of the database: its documents and failures, by what they are of."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from patchlight.storage.records import VISIBLE, Document, Failure, Source, failure_id
from patchlight.tasks.documents.lookup import file_name


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

    def places(self) -> Iterator[tuple[str, tuple[Source, ...]]]:
        """Yield id and sources of each document, and of each file that was none and has an id."""
        for document in self._documents.values():
            yield document.doc_id, document.sources
        for failure in self._failures.values():
            if failure.doc_id and not failure.page:
                yield failure.doc_id, (Source(failure.uri, file_name(failure.uri)),)

    def visible(self) -> set[str]:
        """Return ids of the documents that queries see."""
        return {d.doc_id for d in self._documents.values() if d.status in VISIBLE}

    def put(self, document: Document) -> None:
        """Note a document's present state."""
        before = self._documents.get(document.doc_id)
        for source in before.sources if before else ():
            self._at_uri[source.uri].discard(document.doc_id)
        self._documents[document.doc_id] = document
        for source in document.sources:
            self._at_uri.setdefault(source.uri, set()).add(document.doc_id)

    def others_at(self, doc_id: str, uris: Iterable[str]) -> list[str]:
        """Return ids of other documents that some URIs stand for."""
        ids = {found for uri in uris for found in self._at_uri.get(uri, ())}
        return sorted(ids - {doc_id})

    def uris(self) -> list[str]:
        """Return the URIs that a document or a failure of a whole source stands for."""
        current = {s.uri for d in self._documents.values() for s in d.sources}
        failed = {failure.uri for failure in self._failures.values() if not failure.page}
        return sorted(current | failed)

    def at(self, uri: str) -> list[str]:
        """Return ids of the documents that a URI stands for."""
        return sorted(self._at_uri.get(uri, ()))

    def failures_at(self, uri: str) -> list[Failure]:
        """Return the failures of a source as a whole."""
        found = (self._failures[key] for key in sorted(self._failed_at.get(uri, ())))
        return [failure for failure in found if not failure.page]

    def attempts_before(self, failure: Failure, cut_off: Collection[str]) -> int:
        """Return how often the same thing was tried before and failed.

        Args:
            failure: what failed now.
            cut_off: runs that did not end; what such a run tried is tried by the next one, and
                counts once.
        """
        before = self._failures.get(failure_id(failure))
        if before is None or before.doc_id != failure.doc_id:  # it was of other bytes
            return 0
        return before.attempts - (before.run_id in cut_off)

    def page_failures(self, doc_id: str) -> list[Failure]:
        """Return the failures of a document's pages, by page."""
        keys = self._failed_pages.get(doc_id, ())
        return sorted((self._failures[key] for key in keys), key=lambda failure: failure.page)

    def disproved_by(self, doc_id: str, here: set[str], still_failed: set[int]) -> list[str]:
        """Return keys of failures that a document's coming proves wrong.

        Args:
            doc_id: what is there now.
            here: URIs where it was found.
            still_failed: pages of it that still could not be done.
        """
        pages = [
            failure_id(failure)
            for failure in self.page_failures(doc_id)
            if failure.page not in still_failed
        ]
        sources = [
            key
            for uri in sorted(here)
            for key in sorted(self._failed_at.get(uri, ()))
            if self._is_past(self._failures[key], doc_id, here)
        ]
        return pages + sources

    def _is_past(self, failure: Failure, doc_id: str, here: set[str]) -> bool:
        """Whether a failure is of a source, or of other bytes that were only there before."""
        if failure.page == 0:
            return True
        other = self._documents.get(failure.doc_id)
        only_here = other is None or all(source.uri in here for source in other.sources)
        return failure.doc_id != doc_id and only_here
