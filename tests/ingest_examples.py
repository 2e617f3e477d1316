"""Ingest runs in this process: the real database and reading, without Ray and Prefect."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from patchlight.storage.committer import Committer
from patchlight.storage.database import Database
from patchlight.storage.errors import StorageUnavailable
from patchlight.storage.records import DocumentStatus
from patchlight.tasks.cluster.work import (
    encode,
    inputs_of,
    inspect_file,
    pack_shard,
    read_shard,
    recall_shard,
)
from patchlight.tasks.common.errors import Category, Fault, Stage
from patchlight.tasks.common.modes import LayoutMode, OcrMode
from patchlight.tasks.documents.passwords import password_for
from patchlight.tasks.documents.sources import expand
from patchlight.tasks.encoders.protocol import Encoder
from patchlight.tasks.ingest.ingestrun import IngestRun
from patchlight.tasks.ingest.metadatafile import read_metadata
from patchlight.tasks.ingest.progress import IngestReport
from patchlight.tasks.reading.fingerprints import Redo, Work
from patchlight.tasks.reading.messages import EncodedShard, ReadShard, StoredAs
from patchlight.tasks.reading.pages import ReadOptions
from patchlight.tasks.reading.shardplan import Shard
from tests import fixtures
from tests.storage_examples import visible_texts

OPTIONS = ReadOptions(OcrMode.NEVER, "eng", 200, "", 60, image_pixels=0, layout=LayoutMode.NEVER)


class InProcess:
    """Stands for the pool of Ray workers: the same work, in this process.

    Attributes:
        work: what was done of each page, in order.
        meanwhile: called while a shard is in work.
    """

    def __init__(self, encoder: Encoder, faulty: Mapping[int, Fault] | None = None) -> None:
        self._encoder = encoder
        self._faulty = faulty or {}
        self.work: list[Work] = []
        self.meanwhile: Callable[[], None] = lambda: None

    def process(self, shard: Shard, options: ReadOptions, stored_as: StoredAs) -> EncodedShard:
        self.work += [shard.work] * shard.page_count
        self.meanwhile()
        if shard.work.words:
            read = read_shard(shard, options)
        else:
            read = recall_shard(shard, options, stored_as)
        good = tuple(page for page in read.pages if page.page not in self._faulty)
        faults = {
            (page.doc_id, page.page): self._faulty[page.page]
            for page in read.pages
            if page.page in self._faulty
        }
        kept = ReadShard(good, {**read.faults, **faults})
        encoded = None
        if shard.work.encode:
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
    redo: Redo = Redo.MISSING,
    run_id: str = "run",
    shard_pages: int = 1,
    sync: bool = False,
    metadata: Path | None = None,
) -> IngestReport:
    given = expand([str(folder)])
    pool = pool or InProcess(encoder)
    with IngestRun.recorded(
        database,
        encoder.info,
        options,
        run_id,
        {},
        redo=redo,
        shard_pages=shard_pages,
        metadata=read_metadata(str(metadata)) if metadata else None,
    ) as run:
        inspected = [
            inspect_file(
                file,
                password_for(file.path, passwords or {}),
                options.limits,
                run.given_up_at(file.source),
            )
            for file in given.files
        ]
        planned = run.plan(inspected, given)
        before_shards()
        for shards in run.rounds(planned):
            if run_shards:
                run_shards(run, shards, pool)
            else:
                for shard in shards:
                    run.run_shard(shard, pool)
        return run.end(sync=sync)


def write(path: Path, *pages: str) -> None:
    fixtures.make_text_pdf(path, pages)


def texts(database: Database) -> list[str]:
    """Texts of all visible pages, sorted."""
    return visible_texts(database)


def states(database: Database) -> list[DocumentStatus]:
    """States of all documents, sorted."""
    return sorted(document.status for document in database.documents())


def fails(page: int, *, retryable: bool) -> dict[int, Fault]:
    """What makes `InProcess` fail at a page."""
    category = Category.TIMEOUT if retryable else Category.CORRUPT
    return {page: Fault(Stage.WORDS, category, retryable, f"a.pdf, page {page}: no")}


def away_at(
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    name: str = "change_documents",
    *,
    after: bool = False,
) -> threading.Event:
    """Let the database be away, once, as it is written.

    Args:
        monkeypatch: of the test.
        number: which call, from 1.
        name: of what method of `Committer`.
        after: whether what was to be written is there all the same.

    Returns:
        What is set when it was away.
    """
    real, calls, was_away = getattr(Committer, name), itertools.count(1), threading.Event()

    def away_once(*args: Any) -> Any:
        if next(calls) != number:
            return real(*args)
        if after:
            real(*args)
        was_away.set()
        raise StorageUnavailable("away for a moment")

    monkeypatch.setattr(Committer, name, away_once)
    return was_away
