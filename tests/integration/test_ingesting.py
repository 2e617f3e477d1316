"""What an ingest run does when the world does not hold still; on the real database."""

from __future__ import annotations

import threading
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from patchlight.storage import reader, statistics
from patchlight.storage.committer import Committer
from patchlight.storage.database import Database
from patchlight.storage.records import DocumentStatus
from patchlight.storage.schema import Table
from patchlight.tasks.common.errors import Category, Fault, Stage
from patchlight.tasks.documents.sources import to_uri
from patchlight.tasks.encoders.protocol import Encoder
from patchlight.tasks.ingest.ingestrun import IngestRun
from patchlight.tasks.reading.fingerprints import Redo
from patchlight.tasks.reading.shardplan import Shard
from patchlight.tasks.requests.query import AskRequest
from tests import fixtures
from tests.ingest_examples import InProcess, ingest, write
from tests.storage_examples import failure, visible_texts


def test_the_documents_that_a_shard_completes_are_finished_in_one_commit(
    folder: Path, database: Database, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        write(folder / f"{number}.pdf", f"page of document {number}")
    real, calls = Committer.change_documents, []

    def counted(self: Committer, doc_ids: Any, change: Any) -> Any:
        calls.append(len(doc_ids))
        return real(self, doc_ids, change)

    monkeypatch.setattr(Committer, "change_documents", counted)
    report = ingest(folder, database, encoder, shard_pages=4)
    assert calls == [4, 4]  # taken, and finished
    assert report.documents_added == 4
    assert [d.status for d in database.documents()] == [DocumentStatus.COMPLETE] * 4


def test_shards_on_many_threads_lose_no_document(
    folder: Path, database: Database, encoder: Encoder
) -> None:
    for number in range(24):
        write(folder / f"{number}.pdf", f"page of document {number}")

    def on_threads(run: IngestRun, shards: list[Shard], pool: Any) -> None:
        errors: list[BaseException] = []

        def work(mine: list[Shard]) -> None:
            try:
                for shard in mine:
                    run.run_shard(shard, pool)
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=work, args=(shards[i::4],)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []

    report = ingest(folder, database, encoder, run_shards=on_threads)
    assert report.documents_added == len(database.documents()) == 24


def test_a_file_that_changes_meanwhile_is_not_stored_under_its_old_hash(
    folder: Path, database: Database, encoder: Encoder
) -> None:
    write(folder / "a.pdf", "apples")
    change = lambda: write(folder / "a.pdf", "bananas and more of them")  # noqa: E731
    report = ingest(folder, database, encoder, before_shards=change)
    assert report.pages_added == 0
    (failure,) = database.failures()
    assert failure.category == Category.CHANGED and failure.retryable
    assert ingest(folder, database, encoder).pages_added == 1
    assert visible_texts(database) == ["bananas and more of them"]
    assert database.failures() == []


def test_statistics_missed_by_a_killed_run_are_made_by_the_next(
    folder: Path, database: Database, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder / "a.pdf", "apples")
    ingest(folder, database, encoder)
    write(folder / "b.pdf", "giraffes")
    with monkeypatch.context() as patch:
        patch.setattr(IngestRun, "end", lambda self, sync: self.report)
        ingest(folder, database, encoder)
    ingest(folder, database, encoder)
    latest = statistics.latest(database)
    assert latest is not None and latest.n_pages == 2
    assert latest.document_frequency["giraffes"] == 1


def test_a_page_that_fails_when_done_anew_is_in_failures_only(
    folder: Path, database: Database, encoder: Encoder
) -> None:
    write(folder / "a.pdf", "apples", "bananas", "cherries")
    ingest(folder, database, encoder)
    fault = Fault(Stage.WORDS, Category.OCR, True, "a.pdf, page 2: no")
    pool = InProcess(encoder, {2: fault})
    seen: list[DocumentStatus] = []
    pool.meanwhile = lambda: seen.extend(d.status for d in database.documents())
    report = ingest(folder, database, encoder, redo=Redo.ALL, pool=pool)
    assert seen == [DocumentStatus.UNFINISHED] * 3  # not half of each while it is made anew
    assert (report.pages_added, report.pages_failed) == (2, 1)
    (document,) = database.documents()
    assert (document.status, document.pages_stored) == (DocumentStatus.PARTIAL, 2)
    assert sorted(page for _, page in database.stored_pages([document.doc_id])) == [1, 3]


def test_a_locked_document_that_is_there_stays_so_without_its_password(
    folder: Path, database: Database, encoder: Encoder
) -> None:
    fixtures.make_pdf(folder / "a.pdf", fixtures.prose, password="anchor")
    assert ingest(folder, database, encoder, passwords={"a.pdf": "anchor"}).pages_added >= 1
    again = ingest(folder, database, encoder)
    assert again.documents_unchanged == 1 and again.failures == []
    assert database.failures() == []


def test_a_path_with_other_bytes_leads_to_the_new_document(
    folder: Path, database: Database, encoder: Encoder
) -> None:
    write(folder / "a.pdf", "apples")
    ingest(folder, database, encoder)
    write(folder / "a.pdf", "bananas")
    ingest(folder, database, encoder)
    [document] = database.documents()
    assert document.status is DocumentStatus.COMPLETE
    for table in (Table.PAGES, Table.WORDS, Table.PATCHES):  # nothing is left of the old one
        rows = database.table(table).to_table(["doc_id"])["doc_id"].to_pylist()
        assert set(rows) == {document.doc_id}
    assert visible_texts(database) == ["bananas"]
    latest = statistics.latest(database)
    assert latest is not None and "apples" not in latest.document_frequency


def test_files_that_change_places_leave_each_document_its_own(
    folder: Path, database: Database, encoder: Encoder
) -> None:
    """The first moves to a new name and is made anew, the second takes its place."""
    write(folder / "a.pdf", "apples")
    write(folder / "b.pdf", "bananas")
    ingest(folder, database, encoder)
    (folder / "a.pdf").rename(folder / "c.pdf")
    (folder / "b.pdf").rename(folder / "a.pdf")
    ingest(folder, database, encoder, redo=Redo.ALL, shard_pages=1)
    names = {row.sources[0].name.rpartition("/")[2]: row for row in database.documents()}
    assert {name: len(row.sources) for name, row in names.items()} == {"c.pdf": 1, "b.pdf": 2}
    assert visible_texts(database) == ["apples", "bananas"]


def test_a_folder_that_can_be_looked_into_again_is_no_failure(
    folder: Path, database: Database, encoder: Encoder
) -> None:
    """Its failure is of no document, so none would prove it wrong."""
    (folder / "sub").mkdir()
    write(folder / "sub" / "a.pdf", "One")
    place = to_uri(str(folder / "sub"))
    Committer(database, "run").commit_failures([replace(failure(place, 0), doc_id="")])
    assert ingest(folder, database, encoder).failures == []
    assert database.failures() == []


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_condition_on_a_name_knows_both_ways_to_write_a_letter(
    folder: Path, database: Database, encoder: Encoder, form: Literal["NFC", "NFD"]
) -> None:
    write(folder / "Mu\u0308ller.pdf", "One")
    ingest(folder, database, encoder)
    condition = unicodedata.normalize(form, "name LIKE '%Müller.pdf'")
    asked = AskRequest(query="one", db=database.uri, where=condition)
    assert len(reader.catalog(database.snapshot(), asked.where)) == 1
