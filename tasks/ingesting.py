"""An ingest run: what is left to do, doing it shard by shard, and accounting for every page."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime

from storage.committer import Committer
from storage.database import Database
from storage.records import (
    VISIBLE,
    Document,
    DocumentStatus,
    Failure,
    Run,
    Source,
    failure_id,
)
from tasks.cluster import EncoderPool
from tasks.encoders.protocol import Encoder
from tasks.errors import Fault, MissingSource, Stage, fault_of
from tasks.planning import InspectedFile, Shard, cut_shards, merge_by_content
from tasks.reading import ReadOptions, fingerprints
from tasks.remote import InspectionFault, PageKey
from tasks.statistics import count_terms

logger = logging.getLogger("patchlight.ingest")


@dataclass(slots=True)
class IngestReport:
    """How an ingest run ended; printed, and stored in ``runs``.

    Attributes:
        run_id: the run.
        documents_added: documents that became visible or were redone.
        documents_unchanged: documents that were there already, as they are.
        documents_failed: sources of which not one page could be stored.
        pages_added: pages stored.
        pages_failed: pages in ``failures``.
        pages_unchanged: pages of the unchanged documents.
        skipped: suffix -> files in folders whose type is not read.
        failures: message of every document and page that failed.
    """

    run_id: str
    documents_added: int = 0
    documents_unchanged: int = 0
    documents_failed: int = 0
    pages_added: int = 0
    pages_failed: int = 0
    pages_unchanged: int = 0
    skipped: dict[str, list[str]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Progress:
    """What is known of a document in work; pages by number."""

    file: InspectedFile
    todo: set[int]
    stored: set[int]
    faults: dict[int, Fault] = field(default_factory=dict)
    kept: set[int] = field(default_factory=set)
    closed: bool = False

    def close(self) -> bool:
        """Whether this call is the first to find every page accounted for."""
        if self.closed or not self.todo <= self.stored | set(self.faults):
            return False
        self.closed = True
        return True


class IngestRun:
    """One run into one database. Shards may be run from several threads.

    Args:
        database: where to.
        encoder: the database's encoder; used here for its term counts only.
        options: how pages are read.
        run_id: id of the run.
    """

    def __init__(
        self, database: Database, encoder: Encoder, options: ReadOptions, run_id: str
    ) -> None:
        self.report = IngestReport(run_id)
        self._database = database
        self._committer = Committer(database)
        self._encoder = encoder
        self._options = options
        self._fingerprints = fingerprints(options, database.encoder.fingerprint)
        self._fingerprint = _digest(self._fingerprints)
        self._started_at = datetime.now(UTC)
        self._progress: dict[str, _Progress] = {}
        self._known = {document.doc_id: document for document in database.documents()}
        self._attempts = {failure_id(failure): failure for failure in database.failures()}
        self._changed = False
        self._parameters = "{}"
        self._lock = threading.Lock()

    @contextmanager
    def recorded(self, parameters: Mapping[str, object]) -> Iterator[None]:
        """Keep the run's row in ``runs`` true: running, and failed if the block breaks off.

        Args:
            parameters: what the run was asked to do.
        """
        self._parameters = json.dumps(parameters, default=str)
        self._commit_run("running", None)
        try:
            yield
        except BaseException as error:
            self.report.failures.append(f"{type(error).__name__}: {error}")
            self._commit_run("failed", datetime.now(UTC))
            raise

    def plan(
        self,
        inspected: Iterable[InspectedFile | InspectionFault],
        missing: Sequence[tuple[Source, MissingSource]],
        skipped: Mapping[str, Sequence[str]],
        shard_pages: int,
    ) -> list[Shard]:
        """Decide what is left to do, and record what cannot be done.

        Args:
            inspected: the files that were found.
            missing: the arguments that stand for no file.
            skipped: suffix -> files left out because of their type.
            shard_pages: pages a shard.

        Returns:
            Shards with every page that is not stored under this run's fingerprint.
        """
        self.report.skipped = {suffix: list(names) for suffix, names in sorted(skipped.items())}
        files: list[InspectedFile] = []
        for result in inspected:
            if isinstance(result, InspectionFault):
                self._document_failed(result.source, result.doc_id, result.fault)
            else:
                files.append(result)
        for source, error in missing:
            self._document_failed(source, "", fault_of(error, Stage.OPEN))
        merged = merge_by_content(files)
        stored = self._database.stored_pages([file.doc_id for file in merged])
        todo = []
        for file in merged:
            pages = self._pages_to_do(file, stored)
            if pages:
                todo.append((file, pages))
        return cut_shards(todo, shard_pages)

    def run_shard(self, shard: Shard, pool: EncoderPool) -> int:
        """Read, encode and store a shard; documents it completes become visible.

        Returns:
            Pages accounted for.

        Raises:
            StorageUnavailable: the database cannot be written.
        """
        encoded = pool.process(shard, self._options, self._fingerprint)
        self._committer.commit_pages(encoded.tables)
        finished: list[_Progress] = []
        with self._lock:
            for doc_id, page in encoded.stored:
                self._progress[doc_id].stored.add(page)
                self._progress[doc_id].faults.pop(page, None)
            for (doc_id, page), fault in encoded.faults.items():
                self._progress[doc_id].faults[page] = fault
            for part in shard.parts:
                progress = self._progress[part.file.doc_id]
                if progress.close():
                    finished.append(progress)
        for progress in finished:
            self._finish(progress)
        return shard.page_count

    def end(self) -> IngestReport:
        """Bring the corpus statistics up to date, tidy up, and record how the run ended."""
        if self._changed or self._database.latest_statistics() is None:
            statistics = count_terms(self._database, self._encoder)
            self._committer.commit_statistics(statistics)
            self._committer.optimize()
        status = "completed_with_failures" if self.report.failures else "completed"
        self._commit_run(status, datetime.now(UTC))
        return self.report

    def _pages_to_do(self, file: InspectedFile, stored: Mapping[PageKey, str]) -> set[int]:
        """Pages of a document to do now; an empty set where it is up to date."""
        known = self._known.get(file.doc_id)
        every = set(range(1, file.page_count + 1))
        there = {p for p in every if stored.get((file.doc_id, p)) == self._fingerprint}
        up_to_date = (
            known is not None
            and dict(known.fingerprints) == self._fingerprints
            and known.status in VISIBLE
        )
        given_up = (
            {
                failure.page
                for failure in self._attempts.values()
                if failure.doc_id == file.doc_id and failure.page and not failure.retryable
            }
            if up_to_date
            else set()
        )
        todo = every - there - given_up
        progress = _Progress(file, todo, set(there), kept=given_up)
        self._progress[file.doc_id] = progress
        if todo:
            return todo
        if up_to_date and known is not None:
            self.report.documents_unchanged += 1
            self.report.pages_unchanged += len(there)
            self.report.pages_failed += len(given_up)
            self.report.failures += self._messages_of(progress)
            self._add_sources(known, file)
        else:  # all pages were stored by a run that was cut off before its last step
            self._finish(progress)
        return set()

    def _finish(self, progress: _Progress) -> None:
        """Make a document visible, with a failure row for every page that is not there."""
        file, now = progress.file, datetime.now(UTC)
        failures = [
            self._failure(file.sources[0], file.doc_id, page, fault, now)
            for page, fault in sorted(progress.faults.items())
        ]
        failed = len(failures) + len(progress.kept)
        stored = len(progress.stored)
        status = (
            DocumentStatus.FAILED
            if not stored
            else DocumentStatus.PARTIAL
            if failed
            else DocumentStatus.COMPLETE
        )
        known = self._known.get(file.doc_id)
        document = Document(
            doc_id=file.doc_id,
            status=status,
            media_type=file.media_type,
            bytes=file.bytes,
            page_count=file.page_count,
            pages_stored=stored,
            pages_failed=failed,
            sources=_joined(_current_sources(known), file.sources),
            fingerprints=self._fingerprints,
            run_id=self.report.run_id,
            ingested_at=now,
        )
        self._committer.commit_failures(failures)
        self._committer.commit_documents([document, *self._replaced_by(document)])
        stale = self._stale_failures(document, {f.page for f in failures} | progress.kept)
        self._committer.clear_failures(stale)
        with self._lock:
            self._changed = True
            self._known[document.doc_id] = document
            self.report.pages_added += len(progress.stored & progress.todo)
            self.report.pages_failed += failed
            self.report.failures += [failure.message for failure in failures]
            self.report.failures += self._messages_of(progress)
            if status is DocumentStatus.FAILED:
                self.report.documents_failed += 1
            else:
                self.report.documents_added += 1

    def _messages_of(self, progress: _Progress) -> list[str]:
        """Messages of the pages that are not tried again because that cannot help."""
        return [
            failure.message
            for failure in self._attempts.values()
            if failure.doc_id == progress.file.doc_id and failure.page in progress.kept
        ]

    def _replaced_by(self, document: Document) -> list[Document]:
        """Documents that lose a source because its bytes are this document now."""
        now_here = {source.uri for source in document.sources}
        changed = []
        for other in self._known.values():
            left = tuple(source for source in other.sources if source.uri not in now_here)
            if other.doc_id == document.doc_id or len(left) == len(other.sources):
                continue
            if left:
                changed.append(replace(other, sources=left))
            elif other.status is not DocumentStatus.REPLACED:
                changed.append(replace(other, status=DocumentStatus.REPLACED))
        for other in changed:
            self._known[other.doc_id] = other
        return changed

    def _add_sources(self, known: Document, file: InspectedFile) -> None:
        """Note where else the bytes of a stored document were found."""
        document = replace(known, sources=_joined(known.sources, file.sources))
        replaced = self._replaced_by(document)
        kept = self._progress[known.doc_id].kept
        self._committer.clear_failures(self._stale_failures(document, kept))
        if document.sources != known.sources or replaced:
            self._known[document.doc_id] = document
            self._committer.commit_documents([document, *replaced])

    def _document_failed(self, source: Source, doc_id: str, fault: Fault) -> None:
        failure = self._failure(source, doc_id, 0, fault, datetime.now(UTC))
        self._committer.commit_failures([failure])
        self.report.documents_failed += 1
        self.report.failures.append(failure.message)

    def _failure(
        self, source: Source, doc_id: str, page: int, fault: Fault, now: datetime
    ) -> Failure:
        failure = Failure(
            uri=source.uri,
            doc_id=doc_id,
            page=page,
            stage=fault.stage,
            category=fault.category,
            retryable=fault.retryable,
            message=fault.message,
            attempts=1,
            run_id=self.report.run_id,
            failed_at=now,
        )
        before = self._attempts.get(failure_id(failure))
        logger.warning("%s", fault.message)
        return replace(failure, attempts=before.attempts + 1) if before else failure

    def _stale_failures(self, document: Document, still_failed: set[int]) -> list[str]:
        """Keys of failures that this document's coming proves wrong."""
        uris = {source.uri for source in document.sources}
        return [
            key
            for key, failure in self._attempts.items()
            if (failure.page == 0 and failure.uri in uris)
            or (failure.doc_id == document.doc_id and failure.page not in still_failed)
        ]

    def _commit_run(self, status: str, ended_at: datetime | None) -> None:
        self._committer.commit_run(
            Run(
                run_id=self.report.run_id,
                kind="ingest",
                status=status,
                started_at=self._started_at,
                ended_at=ended_at,
                parameters=self._parameters,
                summary=json.dumps(asdict(self.report)),
            )
        )


def _current_sources(known: Document | None) -> tuple[Source, ...]:
    """Sources that still hold a document's bytes."""
    return () if known is None or known.status is DocumentStatus.REPLACED else known.sources


def _joined(known: Sequence[Source], found: Sequence[Source]) -> tuple[Source, ...]:
    """Sources in order of first sight, each URI once."""
    uris = {source.uri for source in known}
    return (*known, *(source for source in found if source.uri not in uris))


def _digest(stages: Mapping[str, str]) -> str:
    """One fingerprint of all stages."""
    text = json.dumps(stages, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
