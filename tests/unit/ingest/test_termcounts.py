"""When the terms of visible pages are counted anew, and when the count that is there will do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from patchlight.storage import statistics
from patchlight.storage.committer import Committer
from patchlight.storage.database import Database
from patchlight.storage.records import DocumentStatus, StatisticsStep, TermStatistics
from patchlight.storage.schema import Table
from patchlight.tasks.ingest.termcounts import bring_up_to_date
from tests.storage_examples import ENCODER, doc_id, fill, visible_texts


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """A database of one document of one page."""
    found = Database.create_or_open(tmp_path / "db", ENCODER)
    fill(found, "a", 1)
    return found


def counted(database: Database) -> TermStatistics:
    """The latest count, once it is up to date."""
    bring_up_to_date(database, Committer(database, "run"), str.split)
    found = statistics.latest(database)
    assert found is not None
    return found


def rows(database: Database) -> pa.Table:
    pages = database.table(Table.PAGES)
    assert pages is not None
    return pages.to_table()


def in_all(database: Database) -> tuple[int, dict[str, int]]:
    """Pages, and how many of them hold each term, counted from the pages that are visible."""
    texts = visible_texts(database)
    return len(texts), dict(Counter(term for text in texts for term in set(text.split())))


def check(database: Database) -> TermStatistics:
    found = counted(database)
    assert (found.n_pages, dict(found.document_frequency)) == in_all(database)
    return found


def test_a_count_is_of_what_is_visible_and_made_once(database: Database) -> None:
    first = check(database)
    assert counted(database).snapshot == first.snapshot
    fill(database, "b", 2)
    fill(database, "hidden", 1, DocumentStatus.UNFINISHED)
    assert check(database).n_pages == 3
    assert statistics.named(database, first.snapshot) == first


def test_an_ingest_counts_the_documents_that_it_changed_and_no_others(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(database)
    asked: list[str] = []
    texts_of = Database.texts_of

    def watched(self: Database, doc_ids: Iterable[str]) -> Iterator[tuple[str, str]]:
        asked.extend(doc_ids)
        return texts_of(self, doc_ids)

    monkeypatch.setattr(Database, "texts_of", watched)
    fill(database, "b", 2)
    check(database)
    assert asked == [doc_id("b")]
    Committer(database, "run").remove_documents([doc_id("a")])
    assert check(database).n_pages == 2
    assert asked == [doc_id("b")]


def test_many_small_steps_add_up_and_are_stored_as_a_whole_now_and_then(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics, "_STEPS_KEPT_APART", 3)
    monkeypatch.setattr(statistics, "_SHARE_KEPT_APART", 9.0)
    names = []
    for number in range(8):
        fill(database, f"d{number}", 1)
        names.append(check(database))
    steps = [statistics._step(database, one.snapshot) for one in names]
    wholes = [step.revision for step in steps if step and step.base == step.revision]
    assert 2 <= len(wholes) <= 3
    assert [statistics.named(database, one.snapshot) for one in names] == names


@pytest.mark.parametrize("at", ["settle_statistics", "commit_statistics"])
def test_killed_on_the_way_the_next_run_counts_the_same(
    database: Database, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    check(database)
    fill(database, "b", 1)
    Committer(database, "run").remove_documents([doc_id("a")])
    fill(database, "a", 2)

    def killed(self: Committer, step: StatisticsStep) -> None:
        if step.added == () or step.revision > 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Committer, at, killed)
        with pytest.raises(KeyboardInterrupt):
            counted(database)
    check(database)
    assert None not in statistics.counted_in(database).values()
    assert len(statistics.counted_in(database)) == len(database.documents())


def test_of_two_that_count_at_once_one_is_counted_on(database: Database) -> None:
    check(database)
    last = statistics.newest(database)
    one, two = (StatisticsStep(2, 2, n, {"x": n}, (), ()) for n in (1, 2))
    assert Committer(database, "one").commit_statistics(one)
    assert not Committer(database, "two").commit_statistics(two)
    assert last is not None and statistics.latest(database) == TermStatistics(
        one.snapshot, 1, {"x": 1}
    )


def test_a_raised_version_counts_anew_and_leaves_all_pages(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counts are of all visible pages, so of no stage of one: pages keep their rows."""
    first, pages = counted(database), rows(database)
    monkeypatch.setattr("patchlight.tasks.ingest.termcounts.COUNTS_VERSION", 99)
    again = counted(database)
    assert again.snapshot != first.snapshot and counted(database).snapshot == again.snapshot
    assert (again.n_pages, again.document_frequency) == (first.n_pages, first.document_frequency)
    assert rows(database) == pages
