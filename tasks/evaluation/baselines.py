"""What can be returned without a model: choices that are blind to the question, and BM25."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from patchlight.storage.regions import Regions
from patchlight.tasks.evaluation.bm25 import Bm25, best_first
from patchlight.tasks.evaluation.choices import Truth
from patchlight.tasks.evaluation.stored import MeasuredPage
from patchlight.tasks.kernels.geometry import Doubles, Indices

WHOLE_PAGE = "blind: whole page"
LARGEST = "blind: largest region"
RANDOM = "blind: random region"
ALL = "blind: all regions"
BEST_REGION = "BM25: best region"
BEST_LINE = "BM25: best line"

WHOLE = np.array([[0.0, 0.0, 1.0, 1.0]])
"""(1, 4) the page as a whole."""


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """Regions that a baseline returns.

    Attributes:
        among: what it chooses from; None for the page as a whole.
        order: distinct rows of these, best first; of no meaning for a random choice.
        returned: how many of them are returned.
        random: whether they are drawn at random instead.
    """

    among: Regions | None
    order: Indices
    returned: int
    random: bool = False

    @property
    def boxes(self) -> Doubles:
        """(n, 4) of what it chooses from."""
        return WHOLE if self.among is None else self.among.boxes

    @property
    def chosen(self) -> Indices:
        """Rows that are returned, best first."""
        return self.order[: self.returned]


def k_largest(setting: str) -> str:
    """Return the name of the largest regions, as many as a setting returns."""
    return f"blind: k largest, k of {setting}"


def k_random(setting: str) -> str:
    """Return the name of random regions, as many as a setting returns."""
    return f"blind: k random, k of {setting}"


def names(settings: Sequence[str], truth: Truth) -> list[str]:
    """Return the baselines that are scored, in the order of reports."""
    return [
        LARGEST,
        RANDOM,
        *(name(setting) for setting in settings for name in (k_largest, k_random)),
        ALL,
        WHOLE_PAGE,
        BEST_REGION,
        *([BEST_LINE] if truth is Truth.ANY else []),
    ]


def choices(
    query: str, page: MeasuredPage, counts: Mapping[str, int], truth: Truth
) -> dict[str, Choice]:
    """Return what each baseline returns for a question on a page.

    Largest means by area; ties go to the first in reading order, as does a page without a word of
    the question for BM25, which counts words over the regions of this page alone.

    Args:
        query: the question; only BM25 reads it.
        page: the page.
        counts: setting -> how many regions it returned.
        truth: what true boxes stand for; lines are for places that are small.

    Returns:
        Name -> choice, in the order of ``names``.
    """
    regions = page.regions
    by_area = best_first((regions.boxes[:, 2:] - regions.boxes[:, :2]).prod(axis=1))
    everything = np.arange(len(by_area))
    found = {
        LARGEST: Choice(regions, by_area, 1),
        RANDOM: Choice(regions, everything, 1, random=True),
    }
    for setting, count in counts.items():
        found[k_largest(setting)] = Choice(regions, by_area, count)
        found[k_random(setting)] = Choice(regions, everything, count, random=True)
    found[ALL] = Choice(regions, everything, len(everything))
    found[WHOLE_PAGE] = Choice(None, np.zeros(1, np.intp), 1)
    found[BEST_REGION] = Choice(regions, _by_words(query, regions), 1)
    if truth is Truth.ANY:
        found[BEST_LINE] = Choice(page.lines, _by_words(query, page.lines), 1)
    return found


def _by_words(query: str, regions: Regions) -> Indices:
    return best_first(Bm25(regions.texts).scores(query))
