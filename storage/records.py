"""The records that patchlight stores and passes between its parts.

Coordinates: every box in every table and output is in **fractions of the displayed page**
(rotation and crop applied), ``x0, y0, x1, y1``, origin top left, each value in [0, 1].
Points and pixels are derived where they are needed and named so (``box_pt``, ``box_px``).
Page numbers are 1-based.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int32]
BoolArray = NDArray[np.bool_]


class RegionKind(StrEnum):
    """What a region is; docs/data-model.md says what each of them holds and belongs to."""

    WORD = "word"
    LINE = "line"
    PARAGRAPH = "paragraph"
    BLOCK = "block"
    PASSAGE = "passage"
    SECTION = "section"
    HEADING = "heading"
    CAPTION = "caption"
    FIGURE = "figure"
    PICTURE = "picture"
    DRAWING = "drawing"
    TABLE = "table"
    EXHIBIT = "exhibit"
    ROW = "row"
    COLUMN = "column"
    CELL = "cell"
    EQUATION = "equation"
    HEADER = "header"
    FOOTER = "footer"


class WordsSource(StrEnum):
    """Where a page's words came from."""

    TEXT_LAYER = "text_layer"
    OCR = "ocr"
    NONE = "none"


class DocumentStatus(StrEnum):
    """State of a document; only ``complete`` and ``partial`` ones are visible to queries."""

    COMPLETE = "complete"
    PARTIAL = "partial"
    """Complete but for pages that are rows in ``failures``."""
    FAILED = "failed"
    """Not one page could be done."""
    UNFINISHED = "unfinished"
    """In work by the run that ``run_id`` names, or left by it when it was cut off."""


VISIBLE = (DocumentStatus.COMPLETE, DocumentStatus.PARTIAL)


@dataclass(frozen=True, slots=True)
class Word:
    """One word and its box.

    Attributes:
        text: the word as written, no white space, never empty.
        x0, y0, x1, y1: fractions of the displayed page, origin top left.
        confidence: 0..1; 1.0 for a word of a PDF text layer.
    """

    text: str
    x0: float
    y0: float
    x1: float
    y1: float
    confidence: float = 1.0


@dataclass(frozen=True, slots=True)
class PageEncoding:
    """A page as patch vectors on an exact grid.

    Cell (r, c) of the grid covers ``[c/cols, (c+1)/cols] x [r/rows, (r+1)/rows]`` of the
    displayed page and has index ``r * cols + c``.

    Attributes:
        rows, cols: shape of the patch grid, each at least 1.
        vectors: (n, dim) float32, unit length. Several cells may share one vector; a vector
            no cell points to counts for the page's score only. n may be 0 (a blank page).
        cell_to_vector: (rows * cols,) int32, row of ``vectors`` for each cell, -1 for a cell
            without one.
    """

    rows: int
    cols: int
    vectors: FloatArray
    cell_to_vector: IntArray

    def __post_init__(self) -> None:
        cells, n = self.rows * self.cols, len(self.vectors)
        if self.rows < 1 or self.cols < 1 or self.cell_to_vector.shape != (cells,):
            raise ValueError(
                f"a {self.rows} x {self.cols} grid needs a map of {cells} cells, "
                f"got {self.cell_to_vector.shape}"
            )
        if self.vectors.ndim != 2:
            raise ValueError(f"vectors must be (n, dim), got {self.vectors.shape}")
        if cells and (self.cell_to_vector.min() < -1 or self.cell_to_vector.max() >= n):
            raise ValueError(f"the cell map points outside the {n} vectors of the page")
        if not np.isfinite(self.vectors).all():
            raise ValueError("a patch vector holds a value that is not finite")


@dataclass(frozen=True, slots=True)
class QueryEncoding:
    """A query as token vectors.

    Attributes:
        tokens: the t tokens as text.
        vectors: (t, dim) float32, unit length.
        weights: (t,) float32 > 0, what a token's best match counts in the page score.
        meaning: (t,) bool, True for tokens that carry meaning; the others (prompt, padding,
            augmentation) count for the page's score but, by default, not for the region map.
    """

    tokens: tuple[str, ...]
    vectors: FloatArray
    weights: FloatArray
    meaning: BoolArray

    def __post_init__(self) -> None:
        t = len(self.tokens)
        if t == 0:
            raise ValueError("a query encoding needs at least one token")
        if len(self.vectors) != t or self.weights.shape != (t,) or self.meaning.shape != (t,):
            raise ValueError(
                f"{t} tokens, but vectors {self.vectors.shape}, weights {self.weights.shape}, "
                f"meaning {self.meaning.shape}"
            )
        if not self.meaning.any():
            raise ValueError("no token of the query carries meaning")
        if not (np.isfinite(self.vectors).all() and np.isfinite(self.weights).all()):
            raise ValueError("a query vector or weight is not finite")


