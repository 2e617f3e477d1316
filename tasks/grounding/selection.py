"""Which regions of a page are returned. Every order is total.

Source of the rules: arXiv 2512.02660, section 3. Ties are broken by position, so that the same
input gives the same output.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from patchlight.storage.records import RegionKind
from patchlight.tasks.common.errors import NotFiniteError, SelectionError, ShapeError
from patchlight.tasks.grounding.spans import COMPETING, VALUES
from patchlight.tasks.kernels.geometry import Floats, Indices

CHOICES = (
    "spans or spans:RATIO, percentile:0..100 (or p50), adaptive, max, top-k:N, threshold:SCORE"
)
"""What `parse_selection` takes, as shown to users."""

USUAL_RATIO = 0.5
"""Of ``spans``: a lower one returns more of them, and fits questions with one answer less well."""

VALUE_RATIO = 1e-30
"""The same of lines and cells: three cost little, and the first is often not the right one."""

ROUNDING = 1e-12
"""Relative. Two scores lie exactly at mean + std; rounding must not throw the better one out."""


class SelectionRule(StrEnum):
    """How regions are chosen by their scores."""

    SPANS = "spans"
    """Spans that answer, see ``tasks.grounding.spanweights``; others below a part of the best are
    left out."""
    PERCENTILE = "percentile"
    """Scores of at least the given percentile of the page's scores (linear interpolation)."""
    ADAPTIVE = "adaptive"
    """Scores of at least mean + population standard deviation."""
    MAX = "max"
    """The best region only."""
    TOP_K = "top-k"
    """The given number of best regions."""
    THRESHOLD = "threshold"
    """Scores of at least the given value."""


@dataclass(frozen=True, slots=True)
class Selection:
    """A rule with its value; ``str()`` of it is what `parse_selection` reads.

    Attributes:
        rule: how regions are chosen.
        value: percentile in [0, 100], number of regions (a whole number, at least 1), lowest
            score, or for spans the least part of the best score, in (0, 1]; None for the rules
            that take none.
    """

    rule: SelectionRule
    value: float | None = None

    def __post_init__(self) -> None:
        value = self.value
        if self.rule in (SelectionRule.ADAPTIVE, SelectionRule.MAX):
            if value is not None:
                raise SelectionError(f"{self.rule} takes no value, got {value}")
            return
        if value is None or not math.isfinite(value):
            raise SelectionError(f"{self.rule} needs a number, e.g. {CHOICES}")
        if self.rule is SelectionRule.SPANS and not 0 < value <= 1:
            raise SelectionError(f"spans takes a ratio above 0 and up to 1, got {value:g}")
        if self.rule is SelectionRule.PERCENTILE and not 0 <= value <= 100:
            raise SelectionError(f"a percentile is in 0..100, got {value:g}")
        if self.rule is SelectionRule.TOP_K and (value < 1 or value != int(value)):
            raise SelectionError(f"top-k takes a whole number of at least 1, got {value:g}")

    def __str__(self) -> str:
        if self.value is None:
            return self.rule.value
        number = int(self.value) if self.value == int(self.value) else self.value
        return f"{self.rule.value}:{number}"


def parse_selection(text: str) -> Selection:
    """Read a selection as users write it: ``p50``, ``percentile:50``, ``top-k:5``, ``max``...

    Args:
        text: one of `CHOICES`; case and surrounding white space do not matter.

    Raises:
        SelectionError: the rule is unknown, or its value missing or out of range.
    """
    name, colon, number = text.strip().lower().partition(":")
    short = re.fullmatch(r"p(\d+(?:\.\d+)?)", name)
    if short and not colon:
        name, colon, number = SelectionRule.PERCENTILE.value, ":", short[1]
    if name not in {rule.value for rule in SelectionRule}:
        raise SelectionError(f"unknown selection {text!r}; choose one of {CHOICES}")
    if not colon:
        rule = SelectionRule(name)
        return Selection(rule, USUAL_RATIO if rule is SelectionRule.SPANS else None)
    try:
        value = float(number)
    except ValueError as error:
        raise SelectionError(
            f"{number!r} in selection {text!r} is not a number; choose one of {CHOICES}"
        ) from error
    return Selection(SelectionRule(name), value)


def selection_of(text: str | None, regions: int, kinds: Collection[RegionKind]) -> Selection:
    """Return the selection that is asked for.

    Args:
        text: as `parse_selection` takes it; None for the default: spans, or where the kinds that
            are named are not all of spans or all of values, the best regions of these.
        regions: how many the latter are.
        kinds: of regions that are named; none for all that spans are of.

    Raises:
        SelectionError: as `parse_selection`; or spans are asked for of kinds that are neither all
            of spans nor all of values.
    """
    values = bool(kinds) and all(kind in VALUES for kind in kinds)
    fits = values or all(kind in COMPETING for kind in kinds)
    if text is None and not fits:
        return Selection(SelectionRule.TOP_K, regions)
    if text is None and values:
        return Selection(SelectionRule.SPANS, VALUE_RATIO)
    chosen = parse_selection(SelectionRule.SPANS.value if text is None else text)
    if chosen.rule is SelectionRule.SPANS and not fits:
        raise SelectionError(
            f"spans are either of {_names(VALUES)}, or of {_names(COMPETING)}; name kinds of one "
            "of these, or choose top-k"
        )
    return chosen


def _names(kinds: Collection[RegionKind]) -> str:
    return ", ".join(kind.value for kind in kinds)


def select(scores: Floats, selection: Selection) -> Indices:
    """Choose regions of one page.

    Percentile, max and top-k choose at least one of the regions there are. Adaptive follows its
    formula: equal scores have deviation 0 and are all kept, and a page whose best score lies
    below mean + std (one region far below many equal ones) gets none. Threshold may choose none.

    Args:
        scores: (R,) finite scores of the page's regions; R may be 0.
        selection: the rule, any but ``spans``, which no score of a region alone decides.

    Returns:
        Indices into `scores`, best score first, ties by index.

    Raises:
        ShapeError: `scores` is not one-dimensional.
        NotFiniteError: a score is NaN or infinite.
        SelectionError: the rule is ``spans``.

    >>> scores = np.array([-0.2, 0.6, -0.4])
    >>> select(scores, Selection(SelectionRule.PERCENTILE, 50)).tolist()
    [1, 0]
    >>> select(scores, Selection(SelectionRule.ADAPTIVE)).tolist()
    [1]
    >>> select(scores, Selection(SelectionRule.THRESHOLD, 0.9)).tolist()
    []
    """
    if selection.rule is SelectionRule.SPANS:
        raise SelectionError("spans are chosen by tasks.grounding.spanweights")
    if scores.ndim != 1:
        raise ShapeError(f"scores must be (R,), got {scores.shape}")
    if not np.isfinite(scores).all():
        raise NotFiniteError("a region score is not finite")
    # float64, so that a cut-off is not rounded to the scores' own precision.
    exact = scores.astype(np.float64)  # (R,)
    order = np.argsort(-exact, kind="stable")  # (R,)
    if len(order) == 0:
        return order
    if selection.rule is SelectionRule.MAX:
        return order[:1]
    value = 0.0 if selection.value is None else selection.value
    if selection.rule is SelectionRule.TOP_K:
        return order[: int(value)]
    if selection.rule is SelectionRule.PERCENTILE:
        cut = float(np.percentile(exact, value))
    elif selection.rule is SelectionRule.ADAPTIVE:
        cut = float(exact.mean() + exact.std()) - ROUNDING * float(np.abs(exact).max())
    else:
        cut = value
    return order[exact[order] >= cut]
