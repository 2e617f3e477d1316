"""What a run does of a document: what is not there, what failed, and what it is told to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from patchlight.storage.records import Document, DocumentStatus, Failure, Source
from patchlight.tasks.common.errors import Category, Fault, Stage
from patchlight.tasks.ingest.progress import Goal, Progress
from patchlight.tasks.reading.fingerprints import WHOLE, Redo, Stages, Work
from patchlight.tasks.reading.shardplan import InspectedFile
from tests.storage_examples import document, failure

STAGES = Stages("render", frozenset({"words"}), frozenset({"regions"}), "encoder", True, False)
MADE = STAGES.made("words", "regions")
OLD_REGIONS = STAGES.made("words", "regions-0")
FILE = InspectedFile("d", "/d.pdf", (Source("file:///d.pdf", "d.pdf"),), "application/pdf", 9, 4)


def goal(redo: Redo = Redo.MISSING) -> Goal:
    return Goal(STAGES, MADE, redo, max_attempts=3)


def row(made: dict[str, str] = MADE) -> Document:
    partial = DocumentStatus.PARTIAL
    return replace(document("d", 4), doc_id="d", status=partial, fingerprints=made)


def failed(page: int, attempts: int = 1, *, retryable: bool = True) -> Failure:
    return replace(failure(page=page), doc_id="d", attempts=attempts, retryable=retryable)


def test_pages_that_are_up_to_date_are_left_and_others_get_what_they_lack() -> None:
    made = {("d", 1): MADE, ("d", 2): OLD_REGIONS, ("another", 3): MADE}
    progress = goal().progress(FILE, row(), made, [])
    assert progress.stored == {1}
    assert progress.todo == {2: Work(False, True, False), 3: WHOLE, 4: WHOLE}
    assert progress.kept == progress.failed == set()


def test_all_is_done_anew_when_that_is_asked() -> None:
    made = {("d", page): MADE for page in range(1, 5)}
    progress = goal(Redo.ALL).progress(FILE, row(), made, [failed(1, 3)])
    assert progress.todo == dict.fromkeys(range(1, 5), WHOLE) and not progress.stored


FAILED = [failed(1, 3), failed(2, 2), failed(3, retryable=False), failed(4, 9)]
THERE = {("d", 4): MADE}


@pytest.mark.parametrize(
    ("redo", "known", "left"),
    [
        (Redo.MISSING, row(), {1, 3}),
        (Redo.MISSING, row(OLD_REGIONS), set()),  # in another way it may go well
        (Redo.MISSING, None, set()),
        (Redo.FAILED, row(), set()),
    ],
)
def test_what_failed_too_often_is_left_alone(
    redo: Redo, known: Document | None, left: set[int]
) -> None:
    progress = goal(redo).progress(FILE, known, THERE, FAILED)
    assert progress.kept == left
    assert set(progress.todo) == {1, 2, 3} - left
    assert progress.stored == {4}  # it is there, whatever failed before


def test_only_what_may_go_well_is_given_up_by_its_attempts() -> None:
    asked = [goal().gives_up(failed(1, attempts)) for attempts in (2, 3, 4)]
    assert asked == [False, True, True]
    assert not goal().gives_up(failed(1, 3, retryable=False))
    assert not goal(Redo.FAILED).gives_up(failed(1, 3))


def test_a_document_is_complete_when_every_page_is_stored_or_failed() -> None:
    progress = Progress(FILE, todo={1: WHOLE, 2: WHOLE}, kept={3})
    assert not progress.complete
    progress.stored |= {1, 4}
    assert not progress.complete
    progress.faults[2] = Fault(Stage.WORDS, Category.OCR, True, "d.pdf, page 2: no")
    assert progress.complete and progress.failed == {2, 3}
