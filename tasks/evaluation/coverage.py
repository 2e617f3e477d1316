"""How much of the evidence on a page the returned boxes hold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from storage.records import BoolArray
from tasks.evaluation.areas import Mosaic, mosaic
from tasks.evaluation.metrics import chance_of_any
from tasks.geometry import Doubles, Floats, Indices

WRITTEN = 0.05
"""Share of a true box that its words must fill for it to count as text. In charts and pictures
words fill less; there area counts."""


class Evidence:
    """The evidence on a page, cut into pieces that a box either holds or does not.

    A true box counts by its words: each has the same weight, and a box holds a word when it holds
    its centre. A true box without words, or with few for its size (`WRITTEN`), counts by area.
    All true boxes have the same weight, and all weights add up to 1.

    Args:
        boxes: (n, 4) the boxes that choices are made from; n may be 0.
        true_boxes: (m, 4), m at least 1.
        words: (w, 4) all words of the page; w may be 0.
        parts: the page cut along the edges of ``boxes`` and ``true_boxes``, in this order; None
            to have it cut.

    Raises:
        BoxError: a box is not one of a page.
    """

    def __init__(
        self, boxes: Floats, true_boxes: Floats, words: Floats, parts: Mosaic | None = None
    ) -> None:
        parts = parts or mosaic(np.concatenate([boxes, true_boxes]))
        self.count = len(boxes)
        centres = (words[:, :2] + words[:, 2:]) / 2
        in_true = _holds(true_boxes, centres)
        filled = in_true @ _areas(words) / _areas(true_boxes)
        written = filled >= WRITTEN
        weights, cover = [], []
        if written.any():
            text = in_true[written]
            weights.append((text / text.sum(axis=1, keepdims=True)).sum(axis=0))
            cover.append(_holds(boxes, centres))
        if not written.all():
            inside = parts.cover[self.count :][~written] * parts.area
            weights.append((inside / inside.sum(axis=1, keepdims=True)).sum(axis=0))
            cover.append(parts.cover[: self.count])
        self._weights: Doubles = np.concatenate(weights) / len(true_boxes)
        self._cover: BoolArray = np.concatenate(cover, axis=1)

    def along(self, order: Sequence[int] | Indices) -> Doubles:
        """Return how much of the evidence the first 1, 2, ... of some boxes hold.

        Args:
            order: distinct rows of the boxes; k of them.

        Returns:
            (k,) float64 in [0, 1], never falling.
        """
        held = np.logical_or.accumulate(self._cover[np.asarray(order, np.intp)], axis=0)
        found: Doubles = np.minimum(held @ self._weights, 1.0)
        return found

    def expected(self, k: int) -> float:
        """Return how much ``k`` boxes drawn at random hold on average, exactly."""
        likely = chance_of_any(self._cover.sum(axis=0), self.count, min(k, self.count))
        return float(likely @ self._weights)


def _holds(boxes: Floats, points: Floats) -> BoolArray:
    """Return (n, w) which boxes hold which points."""
    x, y = points[:, 0], points[:, 1]
    x0, y0, x1, y1 = (side[:, None] for side in boxes.T)
    found: BoolArray = (x0 <= x) & (x <= x1) & (y0 <= y) & (y <= y1)
    return found


def _areas(boxes: Floats) -> Doubles:
    sides = np.asarray(boxes[:, 2:], np.float64) - boxes[:, :2]
    areas: Doubles = sides.prod(axis=1)
    return areas
