"""A shard that is repeated because the database was away: no page and no document twice."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from patchlight.storage.database import Database
from patchlight.storage.errors import StorageUnavailable
from patchlight.storage.records import DocumentStatus
from patchlight.tasks.encoders.protocol import Encoder
from patchlight.tasks.ingest.ingestrun import IngestRun
from patchlight.tasks.reading.shardplan import Shard
from tests.ingest_examples import InProcess, away_at, fails, ingest, states, texts, write


def repeating(again: InProcess | None = None) -> Callable[[IngestRun, list[Shard], Any], None]:
    """Run shards one by one, and that over which the database is away a second time.

    Args:
        again: processes it then; None for what did so first.
    """

    def run_shards(run: IngestRun, shards: list[Shard], pool: Any) -> None:
        for shard in shards:
            try:
                run.run_shard(shard, pool)
            except StorageUnavailable:
                run.run_shard(shard, again or pool)

    return run_shards


def test_a_repeated_shard_finishes_what_the_first_attempt_could_not(
    folder: Path, database: Database, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder / "a.pdf", "apples", "bananas")
    away = away_at(monkeypatch, 2)  # the document is taken, and now finished
    report = ingest(folder, database, encoder, run_shards=repeating())
    assert away.is_set()
    assert (report.documents_added, report.pages_added) == (1, 2)
    assert states(database) == [DocumentStatus.COMPLETE]


def test_a_repeated_shard_counts_each_document_once_and_takes_old_ones_out_of_sight(
    folder: Path, database: Database, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database is away after the rows of the new documents were written."""
    for name in ("a", "b"):
        write(folder / f"{name}.pdf", f"old {name}")
    ingest(folder, database, encoder)
    for name in ("a", "b"):
        write(folder / f"{name}.pdf", f"new {name}")
    # Taken, finished, and now their places taken from the old ones.
    away = away_at(monkeypatch, 3)
    pool = InProcess(encoder)
    report = ingest(folder, database, encoder, pool=pool, run_shards=repeating(), shard_pages=2)
    assert away.is_set()
    assert (report.documents_added, report.documents_unchanged, report.pages_added) == (2, 0, 2)
    assert len(pool.work) == 2  # no page is done twice
    assert texts(database) == ["new a", "new b"]
    assert states(database) == [DocumentStatus.COMPLETE] * 2


def test_a_shard_that_is_repeated_keeps_what_it_stored(
    folder: Path, database: Database, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database is away when the document is to be finished; then the page would fail."""
    write(folder / "a.pdf", "apples")
    away = away_at(monkeypatch, 2)
    again = InProcess(encoder, fails(1, retryable=True))
    report = ingest(folder, database, encoder, run_shards=repeating(again))
    assert away.is_set() and again.work == []
    assert (report.pages_added, report.pages_failed, report.failures) == (1, 0, [])
    assert texts(database) == ["apples"] and database.failures() == []


@pytest.mark.parametrize(
    ("number", "name", "after"),
    [
        (1, "commit_failures", False),
        (1, "commit_failures", True),
        (1, "drop_pages", False),
        (2, "change_documents", False),
        (2, "change_documents", True),  # finished, though it did not look so
    ],
)
def test_a_fault_is_counted_and_logged_once_wherever_the_database_is_away(
    folder: Path,
    database: Database,
    encoder: Encoder,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    number: int,
    name: str,
    after: bool,
) -> None:
    write(folder / "a.pdf", "apples", "bananas")
    away = away_at(monkeypatch, number, name, after=after)
    faults = {page: replace(f, traceback="here") for page, f in fails(2, retryable=True).items()}
    pool = InProcess(encoder, faults)
    with caplog.at_level(logging.WARNING, logger="patchlight.ingest"):
        report = ingest(folder, database, encoder, pool=pool, run_shards=repeating(), shard_pages=2)
    assert away.is_set() and len(pool.work) == 2
    assert [record.message for record in caplog.records] == [faults[2].message]
    assert [found["count"] for found in report.tracebacks] == [1]
    assert (report.documents_added, report.documents_unchanged) == (1, 0)
    assert (report.pages_added, report.pages_failed) == (1, 1)
    assert report.failures == [faults[2].message]
    assert [failure.attempts for failure in database.failures()] == [1]


def test_a_file_that_is_not_there_is_said_to_be_so_when_that_is_stored(
    folder: Path,
    database: Database,
    encoder: Encoder,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (folder / "a.pdf").write_text("no PDF")
    away_at(monkeypatch, 1, "commit_failures")
    with caplog.at_level(logging.WARNING, logger="patchlight.ingest"):
        with pytest.raises(StorageUnavailable):
            ingest(folder, database, encoder)
        assert caplog.records == []
        assert ingest(folder, database, encoder).documents_failed == 1
    assert len(caplog.records) == 1


@pytest.mark.parametrize("repeat_first", [False, True])
def test_a_document_is_finished_once_while_a_shard_of_it_is_repeated(
    folder: Path,
    database: Database,
    encoder: Encoder,
    monkeypatch: pytest.MonkeyPatch,
    repeat_first: bool,
) -> None:
    """Its last shard ends while the other is repeated, or the other is while that is in work."""
    write(folder / "a.pdf", "apples")
    write(folder / "b.pdf", "bananas", "berries", "brambles")
    away = away_at(monkeypatch, 2)  # both are taken, and now a.pdf is finished
    faulty = InProcess(encoder, fails(2, retryable=True))

    def interleaved(run: IngestRun, shards: list[Shard], pool: Any) -> None:
        first, second = shards  # a.pdf with two pages of b.pdf, and its third
        with pytest.raises(StorageUnavailable):
            run.run_shard(first, faulty)
        outer, inner = (second, first) if repeat_first else (first, second)
        meanwhile = threading.Thread(target=run.run_shard, args=(inner, InProcess(encoder)))

        def let_it_end() -> None:
            meanwhile.start()
            meanwhile.join()

        busy = InProcess(encoder)
        busy.meanwhile = let_it_end
        run.run_shard(outer, busy)
        if not meanwhile.ident:  # nothing was left to be repeated
            let_it_end()

    report = ingest(folder, database, encoder, run_shards=interleaved, shard_pages=3)
    assert away.is_set()
    (document,) = [d for d in database.documents() if d.page_count == 3]
    assert (document.pages_stored, document.pages_failed) == (2, 1)
    assert document.revision == 2  # taken, and finished
    assert sorted(page for _, page in database.stored_pages([document.doc_id])) == [1, 3]
    assert [failure.page for failure in database.failures()] == [2]
    assert (report.documents_added, report.pages_added, report.pages_failed) == (2, 3, 1)
