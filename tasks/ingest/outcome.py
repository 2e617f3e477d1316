"""What became of a run's pages and documents: stored, failed, finished; and the report of it."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from patchlight.storage.committer import Committer
from patchlight.storage.records import VISIBLE, Document, Failure, Source, failure_id
from patchlight.tasks.common.errors import Category, Fault, Stage
from patchlight.tasks.ingest import transitions
from patchlight.tasks.ingest.known import Ledger
from patchlight.tasks.ingest.ownership import Ownership
from patchlight.tasks.ingest.progress import Goal, IngestReport, Progress
from patchlight.tasks.reading.messages import EncodedShard, InspectionFault, PageKey
from patchlight.tasks.reading.shardplan import InspectedFile, Shard, ShardPart

logger = logging.getLogger("patchlight.ingest")


class Outcome:
    """Accounts for every page and document of a run.

    Has no lock of its own. Threads that share one hold the lock of the run (``IngestRun``) while
    they call it: it calls the ownership, reads the ledger and counts in the report. Every method
    that writes raises ``LeaseLost`` if another run took this one for dead, and
    ``StorageUnavailable``.

    Args:
        committer: stores failures, and removes what is no longer true.
        ownership: what the run has in work.
        ledger: what is known of the database.
        goal: what the run wants of every document.
        run_id: the run.
        cut_off: runs that did not end, more of which may be found out; see
            ``Ledger.attempts_before``.
        report: where it is counted.
    """

    def __init__(
        self,
        committer: Committer,
        ownership: Ownership,
        ledger: Ledger,
        goal: Goal,
        run_id: str,
        cut_off: Collection[str],
        report: IngestReport,
    ) -> None:
        self._committer = committer
        self._ownership = ownership
        self._ledger = ledger
        self._goal = goal
        self._run_id = run_id
        self._cut_off = cut_off
        self._report = report
        self._progress: dict[str, Progress] = {}
        self._emptied: dict[str, set[str]] = {}

    def given_up_at(self, source: Source) -> InspectionFault | None:
        """Return why a file is not opened again, if it has not changed; None if it is."""
        for failure in self._ledger.failures_at(source.uri):
            if failure.doc_id and self._goal.gives_up(failure):
                stage, category = Stage(failure.stage), Category(failure.category)
                fault = Fault(stage, category, failure.retryable, failure.message)
                return InspectionFault(source, failure.doc_id, fault, tried=False)
        return None

    def not_opened(self, result: InspectionFault) -> None:
        """Count a file that could not be opened, unless its pages are all there already."""
        known, found = self._ledger.document(result.doc_id), (result.source,)
        if known and known.status in VISIBLE and self._goal.is_met_by(known):
            # E.g. stored with its password, which was not given this time.
            kept = {failure.page for failure in self._ledger.page_failures(known.doc_id)}
            if transitions.found_at(known, found):
                self._found_at(known.doc_id, found)
            self._unchanged(known, found, kept)
        elif result.tried:
            self.not_there(result.source, result.doc_id, result.fault)
        else:
            self._report.documents_failed += 1
            self._report.failures.append(result.fault.message)

    def not_there(self, source: Source, doc_id: str, fault: Fault) -> None:
        """Store and count that nothing can be had from a source.

        Args:
            source: which.
            doc_id: SHA-256 of its bytes, empty if they could not be read.
            fault: why.
        """
        failure = self._failure(source, doc_id, 0, fault, datetime.now(UTC))
        self._ownership.check()
        self._committer.commit_failures([failure])
        self._say(fault)
        self._report.documents_failed += 1
        self._report.failures.append(failure.message)

    def looked_into(self, folders: Collection[str]) -> None:
        """Forget failures of folders that could not be looked into before, and now could.

        Args:
            folders: their URIs.
        """
        past = [failure for uri in folders for failure in self._ledger.failures_at(uri)]
        self._committer.clear_failures([failure_id(failure) for failure in past])

    def expect(
        self,
        file: InspectedFile,
        row: Document | None,
        made: Mapping[PageKey, Mapping[str, str]],
    ) -> Progress:
        """Say what is to be done of a document; from now on it is accounted for.

        Args:
            file: the document.
            row: its row, if it has one.
            made: (doc_id, page) -> stage -> fingerprint, of stored pages.
        """
        failures = self._ledger.page_failures(file.doc_id)
        progress = self._progress[file.doc_id] = self._goal.progress(file, row, made, failures)
        return progress

    def found(self, file: InspectedFile, row: Document | None) -> Document | None:
        """Note where else a document was found whose pages are all there; return its row then."""
        if row is None or row.status not in VISIBLE or not transitions.found_at(row, file.sources):
            return row
        return self._found_at(file.doc_id, file.sources)

    def needs_nothing(self, file: InspectedFile, row: Document | None) -> None:
        """Count a document whose pages are all there; one that is not in sight is finished."""
        progress = self._progress[file.doc_id]
        if row and row.status in VISIBLE:
            self._unchanged(row, file.sources, progress.kept)
            progress.finished = True
        else:  # left so by a run that was cut off at its end
            self._ownership.expect(file, row)
            self.finish(self.take([file.doc_id]))

    def take(self, doc_ids: Iterable[str]) -> set[str]:
        """Take documents into work; return those that the run has. The rest is not its own now."""
        wanted = list(dict.fromkeys(doc_ids))
        taken = self._ownership.take(wanted)
        for doc_id in wanted:
            if doc_id not in taken:
                self._progress.pop(doc_id, None)
        return taken

    def left(self, shard: Shard, taken: Collection[str]) -> Shard:
        """Return what is to be done of a shard: of documents that were taken, what is not done.

        A page that failed is done: a shard that is repeated does not try it again. Else another
        shard might finish its document as it was counted, while the page is made anew.
        """
        parts = []
        for part in shard.parts:
            progress = self._progress.get(part.file.doc_id)
            if progress and part.file.doc_id in taken and not progress.row:
                counted = progress.stored | set(progress.faults)
                pages = tuple(page for page in part.pages if page not in counted)
                parts += [ShardPart(part.file, pages)] if pages else []
        return Shard(shard.index, tuple(parts), shard.work)

    def count(self, encoded: EncodedShard) -> None:
        """Note which pages of a shard are stored, and which failed."""
        for doc_id, page in encoded.stored:
            self._progress[doc_id].stored.add(page)
        for (doc_id, page), fault in encoded.faults.items():
            self._progress[doc_id].faults[page] = fault

    def finish(self, doc_ids: Iterable[str]) -> None:
        """Make documents visible, those whose pages are all accounted for.

        Their rows are written in one commit, after a failure row for every page that is not
        there. Called again after it was cut short, it does what is left. A page is in one shard,
        and counted once, so no page of a document is under way when it is finished.

        Args:
            doc_ids: documents that the run has taken.
        """
        known = [self._progress[doc_id] for doc_id in sorted(doc_ids) if doc_id in self._progress]
        done = [progress for progress in known if progress.complete and not progress.finished]
        self._make_visible([progress for progress in done if not progress.row])
        for progress in done:
            if progress.row:  # else another run took it
                self._settle(progress.row, progress.file.sources, progress.failed)
                progress.finished = True

    def unfinished(self) -> list[str]:
        """Return names of documents that are not accounted for; there should be none."""
        return [p.file.label for p in self._progress.values() if not p.finished]

    def remove_gone(self) -> None:
        """Take files that are gone from their documents; remove those that have none left."""
        gone = set(self._report.gone)
        past = [failure for uri in gone for failure in self._ledger.failures_at(uri)]
        self._committer.clear_failures([failure_id(failure) for failure in past])
        emptied, held = self._ownership.lose(gone)
        self._report.documents_removed += self._committer.remove_documents(emptied)
        self._report.gone = sorted(gone & held)

    def remove_emptied(self) -> None:
        """Remove documents whose files hold other bytes now, and were not found elsewhere since.

        What query runs found in them stays: it is those runs' record.
        """
        if not self._emptied:
            return
        emptied = self._ownership.still_own(self._emptied)
        self._report.documents_removed += self._committer.remove_documents(
            emptied, with_retrievals=False
        )
        for doc_id in self._emptied.keys() - set(emptied):  # found elsewhere later in this run
            self._ownership.lose_from([doc_id], self._emptied[doc_id])
        self._emptied.clear()

    def _make_visible(self, done: Sequence[Progress]) -> None:
        """Write the rows of documents as they ended, and count them."""
        held = self._ownership.held([progress.file.doc_id for progress in done])
        own = {p.file.doc_id: p for p in done if p.file.doc_id in held}
        for progress in done:
            if progress.file.doc_id not in own:
                self._give_way(progress)
        if not own:
            return
        now = datetime.now(UTC)
        failures = [
            self._failure(progress.file.sources[0], doc_id, page, fault, now)
            for doc_id, progress in own.items()
            for page, fault in sorted(progress.faults.items())
        ]
        self._ownership.check()
        self._committer.commit_failures(failures)
        for doc_id, progress in own.items():
            self._committer.drop_pages(doc_id, sorted(progress.failed))

        def finish(doc_id: str, row: Document | None) -> Document | None:
            return transitions.finish(
                row,
                self._run_id,
                stored=len(own[doc_id].stored),
                failed=len(own[doc_id].failed),
                fingerprints=self._goal.fingerprints,
                now=now,
            )

        rows = self._ownership.change(list(own), finish)
        for doc_id, progress in own.items():
            row = rows[doc_id]
            if row is None or row.run_id != self._run_id:  # taken, though the lease held
                self._give_way(progress)
            else:
                progress.row = row
                self._count_finished(progress)

    def _give_way(self, progress: Progress) -> None:
        """Leave a document to the run that took it."""
        self._ownership.give_way(progress.file.doc_id)
        self._progress.pop(progress.file.doc_id)

    def _count_finished(self, progress: Progress) -> None:
        self._report.pages_added += len(progress.stored & set(progress.todo))
        self._report.pages_failed += len(progress.failed)
        for _, fault in sorted(progress.faults.items()):
            self._say(fault)
            self._report.failures.append(fault.message)
        self._report.failures += self._messages_of(progress.file.doc_id, progress.kept)
        if progress.stored:
            self._report.documents_added += 1
        else:
            self._report.documents_failed += 1

    def _unchanged(self, known: Document, found: Sequence[Source], kept: set[int]) -> None:
        """Count a document that is there as it should be."""
        self._report.documents_unchanged += 1
        self._report.pages_unchanged += known.pages_stored
        self._report.pages_failed += len(kept)
        self._report.failures += self._messages_of(known.doc_id, kept)
        self._settle(known, found, kept)

    def _found_at(self, doc_id: str, sources: Sequence[Source]) -> Document | None:
        rows = self._ownership.change([doc_id], lambda _, row: transitions.found_at(row, sources))
        return rows[doc_id]

    def _settle(self, document: Document, found: Sequence[Source], failed: set[int]) -> None:
        """Take from other documents the places where this one was found, and past failures."""
        here = {source.uri for source in found}
        others = self._ledger.others_at(document.doc_id, here)
        if others and document.status in VISIBLE:
            for emptied in self._ownership.lose_from(others, here)[0]:
                self._emptied.setdefault(emptied, set()).update(here)
        self._committer.clear_failures(self._ledger.disproved_by(document.doc_id, here, failed))

    def _messages_of(self, doc_id: str, pages: set[int]) -> list[str]:
        """Messages of pages that are not tried again."""
        return [f.message for f in self._ledger.page_failures(doc_id) if f.page in pages]

    def _say(self, fault: Fault) -> None:
        """Say in the log and the report what failed; once it is stored, or a repeat would again."""
        logger.warning("%s", fault.message)
        self._report.note(fault)

    def _failure(
        self, source: Source, doc_id: str, page: int, fault: Fault, now: datetime
    ) -> Failure:
        """Make the row of a failure, with how often the same thing has failed."""
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
