"""That writing twice is writing once, and that a page is there whole or not: on real LanceDB."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from patchlight.storage import reader
from patchlight.storage.committer import Committer
from patchlight.storage.convert import concat_page_tables, page_tables, retrievals_table
from patchlight.storage.database import Database
from patchlight.storage.errors import StorageUnavailable
from patchlight.storage.pages import Page
from patchlight.storage.records import (
    RegionKind,
    Run,
    VectorForm,
    VectorType,
    failure_id,
    page_id,
)
from patchlight.storage.schema import PARTS, Table
from patchlight.storage.writer import Writer
from tests.region_examples import record_of, rows_of
from tests.storage_examples import (
    DIM,
    ENCODER,
    NOW,
    doc_id,
    document,
    failure,
    made_with,
    page,
    put,
    put_run,
    retrieval,
    stored_page,
    visible_texts,
)


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database.create_or_open(tmp_path / "db", ENCODER)


@pytest.fixture
def committer(database: Database) -> Committer:
    return Committer(database, "run")


def rows(database: Database, table: Table) -> int:
    return int(database.table(table).count_rows())


def regions_of(database: Database, key: str) -> list[str]:
    snapshot = database.snapshot()
    return list(reader.read_regions(snapshot, reader.page_keys(snapshot, [key]))[key].texts)


def vectors_of(database: Database, key: str) -> np.ndarray:
    snapshot = database.snapshot()
    found = [r for r in reader.catalog(snapshot).to_pylist() if r["page_id"] == key]
    return reader.read_patches(snapshot, [found[0]["patch_row"]]).vectors


def test_committing_again_changes_nothing(database: Database, committer: Committer) -> None:
    # A shard whose answer was lost is done again.
    tables = page_tables([page("a", n) for n in (1, 2, 3)], DIM)
    for _ in range(2):
        committer.commit_pages(tables)
        put(committer, document("a", 3))
        committer.commit_failures([failure()])
    assert [rows(database, t) for t in (Table.PAGES, Table.WORDS, Table.PATCHES)] == [3, 3, 3]
    assert (rows(database, Table.DOCUMENTS), rows(database, Table.FAILURES)) == (1, 1)


def test_of_a_key_twice_in_a_batch_the_last_is_stored_once(
    database: Database, committer: Committer
) -> None:
    # The engine itself would store both rows of a new key.
    committer.commit_failures([failure(message="old"), failure(message="new")])
    assert [f.message for f in database.failures()] == ["new"]


def test_a_page_twice_in_a_shard_is_refused(database: Database, committer: Committer) -> None:
    # Which of the two is meant, nobody can tell.
    parts = [page_tables([p], DIM) for p in (page("a", 1), page("a", 2), page("a", 1))]
    with pytest.raises(ValueError, match="twice"):
        committer.commit_pages(concat_page_tables(parts))
    assert rows(database, Table.PAGES) == rows(database, Table.WORDS) == 0


def test_a_replaced_page_leaves_no_region_behind(database: Database, committer: Committer) -> None:
    committer.commit_pages(page_tables([page("a", 1, words=9), page("a", 2)], DIM))
    committer.commit_pages(page_tables([page("a", 1, words=1, fingerprint="two")], DIM))
    assert regions_of(database, page_id(doc_id("a"), 1)) == ["a-1-0", "a-1-0"]
    assert len(regions_of(database, page_id(doc_id("a"), 2))) == 4
    stored = database.stored_pages([doc_id("a")])
    assert stored == {(doc_id("a"), 1): made_with("two"), (doc_id("a"), 2): made_with("one")}


def with_paragraph(page: Page) -> Page:
    """A page that has a row in ``regions``, too."""
    assert page.regions is not None
    line = rows_of(page.regions)[-1]
    paragraph = replace(line, index=len(page.regions), kind=RegionKind.PARAGRAPH)
    return replace(page, regions=record_of([*rows_of(page.regions), paragraph]))


WRITTEN = [*PARTS, Table.PAGES]


def killed_at(monkeypatch: pytest.MonkeyPatch, failing: Table, *methods: str) -> None:
    """Let the process seem to be killed as it is about to write to, or delete from, a table."""
    for name in methods:
        write = getattr(Writer, name)

        def killed(self: Writer, table: Table, given: object, write: Any = write) -> Any:
            if table is failing:
                raise KeyboardInterrupt
            return write(self, table, given)

        monkeypatch.setattr(Writer, name, killed)


def orphans(database: Database) -> set[int]:
    """Keys of pages that rows have and that are in no row of ``pages``."""
    found = {
        table: set(database.table(table).to_table(["page_key"])["page_key"].to_pylist())
        for table in WRITTEN
    }
    return set().union(*found.values()) - found[Table.PAGES]


@pytest.mark.parametrize("failing", WRITTEN)
def test_killed_within_a_commit_the_pages_are_as_they_were(
    database: Database, committer: Committer, failing: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Neither a new page nor one that replaces another may ever be seen half written.
    committer.commit_pages(page_tables([page("a", 1), page("a", 2)], DIM))
    put(committer, document("a", 3))
    committer.optimize()
    before = database.stored_pages([doc_id("a")])
    second = Committer(database, "second")
    new = page_tables([page("a", 1, words=1, fingerprint="two"), page("a", 3)], DIM)
    with monkeypatch.context() as patch:
        killed_at(patch, failing, "append", "upsert")
        with pytest.raises(KeyboardInterrupt):
            second.commit_pages(new)
    assert database.stored_pages([doc_id("a")]) == before
    assert len(regions_of(database, page_id(doc_id("a"), 1))) == 4
    third = Committer(database, "third")
    third.take_over(list)
    assert orphans(database) == set()
    third.commit_pages(new)
    third.optimize()
    assert len(database.stored_pages([doc_id("a")])) == 3
    assert regions_of(database, page_id(doc_id("a"), 1)) == ["a-1-0", "a-1-0"]
    assert orphans(database) == set()
    assert rows(database, Table.PAGE_KEYS) == 0


@pytest.mark.parametrize("failing", PARTS)
def test_killed_before_what_was_replaced_is_gone_a_later_run_removes_it(
    database: Database, committer: Committer, failing: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = with_paragraph(page("a", 1))
    committer.commit_pages(page_tables([first, page("a", 2)], DIM))
    committer.optimize()
    second = Committer(database, "second")
    new = page_tables([page("a", 1, words=1, fingerprint="two")], DIM)
    with monkeypatch.context() as patch:
        killed_at(patch, failing, "delete")
        with pytest.raises(KeyboardInterrupt):
            second.commit_pages(new)
    third = Committer(database, "third")
    third.take_over(lambda: ["second"])  # it may go on
    assert rows(database, failing) == (1 if failing is Table.REGIONS else 3)
    third.take_over(list)
    third.optimize()
    assert orphans(database) == set()
    assert (rows(database, Table.WORDS), rows(database, Table.REGIONS)) == (2, 0)


def test_what_a_run_writes_that_began_meanwhile_is_not_taken_for_left_behind(
    database: Database, committer: Committer
) -> None:
    """Who is at work is asked after the notes are read: a run has its row before its notes."""
    committer.commit_pages(page_tables([page("a", 1)], DIM))
    asked: list[int] = []

    def at_work() -> list[str]:
        late = Committer(database, "late")
        late.commit_pages(page_tables([page("b", len(asked) + 1)], DIM))
        asked.append(rows(database, Table.PAGE_KEYS))
        return []

    Committer(database, "other").take_over(at_work)
    assert asked == [2]  # a note of each run
    assert rows(database, Table.PAGE_KEYS) == 1, "the note of the late run is gone"


def test_a_write_that_seemed_to_fail_is_done_again_and_leaves_nothing_twice(
    database: Database, committer: Committer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The engine may report trouble after the rows were written.
    append = Writer.append

    def doubtful(self: Writer, table: Table, given: pa.Table) -> None:
        append(self, table, given)
        if table is Table.PATCHES:
            raise StorageUnavailable("the network")

    tables = page_tables([page("a", 1), page("a", 2)], DIM)
    with monkeypatch.context() as patch:
        patch.setattr(Writer, "append", doubtful)
        with pytest.raises(StorageUnavailable):
            committer.commit_pages(tables)
    committer.commit_pages(tables)
    assert orphans(database) == set()
    assert [rows(database, t) for t in (Table.PAGES, Table.WORDS, Table.PATCHES)] == [2, 2, 2]


def test_keys_are_never_given_out_again(database: Database, committer: Committer) -> None:
    seen: set[int] = set()
    for run in ("one", "two", "three"):
        writing = Committer(database, run)
        writing.commit_pages(page_tables([page("a", n) for n in (1, 2)], DIM))
        keys = set(database.page_keys([page_id(doc_id("a"), n) for n in (1, 2)]).values())
        assert len(keys) == 2 and not keys & seen
        seen |= keys
        writing.optimize()
        Committer(database, run).drop_pages(doc_id("a"), [1, 2])


def test_a_page_keeps_the_part_that_is_not_given(database: Database, committer: Committer) -> None:
    # Other regions need no new vectors, and another encoder needs no OCR.
    key, first = page_id(doc_id("a"), 1), page("a", 1)
    committer.commit_pages(page_tables([first, page("a", 2)], DIM))
    put(committer, document("a", 2))
    vectors = vectors_of(database, key)

    kept = database.page_rows(doc_id("a"), [1])[1]
    changed = page("a", 1, words=1, vectors=0, fingerprint="two")
    new = replace(changed, encoding=None, kept=kept)
    committer.commit_pages(page_tables([new], DIM))
    assert regions_of(database, key) == ["a-1-0", "a-1-0"]
    np.testing.assert_array_equal(vectors_of(database, key), vectors)
    row = database.page_rows(doc_id("a"), [1])[1]
    assert row == stored_page(changed, 1, 2, 4, row.page_key)

    changed = replace(page("a", 1, vectors=1, fingerprint="three"), text=row.text)
    new = replace(changed, regions=None, kept=row)
    committer.commit_pages(page_tables([new, page("a", 3)], DIM))
    assert regions_of(database, key) == ["a-1-0", "a-1-0"]
    assert vectors_of(database, key).shape == (1, DIM)
    row = database.page_rows(doc_id("a"), [1])[1]
    assert row == stored_page(changed, 1, 2, 1, row.page_key)
    assert [rows(database, t) for t in (Table.PAGES, Table.WORDS, Table.PATCHES)] == [3, 3, 3]


def test_unfinished_pages_are_known_but_not_visible(
    database: Database, committer: Committer
) -> None:
    # A resumed run must find them; a query must not.
    committer.commit_pages(page_tables([page("a", 1)], DIM))
    assert database.stored_pages([doc_id("a"), doc_id("b")]) == {(doc_id("a"), 1): made_with("one")}
    assert reader.catalog(database.snapshot()).num_rows == 0
    assert visible_texts(database) == []


def test_cleared_failures_are_gone_and_others_stay(
    database: Database, committer: Committer
) -> None:
    fixed, stays = failure(page=1), failure(page=2)
    committer.commit_failures([fixed, stays])
    committer.clear_failures([failure_id(fixed), "unknown"])
    committer.clear_failures([])
    assert database.failures() == [stays]


def test_a_newer_attempt_replaces_its_failure(database: Database, committer: Committer) -> None:
    committer.commit_failures([failure()])
    committer.commit_failures([replace(failure(), attempts=2, run_id="later")])
    assert [(f.attempts, f.run_id) for f in database.failures()] == [(2, "later")]


def test_a_run_done_again_with_fewer_retrievals_leaves_none_of_the_old(
    database: Database, committer: Committer
) -> None:
    def ids(run: str) -> list[str]:
        table = database.table(Table.RETRIEVALS).to_table(filter=f"run_id = '{run}'")
        return sorted(table["query_id"].to_pylist())

    batch = [retrievals_table([retrieval("r1", f"q{i}")]) for i in range(5)]
    other = retrievals_table([retrieval("r2", "q0")])
    committer.replace_retrievals("r1", batch)
    committer.replace_retrievals("r2", [other])
    committer.replace_retrievals("r1", batch[2:4])
    assert (ids("r1"), ids("r2")) == (["q2", "q3"], ["q0"])
    with pytest.raises(ValueError, match="another run than r1"):
        committer.replace_retrievals("r1", [other])
    committer.replace_retrievals("r1", [])
    assert ids("r1") == []


def test_threads_share_a_committer(database: Database, committer: Committer) -> None:
    tables = [page_tables([page("a", n), page("a", n + 1)], DIM) for n in range(1, 13)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(committer.commit_pages, tables))
    assert len(database.stored_pages([doc_id("a")])) == 13
    assert rows(database, Table.PAGES) == 13


def test_page_tables_travel_between_processes(database: Database, committer: Committer) -> None:
    tables = pickle.loads(pickle.dumps(page_tables([page("a", 1)], DIM)))
    committer.commit_pages(tables)
    assert rows(database, Table.PATCHES) == 1


def test_what_cannot_be_written_is_reported(
    database: Database, committer: Committer, tmp_path: Path
) -> None:
    manifests = tmp_path / "db" / "runs.lance" / "_versions"
    for path in manifests.iterdir():
        path.write_bytes(b"damaged")
    with pytest.raises(StorageUnavailable, match="table runs of database"):
        put_run(committer, Run("r", "ingest", "running", NOW))


@pytest.mark.parametrize("own", VectorType)
def test_vectors_of_another_type_are_not_cast(tmp_path: Path, own: VectorType) -> None:
    # The engine casts int8 to float16 without a word: 127 for 1.0, and no scale.
    database = Database.create_or_open(tmp_path / "form", ENCODER, VectorForm(own))
    (other,) = set(VectorType) - {own}
    with pytest.raises(ValueError, match="the database holds"):
        Committer(database, "run").commit_pages(page_tables([page("a", 1)], DIM, other))
    assert rows(database, Table.PATCHES) == rows(database, Table.REGIONS) == 0


def with_line(page: Page, **changed: float) -> Page:
    """A page of nothing but its line, changed."""
    assert page.regions is not None
    line = rows_of(page.regions)[3]
    return replace(page, regions=record_of([replace(line, index=0, **changed)]))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda p: replace(p, page=0), "page numbers start at 1"),
        (lambda p: replace(p, width_pt=float("nan")), "nan x 792"),
        (lambda p: with_line(p, x1=1.01), "region 0 is off the page"),
        (lambda p: with_line(p, x0=0.5, x1=0.5 + 1e-9), "off the page, inverted or empty"),
        (lambda p: with_line(p, y0=float("nan")), "off the page"),
        (lambda p: with_line(p, confidence=1.5), "region 0 has confidence 1.5"),
        (lambda p: replace(p, scale=0.0), "a scale of 0.0"),
        (lambda p: replace(p, fingerprints={"ocr": "1"}), "unknown stages: ocr"),
        (lambda p: replace(p, regions=None), "so its stored row is needed"),
        (lambda p: replace(p, encoding=None), "so its stored row is needed"),
        (lambda p: replace(p, regions=p.regions.part(1, 4)), "region 1 at position 0"),
        (lambda p: replace(p, regions=p.regions.part(0, 1)), "has parent 3, which is not there"),
    ],
)
def test_a_page_that_is_wrong_is_not_converted(wrong: object, message: str) -> None:
    good = page("a", 7)
    with pytest.raises(ValueError, match=message) as caught:
        page_tables([wrong(good)], DIM)  # type: ignore[operator]
    assert doc_id("a") in str(caught.value)
    with pytest.raises(ValueError, match="vectors of 8 values, expected 16"):
        page_tables([good], 16)
