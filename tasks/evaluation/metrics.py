"""What pages and places are measured by. Pure functions; docs/evaluation.md has the sources.

Places are boxes ``x0, y0, x1, y1`` in fractions of the displayed page. One scored row is one page
of evidence of one question.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from itertools import combinations
from math import comb, log2
from typing import NamedTuple, TypeVar

import numpy as np
from scipy.optimize import linear_sum_assignment

from patchlight.storage.records import BoolArray
from patchlight.tasks.evaluation.areas import Mosaic, mosaic
from patchlight.tasks.kernels.geometry import Doubles, Floats, Indices, iou

Key = TypeVar("Key", bound=Hashable)

DRAWS = 1_000
"""Random choices that a mean is taken over where there are more than these."""

_NUMBERS_AT_ONCE = 4_000_000
"""Bounds the memory that scoring many choices takes."""

HIT_COVERED = 0.5
"""Share of a true box that a region must cover to hit it."""
HIT_HEIGHT = 2.0
"""Times the height of a true box that a region may have to hit it: a line, not its block."""


def recall_at(ranked: Sequence[Key], relevant: Collection[Key], k: int) -> float:
    """Return the share of the relevant pages that are among the first ``k``."""
    return len(set(ranked[:k]) & set(relevant)) / len(relevant)


def hit_at(ranked: Sequence[Key], relevant: Collection[Key], k: int) -> float:
    """Return 1 when a relevant page is among the first ``k``, else 0."""
    return float(not set(relevant).isdisjoint(ranked[:k]))


def reciprocal_rank(ranked: Sequence[Key], relevant: Collection[Key]) -> float:
    """Return 1 / rank of the best-ranked relevant page, 0 when none is in the list."""
    return next((1 / rank for rank, key in enumerate(ranked, 1) if key in relevant), 0.0)


def ndcg_at(ranked: Sequence[Key], relevant: Collection[Key], k: int) -> float:
    """Return the normalised discounted cumulative gain of the first ``k``, in [0, 1].

    A relevant page at rank r gains 1 / log2(r + 1), others nothing; the sum is divided by what
    the best order would gain.
    """
    gains = [1 / log2(rank + 1) for rank in range(1, k + 1)]
    found = sum(gain for gain, key in zip(gains, ranked, strict=False) if key in relevant)
    return found / sum(gains[: len(relevant)])


class PlaceScore(NamedTuple):
    """How well the boxes returned on a page fit the true ones; each value in [0, 1].

    Attributes:
        official: SciEGQA v2's score of a page: boxes are matched one to one such that the sum
            of IoU is largest, and the sum is divided by max(returned, true).
        official_30, official_50, official_70: 1 when that score is at least .3, .5, .7, else 0;
            an extra box lowers the score itself.
        best: the measure of arXiv 2512.02660: of each true box the best IoU with any returned
            box, mean over the true boxes. Returning more never costs.
        best_25, best_50, best_70: share of the true boxes whose best IoU is at least that.
        precision, recall, f1: of the area, with R and T the unions of the returned and of the
            true boxes: |R and T| / |R|, |R and T| / |T|, 2 |R and T| / (|R| + |T|).
        share: |R|, the share of the page that is returned.
    """

    official: float
    official_30: float
    official_50: float
    official_70: float
    best: float
    best_25: float
    best_50: float
    best_70: float
    precision: float
    recall: float
    f1: float
    share: float


NOTHING = PlaceScore._make([0.0] * len(PlaceScore._fields))
"""The score of returning no box."""

_OFFICIAL_AT = (0.3, 0.5, 0.7)
_BEST_AT = (0.25, 0.5, 0.7)


class PlaceScorer:
    """Scores choices among the boxes of one page against the true ones.

    Args:
        boxes: (n, 4) boxes to choose from; n may be 0.
        true_boxes: (m, 4), m at least 1.
        parts: the page cut along the edges of both, boxes first; None to have it cut.

    Raises:
        BoxError: a box is not one of a page.
    """

    def __init__(self, boxes: Floats, true_boxes: Floats, parts: Mosaic | None = None) -> None:
        self.count = len(boxes)
        self._iou = iou(boxes, true_boxes)
        parts = parts or mosaic(np.concatenate([boxes, true_boxes]))
        self._cover = parts.cover[: self.count].astype(np.float32)
        self._area = parts.area
        self._true = parts.cover[self.count :].any(axis=0)

    def score(self, chosen: Sequence[int] | Indices | None = None) -> PlaceScore:
        """Return the score of the boxes ``chosen`` (distinct rows), of all for None."""
        rows = np.arange(self.count) if chosen is None else np.asarray(chosen, np.intp)
        return PlaceScore._make(self._scores(rows[None, :])[0].tolist()) if len(rows) else NOTHING

    def expected(self, k: int, seed: int) -> PlaceScore:
        """Return the mean score of ``k`` boxes drawn at random, without replacement.

        Exact where there are at most `DRAWS` ways to draw them, by trying all. Elsewhere the
        measures of single true boxes, share and recall are exact, and so is the official score
        of a page with one true box; what is left is the mean over `DRAWS` draws.

        Args:
            k: how many; all of them where there are fewer.
            seed: of the draws.
        """
        n = self.count
        k = min(k, n)
        if not k:
            return NOTHING
        drawn = self._scores(random_choices(n, k, seed)).mean(axis=0)
        score = PlaceScore._make(drawn.tolist())
        return score if comb(n, k) <= DRAWS else score._replace(**self._exact(k))

    def _exact(self, k: int) -> dict[str, float]:
        """Expectations that need no draws."""
        n, true = self.count, self._iou.shape[1]
        # Of the values in falling order: how likely each is the largest of k drawn.
        falling = -np.sort(-self._iou, axis=0)
        ways = comb(n, k)
        leads = np.array([comb(n - 1 - place, k - 1) / ways for place in range(n)])
        found = {"best": float((leads @ falling).mean())}
        for at, name in zip(_BEST_AT, ("best_25", "best_50", "best_70"), strict=True):
            found[name] = float((leads @ (falling >= at)).mean())
        if true == 1:
            official = falling[:, 0] / k
            found["official"] = float(leads @ official)
            names = ("official_30", "official_50", "official_70")
            for at, name in zip(_OFFICIAL_AT, names, strict=True):
                found[name] = float(leads @ (official >= at))
        likely = chance_of_any(self._cover.sum(axis=0).astype(np.intp), n, k) * self._area
        found["share"] = float(likely.sum())
        found["recall"] = float(likely[self._true].sum() / self._area[self._true].sum())
        return found

    def _scores(self, chosen: Indices) -> Doubles:
        """Return (d, 12) scores of d choices of k boxes each, (d, k), k at least 1."""
        picked = np.zeros((len(chosen), self.count), np.float32)
        np.put_along_axis(picked, chosen, 1.0, axis=1)
        share, both = np.zeros(len(chosen)), np.zeros(len(chosen))
        at_once = max(1, _NUMBERS_AT_ONCE // max(1, len(self._area)))
        for first in range(0, len(chosen), at_once):
            part = slice(first, first + at_once)
            covered = picked[part] @ self._cover > 0
            share[part] = covered @ self._area
            both[part] = covered[:, self._true] @ self._area[self._true]
        true_area = self._area[self._true].sum()
        ratios = self._iou[chosen]
        best = ratios.max(axis=1)
        official = matched_iou(ratios) / max(ratios.shape[1:])
        columns = [official, *(official >= at for at in _OFFICIAL_AT)]
        columns += [best.mean(axis=1), *((best >= at).mean(axis=1) for at in _BEST_AT)]
        columns += [both / share, both / true_area, 2 * both / (share + true_area), share]
        return np.stack(columns, axis=1).astype(np.float64)


def matched_iou(ratios: Doubles) -> Doubles:
    """Return the largest sums of IoU that one-to-one matchings reach.

    Args:
        ratios: (d, n, m) IoU of each pair, of d choices; n and m at least 1.

    Returns:
        (d,) float64.
    """
    if min(ratios.shape[1:]) == 1:
        largest: Doubles = ratios.max(axis=(1, 2))
        return largest
    pairs = (linear_sum_assignment(one, maximize=True) for one in ratios)
    return np.array([one[pair].sum() for one, pair in zip(ratios, pairs, strict=True)])


def random_choices(n: int, k: int, seed: int) -> Indices:
    """Return (d, k) choices of ``k`` of ``n`` things: all there are, or `DRAWS` drawn ones."""
    if comb(n, k) <= DRAWS:
        return np.array(list(combinations(range(n), k)), np.intp)
    order = np.random.default_rng(seed).random((DRAWS, n)).argsort(axis=1)
    drawn: Indices = order[:, :k]
    return drawn


def chance_of_any(members: Indices, n: int, k: int) -> Doubles:
    """Return how likely ``k`` of ``n`` things drawn at random hold any of some.

    Args:
        members: how many of the n these are; any shape, each in 0..n.
        n: how many there are.
        k: how many are drawn, without replacement, at most n.
    """
    ways = comb(n, k)
    chances = np.array([1 - comb(n - some, k) / ways for some in range(n + 1)])
    found: Doubles = chances[members]
    return found


def hits(boxes: Floats, true_boxes: Floats) -> BoolArray:
    """Return which boxes hit a true one, for small targets.

    A box hits a true one when it covers at least `HIT_COVERED` of it and is at most `HIT_HEIGHT`
    times as high: a line or a cell that holds most of it, and not the block or the page around.

    Args:
        boxes: (n, 4) returned boxes.
        true_boxes: (m, 4).

    Returns:
        (n,) whether a box hits any true one.
    """
    p, q = np.asarray(boxes, np.float64)[:, None, :], np.asarray(true_boxes, np.float64)
    sides = np.minimum(p[..., 2:], q[..., 2:]) - np.maximum(p[..., :2], q[..., :2])
    shared = np.maximum(sides, 0.0).prod(axis=-1)
    area = (q[:, 2:] - q[:, :2]).prod(axis=-1)
    small = p[..., 3] - p[..., 1] <= HIT_HEIGHT * (q[:, 3] - q[:, 1])
    found: BoolArray = ((shared >= HIT_COVERED * area) & small).any(axis=1)
    return found
