"""Ranking pages by MaxSim over stored vectors, and propagating their patches to regions.

Both steps read from a pinned snapshot and are plain functions, so that one question needs no
Ray and a batch can run them on workers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from storage.reader import PatchBatch, Snapshot, read_patches, read_regions
from storage.records import FloatArray, QueryEncoding, RegionKind
from tasks import geometry, maxsim, propagation, selection
from tasks.maxsim import QueryTokens, TokenAggregation
from tasks.propagation import RegionAggregation
from tasks.scope import Catalog, Positions
from tasks.selection import Selection

_PAGES_READ_AT_ONCE = 256
_SIMILARITIES_AT_ONCE = 32_000_000
"""Similarities held at once, in numbers of 4 bytes; bounds a worker's memory."""
WORDS_A_REGION = 3
"""Query tokens named for a region, at most."""


@dataclass(frozen=True, slots=True)
class RetrievalOptions:
    """How pages and regions are chosen.

    Attributes:
        top_pages: pages a query, at least 1.
        top_regions: regions a page at most, at least 1.
        selection: which regions of a page are returned.
        region_aggregate: how patches become a region's score.
        token_aggregate: how query tokens become a patch's score.
        kinds: kinds of regions that compete.
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
    """

    patch_row: int
    queries: tuple[QueryEncoding, ...]


@dataclass(frozen=True, slots=True)
class WordScore:
    """A token of the query, and what it gives a region.

    Attributes:
        index: of the token in the query.
        token: as the encoder writes it.
        score: its part of the region's score, above 0; docs/method.md has the formula.
    """

    index: int
    token: str
    score: float


@dataclass(frozen=True, slots=True)
class RegionHit:
    """A region returned for a page.

    Attributes:
        region_id: its key.
        kind: paragraph, line, ...
        box: x0, y0, x1, y1, fractions of the displayed page.
        text: what is written in it.
        score: propagated from the patches.
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
        tokens = _Tokens.of([queries[q] for q in asked], options.page_tokens)
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


def ground(
    snapshot: Snapshot, pages: Mapping[str, FoundPage], options: RetrievalOptions
) -> dict[str, list[PagePlaces]]:
    """Propagate the patches of found pages to their regions, select, and name the words.

    The vectors are read again: a ranking finds many more pages than are returned in the end,
    and their maps would have to be kept and sent.

    Args:
        snapshot: of the database.
        pages: page_id -> the page and its queries. The vectors of all are held at once.
        options: which regions, and how they are scored and chosen.

    Returns:
        page_id -> the places for each of its queries. They do not depend on the other pages and
        queries.
    """
    regions = _Regions(read_regions(snapshot, pages, options.kinds), list(pages))
    batch = read_patches(snapshot, [page.patch_row for page in pages.values()])
    return {
        page: _places(batch, number, found.queries, regions, options)
        for number, (page, found) in enumerate(pages.items())
    }


def _places(
    batch: PatchBatch,
    number: int,
    queries: Sequence[QueryEncoding],
    regions: _Regions,
    options: RetrievalOptions,
) -> list[PagePlaces]:
    """Find the places on a page of a batch for each of its queries."""
    grid = int(batch.rows[number]), int(batch.cols[number])
    own = slice(*batch.vector_offsets[[number, number + 1]])
    scales = None if batch.scales is None else batch.scales[own]
    vectors = maxsim.as_floats(batch.vectors[own], scales)
    cell_to_vector = batch.cell_to_vector[slice(*batch.cell_offsets[[number, number + 1]])]
    # A product a query, not one for all: so that a query's places do not depend on the others.
    asked = [_Tokens.of([query], options.region_tokens) for query in queries]
    by_token = [
        maxsim.token_scores(maxsim.similarities(vectors, tokens.vectors), tokens.weights)
        for tokens in asked
    ]
    maps = [
        maxsim.cell_scores(maxsim.patch_scores(scores, options.token_aggregate), cell_to_vector)
        for scores in by_token
    ]
    rows, boxes = regions.of(number)
    touched = geometry.touched_cells(boxes, *grid)
    how = options.region_aggregate
    region_scores = propagation.region_scores_from(np.stack(maps), touched, how)
    places = []
    for query, cells, tokens, scores in zip(queries, maps, by_token, region_scores, strict=True):
        chosen = selection.select(scores, options.selection)[: options.top_regions]
        shares = propagation.cell_shares(cells, touched, chosen, how)
        at = cell_to_vector[shares.cell]
        parts = propagation.region_parts(np.where(at[:, None] < 0, 0, tokens[at]), shares)
        words = _words(query, options.region_tokens, parts)
        found = [
            regions.hit(int(rows[i]), float(scores[i]), words_of)
            for i, words_of in zip(chosen, words, strict=True)
        ]
        places.append(PagePlaces(*grid, cells, tuple(found)))
    return places


def _words(
    query: QueryEncoding, which: QueryTokens, parts: NDArray[np.float64]
) -> list[tuple[WordScore, ...]]:
    """Name the tokens that carried regions, best first.

    Args:
        query: the query.
        which: tokens of it that count, c.
        parts: (R, c) what each of these gives each region.
    """
    index = np.flatnonzero(which.counted(query.meaning))
    order = np.argsort(-parts, axis=1, kind="stable")[:, :WORDS_A_REGION]
    return [
        tuple(
            WordScore(int(index[i]), query.tokens[index[i]], float(part[i]))
            for i in best
            if part[i] > 0
        )
        for part, best in zip(parts, order, strict=True)
    ]


class _Regions:
    """The regions of some pages.

    Args:
        table: of ``read_regions``.
        page_ids: the pages.
    """

    def __init__(self, table: pa.Table, page_ids: Sequence[str]) -> None:
        self._ids, self._kinds, self._texts = (
            table[name].to_pylist() for name in ("region_id", "kind", "text")
        )
        sides = [table[name].to_numpy().astype(np.float64) for name in ("x0", "y0", "x1", "y1")]
        self._boxes = np.stack(sides, axis=1)
        number = pc.index_in(table["page_id"], value_set=pa.array(page_ids, pa.string()))
        self._page = number.to_numpy()

    def of(self, page: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Return rows and boxes, (R, 4), of a page's regions in the order of the table."""
        rows = np.flatnonzero(self._page == page)
        return rows, self._boxes[rows]

    def hit(self, row: int, score: float, words: tuple[WordScore, ...]) -> RegionHit:
        """Return the region of a row with its score and words."""
        x0, y0, x1, y1 = self._boxes[row].tolist()
        return RegionHit(
            self._ids[row], self._kinds[row], (x0, y0, x1, y1), self._texts[row], score, words
        )


@dataclass(frozen=True, slots=True)
class _Tokens:
    """The tokens of queries that count, one query after the other."""

    vectors: FloatArray
    offsets: NDArray[np.int64]
    weights: FloatArray

    @classmethod
    def of(cls, queries: Sequence[QueryEncoding], which: QueryTokens) -> _Tokens:
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
    tokens: _Tokens,
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
