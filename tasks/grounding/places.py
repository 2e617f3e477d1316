"""From a page's patches to the places on it: its regions, or spans of them.

Reads from a pinned snapshot, and is plain functions, so that one question needs no Ray and a
batch can run them on workers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from patchlight.storage.reader import PatchBatch, Snapshot, read_patches, read_regions
from patchlight.storage.records import FloatArray, QueryEncoding, RegionKind, region_id
from patchlight.storage.regions import Regions
from patchlight.tasks.grounding import selection
from patchlight.tasks.grounding.evidence import Seen
from patchlight.tasks.grounding.questionwords import question_words
from patchlight.tasks.grounding.records import (
    USUAL_KINDS,
    FoundPage,
    GroundingOptions,
    PagePlaces,
    RegionHit,
    WordScore,
)
from patchlight.tasks.grounding.selection import SelectionRule
from patchlight.tasks.grounding.spans import COMPETING, VALUES
from patchlight.tasks.grounding.spansignals import PageSpans
from patchlight.tasks.grounding.spanweights import SpanSignals, choose_spans, span_scores
from patchlight.tasks.grounding.valuesignals import PageValues
from patchlight.tasks.grounding.valueweights import value_scores
from patchlight.tasks.kernels import geometry, maxsim, propagation
from patchlight.tasks.kernels.geometry import Doubles
from patchlight.tasks.kernels.maxsim import CountedTokens, QueryTokens

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
    kinds = None if as_spans else options.kinds or USUAL_KINDS
    keys = {page: found.page_key for page, found in pages.items()}
    regions = read_regions(snapshot, keys, kinds)
    batch = read_patches(snapshot, [page.patch_row for page in pages.values()])
    places = _spans if as_spans else _places
    return {
        page: places(
            page,
            regions[page],
            _PagePatches.of(batch, number, found, options),
            options,
        )
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
    page_id: str, regions: Regions, patches: _PagePatches, options: GroundingOptions
) -> list[PagePlaces]:
    """Propagate a page's patches to its regions, and select, for each of its queries."""
    touched = geometry.touched_cells(regions.boxes, *patches.grid)
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
            _hit(page_id, regions, (int(i),), float(scores[i]), words_of)
            for i, words_of in zip(chosen, words, strict=True)
        ]
        places.append(PagePlaces(*patches.grid, cells, tuple(found)))
    return places


def _spans(
    page_id: str, regions: Regions, patches: _PagePatches, options: GroundingOptions
) -> list[PagePlaces]:
    """Choose the spans of a page that answer each of its queries."""
    page, score = _candidates(regions, options.kinds)
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
            _hit(page_id, regions, page.spans.members[i], float(scores[i]), words_of)
            for i, words_of in zip(chosen, words, strict=True)
        ]
        places.append(PagePlaces(*patches.grid, cells, tuple(found)))
    return places


def _candidates(
    regions: Regions, kinds: Sequence[RegionKind]
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


def _hit(
    page_id: str,
    regions: Regions,
    rows: Sequence[int],
    score: float,
    words: tuple[WordScore, ...],
) -> RegionHit:
    """Return the place that some regions of a page make together, in reading order.

    Its key is theirs, joined by ``+``.
    """
    x0, y0, x1, y1 = geometry.hull(regions.boxes[list(rows)]).tolist()
    index = [int(regions.index[row]) for row in rows]
    key = "+".join([region_id(page_id, index[0]), *(f"{number:05d}" for number in index[1:])])
    text = "\n".join(regions.texts[row] for row in rows)
    return RegionHit(key, regions.kind(rows[0]).value, (x0, y0, x1, y1), text, score, words)