@dataclass(frozen=True, slots=True)
class TermStatistics:
    """Corpus statistics that token weights are made from; a stored, versioned snapshot.

    Attributes:
        snapshot: id of the snapshot, named in every result that used it.
        n_pages: pages counted.
        document_frequency: term -> number of pages that hold it, each in [1, n_pages].
    """

    snapshot: str
    n_pages: int
    document_frequency: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class TermCounts:
    """What one document adds to the corpus statistics.

    Attributes:
        counts_id: key: the document, and what its pages were made with and counted by.
        doc_id: the document.
        n_pages: pages of it that are counted.
        counts: term -> number of its pages that hold it, at least 1.
    """

    counts_id: str
    doc_id: str
    n_pages: int
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class StatisticsStep:
    """A snapshot of the corpus statistics, as it is stored: what it changes.

    Attributes:
        revision: its place among the snapshots of the database, from 1.
        base: revision of the snapshot that holds all there was; its own if that is this one.
        n_pages: pages counted in all.
        counts: term -> change of the number of pages that hold it, or that number if this one
            holds all; empty as it is read without its terms.
        added: counts_ids of the documents that are counted from here on.
        removed: counts_ids of those that are no longer.
    """

    revision: int
    base: int
    n_pages: int
    counts: Mapping[str, int]
    added: tuple[str, ...]
    removed: tuple[str, ...]

    @property
    def snapshot(self) -> str:
        """Its name in results: eight digits of the revision."""
        return f"{self.revision:08d}"


@dataclass(frozen=True, slots=True)
class Source:
    """Where a document's bytes were found.

    Attributes:
        uri: absolute ``file://`` URI.
        name: the path given; for a file found in a folder, the folder as given and the path
            below it.
    """

    uri: str
    name: str


@dataclass(frozen=True, slots=True)
class Document:
    """One source file by content.

    Attributes:
        doc_id: SHA-256 of the bytes, 64 hexadecimal digits.
        status: see `DocumentStatus`.
        media_type: e.g. ``application/pdf``.
        bytes: size of the file.
        page_count: pages the file has.
        pages_stored, pages_failed: how they ended; their sum is ``page_count``.
        sources: where the bytes were found, first seen first; never empty.
        fingerprints: stage (render, words, regions, encoder) -> fingerprint.
        run_id: the run that is making it, or that made it.
        ingested_at: when it became visible, UTC.
        revision: raised by each change of its row; 0 for one that was never stored.
        changed_by: the run that changed its row last.
    """

    doc_id: str
    status: DocumentStatus
    media_type: str
    bytes: int
    page_count: int
    pages_stored: int
    pages_failed: int
    sources: tuple[Source, ...]
    fingerprints: Mapping[str, str]
    run_id: str
    ingested_at: datetime
    revision: int = 0
    changed_by: str = ""


@dataclass(frozen=True, slots=True)
class StoredPage:
    """What the row of a stored page says, without its regions and vectors.

    Attributes:
        width_pt, height_pt, rotation, words_source, ocr_dpi, text, fingerprints, scale: as in
            `storage.pages.Page`.
        n_words, n_regions, n_vectors: words, regions of all kinds, and patch vectors of it.
        page_key: what its regions, words and vectors are found by.
        rows, cols: shape of its patch grid.
        vector_bytes: what its vectors take, before any compression by the engine.
        words_ms, regions_ms, encoder_ms: what the stages took; None if that is not known.
    """

    width_pt: float
    height_pt: float
    rotation: int
    words_source: WordsSource
    ocr_dpi: int
    text: str
    fingerprints: Mapping[str, str]
    scale: float
    n_words: int
    n_regions: int
    n_vectors: int
    page_key: int
    rows: int
    cols: int
    vector_bytes: int
    words_ms: float | None
    regions_ms: float | None
    encoder_ms: float | None


@dataclass(frozen=True, slots=True)
class Failure:
    """A document or page that could not be done.

    Attributes:
        uri: the source's URI.
        doc_id: SHA-256 of the file, empty if it could not be read.
        page: 1-based; 0 for the document as a whole.
        stage: open, words, render or encode.
        category: one of ``tasks.common.errors.Category``.
        retryable: whether trying again without a change may help.
        message: what happened and what to do.
        attempts: how often it was tried.
        run_id: the run that tried last.
        failed_at: when, UTC.
    """

    uri: str
    doc_id: str
    page: int
    stage: str
    category: str
    retryable: bool
    message: str
    attempts: int
    run_id: str
    failed_at: datetime


@dataclass(frozen=True, slots=True)
class EncoderIdentity:
    """The encoder a database belongs to.

    Attributes:
        name: what loads it again: ``text-patch``, ``owner/name@<commit>`` of a hub, or the
            absolute path of a folder; an adapter's with ``+<owner/base>@<commit>`` of its base.
        fingerprint: everything its vectors depend on but the precision of the arithmetic.
            Encoders are the same when their fingerprints are, whatever their names.
        dim: length of a vector.
        visual_tokens: most patches a page is cut into; 0 where that is no choice.
    """

    name: str
    fingerprint: str
    dim: int
    visual_tokens: int = 0


