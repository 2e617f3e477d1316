"""Ranking pages by MaxSim over stored vectors.

Reads from a pinned snapshot, and is plain functions, so that one question needs no Ray and a batch
can run them on workers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from patchlight.storage.reader import PatchBatch, Snapshot, read_patches
from patchlight.storage.records import FloatArray, QueryEncoding
from patchlight.tasks.kernels import maxsim
from patchlight.tasks.kernels.maxsim import CountedTokens, QueryTokens
from patchlight.tasks.retrieval.pageorder import best_pages, merge_top
from patchlight.tasks.retrieval.scope import Catalog, Positions

_PAGES_READ_AT_ONCE = 256
_SIMILARITIES_AT_ONCE = 32_000_000
"""Similarities held at once, in numbers of 4 bytes; bounds a worker's memory."""


@dataclass(frozen=True, slots=True)
class RankingOptions:
    """How pages are ranked.

    Attributes:
        top_pages: pages a query, at least 1.
        page_tokens: query tokens that rank pages.
    """

    top_pages: int
    page_tokens: QueryTokens = QueryTokens.ALL


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


Hits = list[list[PageHit]]
"""Best pages of each query of a block, best first."""


@dataclass(frozen=True, slots=True)
class PagesToRank:
    """Pages, by all that ranking them takes; small, as it is sent to workers.

    Attributes:
        positions: (n,) of the pages in the catalog, rising.
        patch_rows: (n,) where their vectors are.
    """

    positions: Positions
    patch_rows: Positions

    @classmethod
    def of(cls, catalog: Catalog, positions: Positions) -> PagesToRank:
        """Take some pages from the catalog; positions are rising."""
        return cls(positions, catalog.patch_rows[positions])


def read_pages(snapshot: Snapshot, pages: PagesToRank) -> Iterator[tuple[Positions, PatchBatch]]:
    """Yield the vectors of pages, a bounded number of pages at a time.

    Args:
        snapshot: of the database.
        pages: the pages to read.
    """
    for start in range(0, len(pages.positions), _PAGES_READ_AT_ONCE):
        chunk = slice(start, start + _PAGES_READ_AT_ONCE)
        yield pages.positions[chunk], read_patches(snapshot, pages.patch_rows[chunk])


def rank_pages(
    pages: Iterable[tuple[Positions, PatchBatch]],
    queries: Sequence[QueryEncoding],
    scopes: Sequence[Positions | None],
    options: RankingOptions,
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
    pages: PagesToRank,
    queries: Sequence[QueryEncoding],
    scopes: Sequence[Positions | None],
    options: RankingOptions,
) -> Hits:
    """Read pages and rank them; what a worker does. See ``read_pages`` and ``rank_pages``."""
    return rank_pages(read_pages(snapshot, pages), queries, scopes, options)


def merge_hits(parts: Sequence[Hits], top_pages: int) -> Hits:
    """Merge the best pages that several calls of ``rank_pages`` found for the same queries."""
    merged: Hits = []
    for lists in zip(*parts, strict=True):
        hits = [hit for part in lists for hit in part]
        order = merge_top([h.score for h in hits], [h.page_id for h in hits], top_pages)
        merged.append([hits[i] for i in order])
    return merged


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
        for page in best_pages(scores, top_pages)
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
