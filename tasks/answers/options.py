"""How an answer is chosen: its pages and the places on them. Each part is told only its own."""

from __future__ import annotations

from dataclasses import dataclass

from patchlight.storage.records import RegionKind
from patchlight.tasks.grounding.records import GroundingOptions
from patchlight.tasks.grounding.selection import Selection
from patchlight.tasks.grounding.spanweights import SpanSignals
from patchlight.tasks.kernels.maxsim import QueryTokens, TokenAggregation
from patchlight.tasks.kernels.propagation import RegionAggregation
from patchlight.tasks.retrieval.ranking import RankingOptions


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

    @property
    def ranking(self) -> RankingOptions:
        """How pages are ranked."""
        return RankingOptions(self.top_pages, self.page_tokens)

    @property
    def grounding(self) -> GroundingOptions:
        """How regions are scored and chosen."""
        return GroundingOptions(
            top_regions=self.top_regions,
            selection=self.selection,
            region_aggregate=self.region_aggregate,
            token_aggregate=self.token_aggregate,
            kinds=self.kinds,
            region_tokens=self.region_tokens,
            span_signals=self.span_signals,
        )
