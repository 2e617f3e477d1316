"""From a page's patches to the places on it: its regions, or spans of them.

Reads from a pinned snapshot, and is plain functions, so that one question needs no Ray and a
batch can run them on workers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from storage.reader import PatchBatch, Snapshot, read_patches, read_regions
from storage.records import FloatArray, QueryEncoding, RegionKind
from tasks.grounding import selection
from tasks.grounding.evidence import Seen
from tasks.grounding.pageregions import PageRegions
from tasks.grounding.questionwords import question_words
from tasks.grounding.records import (
    USUAL_KINDS,
    FoundPage,
    GroundingOptions,
    PagePlaces,
    RegionHit,
    WordScore,
)
from tasks.grounding.selection import SelectionRule
from tasks.grounding.spans import COMPETING, VALUES
from tasks.grounding.spansignals import PageSpans
from tasks.grounding.spanweights import SpanSignals, choose_spans, span_scores
from tasks.grounding.valuesignals import PageValues
from tasks.grounding.valueweights import value_scores
from tasks.kernels import geometry, maxsim, propagation
from tasks.kernels.geometry import Doubles
from tasks.kernels.maxsim import CountedTokens, QueryTokens

WORDS_A_REGION = 3
"""Query tokens named for a region, at most."""


def ground(
    snapshot: Snapshot, pages: Mapping[str, FoundPage], options: GroundingOptions
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
    as_spans = options.selection.rule is SelectionRule.SPANS
    regions = RegionTable(
        read_regions(snapshot, pages, None if as_spans else options.kinds or USUAL_KINDS),
        list(pages),
    )
    batch = read_patches(snapshot, [page.patch_row for page in pages.values()])
    places = _spans if as_spans else _places
    return {
        page: places(_PagePatches.of(batch, number, found, options), number, regions, options)
        for number, (page, found) in enumerate(pages.items())
    }


@dataclass(frozen=True, slots=True)
class _PagePatches:
    """What the patches of a page say to each of its queries.

    Attributes:
        found: the page's queries.
        grid: rows and columns.
        cell_to_vector: row of the vector of each cell, -1 for none.
        by_token: for each query (N, t) scores of the page's vectors.
        maps: for each query (cells,) scores of the cells.
    """

    found: FoundPage
    grid: tuple[int, int]
    cell_to_vector: NDArray[np.int32]
    by_token: list[FloatArray]
    maps: list[FloatArray]

    @classmethod
    def of(
        cls, batch: PatchBatch, number: int, found: FoundPage, options: GroundingOptions
    ) -> _PagePatches:
        own = slice(*batch.vector_offsets[[number, number + 1]])
        scales = None if batch.scales is None else batch.scales[own]
        vectors = maxsim.as_floats(batch.vectors[own], scales)
        cell_to_vector = batch.cell_to_vector[slice(*batch.cell_offsets[[number, number + 1]])]
        # A product a query, not one for all: so that its places do not depend on the others.
        asked = [CountedTokens.of([query], options.region_tokens) for query in found.queries]
        by_token = [
            maxsim.token_scores(maxsim.similarities(vectors, tokens.vectors), tokens.weights)
            for tokens in asked
        ]
        how = options.token_aggregate
        maps = [
            maxsim.cell_scores(maxsim.patch_scores(scores, how), cell_to_vector)
            for scores in by_token
        ]
        grid = int(batch.rows[number]), int(batch.cols[number])
        return cls(found, grid, cell_to_vector, by_token, maps)


def _places(
    patches: _PagePatches, number: int, regions: RegionTable, options: GroundingOptions
) -> list[PagePlaces]:
    """Propagate a page's patches to its regions, and select, for each of its queries."""
    rows, boxes = regions.of(number)
    touched = geometry.touched_cells(boxes, *patches.grid)
    how = options.region_aggregate
    region_scores = propagation.region_scores_from(np.stack(patches.maps), touched, how)
    places = []
    for query, cells, tokens, scores in zip(
        patches.found.queries, patches.maps, patches.by_token, region_scores, strict=True
    ):
        chosen = selection.select(scores, options.selection)[: options.top_regions]
        shares = propagation.cell_shares(cells, touched, chosen, how)
        at = patches.cell_to_vector[shares.cell]
        parts = propagation.region_parts(np.where(at[:, None] < 0, 0, tokens[at]), shares)
        words = _words(query, options.region_tokens, parts)
        found = [
            regions.hit(int(rows[i]), float(scores[i]), words_of)
            for i, words_of in zip(chosen, words, strict=True)
        ]
        places.append(PagePlaces(*patches.grid, cells, tuple(found)))
    return places


