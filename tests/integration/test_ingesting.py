"""What an ingest run does when the world does not hold still; on the real database."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from storage.committer import Committer
from storage.database import Database
from storage.errors import StorageUnavailable
from storage.records import DocumentStatus
from tasks.encoders import registry
from tasks.encoders.protocol import Encoder
from tasks.errors import Category, Fault, Stage
from tasks.ingesting import IngestReport, IngestRun
from tasks.planning import Shard
from tasks.reading import OcrMode, ReadOptions
from tasks.remote import (
    EncodedShard,
    ReadShard,
    StoredAs,
    encode,
    inputs_of,
    inspect_file,
    pack_shard,
    read_shard,
)
from tasks.sources import expand, password_for
from tests import fixtures

OPTIONS = ReadOptions(OcrMode.NEVER, "eng", 200, "", 60, image_pixels=0)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return registry.load(registry.describe("text-patch"))


class InProcess:
    """Stands for the pool of Ray workers: the same work, in this process."""

    def __init__(self, encoder: Encoder, faulty: Mapping[int, Fault] | None = None) -> None:
        self._encoder = encoder
        self._faulty = faulty or {}

    def process(self, shard: Shard, options: ReadOptions, stored_as: StoredAs) -> EncodedShard:
        read = read_shard(shard, options)
        good = tuple(page for page in read.pages if page.page not in self._faulty)
        faults = {
            (page.doc_id, page.page): self._faulty[page.page]
            for page in read.pages
            if page.page in self._faulty
        }
        kept = ReadShard(good, {**read.faults, **faults})
        encoded = encode(self._encoder, inputs_of(kept), stored_as.form)
        return pack_shard(kept, encoded, stored_as)


def ingest(
    folder: Path,
    database: Database,
    encoder: Encoder,
    *,
    options: ReadOptions = OPTIONS,
    passwords: Mapping[str, str] | None = None,
    pool: InProcess | None = None,
    run_shards: Callable[[IngestRun, list[Shard], Any], None] | None = None,
    before_shards: Callable[[], None] = lambda: None,
) -> IngestReport:
    run = IngestRun(database, encoder.info, options, "run")
    given = expand([str(folder)])
    with run.recorded({}):
        inspected = [inspect_file(f, password_for(f.path, passwords or {})) for f in given.files]
        shards = run.plan(inspected, given.missing, given.skipped, 1)
        before_shards()
        pool = pool or InProcess(encoder)
        if run_shards:
            run_shards(run, shards, pool)
        else:
            for shard in shards:
                run.run_shard(shard, pool)  # type: ignore[arg-type]
        return run.end()


@pytest.fixture
def database(tmp_path: Path, encoder: Encoder) -> Database:
    return Database.create_or_open(tmp_path / "db", encoder.info.identity)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "docs"
    place.mkdir()
    return place


def write(path: Path, *pages: str) -> None:
    fixtures.make_text_pdf(path, pages)


def test_a_repeated_shard_finishes_what_the_first_attempt_could_not(
    folder: Path, database: Database, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder / "a.pdf", "apples", "bananas")
    real, calls = Committer.commit_documents, []

    def away_once(self: Committer, documents: Any) -> None:
        calls.append(1)
        if len(calls) == 1:
            raise StorageUnavailable("away for a moment")
        real(self, documents)

    monkeypatch.setattr(Committer, "commit_documents", away_once)

    def with_retries(run: IngestRun, shards: list[Shard], pool: Any) -> None:
        for shard in shards:
            try:
                run.run_shard(shard, pool)
            except StorageUnavailable:
                run.run_shard(shard, pool)

    report = ingest(folder, database, encoder, run_shards=with_retries)
    assert (report.documents_added, report.pages_added) == (1, 2)
    assert [d.status for d in database.documents()] == [DocumentStatus.COMPLETE]


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
    assert [t for texts in database.page_texts() for t in texts] == ["bananas and more of them"]
    assert database.failures() == []


def test_statistics_missed_by_a_killed_run_are_made_by_the_next(
    folder: Path, database: Database, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder / "a.pdf", "apples")
    ingest(folder, database, encoder)
    write(folder / "b.pdf", "giraffes")
    with monkeypatch.context() as patch:
        patch.setattr(IngestRun, "end", lambda self: self.report)
        ingest(folder, database, encoder)
    ingest(folder, database, encoder)
    statistics = database.latest_statistics()
    assert statistics is not None and statistics.n_pages == 2
    assert statistics.document_frequency["giraffes"] == 1


def test_a_page_that_fails_when_done_anew_is_in_failures_only(
    folder: Path, database: Database, encoder: Encoder
) -> None:
    write(folder / "a.pdf", "apples", "bananas", "cherries")
    ingest(folder, database, encoder)
    fault = Fault(Stage.WORDS, Category.OCR, True, "a.pdf, page 2: no")
    other = ReadOptions(OcrMode.NEVER, "eng", 201, "", 60, image_pixels=1000)
    seen: list[DocumentStatus] = []
    report = ingest(
        folder,
        database,
        encoder,
        options=other,
        pool=InProcess(encoder, {2: fault}),
        before_shards=lambda: seen.extend(d.status for d in database.documents()),
    )
    assert seen == [DocumentStatus.UNFINISHED]  # not half of each while it is made anew
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
    states = sorted(document.status for document in database.documents())
    assert states == [DocumentStatus.COMPLETE, DocumentStatus.REPLACED]
    assert [t for texts in database.page_texts() for t in texts] == ["bananas"]
    statistics = database.latest_statistics()
    assert statistics is not None and "apples" not in statistics.document_frequency
