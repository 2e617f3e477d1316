"""Ranking pages by MaxSim over stored vectors, and propagating their patches to regions.

Both steps read from a pinned snapshot and are plain functions, so that one question needs no
Ray and a batch can run them on workers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from storage.reader import PatchBatch, Snapshot, read_patches, read_regions
from storage.records import FloatArray, QueryEncoding, RegionKind
from tasks import maxsim, propagation, selection
from tasks.maxsim import TokenAggregation
from tasks.propagation import RegionAggregation
from tasks.scope import Catalog, Positions
from tasks.selection import Selection

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
        kinds: kinds of regions that compete.
    """

    top_pages: int
    top_regions: int
    selection: Selection
    region_aggregate: RegionAggregation
    token_aggregate: TokenAggregation
    kinds: tuple[RegionKind, ...]


@dataclass(frozen=True, slots=True)
class PageHit:
    """A page found for a query.

    Attributes:
        position: of the page in the catalog.
        page_id: its key.
        score: MaxSim.
        rows, cols: its patch grid.
        cell_scores: (rows * cols,) float32, score of each cell for this query.
    """

    position: int
    page_id: str
    score: float
    rows: int
    cols: int
    cell_scores: FloatArray


@dataclass(frozen=True, slots=True)
class RegionHit:
    """A region returned for a page.

    Attributes:
        region_id: its key.
        kind: paragraph, line, ...
        box: x0, y0, x1, y1, fractions of the displayed page.
        text: what is written in it.
        score: propagated from the patches.
    """

    region_id: str
    kind: str
    box: tuple[float, float, float, float]
    text: str
    score: float


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
        options: how many pages, and how tokens become a patch's score.

    Returns:
        For each query at most ``options.top_pages`` pages, best first, ties by page_id. Pages
        without vectors are never found.
    """
    best: Hits = [[] for _ in queries]
    for chunk, batch in pages:
        asked = [q for q, scope in enumerate(scopes) if _meets(scope, chunk)]
        if not asked:
            continue
        tokens = _Tokens.of([queries[q] for q in asked])
        for first, last in _parts(batch, len(tokens.weights)):
            found = _rank_part(batch, first, last, chunk, tokens)
            for column, q in enumerate(asked):
                _take_best(best[q], found, column, scopes[q], queries[q], options)
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
    snapshot: Snapshot, hits: Mapping[str, Sequence[PageHit]], options: RetrievalOptions
) -> dict[str, list[list[RegionHit]]]:
    """Propagate the patches of found pages to their regions, and select.

    Args:
        snapshot: of the database.
        hits: page_id -> the hits on it, one a query that found it.
        options: which regions, and how they are scored and chosen.

    Returns:
        page_id -> for each of its hits the regions returned, best first.
    """
    table = read_regions(snapshot, hits, options.kinds)
    columns = {name: table[name].to_pylist() for name in ("page_id", "region_id", "kind", "text")}
    boxes = np.stack([table[name].to_numpy() for name in ("x0", "y0", "x1", "y1")], axis=1)
    members: dict[str, list[int]] = {page: [] for page in hits}
    for row, page in enumerate(columns["page_id"]):
        members[page].append(row)
    results: dict[str, list[list[RegionHit]]] = {}
    for page, found in hits.items():
        rows = members[page]
        scores = propagation.region_scores_many(
            np.stack([hit.cell_scores for hit in found]),
            boxes[rows].astype(np.float64).reshape(-1, 4),
            found[0].rows,
            found[0].cols,
            options.region_aggregate,
        )
        results[page] = [
            [
                RegionHit(
                    columns["region_id"][rows[i]],
                    columns["kind"][rows[i]],
                    (
                        float(boxes[rows[i], 0]),
                        float(boxes[rows[i], 1]),
                        float(boxes[rows[i], 2]),
                        float(boxes[rows[i], 3]),
                    ),
                    columns["text"][rows[i]],
                    float(query_scores[i]),
                )
                for i in selection.select(query_scores, options.selection)[: options.top_regions]
            ]
            for query_scores in scores
        ]
    return results


@dataclass(frozen=True, slots=True)
class _Tokens:
    """The tokens of several queries, one after the other."""

    vectors: FloatArray
    offsets: NDArray[np.int64]
    weights: FloatArray

    @classmethod
    def of(cls, queries: Sequence[QueryEncoding]) -> _Tokens:
        return cls(
            np.concatenate([q.vectors for q in queries]),
            np.concatenate([[0], np.cumsum([len(q.tokens) for q in queries])]),
            np.concatenate([q.weights for q in queries]),
        )


@dataclass(frozen=True, slots=True)
class _Part:
    """Scores of a few pages for the queries that asked for them."""

    batch: PatchBatch
    first: int
    positions: Positions
    similarity: FloatArray
    token_offsets: NDArray[np.int64]
    scores: FloatArray


def _rank_part(
    batch: PatchBatch,
    first: int,
    last: int,
    chunk: Positions,
    tokens: _Tokens,
) -> _Part:
    offsets = batch.vector_offsets[first : last + 1]
    similarity = maxsim.similarities(batch.vectors[offsets[0] : offsets[-1]], tokens.vectors)
    scores = maxsim.page_scores_from(
        similarity, offsets - offsets[0], tokens.offsets, tokens.weights
    )
    return _Part(batch, first, chunk[first:last], similarity, tokens.offsets, scores)


def _take_best(
    best: list[PageHit],
    part: _Part,
    column: int,
    scope: Positions | None,
    query: QueryEncoding,
    options: RetrievalOptions,
) -> None:
    """Put a part's best pages among a query's best so far."""
    scores = part.scores[:, column]
    if scope is not None:
        scores = np.where(np.isin(part.positions, scope), scores, -np.inf)
    if len(best) == options.top_pages and scores.max(initial=-np.inf) < best[-1].score:
        return
    new = [
        _hit(part, int(page), column, float(scores[page]), query, options)
        for page in selection.top_pages(scores, options.top_pages)
        if len(best) < options.top_pages or scores[page] >= best[-1].score
    ]
    best.extend(new)
    best.sort(key=lambda hit: (-hit.score, hit.page_id))
    del best[options.top_pages :]


def _hit(
    part: _Part,
    page: int,
    column: int,
    score: float,
    query: QueryEncoding,
    options: RetrievalOptions,
) -> PageHit:
    batch, number = part.batch, part.first + page
    base = batch.vector_offsets[part.first]
    vectors = slice(batch.vector_offsets[number] - base, batch.vector_offsets[number + 1] - base)
    columns = slice(part.token_offsets[column], part.token_offsets[column + 1])
    patches = maxsim.patch_scores(
        part.similarity[vectors, columns], query.weights, query.meaning, options.token_aggregate
    )
    cells = slice(batch.cell_offsets[number], batch.cell_offsets[number + 1])
    return PageHit(
        position=int(part.positions[page]),
        page_id=batch.page_ids[number],
        score=score,
        rows=int(batch.rows[number]),
        cols=int(batch.cols[number]),
        cell_scores=maxsim.cell_scores(patches, batch.cell_to_vector[cells]),
    )


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
