"""What a run wants of a document, how far it is with it, and how the run went; pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from patchlight.storage.records import Document, Failure
from patchlight.tasks.common.errors import Fault
from patchlight.tasks.common.versions import current_versions
from patchlight.tasks.reading.fingerprints import WHOLE, Redo, Stages, Work
from patchlight.tasks.reading.messages import PageKey
from patchlight.tasks.reading.shardplan import InspectedFile

MOST_TRACEBACKS = 20
"""Different tracebacks in a report."""


@dataclass(slots=True)
class IngestReport:
    """How an ingest run ended; printed, and stored in ``runs``.

    Attributes:
        run_id: the run.
        documents_added: documents that became visible or were redone.
        documents_unchanged: documents that were there already, as they are.
        documents_failed: sources of which not one page could be stored.
        documents_removed: documents removed because their files are gone (``--sync``).
        documents_elsewhere: names of documents that another run had in work all the time.
        pages_added: pages stored.
        pages_failed: pages in ``failures``.
        pages_unchanged: pages of the unchanged documents.
        skipped: suffix -> files in folders whose type is not read.
        gone: URIs in the database whose files are gone from the folders named.
        failures: message of every document and page that failed.
        metadata: what became of the rows of a metadata file (``metadata.said``); empty without one.
        documents_without_metadata: documents that nothing is said of, if of others there is.
        made_by: versions, by what they are of.
        tracebacks: where faults came from whose type does not say it: ``count``, ``category``,
            ``stage``, and the ``traceback``, which has no text of documents; at most
            `MOST_TRACEBACKS`, and the first ones.
    """

    run_id: str
    documents_added: int = 0
    documents_unchanged: int = 0
    documents_failed: int = 0
    documents_removed: int = 0
    documents_elsewhere: list[str] = field(default_factory=list)
    pages_added: int = 0
    pages_failed: int = 0
    pages_unchanged: int = 0
    skipped: dict[str, list[str]] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    documents_without_metadata: int = 0
    made_by: dict[str, str] = field(default_factory=current_versions)
    tracebacks: list[dict[str, Any]] = field(default_factory=list)

    def note(self, fault: Fault) -> None:
        """Count where a fault came from."""
        if not fault.traceback:
            return
        where = {"category": fault.category.value, "stage": fault.stage.value}
        where["traceback"] = fault.traceback
        for known in self.tracebacks:
            if where.items() <= known.items():
                known["count"] += 1
                return
        if len(self.tracebacks) < MOST_TRACEBACKS:
            self.tracebacks.append({"count": 1, **where})


@dataclass(slots=True)
class Progress:
    """How far a run is with a document; pages by number.

    Attributes:
        file: the document.
        todo: pages to do, and what of each.
        stored: pages that are up to date.
        faults: pages that failed in this run.
        kept: pages that failed before and are not tried again.
        row: the document's row as the run finished it.
        finished: whether nothing is left to do of it.
    """

    file: InspectedFile
    todo: dict[int, Work] = field(default_factory=dict)
    stored: set[int] = field(default_factory=set)
    faults: dict[int, Fault] = field(default_factory=dict)
    kept: set[int] = field(default_factory=set)
    row: Document | None = None
    finished: bool = False

    @property
    def complete(self) -> bool:
        """Whether every page to do is accounted for."""
        return set(self.todo) <= self.stored | set(self.faults)

    @property
    def failed(self) -> set[int]:
        """Pages that are not there: they failed now, or before and were left alone."""
        return set(self.faults) | self.kept


@dataclass(frozen=True, slots=True)
class Goal:
    """What a run wants of every document.

    Attributes:
        stages: that make a page.
        fingerprints: stage -> fingerprint of a document that is as the run would make it.
        redo: what is done again.
        max_attempts: how often what failed is tried, unless ``redo`` says otherwise.
    """

    stages: Stages
    fingerprints: Mapping[str, str]
    redo: Redo
    max_attempts: int

    def is_met_by(self, row: Document) -> bool:
        """Whether a document was made, or tried, just as the run would make it."""
        return dict(row.fingerprints) == self.fingerprints

    def gives_up(self, failure: Failure) -> bool:
        """Whether something that may go well failed often enough to be left alone."""
        if self.redo is not Redo.MISSING:
            return False
        return failure.retryable and failure.attempts >= self.max_attempts

    def progress(
        self,
        file: InspectedFile,
        row: Document | None,
        made: Mapping[PageKey, Mapping[str, str]],
        failures: Collection[Failure],
    ) -> Progress:
        """Say what is to be done of a document.

        Args:
            file: the document.
            row: its row, if it has one.
            made: (doc_id, page) -> stage -> fingerprint, of stored pages.
            failures: of its pages. What is given up is not tried again, unless the document was
                made in another way; a page that is there all the same counts as there.
        """
        given_up: set[int] = set()
        if row and self.redo is Redo.MISSING and self.is_met_by(row):
            given_up = {f.page for f in failures if not f.retryable or self.gives_up(f)}
        progress = Progress(file)
        for page in range(1, file.page_count + 1):
            there = made.get((file.doc_id, page))
            work = WHOLE if self.redo is Redo.ALL else self.stages.work(there)
            if work is None:
                progress.stored.add(page)
            elif there is None and page in given_up:
                progress.kept.add(page)
            else:
                progress.todo[page] = work
        return progress
