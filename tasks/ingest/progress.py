"""How far a run is with a document; pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from storage.records import Document
from tasks.common.errors import Fault
from tasks.reading.fingerprints import WHOLE, Stages, Work
from tasks.reading.shardplan import InspectedFile


@dataclass(slots=True)
class Progress:
    """What is known of a document that is planned; pages by number.

    Attributes:
        file: the document.
        revision: of its row when it was planned; 0 if there was none.
        todo: pages to do, and what of each.
        stored: pages that are up to date.
        faults: pages that failed in this run.
        kept: pages that failed before and are not tried again.
        owned: whether the run has taken the document.
        finished: whether its row says how it ended.
    """

    file: InspectedFile
    revision: int
    todo: dict[int, Work] = field(default_factory=dict)
    stored: set[int] = field(default_factory=set)
    faults: dict[int, Fault] = field(default_factory=dict)
    kept: set[int] = field(default_factory=set)
    owned: bool = False
    finished: bool = False

    @property
    def complete(self) -> bool:
        """Whether every page to do is accounted for."""
        return set(self.todo) <= self.stored | set(self.faults)


def progress_of(
    file: InspectedFile,
    row: Document | None,
    made: Mapping[tuple[str, int], Mapping[str, str]],
    stages: Stages | None,
    given_up: Collection[int],
) -> Progress:
    """Say what is to be done of a document.

    Args:
        file: the document.
        row: its row, if it has one.
        made: (doc_id, page) -> stage -> fingerprint, of stored pages.
        stages: the run's; None to do every page anew.
        given_up: pages that failed and are not tried again, unless they are there all the same.
    """
    progress = Progress(file, row.revision if row else 0)
    for page in range(1, file.page_count + 1):
        there = made.get((file.doc_id, page))
        work = stages.work(there) if stages else WHOLE
        if work is None:
            progress.stored.add(page)
        elif there is None and page in given_up:
            progress.kept.add(page)
        else:
            progress.todo[page] = work
    return progress
