"""Ranking pages by MaxSim over stored vectors, and propagating their patches to regions.

Both steps read from a pinned snapshot and are plain functions, so that one question needs no
Ray and a batch can run them on workers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from storage.reader import PatchBatch, Snapshot, read_patches
from storage.records import FloatArray, QueryEncoding, RegionKind
from tasks.grounding import selection
from tasks.grounding.selection import Selection
from tasks.grounding.spanweights import SpanSignals
from tasks.kernels import maxsim
from tasks.kernels.maxsim import QueryTokens, TokenAggregation
from tasks.kernels.propagation import RegionAggregation
from tasks.retrieval.scope import Catalog, Positions

USUAL_KINDS = (RegionKind.BLOCK,)
"""Regions that compete where no kinds are named, but for spans."""

_PAGES_READ_AT_ONCE = 256
_SIMILARITIES_AT_ONCE = 32_000_000
"""Similarities held at once, in numbers of 4 bytes; bounds a worker's memory."""


@dataclass(frozen=True, slots=True)
class RetrievalOptions:
    """How pages and regions are chosen.

    Attributes:
        top_pages: pages a query, at least 1.
        top_regions: regions a page at most, at least 1.
        selection: which regions of a page are returned.
        region_aggregate: how patches become a region's score.
        token_aggregate: how query tokens become a patch's score.
        kinds: kinds of regions that compete; with none, spans are of all kinds that answer, and
            other selections choose among `USUAL_KINDS`.
        span_signals: what spans are chosen by; counts with the selection ``spans`` only.
        page_tokens: query tokens that rank pages.
        region_tokens: query tokens that score regions.
    """

    top_pages: int
    top_regions: int
    selection: Selection
    region_aggregate: RegionAggregation
    token_aggregate: TokenAggregation
    kinds: tuple[RegionKind, ...]
    page_tokens: QueryTokens = QueryTokens.ALL
    region_tokens: QueryTokens = QueryTokens.MEANING
    span_signals: SpanSignals = SpanSignals.ALL


@dataclass(frozen=True, slots=True)
class PageHit:
    """A page found for a query.

    Attributes:
        position: of the page in the catalog.
        page_id: its key.
        score: MaxSim.
    """

    position: int
    page_id: str
    score: float


@dataclass(frozen=True, slots=True)
class FoundPage:
    """A page that queries found, with all that propagating it to its regions takes.

    Attributes:
        patch_row: the catalog's, which the page's vectors are read by.
        queries: those that found it.
        questions: the same as they were asked.
    """

    patch_row: int
    queries: tuple[QueryEncoding, ...]
    questions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WordScore:
    """A token of the query, and what it gives a region.

    Attributes:
        index: of the token in the query.
        token: as the encoder writes it.
        score: what it gives the region, above 0; docs/method.md has the formulas.
    """

    index: int
    token: str
    score: float


@dataclass(frozen=True, slots=True)
class RegionHit:
    """A region returned for a page.

    Attributes:
        region_id: its key; for a span of several regions the first one's, and the others' numbers.
        kind: paragraph, line, ...; of a span of several, theirs.
        box: x0, y0, x1, y1, fractions of the displayed page.
        text: what is written in it.
        score: propagated from the patches; for spans the share of belief that it answers, 0..1.
        words: the query tokens that carried it, best first; at most ``WORDS_A_REGION``.
    """

    region_id: str
    kind: str
    box: tuple[float, float, float, float]
    text: str
    score: float
    words: tuple[WordScore, ...] = ()


@dataclass(frozen=True, slots=True)
class PagePlaces:
    """Where on a page a query is answered.

    Attributes:
        rows, cols: the page's patch grid.
        cell_scores: (rows * cols,) float32, score of each cell for the query.
        regions: those returned, best first.
    """

    rows: int
    cols: int
    cell_scores: FloatArray
    regions: tuple[RegionHit, ...]


Hits = list[list[PageHit]]
"""Best pages of each query of a block, best first."""


def read_pages(
    snapshot: Snapshot, catalog: Catalog, positions: Positions
) -> Iterator[tuple[Positions, PatchBatch]]:
    """Yield the vectors of pages, a bounded number of pages at a time.

    Args:
        snapshot: of the database.
        catalog: all pages that may be seen.
        positions: the pages to read, rising.
    """
    for start in range(0, len(positions), _PAGES_READ_AT_ONCE):
        chunk = positions[start : start + _PAGES_READ_AT_ONCE]
        yield chunk, read_patches(snapshot, catalog.patch_rows[chunk])


