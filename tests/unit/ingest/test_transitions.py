"""Who may change a document's row, and what becomes of its sources."""

from __future__ import annotations

from dataclasses import replace

import pytest

from patchlight.storage.records import Document, DocumentStatus, Source
from patchlight.tasks.ingest import transitions
from patchlight.tasks.reading.shardplan import InspectedFile
from tests.storage_examples import NOW, document

HERE, THERE = Source("file:///here.pdf", "here.pdf"), Source("file:///there.pdf", "there.pdf")


def file(*sources: Source) -> InspectedFile:
    return InspectedFile("d", "/here.pdf", sources or (HERE,), "application/pdf", 10, 2)


def row(status: DocumentStatus = DocumentStatus.COMPLETE, run: str = "old") -> Document:
    return replace(document("d", 2), status=status, run_id=run, sources=(HERE,), revision=4)


def claim(known: Document | None, revision: int = 4, live: set[str] | None = None) -> object:
    return transitions.claim(
        known, file(HERE), "me", revision=revision, live=live or set(), now=NOW
    )


def test_a_new_document_is_taken_out_of_sight() -> None:
    taken = claim(None, 0)
    assert isinstance(taken, Document)
    assert transitions.is_owned(taken, "me")
    assert (taken.doc_id, taken.page_count, taken.sources) == ("d", 2, (HERE,))


def test_a_visible_document_is_taken_as_it_was_looked_at() -> None:
    assert transitions.is_owned(claim(row()), "me")  # type: ignore[arg-type]
    assert claim(row(), revision=3) is None  # changed since


@pytest.mark.parametrize(("live", "free"), [({"other"}, False), (set(), True)])
def test_what_a_live_run_has_is_left_to_it(live: set[str], free: bool) -> None:
    held = row(DocumentStatus.UNFINISHED, "other")
    assert (claim(held, live=live) is not None) is free
    assert transitions.is_held(held, "me", live) is not free
    assert not transitions.is_held(row(DocumentStatus.COMPLETE, "other"), "me", live)


def test_what_a_run_has_finished_is_known_by_its_row() -> None:
    done = [DocumentStatus.COMPLETE, DocumentStatus.PARTIAL, DocumentStatus.FAILED]
    found = [s for s in DocumentStatus if transitions.is_finished_by(row(s, "me"), "me")]
    assert sorted(found) == sorted(done)
    assert not transitions.is_finished_by(row(DocumentStatus.COMPLETE, "other"), "me")
    assert not transitions.is_finished_by(None, "me")


def test_a_document_taken_by_another_run_is_not_finished() -> None:
    def finish(known: Document | None, stored: int = 2, failed: int = 0) -> Document | None:
        return transitions.finish(
            known, "me", stored=stored, failed=failed, fingerprints={"words": "w"}, now=NOW
        )

    mine = row(DocumentStatus.UNFINISHED, "me")
    assert finish(None) is None
    assert finish(row(DocumentStatus.UNFINISHED, "other")) is None
    assert finish(row(DocumentStatus.COMPLETE, "me")) is None
    states = [finish(mine), finish(mine, 1, 1), finish(mine, 0, 2)]
    assert [s.status for s in states if s] == ["complete", "partial", "failed"]


def test_a_document_that_lost_its_file_and_is_found_elsewhere_has_that_place_too() -> None:
    emptied = replace(row(DocumentStatus.UNFINISHED, "me"), sources=(THERE,))
    taken = claim(emptied)
    assert isinstance(taken, Document) and taken.sources == (THERE, HERE)


def test_a_file_that_is_gone_is_taken_away_and_with_the_last_one_the_document() -> None:
    def lose(known: Document, live: set[str]) -> Document | None:
        return transitions.lose(known, {HERE.uri}, "me", live)

    left = lose(replace(row(), sources=(HERE, THERE)), set())
    assert left is not None and (left.status, left.sources) == ("complete", (THERE,))
    for status in DocumentStatus:
        last = lose(row(status, "other"), set())
        assert transitions.is_owned(last, "me")  # to be removed
    assert lose(row(DocumentStatus.UNFINISHED, "other"), {"other"}) is None
    assert lose(replace(row(), sources=(THERE,)), set()) is None


def test_a_place_is_noted_once() -> None:
    assert transitions.found_at(row(), [HERE]) is None
    more = transitions.found_at(row(), [THERE, HERE])
    assert more is not None and more.sources == (HERE, THERE)
    assert transitions.found_at(None, [HERE]) is None


def test_no_change_leaves_a_document_without_a_place() -> None:
    for status in DocumentStatus:
        for change in (
            transitions.lose(row(status, "other"), {HERE.uri}, "me", set()),
            transitions.lose(row(status, "me"), {HERE.uri}, "me", set()),
        ):
            assert change is None or change.sources == (HERE,)
