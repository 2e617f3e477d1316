"""That processes that change the same documents undo nothing of each other: on real LanceDB."""

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from patchlight.storage import committer as committer_module
from patchlight.storage import reader
from patchlight.storage.committer import Committer
from patchlight.storage.convert import retrievals_table
from patchlight.storage.database import Database
from patchlight.storage.errors import StorageUnavailable
from patchlight.storage.records import Document, DocumentStatus
from patchlight.storage.schema import Table
from patchlight.storage.writer import Writer
from tests.storage_examples import ENCODER, doc_id, document, failure, fill, put, retrieval
from tests.storage_workers import add_sources, claim, meet_at

PROCESSES = 2


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database.create_or_open(tmp_path / "db", ENCODER)


@pytest.fixture(scope="module")
def workers() -> Iterator[ProcessPoolExecutor]:
    """Processes that begin what they are given at the same moment, one thing each."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(PROCESSES)
    with ProcessPoolExecutor(PROCESSES, context, meet_at, (barrier,)) as pool:
        yield pool


def test_two_processes_that_add_sources_lose_none(
    database: Database, workers: ProcessPoolExecutor
) -> None:
    put(Committer(database, "first"), document("a", 1), document("b", 1))
    names = [f"run{number}" for number in range(PROCESSES)]
    uris, counts = [database.uri] * PROCESSES, [30] * PROCESSES
    list(workers.map(add_sources, uris, names, counts))
    for row in database.documents():
        assert row.revision == 1 + 30 * PROCESSES
        for name in names:
            assert [s.uri for s in row.sources if s.name == name] == [
                f"file:///{name}/{number}" for number in range(30)
            ]


def test_of_processes_that_claim_a_document_at_once_one_gets_it(
    database: Database, workers: ProcessPoolExecutor
) -> None:
    # Each also takes one that nobody else wants, in the same commit: part of a write may win.
    names = [f"run{number}" for number in range(PROCESSES)]
    rounds = [
        [[f"{turn}-shared-1", f"{turn}-{name}", f"{turn}-shared-2"] for turn in range(10)]
        for name in names
    ]
    got = list(workers.map(claim, [database.uri] * PROCESSES, names, rounds))
    for turn in range(10):
        taken = sorted(name for one in got for name in one[turn])
        own = [f"{turn}-{name}" for name in names]
        assert taken == sorted([*own, f"{turn}-shared-1", f"{turn}-shared-2"])
    stored = {row.doc_id: row.run_id for row in database.documents()}
    for name, one in zip(names, got, strict=True):
        assert all(stored[doc_id(doc)] == name for turn in one for doc in turn)


def test_a_change_says_what_the_documents_are_now(database: Database) -> None:
    committer = Committer(database, "later")
    put(Committer(database, "run"), document("a", 1), document("b", 1))
    ids = [doc_id(name) for name in "abc"]

    def change(key: str, row: Document | None) -> Document | None:
        return replace(row, page_count=9) if row and key == ids[0] else None

    rows = committer.change_documents([*ids, ids[0]], change)
    assert list(rows) == ids
    assert rows[ids[0]] == replace(document("a", 1), page_count=9, revision=2, changed_by="later")
    assert rows[ids[1]] == replace(document("b", 1), revision=1, changed_by="run")
    assert rows[ids[2]] is None
    assert database.document_rows(ids) == {key: row for key, row in rows.items() if row}
    assert committer.change_documents([], change) == {}


def test_what_a_change_refuses_is_not_written(database: Database) -> None:
    committer = Committer(database, "run")
    put(committer, document("a", 1))
    before = database.documents()

    def refuse(key: str, row: Document | None) -> Document | None:
        if key == doc_id("b"):
            raise RuntimeError("not this one")
        return row

    with pytest.raises(RuntimeError, match="not this one"):
        committer.change_documents([doc_id("a"), doc_id("b")], refuse)
    with pytest.raises(ValueError, match="was changed to"):
        committer.change_documents([doc_id("b")], lambda _, __: document("a", 1))
    assert database.documents() == before


def test_a_document_that_others_never_leave_alone_is_given_up(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer_module, "_CHANGE_ATTEMPTS", 3)
    committer, other = Committer(database, "run"), Committer(database, "other")
    put(other, document("a", 1))

    def overtaken(_: str, row: Document | None) -> Document | None:
        put(other, document("a", 1))
        return row

    with pytest.raises(StorageUnavailable, match=rf"3 times, {doc_id('a')} among them\. Wait"):
        committer.change_documents([doc_id("a")], overtaken)
    assert database.document_rows([doc_id("a")])[doc_id("a")].changed_by == "other"


STEPS = (Table.PAGES, Table.PATCHES, Table.REGIONS, Table.FAILURES, Table.RETRIEVALS, None)


@pytest.mark.parametrize("failing", STEPS, ids=str)
def test_a_removal_that_is_killed_shows_nothing_half_and_can_be_finished(
    database: Database, failing: Table | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    committer = Committer(database, "remover")
    fill(database, "a", 2)
    stays = fill(database, "b", 1)
    committer.commit_failures([failure()])
    other = replace(retrieval("r", "2"), doc_id=doc_id("b"))
    committer.replace_retrievals("r", [retrievals_table([retrieval("r", "1"), other])])
    delete = Writer.delete

    def killed(self: Writer, table: Table, condition: str) -> int:
        if table is (failing or Table.DOCUMENTS):
            raise KeyboardInterrupt
        return delete(self, table, condition)

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "delete", killed)
        with pytest.raises(KeyboardInterrupt):
            committer.remove_documents([doc_id("a")])
    assert reader.catalog(database.snapshot())["page_id"].to_pylist() == stays
    left = database.document_rows([doc_id("a")])[doc_id("a")]
    assert left.status is DocumentStatus.UNFINISHED and left.sources  # found by its name again
    assert committer.remove_documents([doc_id("a"), "unknown"]) == 1
    for table in Table:
        dataset = database.table(table)
        if "doc_id" in dataset.schema.names:
            ids = set(dataset.to_table(columns=["doc_id"])["doc_id"].to_pylist())
            assert ids <= {doc_id("b")}, table
    assert reader.catalog(database.snapshot())["page_id"].to_pylist() == stays
    assert committer.remove_documents([doc_id("a")]) == 0


def test_a_document_that_another_run_takes_over_is_not_removed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The remover was taken for dead just before its last step.
    fill(database, "a", 1)
    delete = Writer.delete

    def taken_over(self: Writer, table: Table, condition: str) -> int:
        if table is Table.DOCUMENTS:
            put(Committer(database, "other"), document("a", 1, DocumentStatus.UNFINISHED))
        return delete(self, table, condition)

    monkeypatch.setattr(Writer, "delete", taken_over)
    assert Committer(database, "remover").remove_documents([doc_id("a")]) == 0
    assert [row.changed_by for row in database.documents()] == ["other"]


def test_only_a_document_in_removal_may_be_without_a_source(database: Database) -> None:
    committer = Committer(database, "run")
    with pytest.raises(ValueError, match="has no source"):
        put(committer, replace(document("a", 1), sources=()))
    put(committer, replace(document("a", 1, DocumentStatus.UNFINISHED), sources=()))
    (row,) = database.table(Table.DOCUMENTS).to_table().to_pylist()
    assert (row["name"], row["uri"]) == ("", "")
    assert database.documents()[0].sources == ()