class VectorType(StrEnum):
    """How one number of a stored patch vector is kept."""

    FLOAT16 = "float16"
    """2 bytes."""
    INT8 = "int8"
    """1 byte, times a scale that each vector has."""


@dataclass(frozen=True, slots=True)
class VectorForm:
    """What is stored of a page's patch vectors; a database has one form, set when it is made.

    Attributes:
        type: how a number is kept.
        pool: token pooling: patches of a page for each vector stored, 1 for no pooling. The map
            from cells to vectors keeps the grid exact.
        drop_blank: whether cells without ink are stored without a vector.
    """

    type: VectorType = VectorType.FLOAT16
    pool: int = 1
    drop_blank: bool = False

    def __post_init__(self) -> None:
        if self.pool < 1:
            raise ValueError(f"token pooling takes at least 1 patch a vector, got {self.pool}")

    def __str__(self) -> str:
        blank = "dropped" if self.drop_blank else "kept"
        return f"{self.type}, pool {self.pool}, blank cells {blank}"


@dataclass(frozen=True, slots=True)
class Run:
    """One run; the truth about runs when no Prefect server is at hand.

    Attributes:
        run_id: unique id.
        kind: ``ingest``, ``query``, ``evaluate``, ``delete`` or ``migrate``.
        status: running, completed, completed_with_failures, failed, or abandoned (its lease
            ran out).
        started_at: UTC, for people to read.
        ended_at: UTC, for people to read; None while it runs.
        parameters: the settings it ran with, JSON.
        summary: counts and times at its end, JSON.
        number: place among all runs in the order in which they began, from 1, given out by the
            database; 0 for one that never held a lease.
        host, pid: the machine and the process it runs in; empty and 0 if unknown.
        process: tells the process from a later one with the same pid; empty if unknown.
        heartbeat: how often it has renewed its lease.
        heartbeat_at: when it did last, UTC by the clock of its machine, for people to read; None
            for a run without a lease.
        lease_s: seconds without a new heartbeat, by the clock of who watches, after which it
            counts as dead; 0 for a run without a lease.
        pins: table -> version that it reads and that must be kept; empty for none.
    """

    run_id: str
    kind: str
    status: str
    started_at: datetime
    ended_at: datetime | None = None
    parameters: str = "{}"
    summary: str = "{}"
    number: int = 0
    host: str = ""
    pid: int = 0
    process: str = ""
    heartbeat: int = 0
    heartbeat_at: datetime | None = None
    lease_s: int = 0
    pins: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Retrieval:
    """One returned region of one query.

    A page that is returned without regions has one retrieval, with an empty ``region_id``.

    Attributes:
        run_id, query_id, query: which question.
        page_rank: 1-based rank of the page for the query.
        doc_id, source, page: which page; ``source`` is the document's URI.
        page_score: MaxSim of the page.
        width_pt, height_pt: size of the displayed page in points.
        region_rank: 1-based rank within the page; 0 when there is no region.
        region_id, kind, text, score: the region.
        x0, y0, x1, y1: its box in fractions of the displayed page.
        carried: the query row's other columns, JSON.
        metadata: what people gave to the document, JSON.
    """

    run_id: str
    query_id: str
    query: str
    page_rank: int
    doc_id: str
    source: str
    page: int
    page_score: float
    width_pt: float
    height_pt: float
    region_rank: int
    region_id: str
    kind: str
    text: str
    score: float
    x0: float
    y0: float
    x1: float
    y1: float
    carried: str = field(default="{}")
    metadata: str = field(default="{}")


def page_id(doc_id: str, page: int) -> str:
    """Key of a page: ``<doc_id>:<page, five digits at least>``, sorts by page."""
    return f"{doc_id}:{page:05d}"


def region_id(page: str, index: int) -> str:
    """Key of a region: ``<page_id>:<index, five digits at least>``."""
    return f"{page}:{index:05d}"


def failure_id(failure: Failure) -> str:
    """Key of a failure, 32 hexadecimal digits: the same for every attempt at the same thing."""
    what = (failure.doc_id if failure.page else failure.uri, str(failure.page))
    return hashlib.sha256("\0".join(what).encode(errors="surrogatepass")).hexdigest()[:32]


def retrieval_id(retrieval: Retrieval) -> str:
    """Key of a retrieval: ``<run_id>/<query_id>/<region_id, or page_id if there is no region>``."""
    place = retrieval.region_id or page_id(retrieval.doc_id, retrieval.page)
    return f"{retrieval.run_id}/{retrieval.query_id}/{place}"
