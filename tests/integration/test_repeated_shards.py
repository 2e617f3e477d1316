"""A shard that is repeated because the database was away: no page and no document twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from patchlight.storage.database import Database
from patchlight.storage.errors import StorageUnavailable
from patchlight.storage.records import DocumentStatus
from patchlight.tasks.encoders.protocol import Encoder
from patchlight.tasks.ingest.ingestrun import IngestRun
from patchlight.tasks.reading.shardplan import Shard
from tests.ingest_examples import InProcess, away_at, fails, ingest, texts, write


def test_a_repeated_shard_finishes_what_the_first_attempt_could_not(
    folder: Path, database: Database, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder / "a.pdf", "apples", "bananas")
    away_at(monkeypatch, 2)  # the document is taken, and now finished

    def with_retries(run: IngestRun, shards: list[Shard], pool: Any) -> None:
        for shard in shards:
            try:
                run.run_shard(shard, pool)
            except StorageUnavailable:
                run.run_shard(shard, pool)

    report = ingest(folder, database, encoder, run_shards=with_retries)
    assert (report.documents_added, report.pages_added) == (1, 2)
    assert [d.status for d in database.documents()] == [DocumentStatus.COMPLETE]


def test_a_repeated_shard_counts_each_document_once_and_takes_old_ones_out_of_sight(
    folder: Path, database: Database, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database is away after the rows of the new documents were written."""
    for name in ("a", "b"):
        write(folder / f"{name}.pdf", f"old {name}")
    ingest(folder, database, encoder)
    for name in ("a", "b"):
        write(folder / f"{name}.pdf", f"new {name}")
    away_at(monkeypatch, 3)  # taken, finished, and now their places taken from the old ones
    pool = InProcess(encoder)

    def with_a_retry(run: IngestRun, shards: list[Shard], pool: Any) -> None:
        (shard,) = shards
        with pytest.raises(StorageUnavailable):
            run.run_shard(shard, pool)
        run.run_shard(shard, pool)

    report = ingest(folder, database, encoder, pool=pool, run_shards=with_a_retry, shard_pages=2)
    assert (report.documents_added, report.documents_unchanged, report.pages_added) == (2, 0, 2)
    assert len(pool.work) == 2  # no page is done twice
    assert sorted(t for texts in database.page_texts() for t in texts) == ["new a", "new b"]
    states = sorted(document.status for document in database.documents())
    assert states == [DocumentStatus.COMPLETE] * 2 + [DocumentStatus.REPLACED] * 2


def test_a_shard_that_is_repeated_keeps_what_it_stored(
    folder: Path, database: Database, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database is away when the document is to be finished; then the page would fail."""
    write(folder / "a.pdf", "apples")
    away_at(monkeypatch, 2)
    pool = InProcess(encoder)

    def with_a_retry(run: IngestRun, shards: list[Shard], pool: Any) -> None:
        for shard in shards:
            with pytest.raises(StorageUnavailable):
                run.run_shard(shard, pool)
            run.run_shard(shard, InProcess(encoder, fails(1, retryable=True)))

    report = ingest(folder, database, encoder, pool=pool, run_shards=with_a_retry)
    assert (report.pages_added, report.pages_failed, report.failures) == (1, 0, [])
    assert texts(database) == ["apples"] and database.failures() == []
