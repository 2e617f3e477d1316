"""What grounding is asked, and the places that it returns."""

from __future__ import annotations

from dataclasses import dataclass

from patchlight.storage.records import FloatArray, QueryEncoding, RegionKind
from patchlight.tasks.grounding.selection import Selection
from patchlight.tasks.grounding.spanweights import SpanSignals
from patchlight.tasks.kernels.maxsim import QueryTokens, TokenAggregation
from patchlight.tasks.kernels.propagation import RegionAggregation

USUAL_KINDS = (RegionKind.BLOCK,)
"""Regions that compete where no kinds are named, but for spans."""


@dataclass(frozen=True, slots=True)
class GroundingOptions:
    """How regions are scored and chosen.

    Attributes:
        top_regions: regions a page at most, at least 1.
        selection: which regions of a page are returned.
        region_aggregate: how patches become a region's score.
        token_aggregate: how query tokens become a patch's score.
        kinds: kinds of regions that compete; with none, spans are of all kinds that answer, and
            other selections choose among `USUAL_KINDS`.
        region_tokens: query tokens that score regions.
        span_signals: what spans are chosen by; counts with the selection ``spans`` only.
    """

    top_regions: int
    selection: Selection
    region_aggregate: RegionAggregation
    token_aggregate: TokenAggregation
    kinds: tuple[RegionKind, ...]
    region_tokens: QueryTokens = QueryTokens.MEANING
    span_signals: SpanSignals = SpanSignals.ALL


@dataclass(frozen=True, slots=True)
class FoundPage:
    """A page that queries found, with all that propagating it to its regions takes.

    Attributes:
        page_key: the catalog's, which the page's regions are found by.
        patch_row: the catalog's, which the page's vectors are read by.
        queries: those that found it.
        questions: the same as they were asked.
    """

    page_key: int
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
