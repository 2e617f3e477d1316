"""An ingest run, from its plan to its end: shard by shard, and in rounds until nothing is left.

What a run has in work is `tasks.ingest.ownership`'s, and what became of it
`tasks.ingest.outcome`'s. What processes a shard is handed to the run.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import timedelta
from typing import Protocol, Self

from patchlight.storage.cleaning import KEEP_PINNED
from patchlight.storage.committer import Committer
from patchlight.storage.database import Database
from patchlight.storage.records import Source
from patchlight.tasks.common.errors import Stage, fault_of
from patchlight.tasks.common.runs import Others, leased, pause
from patchlight.tasks.documents.sources import Expansion, gone_from
from patchlight.tasks.encoders.protocol import EncoderInfo
from patchlight.tasks.ingest.describing import Describer, forget_strays, without
from patchlight.tasks.ingest.known import Ledger
from patchlight.tasks.ingest.metadatafile import MetadataFile
from patchlight.tasks.ingest.outcome import Outcome
from patchlight.tasks.ingest.ownership import Ownership
from patchlight.tasks.ingest.progress import Goal, IngestReport
from patchlight.tasks.ingest.termcounts import bring_up_to_date
from patchlight.tasks.ingest.vectorform import encoder_stage
from patchlight.tasks.reading.fingerprints import WHOLE, Redo
from patchlight.tasks.reading.messages import EncodedShard, InspectionFault, StoredAs
from patchlight.tasks.reading.pages import ReadOptions, fingerprints_of, stages_of
from patchlight.tasks.reading.shardplan import (
    InspectedFile,
    Shard,
    ShardPart,
    cut_shards,
    merge_by_content,
)


class ShardProcessor(Protocol):
    """Reads and encodes shards. May be called from many threads at once."""

    def process(self, shard: Shard, options: ReadOptions, stored_as: StoredAs) -> EncodedShard:
        """Return the rows of a shard; every page of it is stored or a fault in the result.

        Args:
            shard: pages, and what is to be done of them.
            options: how they are read.
            stored_as: what their rows carry.
        """
        ...


class IngestRun:
    """One run into one database; made by `recorded`.

    ``run_shard`` may be called from many threads at once. It holds the run's lock while it takes,
    counts and finishes documents, and lets go of it while a shard is processed and its pages are
    committed. All else is called by one thread, while no shard is run.

    Args:
        database: where to.
        committer: writes there.
        options: how pages are read.
        encoder: the database's.
        stored_as: what rows of pages carry.
        ledger: what is known of the database.
        ownership: what the run has in work.
        others: the other runs, as it sees them.
        outcome: what became of it.
        report: where that is counted.
        shard_pages: pages a shard, at least 1.
        describer: stores what people know of documents, where a file says it.

    Attributes:
        report: how it goes.
    """

    def __init__(
        self,
        database: Database,
        committer: Committer,
        options: ReadOptions,
        encoder: EncoderInfo,
        stored_as: StoredAs,
        *,
        ledger: Ledger,
        ownership: Ownership,
        others: Others,
        outcome: Outcome,
        report: IngestReport,
        shard_pages: int,
        describer: Describer | None = None,
    ) -> None:
        self.report = report
        self._database = database
        self._committer = committer
        self._options = options
        self._terms = encoder.terms
        self._stored_as = stored_as
        self._ledger = ledger
        self._ownership = ownership
        self._others = others
        self._outcome = outcome
        self._shard_pages = shard_pages
        self._describer = describer
        self._lock = threading.Lock()

    @classmethod
    @contextmanager
    def recorded(
        cls,
        database: Database,
        encoder: EncoderInfo,
        options: ReadOptions,
        run_id: str,
        parameters: Mapping[str, object],
        *,
        redo: Redo = Redo.MISSING,
        max_attempts: int = 3,
        shard_pages: int = 16,
        keep_pinned: timedelta = KEEP_PINNED,
        metadata: MetadataFile | None = None,
    ) -> Iterator[Self]:
        """Hold a run's lease, and keep its row in ``runs`` true, while the block runs.

        Args:
            database: where to.
            encoder: the database's encoder.
            options: how pages are read.
            run_id: id of the run.
            parameters: what the run was asked to do, for its row.
            redo: what is done again.
            max_attempts: how often what failed is tried, unless ``redo`` says otherwise.
            shard_pages: pages a shard, at least 1.
            keep_pinned: how long versions stay that a run has pinned, after it has ended.
            metadata: what people know of documents.

        Raises:
            LeaseLost: another run took this one for dead.
            MetadataFileError: what people know does not fit what is stored.
            StorageUnavailable: the database cannot be written.
        """
        stages = stages_of(options, encoder, encoder_stage(database.encoder, database.form))
        goal = Goal(stages, fingerprints_of(options, stages), redo, max_attempts)
        committer, report = Committer(database, run_id, keep_pinned), IngestReport(run_id)
        ended = lambda: (not report.failures, asdict(report))  # noqa: E731
        with leased(database, "ingest", run_id, parameters, ended) as lease:
            others = Others(database, run_id)
            others.at_work()  # those that are known to be dead are written off
            committer.take_over(others.at_work)
            describer = Describer(database, committer, metadata) if metadata else None
            ledger = Ledger(database.documents(), database.failures())
            ownership = Ownership(database, committer, lease, ledger, run_id, others)
            yield cls(
                database,
                committer,
                options,
                encoder,
                StoredAs(stages, database.encoder.dim, database.form, database.uri),
                ledger=ledger,
                ownership=ownership,
                others=others,
                outcome=Outcome(committer, ownership, ledger, goal, run_id, others.cut_off, report),
                report=report,
                shard_pages=shard_pages,
                describer=describer,
            )

    def given_up_at(self, source: Source) -> InspectionFault | None:
        """Return why a file is not opened again, if it has not changed; None if it is.

        One that hangs or kills whatever opens it costs minutes each time.
        """
        return self._outcome.given_up_at(source)

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
        if self._describer:
            found = [(file.doc_id, file.sources) for file in files]
            found += [(fault.doc_id, (fault.source,)) for fault in faults if fault.doc_id]
            self._describer.describe(found, self._ledger, self.report)
        opened = {file.doc_id: file for file in files}
        for fault in faults:
            same = opened.get(fault.doc_id)
            if same:  # e.g. a copy whose password was not given
                files.append(replace(same, sources=(fault.source,)))
            else:
                self._outcome.not_opened(fault)
        self._outcome.looked_into(given.looked_into)
        for source, error in given.missing:
            self._outcome.not_there(source, "", fault_of(error, Stage.OPEN))
        there = {file.source.uri for file in given.files}
        self.report.gone = gone_from(given.folders, self._ledger.uris(), there)
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

    def run_shard(self, shard: Shard, processor: ShardProcessor) -> int:
        """Read, encode and store a shard; documents it completes become visible.

        A shard that is repeated, because the database was away, does what is left of it.

        Args:
            shard: one of those that ``rounds`` yields.
            processor: reads and encodes it.

        Returns:
            Pages accounted for, here or by another run.

        Raises:
            LeaseLost: another run took this one for dead.
            StorageUnavailable: the database cannot be written.
        """
        with self._lock:
            taken = self._outcome.take([part.file.doc_id for part in shard.parts])
            left = self._outcome.left(shard, taken)
        for possible in self._possible(left):
            encoded = processor.process(possible, self._options, self._stored_as)
            self._ownership.check()
            self._committer.commit_pages(encoded.tables)
            with self._lock:
                self._outcome.count(encoded)
        with self._lock:
            self._outcome.finish(taken)
        return shard.page_count

    def end(self, *, sync: bool = False) -> IngestReport:
        """Bring the corpus statistics up to date, tidy up, and say how the run went.

        Args:
            sync: whether files that are gone from the folders named leave the database.
        """
        left = self._outcome.unfinished()
        if left:
            raise RuntimeError(f"{len(left)} documents were not finished, {left[0]} among them")
        self._ownership.check()
        self._outcome.remove_emptied()
        if sync:
            self._outcome.remove_gone()
        if self._terms:
            bring_up_to_date(self._database, self._committer, self._terms)
        if self.report.pages_added or self.report.documents_removed:
            self._others.settle()
            self._committer.take_over(self._others.at_work)
            if not self._others.at_work():
                forget_strays(self._database, self._committer)
            self._committer.optimize()
        else:
            self._committer.tidy_records()
        self.report.documents_without_metadata = without(self._database, self._ledger)
        return self.report

    def _plan(self, files: Sequence[InspectedFile]) -> list[Shard]:
        """Cut what is to be done of documents into shards; note those that need nothing."""
        # Rows first: what changes after that, taking a document finds out by its revision.
        free = self._ownership.free(files)
        made = self._database.stored_pages([file.doc_id for file, _ in free])
        todo, there = [], []
        for file, row in free:
            progress = self._outcome.expect(file, row, made)
            if progress.todo:
                self._ownership.expect(file, row)
                todo.append((file, progress.todo))
            else:
                there.append((file, row))
        # Where all were found, before any takes a place from another: files may have been swapped.
        for file, row in [(file, self._outcome.found(file, row)) for file, row in there]:
            self._outcome.needs_nothing(file, row)
        return cut_shards(todo, self._shard_pages)

    def _plan_rest(self) -> list[Shard]:
        """Plan documents that no other run has any more; wait until it is known of each."""
        patience = self._others.patience()
        while self._ownership.has_given_way:
            free, holders = self._ownership.given_back()
            shards = self._plan(free)
            if shards:
                return shards
            if all(map(patience.has_heard, holders)):
                break
            pause()
        self.report.documents_elsewhere = self._ownership.leave_the_rest()
        return []

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