def rank_pages(
    pages: Iterable[tuple[Positions, PatchBatch]],
    queries: Sequence[QueryEncoding],
    scopes: Sequence[Positions | None],
    options: RetrievalOptions,
) -> Hits:
    """Find the best pages of each query; each page's vectors are used once for all of them.

    Args:
        pages: positions in the catalog, rising, with their vectors.
        queries: the queries of the block.
        scopes: for each query the positions it may look at, rising; None for all.
        options: how many pages, and which tokens count.

    Returns:
        For each query at most ``options.top_pages`` pages, best first, ties by page_id. Pages
        without vectors are never found.
    """
    best: Hits = [[] for _ in queries]
    for chunk, batch in pages:
        asked = [q for q, scope in enumerate(scopes) if _meets(scope, chunk)]
        if not asked:
            continue
        tokens = CountedTokens.of([queries[q] for q in asked], options.page_tokens)
        for first, last in _parts(batch, len(tokens.weights)):
            found = _rank_part(batch, first, last, chunk, tokens)
            for column, q in enumerate(asked):
                _take_best(best[q], found, column, scopes[q], options.top_pages)
    return best


def rank_stored_pages(
    snapshot: Snapshot,
    catalog: Catalog,
    positions: Positions,
    queries: Sequence[QueryEncoding],
    scopes: Sequence[Positions | None],
    options: RetrievalOptions,
) -> Hits:
    """Read pages and rank them; what a worker does. See ``read_pages`` and ``rank_pages``."""
    return rank_pages(read_pages(snapshot, catalog, positions), queries, scopes, options)


def merge_hits(parts: Sequence[Hits], top_pages: int) -> Hits:
    """Merge the best pages that several calls of ``rank_pages`` found for the same queries."""
    merged: Hits = []
    for lists in zip(*parts, strict=True):
        hits = [hit for part in lists for hit in part]
        order = selection.merge_top([h.score for h in hits], [h.page_id for h in hits], top_pages)
        merged.append([hits[i] for i in order])
    return merged


@dataclass(frozen=True, slots=True)
class CountedTokens:
    """The tokens of queries that count, one query after the other.

    Attributes:
        vectors: (T, dim) float32.
        offsets: (Q + 1,) where each query's begin.
        weights: (T,) float32.
    """

    vectors: FloatArray
    offsets: NDArray[np.int64]
    weights: FloatArray

    @classmethod
    def of(cls, queries: Sequence[QueryEncoding], which: QueryTokens) -> CountedTokens:
        """Take them from queries."""
        counted = [which.counted(q.meaning) for q in queries]
        return cls(
            np.concatenate([q.vectors[c] for q, c in zip(queries, counted, strict=True)]),
            np.concatenate([[0], np.cumsum([c.sum() for c in counted])]),
            np.concatenate([q.weights[c] for q, c in zip(queries, counted, strict=True)]),
        )


@dataclass(frozen=True, slots=True)
class _Part:
    """Scores of a few pages for the queries that asked for them."""

    positions: Positions
    page_ids: Sequence[str]
    scores: FloatArray


def _rank_part(
    batch: PatchBatch,
    first: int,
    last: int,
    chunk: Positions,
    tokens: CountedTokens,
) -> _Part:
    offsets = batch.vector_offsets[first : last + 1]
    own = slice(offsets[0], offsets[-1])
    scales = None if batch.scales is None else batch.scales[own]
    similarity = maxsim.similarities(batch.vectors[own], tokens.vectors, scales)
    scores = maxsim.page_scores_from(
        similarity, offsets - offsets[0], tokens.offsets, tokens.weights
    )
    return _Part(chunk[first:last], batch.page_ids[first:last], scores)


def _take_best(
    best: list[PageHit], part: _Part, column: int, scope: Positions | None, top_pages: int
) -> None:
    """Put a part's best pages among a query's best so far."""
    scores = part.scores[:, column]
    if scope is not None:
        scores = np.where(np.isin(part.positions, scope), scores, -np.inf)
    if len(best) == top_pages and scores.max(initial=-np.inf) < best[-1].score:
        return
    best.extend(
        PageHit(int(part.positions[page]), part.page_ids[page], float(scores[page]))
        for page in selection.top_pages(scores, top_pages)
    )
    best.sort(key=lambda hit: (-hit.score, hit.page_id))
    del best[top_pages:]


def _parts(batch: PatchBatch, tokens: int) -> Iterator[tuple[int, int]]:
    """Cut a batch into runs of pages whose similarities fit the bound; at least a page each."""
    most = max(1, _SIMILARITIES_AT_ONCE // max(1, tokens))
    first = 0
    while first < len(batch.page_ids):
        end = np.searchsorted(batch.vector_offsets, batch.vector_offsets[first] + most, "right")
        last = max(first + 1, int(end) - 1)
        yield first, last
        first = last


def _meets(scope: Positions | None, chunk: Positions) -> bool:
    """Whether a query may look at any of the pages."""
    if scope is None:
        return True
    at = np.searchsorted(scope, chunk[0])
    return bool(at < len(scope) and scope[at] <= chunk[-1])
