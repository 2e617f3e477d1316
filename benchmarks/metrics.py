"""What retrieval and localisation are measured by. Pure functions.

Places are boxes ``x0, y0, x1, y1`` in fractions of the displayed page. One scored row is one
page of evidence of one question.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tasks.geometry import Doubles, Indices, iou

Key = TypeVar("Key", bound=Hashable)

MOST_MATCHED = 16
"""Boxes on the smaller side of a matching; work doubles with each."""

DRAWS = 10_000


def recall_at(ranked: Sequence[Key], relevant: Collection[Key], k: int) -> float:
    """Return the share of the relevant pages that are among the first ``k``."""
    return len(set(ranked[:k]) & set(relevant)) / len(relevant)


def reciprocal_rank(ranked: Sequence[Key], relevant: Collection[Key]) -> float:
    """Return 1 / rank of the best-ranked relevant page, 0 when none is in the list."""
    return next((1 / rank for rank, key in enumerate(ranked, 1) if key in relevant), 0.0)


def kendall_tau(ours: Sequence[Key], theirs: Sequence[Key]) -> float:
    """Return how far two rankings agree: 1 for the same order, -1 for the opposite.

    Of the pairs of items that both rank, the share in the same order minus the share in the other
    (Kendall's tau; there are no ties). 1 where there is no pair.
    """
    at = {key: rank for rank, key in enumerate(theirs)}
    ranks = np.array([at[key] for key in ours if key in at])
    if len(ranks) < 2:
        return 1.0
    later = np.triu(np.ones((len(ranks), len(ranks)), np.bool_), 1)
    return float(np.sign(ranks[None, :] - ranks[:, None])[later].mean())


class PlaceScore(NamedTuple):
    """How well the boxes returned on a page fit the true ones; each value in [0, 1].

    Attributes:
        official: SciEGQA v2's score of a page: boxes are matched one to one such that the sum
            of IoU is largest, and the sum is divided by max(returned, true).
        official_30, official_50, official_70: 1 when that score is at least .3, .5, .7, else 0,
            as SciEGQA's own script counts; an extra box lowers the score itself.
        best: the measure of arXiv 2512.02660: of each true box the best IoU with any returned
            box, mean over the true boxes. Returning more never costs.
        best_25, best_50, best_70: share of the true boxes whose best IoU is at least that.
        area_f1: F1 of the area: 2 |R and T| / (|R| + |T|), R and T the unions of the returned
            and of the true boxes.
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
    area_f1: float
    share: float


NOTHING = PlaceScore._make([0.0] * len(PlaceScore._fields))
"""The score of returning no box."""


class PlaceScorer:
    """Scores choices among the boxes of one page against the true ones.

    Args:
        boxes: (n, 4) boxes to choose from; n may be 0.
        true_boxes: (m, 4), m at least 1.

    Raises:
        BoxError: a box is not one of a page.
    """

    def __init__(self, boxes: Doubles, true_boxes: Doubles) -> None:
        self.count = len(boxes)
        self._iou = iou(boxes, true_boxes)
        edges = np.concatenate([boxes, true_boxes])
        # The page cut along every edge: each of these cells is wholly in a box or outside it.
        self._x, self._y = np.unique(edges[:, [0, 2]]), np.unique(edges[:, [1, 3]])
        x, y = (
            np.searchsorted(self._x, edges[:, [0, 2]]),
            np.searchsorted(self._y, edges[:, [1, 3]]),
        )
        self._spans = np.concatenate([x, y], axis=1).tolist()
        self._true = self._covered(range(self.count, len(edges)))
        self._true_area = self._area(self._true)

    def score(self, chosen: Sequence[int] | Indices | None = None) -> PlaceScore:
        """Return the score of the boxes ``chosen`` (distinct rows), of all for None."""
        rows = np.arange(self.count) if chosen is None else np.asarray(chosen, np.intp)
        if not len(rows):
            return NOTHING
        ratios = self._iou[rows]
        official = matched_iou(ratios) / max(ratios.shape)
        best = ratios.max(axis=0)
        covered = self._covered(rows.tolist())
        share = self._area(covered)
        area_f1 = 2 * self._area(covered & self._true) / (share + self._true_area)
        official_at = [float(official >= threshold) for threshold in (0.3, 0.5, 0.7)]
        best_at = [float((best >= threshold).mean()) for threshold in (0.25, 0.5, 0.7)]
        return PlaceScore._make(
            [official, *official_at, float(best.mean()), *best_at, area_f1, share]
        )

    def _covered(self, rows: Sequence[int]) -> NDArray[np.bool_]:
        cells = np.zeros((len(self._y) - 1, len(self._x) - 1), np.bool_)
        for row in rows:
            x0, x1, y0, y1 = self._spans[row]
            cells[y0:y1, x0:x1] = True
        return cells

    def _area(self, cells: NDArray[np.bool_]) -> float:
        return float(np.diff(self._y) @ cells @ np.diff(self._x))


def matched_iou(ratios: Doubles) -> float:
    """Return the largest sum of IoU that a one-to-one matching reaches.

    Args:
        ratios: (n, m) IoU of each pair; the smaller side holds at most `MOST_MATCHED`, not
            counting boxes that meet no other.

    Raises:
        ValueError: both sides are larger.
    """
    ratios = ratios[ratios.any(axis=1)][:, ratios.any(axis=0)]
    if ratios.shape[0] < ratios.shape[1]:
        ratios = ratios.T
    small = ratios.shape[1]
    if small > MOST_MATCHED:
        raise ValueError(f"{ratios.shape} boxes are too many to match exactly")
    if small <= 1:
        return float(ratios.max(initial=0.0))
    # best[mask]: largest sum with just the boxes of the mask taken, over the rows so far.
    best = np.full(1 << small, -np.inf)
    best[0] = 0.0
    masks = np.arange(1 << small)
    for row in ratios:
        grown = best.copy()
        for column in np.flatnonzero(row):
            taken = masks[masks >> column & 1 == 1]
            grown[taken] = np.maximum(grown[taken], best[taken ^ (1 << column)] + row[column])
        best = grown
    return float(best.max())


def mean_score(scores: Sequence[PlaceScore]) -> PlaceScore:
    """Return the mean of each value; ``scores`` holds at least one."""
    return PlaceScore._make(np.mean(scores, axis=0).tolist())


def bootstrap_interval(
    values: ArrayLike, groups: Sequence[str], draws: int = DRAWS, seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % percentile interval of a mean when whole groups are drawn again.

    For a paired comparison ``values`` holds the differences.

    Args:
        values: (n,) one a row, n at least 1.
        groups: (n,) the document of each row; the order of the rows does not matter.
        draws: how often as many groups as there are get drawn, with replacement.
        seed: of the draws.
    """
    _, group = np.unique(groups, return_inverse=True)
    counts = np.bincount(group)
    sums = np.bincount(group, weights=np.asarray(values, np.float64))
    drawn = np.random.default_rng(seed).integers(0, len(counts), (draws, len(counts)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)
