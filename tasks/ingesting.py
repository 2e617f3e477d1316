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
)
from tasks.encoderpool import EncoderPool
from tasks.encoders.protocol import EncoderInfo
from tasks.errors import Fault, SourceError, Stage, fault_of
from tasks.ledger import Ledger, current_sources, joined
from tasks.planning import InspectedFile, Shard, cut_shards, merge_by_content
from tasks.reading import ReadOptions, fingerprints
from tasks.remote import InspectionFault, PageKey, StoredAs
from tasks.statistics import count_terms, is_current

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
    finished: bool = False

    @property
    def complete(self) -> bool:
        """Whether every page to do is accounted for."""
        return self.todo <= self.stored | set(self.faults)


class IngestRun:
    """One run into one database. Shards may be run from several threads.

    Args:
        database: where to.
        encoder: the database's encoder.
        options: how pages are read.
        run_id: id of the run.
    """

    def __init__(
        self, database: Database, encoder: EncoderInfo, options: ReadOptions, run_id: str
    ) -> None:
        self.report = IngestReport(run_id)
        self._database = database
        self._committer = Committer(database)
        self._terms = encoder.terms
        self._options = options
        self._fingerprints = fingerprints(options, _encoder_stage(database))
        self._fingerprint = _digest(self._fingerprints)
        self._stored_as = StoredAs(self._fingerprint, database.encoder.dim, database.form)
        self._started_at = datetime.now(UTC)
        self._progress: dict[str, _Progress] = {}
        self._ledger = Ledger(database.documents(), database.failures())
        self._parameters = "{}"
        self._lock = threading.Lock()
        """Held while documents are finished: the ledger and the report are shared by threads."""

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
        missing: Sequence[tuple[Source, SourceError]],
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
                self._not_opened(result)
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
        encoded = pool.process(shard, self._options, self._stored_as)
        self._committer.commit_pages(encoded.tables)
        with self._lock:
            for doc_id, page in encoded.stored:
                self._progress[doc_id].stored.add(page)
                self._progress[doc_id].faults.pop(page, None)
            for (doc_id, page), fault in encoded.faults.items():
                self._progress[doc_id].faults[page] = fault
            for part in shard.parts:
                progress = self._progress[part.file.doc_id]
                # Marked only when it is done: a shard that is repeated finishes what is left.
                if progress.complete and not progress.finished:
                    self._finish(progress)
                    progress.finished = True
        return shard.page_count

    def end(self) -> IngestReport:
        """Bring the corpus statistics up to date, tidy up, and record how the run ended."""
        left = [p.file.label for p in self._progress.values() if not p.finished]
        if left:
            raise RuntimeError(f"{len(left)} documents were not finished, {left[0]} among them")
        if self._terms and not is_current(self._database):
            self._committer.commit_statistics(count_terms(self._database, self._terms))
        if self.report.pages_added:
            self._committer.optimize()
        status = "completed_with_failures" if self.report.failures else "completed"
        self._commit_run(status, datetime.now(UTC))
        return self.report

    def _pages_to_do(self, file: InspectedFile, stored: Mapping[PageKey, str]) -> set[int]:
        """Pages of a document to do now; an empty set where it is up to date."""
        known = self._up_to_date(file.doc_id)
        every = set(range(1, file.page_count + 1))
        there = {p for p in every if stored.get((file.doc_id, p)) == self._fingerprint}
        given_up = (
            {f.page for f in self._ledger.page_failures(file.doc_id) if not f.retryable}
            if known
            else set()
        )
        todo = every - there - given_up
        progress = _Progress(file, todo, set(there), kept=given_up)
        self._progress[file.doc_id] = progress
        if todo:
            self._hide(file.doc_id)
            return todo
        if known:
            self._unchanged(known, file.sources, progress)
        else:  # all pages were stored by a run that was cut off before its last step
            self._finish(progress)
        progress.finished = True
        return set()

    def _up_to_date(self, doc_id: str) -> Document | None:
        """The document, if it is visible and this run would make it the same."""
        known = self._ledger.document(doc_id)
        if known is None or known.status not in VISIBLE:
            return None
        return known if dict(known.fingerprints) == self._fingerprints else None

    def _hide(self, doc_id: str) -> None:
        """Take a document that is made anew out of sight, so that no query sees half of each."""
        known = self._ledger.document(doc_id)
        if known and known.status in VISIBLE and not self._up_to_date(doc_id):
            hidden = replace(known, status=DocumentStatus.UNFINISHED)
            self._committer.commit_documents([hidden])
            self._ledger.put(hidden)

    def _unchanged(
        self, known: Document, found: Sequence[Source], progress: _Progress | None
    ) -> None:
        """Count a document that is there as it should be, and note where else it was found."""
        kept = progress.kept if progress else {f.page for f in self._page_failures(known)}
        self.report.documents_unchanged += 1
        self.report.pages_unchanged += known.pages_stored
        self.report.pages_failed += len(kept)
        self.report.failures += self._messages_of(known.doc_id, kept)
        document = replace(known, sources=joined(known.sources, found))
        displaced = self._ledger.displaced_by(document)
        self._committer.clear_failures(self._ledger.disproved_by(document, kept))
        if document.sources != known.sources or displaced:
            self._commit_documents([document, *displaced])

    def _finish(self, progress: _Progress) -> None:
        """Make a document visible, with a failure row for every page that is not there."""
        file, now = progress.file, datetime.now(UTC)
        failures = [
            self._failure(file.sources[0], file.doc_id, page, fault, now)
            for page, fault in sorted(progress.faults.items())
        ]
        failed = {failure.page for failure in failures} | progress.kept
        stored = len(progress.stored)
        status = DocumentStatus.PARTIAL if failed else DocumentStatus.COMPLETE
        document = Document(
            doc_id=file.doc_id,
            status=status if stored else DocumentStatus.FAILED,
            media_type=file.media_type,
            bytes=file.bytes,
            page_count=file.page_count,
            pages_stored=stored,
            pages_failed=len(failed),
            sources=joined(current_sources(self._ledger.document(file.doc_id)), file.sources),
            fingerprints=self._fingerprints,
            run_id=self.report.run_id,
            ingested_at=now,
        )
        self._committer.commit_failures(failures)
        self._committer.drop_pages(file.doc_id, sorted(failed))
        self._commit_documents([document, *self._ledger.displaced_by(document)])
        self._committer.clear_failures(self._ledger.disproved_by(document, failed))
        self.report.pages_added += len(progress.stored & progress.todo)
        self.report.pages_failed += len(failed)
        self.report.failures += [failure.message for failure in failures]
        self.report.failures += self._messages_of(file.doc_id, progress.kept)
        if stored:
            self.report.documents_added += 1
        else:
            self.report.documents_failed += 1

    def _commit_documents(self, documents: Sequence[Document]) -> None:
        self._committer.commit_documents(documents)
        for document in documents:
            self._ledger.put(document)

    def _page_failures(self, document: Document) -> list[Failure]:
        return self._ledger.page_failures(document.doc_id)

    def _messages_of(self, doc_id: str, pages: set[int]) -> list[str]:
        """Messages of pages that are not tried again because that cannot help."""
        return [f.message for f in self._ledger.page_failures(doc_id) if f.page in pages]

    def _not_opened(self, result: InspectionFault) -> None:
        """Note a file that could not be opened, unless its pages are all there already."""
        known = self._up_to_date(result.doc_id)
        if known:  # e.g. stored with its password, which was not given this time
            self._unchanged(known, (result.source,), None)
        else:
            self._document_failed(result.source, result.doc_id, result.fault)

    def _document_failed(self, source: Source, doc_id: str, fault: Fault) -> None:
        failure = self._failure(source, doc_id, 0, fault, datetime.now(UTC))
        self._committer.commit_failures([failure])
        self.report.documents_failed += 1
        self.report.failures.append(failure.message)

    def _failure(
        self, source: Source, doc_id: str, page: int, fault: Fault, now: datetime
    ) -> Failure:
        logger.warning("%s", fault.message)
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
        return replace(failure, attempts=1 + self._ledger.failed_before(failure))

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


def _encoder_stage(database: Database) -> str:
    """Fingerprint of the stage that makes stored vectors: the encoder, and their form."""
    form = database.form
    parts = [database.encoder.fingerprint, form.type.value]
    if form.pool > 1:
        parts.append(f"pool {form.pool}")
    if form.drop_blank:
        parts.append("no blank cells")
    return "/".join(parts)


def _digest(stages: Mapping[str, str]) -> str:
    """One fingerprint of all stages."""
    text = json.dumps(stages, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
