"""An ingest run: what is left to do, doing it shard by shard, and accounting for every page.

Several runs may work on one database at once. A run takes a document by its row in ``documents``
before it writes the first page of it, and leaves alone what another live run has taken
(``tasks.ingest.transitions``). A run that was killed is found out by its lease, and what it had
taken is free again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime

from storage.committer import Committer
from storage.database import Database
from storage.leases import ABANDONED
from storage.records import VISIBLE, Document, Failure, Run, Source, failure_id
from tasks.cluster.shardpool import EncoderPool
from tasks.common.errors import Category, Fault, Stage, fault_of
from tasks.common.otherruns import Patience, at_work
from tasks.common.runs import leased
from tasks.documents.sources import Expansion, gone_from
from tasks.encoders.protocol import EncoderInfo
from tasks.ingest import transitions
from tasks.ingest.ingestreport import IngestReport
from tasks.ingest.known import Ledger
from tasks.ingest.progress import Progress, progress_of
from tasks.ingest.termcounts import bring_up_to_date
from tasks.ingest.vectorform import encoder_stage
from tasks.reading.fingerprints import WHOLE, Redo
from tasks.reading.messages import InspectionFault, PageKey, StoredAs
from tasks.reading.pages import ReadOptions, fingerprints_of, stages_of
from tasks.reading.shardplan import InspectedFile, Shard, ShardPart, cut_shards, merge_by_content

logger = logging.getLogger("patchlight.ingest")

_LOOK_S = 1.0
"""How often a run looks whether another one is done with a document."""

_LOOKS_AGAIN = 5
"""How often a document is planned anew because another run changed it meanwhile."""


class IngestRun:
    """One run into one database. Shards may be run from several threads.

    Args:
        database: where to.
        encoder: the database's encoder.
        options: how pages are read.
        run_id: id of the run.
        redo: what is done again.
        max_attempts: how often what failed is tried, unless ``redo`` says otherwise.
        shard_pages: pages a shard.

    Attributes:
        report: how it goes.
    """

    def __init__(
        self,
        database: Database,
        encoder: EncoderInfo,
        options: ReadOptions,
        run_id: str,
        *,
        redo: Redo = Redo.MISSING,
        max_attempts: int = 3,
        shard_pages: int = 16,
    ) -> None:
        self.report = IngestReport(run_id)
        self._run_id = run_id
        self._database = database
        self._committer = Committer(database, run_id)
        self._terms = encoder.terms
        self._options = options
        self._redo = redo
        self._max_attempts = max_attempts
        self._shard_pages = shard_pages
        self._stages = stages_of(options, encoder, encoder_stage(database))
        self._fingerprints = fingerprints_of(options, self._stages)
        self._stored_as = StoredAs(
            self._stages,
            database.encoder.dim,
            database.form,
            database.uri,
            database.storage_options,
        )
        self._progress: dict[str, Progress] = {}
        self._elsewhere: dict[str, InspectedFile] = {}
        self._looks: dict[str, int] = {}
        self._lock = threading.RLock()
        """Held while documents are taken and finished: threads share the ledger and the report."""

    @contextmanager
    def recorded(self, parameters: Mapping[str, object]) -> Iterator[None]:
        """Hold the run's lease, and keep its row in ``runs`` true, while the block runs.

        Args:
            parameters: what the run was asked to do.

        Raises:
            LeaseLost: another run took this one for dead.
            StorageUnavailable: the database cannot be written.
        """
        ended = lambda: (not self.report.failures, asdict(self.report))  # noqa: E731
        with leased(self._database, "ingest", self._run_id, parameters, ended) as lease:
            self._lease = lease
            at_work(self._database, self._run_id)  # what dead ones left is taken up
            runs = self._database.runs()
            self._cut_off = {r.run_id for r in runs if r.status in {ABANDONED, "failed"}}
            self._ledger = Ledger(self._database.documents(), self._database.failures())
            yield

    def given_up_at(self, source: Source) -> InspectionFault | None:
        """Return why a file is not opened again, if it has not changed; None if it is.

        One that hangs or kills whatever opens it costs minutes each time.
        """
        if self._redo is not Redo.MISSING:
            return None
        for failure in self._ledger.failures_at(source.uri):
            if failure.doc_id and self._spent(failure):
                stage, category = Stage(failure.stage), Category(failure.category)
                fault = Fault(stage, category, failure.retryable, failure.message)
                return InspectionFault(source, failure.doc_id, fault, tried=False)
        return None

    def plan(
        self, inspected: Iterable[InspectedFile | InspectionFault], given: Expansion
    ) -> list[Shard]:
        """Decide what is left to do, and record what cannot be done.

        Args:
            inspected: the files that were found.
            given: what was named, and what it stands for.

        Returns:
            Shards with every page that is not up to date.
        """
        self.report.skipped = {s: list(names) for s, names in sorted(given.skipped.items())}
        files: list[InspectedFile] = []
        faults: list[InspectionFault] = []
        for result in inspected:
            if isinstance(result, InspectionFault):
                faults.append(result)
            else:
                files.append(result)
        opened = {file.doc_id: file for file in files}
        for fault in faults:
            same = opened.get(fault.doc_id)
            if same:  # e.g. a copy whose password was not given
                files.append(replace(same, sources=(fault.source,)))
            else:
                self._not_opened(fault)
        for source, error in given.missing:
            self._document_failed(source, "", fault_of(error, Stage.OPEN))
        found = {file.source.uri for file in given.files}
        self.report.gone = gone_from(given.folders, self._ledger.uris(), found)
        return self._plan(merge_by_content(files))

    def rounds(self, planned: list[Shard]) -> Iterator[list[Shard]]:
        """Yield shards to run until nothing is left: what was planned, and what was held.

        Documents that another run has in work are planned anew once it is done with them or
        dead. What a live one has is left to it, and reported.

        Args:
            planned: what ``plan`` returned.
        """
        shards = planned or self._plan_rest()
        while shards:
            yield shards
            shards = self._plan_rest()

    def run_shard(self, shard: Shard, pool: EncoderPool) -> int:
        """Read, encode and store a shard; documents it completes become visible.

        Returns:
            Pages accounted for, here or by another run.

        Raises:
            LeaseLost: another run took this one for dead.
            StorageUnavailable: the database cannot be written.
        """
        taken = self._take([part.file.doc_id for part in shard.parts])
        for possible in self._possible(self._left(shard, taken)):
            encoded = pool.process(possible, self._options, self._stored_as)
            self._lease.check()
            self._committer.commit_pages(encoded.tables)
            with self._lock:
                for doc_id, page in encoded.stored:
                    self._progress[doc_id].stored.add(page)
                    self._progress[doc_id].faults.pop(page, None)
                for (doc_id, page), fault in encoded.faults.items():
                    self._progress[doc_id].faults[page] = fault
        with self._lock:
            for doc_id in sorted(taken):
                progress = self._progress[doc_id]
                # Marked only when it is done: a shard that is repeated finishes what is left.
                if progress.complete and not progress.finished:
                    self._finish(progress)
                    progress.finished = True
        return shard.page_count

    def _left(self, shard: Shard, taken: Collection[str]) -> Shard:
        """Return what is to be done of a shard: of documents that were taken, what is not done."""
        parts = []
        with self._lock:
            for part in shard.parts:
                if part.file.doc_id in taken and not self._progress[part.file.doc_id].finished:
                    stored = self._progress[part.file.doc_id].stored
                    pages = tuple(page for page in part.pages if page not in stored)
                    parts += [ShardPart(part.file, pages)] if pages else []
        return Shard(shard.index, tuple(parts), shard.work)

    def _possible(self, shard: Shard) -> list[Shard]:
        """Cut off pages of which no row is there, so that nothing can be kept of them.

        A first attempt may have taken the old row away and written no new one.
        """
        if shard.work == WHOLE:
            return [shard] if shard.parts else []
        there: list[ShardPart] = []
        lost: list[ShardPart] = []
        for part in shard.parts:
            rows = self._database.page_rows(part.file.doc_id, part.pages)
            for found, parts in ((True, there), (False, lost)):
                pages = tuple(page for page in part.pages if (page in rows) is found)
                if pages:
                    parts.append(ShardPart(part.file, pages))
        shards = [Shard(shard.index, tuple(there), shard.work), Shard(shard.index, tuple(lost))]
        return [shard for shard in shards if shard.parts]

    def end(self, *, sync: bool = False) -> IngestReport:
        """Bring the corpus statistics up to date, tidy up, and say how the run went.

        Args:
            sync: whether files that are gone from the folders named leave the database.
        """
        left = [p.file.label for p in self._progress.values() if not p.finished]
        if left:
            raise RuntimeError(f"{len(left)} documents were not finished, {left[0]} among them")
        self._lease.check()
        if sync:
            self._remove_gone()
        if self._terms:
            bring_up_to_date(self._database, self._committer, self._terms)
        if self.report.pages_added or self.report.documents_removed:
            self._committer.optimize()
        return self.report

    def _plan(self, files: Sequence[InspectedFile]) -> list[Shard]:
        """Cut what is to be done of documents into shards; note those that need nothing."""
        ids = [file.doc_id for file in files]
        # Rows first: what changes after that, taking a document finds out by its revision.
        rows = self._database.document_rows(ids)
        made = self._database.stored_pages(ids)
        others = at_work(self._database, self._run_id)
        todo, there = [], []
        for file in files:
            row = rows.get(file.doc_id)
            if row:
                self._ledger.put(row)
                if transitions.is_held(row, self._run_id, others):
                    self._elsewhere[file.doc_id] = file
                    continue
            progress = self._progress_of(file, row, made)
            self._progress[file.doc_id] = progress
            if progress.todo:
                todo.append((file, progress.todo))
            else:
                there.append((progress, row))
        # Where all were found, before any takes a place from another: files may have been swapped.
        found = [(progress, self._found(progress, row)) for progress, row in there]
        for progress, row in found:
            self._needs_nothing(progress, row)
        return cut_shards(todo, self._shard_pages)

    def _progress_of(
        self, file: InspectedFile, row: Document | None, made: Mapping[PageKey, Mapping[str, str]]
    ) -> Progress:
        given_up: set[int] = set()
        if row and dict(row.fingerprints) == self._fingerprints and self._redo is Redo.MISSING:
            failures = self._ledger.page_failures(file.doc_id)
            given_up = {f.page for f in failures if not f.retryable or self._spent(f)}
        stages = None if self._redo is Redo.ALL else self._stages
        return progress_of(file, row, made, stages, given_up)

    def _found(self, progress: Progress, row: Document | None) -> Document | None:
        """Note where else a document was found whose pages are all there."""
        sources, doc_id = progress.file.sources, progress.file.doc_id
        if row is None or row.status not in VISIBLE or not transitions.found_at(row, sources):
            return row
        return self._change([doc_id], lambda _, row: transitions.found_at(row, sources))[doc_id]

    def _needs_nothing(self, progress: Progress, row: Document | None) -> None:
        """Count a document whose pages are all there."""
        if row and row.status in VISIBLE:
            self._unchanged(row, progress.file.sources, progress.kept)
        else:  # left so by a run that was cut off at its end
            progress.revision = row.revision if row else 0
            if self._take([progress.file.doc_id]):
                self._finish(progress)
        progress.finished = True

    def _plan_rest(self) -> list[Shard]:
        """Plan documents that no other run has any more; wait until it is known of each."""
        patience = Patience()
        while self._elsewhere:
            free, holders = self._released()
            shards = self._plan([self._elsewhere.pop(doc_id) for doc_id in free])
            if shards:
                return shards
            if patience.is_over(holders):
                break
            time.sleep(_LOOK_S)
        self.report.documents_elsewhere = sorted(f.label for f in self._elsewhere.values())
        self._elsewhere.clear()
        return []

    def _take(self, doc_ids: Sequence[str]) -> set[str]:
        """Take documents into work, those that are not taken; return those that this run has."""
        with self._lock:
            known = {d: self._progress[d] for d in doc_ids if d in self._progress}
            new = [doc_id for doc_id, progress in known.items() if not progress.owned]
            if new:
                others, now = at_work(self._database, self._run_id), datetime.now(UTC)
                rows = self._change(
                    new,
                    lambda doc_id, row: transitions.claim(
                        row,
                        known[doc_id].file,
                        self._run_id,
                        revision=known[doc_id].revision,
                        live=others,
                        now=now,
                    ),
                )
                for doc_id in new:
                    if transitions.is_owned(rows[doc_id], self._run_id):
                        known[doc_id].owned = True
                    else:
                        self._give_way(doc_id)
            return {doc_id for doc_id, progress in known.items() if progress.owned}

    def _give_way(self, doc_id: str) -> None:
        """Leave a document to another run for now; it is looked at again at the end."""
        self._elsewhere[doc_id] = self._progress.pop(doc_id).file

    def _released(self) -> tuple[list[str], list[Run]]:
        """Documents that no other run has any more, and the runs that have the others."""
        others = at_work(self._database, self._run_id)
        rows = self._database.document_rows(list(self._elsewhere))
        free, holders = [], {}
        for doc_id in self._elsewhere:
            row = rows.get(doc_id)
            if row and transitions.is_held(row, self._run_id, others):
                holders[row.run_id] = others[row.run_id]
            elif self._looks.setdefault(doc_id, 0) < _LOOKS_AGAIN:
                self._looks[doc_id] += 1
                free.append(doc_id)
        return free, list(holders.values())

    def _unchanged(self, known: Document, found: Sequence[Source], kept: set[int]) -> None:
        """Count a document that is there as it should be."""
        self.report.documents_unchanged += 1
        self.report.pages_unchanged += known.pages_stored
        self.report.pages_failed += len(kept)
        self.report.failures += self._messages_of(known.doc_id, kept)
        self._settle(known, found, kept)

    def _finish(self, progress: Progress) -> None:
        """Make a document visible, with a failure row for every page that is not there."""
        file, now = progress.file, datetime.now(UTC)
        row = self._database.document_rows([file.doc_id]).get(file.doc_id)
        if not transitions.is_owned(row, self._run_id):  # taken by another run, or finished before
            self._give_way(file.doc_id)
            return
        failures = [
            self._failure(file.sources[0], file.doc_id, page, fault, now)
            for page, fault in sorted(progress.faults.items())
        ]
        failed = {failure.page for failure in failures} | progress.kept
        stored = len(progress.stored)
        self._lease.check()
        self._committer.commit_failures(failures)
        self._committer.drop_pages(file.doc_id, sorted(failed))
        rows = self._change(
            [file.doc_id],
            lambda _, row: transitions.finish(
                row,
                self._run_id,
                stored=stored,
                failed=len(failed),
                fingerprints=self._fingerprints,
                now=now,
            ),
        )
        document = rows[file.doc_id]
        if document is None or document.run_id != self._run_id:  # taken, though the lease held
            self._give_way(file.doc_id)
            return
        self._settle(document, file.sources, failed)
        self.report.pages_added += len(progress.stored & set(progress.todo))
        self.report.pages_failed += len(failed)
        self.report.failures += [failure.message for failure in failures]
        self.report.failures += self._messages_of(file.doc_id, progress.kept)
        if stored:
            self.report.documents_added += 1
        else:
            self.report.documents_failed += 1

    def _settle(self, document: Document, found: Sequence[Source], failed: set[int]) -> None:
        """Take from other documents the places where this one was found, and past failures."""
        here = {source.uri for source in found}
        others = self._ledger.others_at(document.doc_id, here)
        if others and document.status in VISIBLE:
            self._change(others, lambda _, row: transitions.leave(row, here))
        self._committer.clear_failures(self._ledger.disproved_by(document.doc_id, here, failed))

    def _change(
        self,
        doc_ids: Sequence[str],
        change: Callable[[str, Document | None], Document | None],
    ) -> dict[str, Document | None]:
        """Change rows of documents, and remember them as they are then."""
        self._lease.check()
        rows = self._committer.change_documents(doc_ids, change)
        for row in rows.values():
            if row is not None:
                self._ledger.put(row)
        return rows

    def _remove_gone(self) -> None:
        """Take files that are gone from their documents; remove those that have none left."""
        gone, others = set(self.report.gone), at_work(self._database, self._run_id)
        past = [f for uri in gone for f in self._ledger.failures_at(uri)]
        self._committer.clear_failures([failure_id(failure) for failure in past])
        ids = sorted({doc_id for uri in gone for doc_id in self._ledger.at(uri)})
        rows = self._change(ids, lambda _, row: transitions.lose(row, gone, self._run_id, others))
        emptied = [
            doc_id for doc_id, row in rows.items() if transitions.is_owned(row, self._run_id)
        ]
        self.report.documents_removed = self._committer.remove_documents(emptied)
        held = (
            row for row in rows.values() if row and transitions.is_held(row, self._run_id, others)
        )
        self.report.gone = sorted(gone & {s.uri for row in held for s in row.sources})

    def _spent(self, failure: Failure) -> bool:
        """Whether a failure was tried often enough."""
        return failure.retryable and failure.attempts >= self._max_attempts

    def _messages_of(self, doc_id: str, pages: set[int]) -> list[str]:
        """Messages of pages that are not tried again."""
        return [f.message for f in self._ledger.page_failures(doc_id) if f.page in pages]

    def _not_opened(self, result: InspectionFault) -> None:
        """Note a file that could not be opened, unless its pages are all there already."""
        known, found = self._ledger.document(result.doc_id), (result.source,)
        if known and known.status in VISIBLE and dict(known.fingerprints) == self._fingerprints:
            # E.g. stored with its password, which was not given this time.
            kept = {failure.page for failure in self._ledger.page_failures(known.doc_id)}
            if transitions.found_at(known, found):
                self._change([known.doc_id], lambda _, row: transitions.found_at(row, found))
            self._unchanged(known, found, kept)
        elif result.tried:
            self._document_failed(result.source, result.doc_id, result.fault)
        else:
            self.report.documents_failed += 1
            self.report.failures.append(result.fault.message)

    def _document_failed(self, source: Source, doc_id: str, fault: Fault) -> None:
        failure = self._failure(source, doc_id, 0, fault, datetime.now(UTC))
        self._lease.check()
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
            run_id=self._run_id,
            failed_at=now,
        )
        before = self._ledger.attempts_before(failure, self._cut_off)
        return replace(failure, attempts=1 + before)