def _spans(
    patches: _PagePatches, number: int, regions: RegionTable, options: GroundingOptions
) -> list[PagePlaces]:
    """Choose the spans of a page that answer each of its queries."""
    rows, _ = regions.of(number)
    page, score = _candidates(regions.page(rows), options.kinds)
    ratio = options.selection.value or selection.USUAL_RATIO
    places = []
    for query, question, cells, tokens in zip(
        patches.found.queries, patches.found.questions, patches.maps, patches.by_token, strict=True
    ):
        weights = query.weights[options.region_tokens.counted(query.meaning)]
        seen = Seen(tokens, weights, patches.cell_to_vector, patches.grid)
        signals = page.signals(question_words(question), seen)
        scores = score(signals, options.span_signals)
        chosen = choose_spans(scores, page.spans.boxes, ratio, options.top_regions)
        words = _words(query, options.region_tokens, page.carried(chosen, seen))
        found = [
            regions.span(rows[list(page.spans.members[i])], float(scores[i]), words_of)
            for i, words_of in zip(chosen, words, strict=True)
        ]
        places.append(PagePlaces(*patches.grid, cells, tuple(found)))
    return places


def _candidates(
    regions: PageRegions, kinds: Sequence[RegionKind]
) -> tuple[PageSpans | PageValues, Callable[[Doubles, SpanSignals], Doubles]]:
    """Find what may be returned of a page, and how it is scored."""
    if kinds and all(kind in VALUES for kind in kinds):
        return PageValues(regions, kinds), value_scores
    return PageSpans(regions, kinds or COMPETING), span_scores


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


class RegionTable:
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
        self._order = table["reading_order"].to_numpy()
        self._confidence = table["confidence"].to_numpy().astype(np.float64)
        number = pc.index_in(table["page_id"], value_set=pa.array(page_ids, pa.string()))
        self._page = number.to_numpy()

    def of(self, page: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Return rows and boxes, (R, 4), of a page's regions in the order of the table."""
        rows = np.flatnonzero(self._page == page)
        return rows, self._boxes[rows]

    def page(self, rows: NDArray[np.intp]) -> PageRegions:
        """Return the regions of some rows, for finding spans among them."""
        return PageRegions(
            kinds=[RegionKind(self._kinds[row]) for row in rows],
            boxes=self._boxes[rows],
            order=self._order[rows].tolist(),
            confidence=self._confidence[rows],
            texts=[self._texts[row] for row in rows],
        )

    def span(self, rows: NDArray[np.intp], score: float, words: tuple[WordScore, ...]) -> RegionHit:
        """Return the span that regions make together; its key is theirs, joined by ``+``."""
        low, high = self._boxes[rows, :2].min(axis=0), self._boxes[rows, 2:].max(axis=0)
        (x0, y0), (x1, y1) = low.tolist(), high.tolist()
        first, *others = [self._ids[row] for row in rows]
        key = "+".join([first, *(other.rpartition(":")[2] for other in others)])
        text = "\n".join(self._texts[row] for row in rows)
        return RegionHit(key, self._kinds[rows[0]], (x0, y0, x1, y1), text, score, words)

    def hit(self, row: int, score: float, words: tuple[WordScore, ...]) -> RegionHit:
        """Return the region of a row with its score and words."""
        x0, y0, x1, y1 = self._boxes[row].tolist()
        return RegionHit(
            self._ids[row], self._kinds[row], (x0, y0, x1, y1), self._texts[row], score, words
        )
