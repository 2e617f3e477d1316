"""How pages and places are chosen: what a batch, one question and an evaluation are all asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from patchlight.storage.records import RegionKind
from patchlight.tasks.grounding.selection import selection_of
from patchlight.tasks.grounding.spanweights import SpanSignals
from patchlight.tasks.kernels.maxsim import QueryTokens, TokenAggregation
from patchlight.tasks.kernels.propagation import RegionAggregation
from patchlight.tasks.requests.fields import Request, Shown

if TYPE_CHECKING:
    from patchlight.tasks.answers.options import RetrievalOptions

TopPages = Annotated[int, Field(ge=1, description="Pages returned for a query.")]


class RetrievalRequest(Request):
    """How pages and their places are chosen."""

    top_pages: TopPages = 10
    top_regions: int = Field(default=3, ge=1, description="Regions returned of a page, at most.")
    select: Annotated[str | None, Shown(usual="spans")] = Field(
        default=None,
        description="Which places of a page are returned: spans (those that answer, at the scale "
        "that fits; spans:0.2 returns more than the usual spans:0.5; with --kind line or cell "
        "single values), or of the blocks, or regions of --kind, percentile:P (keep scores of at "
        "least the P-th percentile, e.g. p50), adaptive (mean + standard deviation), max, "
        "top-k:N, or threshold:SCORE.",
    )
    aggregate: RegionAggregation = Field(
        default=RegionAggregation.MAX, description="How patch scores become a region's score."
    )
    token_aggregate: TokenAggregation = Field(
        default=TokenAggregation.MEAN, description="How query tokens become a patch's score."
    )
    page_tokens: QueryTokens = Field(
        default=QueryTokens.ALL,
        description="Query tokens that rank pages: all, or those that carry meaning (no prompt, "
        "no padding).",
    )
    region_tokens: QueryTokens = Field(
        default=QueryTokens.MEANING,
        description="Query tokens that score regions: all, or those with meaning.",
    )
    span_signals: SpanSignals = Field(
        default=SpanSignals.ALL,
        description="What spans are chosen by: all (the question's words, patch scores and "
        "place), visual (without the words), words (without the patch scores), or layout (place "
        "alone).",
    )
    kind: Annotated[list[RegionKind] | None, Shown(usual="all of spans")] = Field(
        default=None,
        description="Kind of region that is returned; may be repeated. line and cell look for a "
        "single value, such as an amount or a name.",
    )

    def options(self) -> RetrievalOptions:
        """Return what this stands for.

        Raises:
            SelectionError: the selection is unknown, or its value out of range.
        """
        # It opens the database's libraries, which the command line does without.
        from patchlight.tasks.answers.options import RetrievalOptions

        return RetrievalOptions(
            top_pages=self.top_pages,
            top_regions=self.top_regions,
            selection=selection_of(self.select, self.top_regions, self.kind or ()),
            region_aggregate=self.aggregate,
            token_aggregate=self.token_aggregate,
            kinds=tuple(self.kind or ()),
            page_tokens=self.page_tokens,
            region_tokens=self.region_tokens,
            span_signals=self.span_signals,
        )
