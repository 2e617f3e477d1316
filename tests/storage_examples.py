"""Small records for the tests of the storage layer."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import numpy as np

from patchlight.storage import convert, reader, statistics
from patchlight.storage.committer import Committer
from patchlight.storage.convert import page_tables
from patchlight.storage.database import Database
from patchlight.storage.pages import Page
from patchlight.storage.records import (
    Document,
    DocumentStatus,
    EncoderIdentity,
    Failure,
    PageEncoding,
    RegionKind,
    Retrieval,
    Run,
    Source,
    StatisticsStep,
    StoredPage,
    WordsSource,
    page_id,
    region_id,
)
from patchlight.storage.schema import STAGES, Table
from tests.region_examples import Region, record_of

DIM = 8
ENCODER = EncoderIdentity("text-patch", "0123456789abcdef" * 4, DIM)
NOW = datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=UTC)


def doc_id(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def made_with(fingerprint: str) -> dict[str, str]:
    """Fingerprints of a page or document, the same for all stages."""
    return dict.fromkeys(STAGES, fingerprint)


def page(doc: str, number: int, words: int = 3, vectors: int = 4, fingerprint: str = "one") -> Page:
    """A page of one line of words; its vectors depend on document and number only."""
    rng = np.random.default_rng([number, int(doc_id(doc)[:8], 16)])
    texts = [f"{doc}-{number}-{i}" for i in range(words)]
    line = Region(words, RegionKind.LINE, -1, 0, 0, 0, 1, 0.5, " ".join(texts), 1.0)
    each = [
        Region(i, RegionKind.WORD, words, i, i / words, 0, (i + 1) / words, 0.5, text, 1.0)
        for i, text in enumerate(texts)
    ]
    return Page(
        doc_id=doc_id(doc),
        page=number,
        width_pt=612.0,
        height_pt=792.0,
        rotation=0,
        words_source=WordsSource.TEXT_LAYER if words else WordsSource.NONE,
        ocr_dpi=0,
        text=" ".join(texts),
        fingerprints=made_with(fingerprint),
        regions=record_of([*each, line] if words else ()),
        encoding=PageEncoding(
            rows=2,
            cols=3,
            vectors=rng.standard_normal((vectors, DIM)).astype(np.float32),
            cell_to_vector=np.arange(6, dtype=np.int32) % vectors
            if vectors
            else np.full(6, -1, np.int32),
        ),
    )


def stored_page(
    page: Page, n_words: int, n_regions: int, n_vectors: int, page_key: int = 1
) -> StoredPage:
    """What is to be read of a page that was stored."""
    return StoredPage(
        width_pt=page.width_pt,
        height_pt=page.height_pt,
        rotation=page.rotation,
        words_source=page.words_source,
        ocr_dpi=page.ocr_dpi,
        text=page.text,
        fingerprints=page.fingerprints,
        scale=page.scale,
        n_words=n_words,
        n_regions=n_regions,
        n_vectors=n_vectors,
        page_key=page_key,
        rows=2,
        cols=3,
        vector_bytes=2 * DIM * n_vectors,
        words_ms=None,
        regions_ms=None,
        encoder_ms=None,
    )


def document(name: str, pages: int, status: DocumentStatus = DocumentStatus.COMPLETE) -> Document:
    return Document(
        doc_id=doc_id(name),
        status=status,
        media_type="application/pdf",
        bytes=1000,
        page_count=pages,
        pages_stored=pages,
        pages_failed=0,
        sources=(Source(f"file:///{name}", name),),
        fingerprints={"render": "r1", "encoder": ENCODER.fingerprint},
        run_id="run",
        ingested_at=NOW,
    )


def failure(uri: str = "file:///a", page: int = 1, message: str = "broken") -> Failure:
    return Failure(uri, doc_id("a"), page, "render", "corrupt", False, message, 1, "run", NOW)


def retrieval(run: str, query: str, index: int = 0, score: float = 0.5) -> Retrieval:
    return Retrieval(
        run_id=run,
        query_id=query,
        query="what?",
        page_rank=1,
        doc_id=doc_id("a"),
        source="file:///a",
        page=1,
        page_score=1.5,
        width_pt=612.0,
        height_pt=792.0,
        region_rank=index + 1,
        region_id=region_id(page_id(doc_id("a"), 1), index),
        kind="word",
        text="x",
        score=score,
        x0=0.0,
        y0=0.0,
        x1=0.5,
        y1=0.5,
    )


def put(committer: Committer, *documents: Document) -> None:
    """Store documents, whatever was stored of them."""
    new = {document.doc_id: document for document in documents}
    committer.change_documents(new, lambda doc_id, _: new[doc_id])


def fill(
    database: Database,
    name: str,
    pages: int,
    status: DocumentStatus = DocumentStatus.COMPLETE,
) -> list[str]:
    """Commit a document with its pages; returns their page_ids."""
    committer = Committer(database, "run")
    committer.commit_pages(page_tables([page(name, n) for n in range(1, pages + 1)], DIM))
    put(committer, document(name, pages, status))
    return [page_id(doc_id(name), n) for n in range(1, pages + 1)]


def put_statistics(committer: Committer, n_pages: int, counts: dict[str, int]) -> StatisticsStep:
    """Store a snapshot of the corpus statistics that adds to nothing; it is the latest."""
    database = committer._database
    last = statistics.newest(database)
    revision = 1 + (last.revision if last else 0)
    step = StatisticsStep(revision, revision, n_pages, counts, (), ())
    assert committer.commit_statistics(step)
    return step


def visible_texts(database: Database) -> list[str]:
    """Texts of all pages that queries see, sorted."""
    snapshot = database.snapshot()
    found = reader.catalog(snapshot)
    keys = dict(zip(found["page_id"].to_pylist(), found["page_key"].to_pylist(), strict=True))
    return sorted(reader.page_texts(snapshot, keys).values())


def put_run(committer: Committer, run: Run) -> None:
    """Store a run's row as it is, as no lease would."""
    committer._writer.upsert(Table.RUNS, convert.runs_table([run]))
