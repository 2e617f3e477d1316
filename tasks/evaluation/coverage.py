"""How much of the evidence on a page the returned boxes hold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from patchlight.storage.records import BoolArray
from patchlight.tasks.evaluation.areas import Mosaic, mosaic
from patchlight.tasks.evaluation.metrics import chance_of_any, random_choices
from patchlight.tasks.kernels.geometry import Doubles, Floats, Indices, centres_in

WRITTEN = 0.05
"""Share of a box that its words must fill for it to count as text; in charts and pictures they
fill less."""


class EvidencePieces:
    """The evidence on a page, cut into pieces that a box either holds or does not.

    A true box counts by its words: each has the same weight, and a box holds a word when it holds
    its centre. A true box without words, or with few for its size (`WRITTEN`), counts by area.
    What is held of the evidence is the mean over the true boxes; where any of them is enough, the
    largest.

    Args:
        boxes: (n, 4) the boxes that choices are made from; n may be 0.
        true_boxes: (m, 4), m at least 1.
        words: (w, 4) all words of the page; w may be 0.
        any_box: whether any true box is enough.
        parts: the page cut along the edges of ``boxes`` and ``true_boxes``, in this order; None
            to have it cut.

    Raises:
        BoxError: a box is not one of a page.
    """

    def __init__(
        self,
        boxes: Floats,
        true_boxes: Floats,
        words: Floats,
        *,
        any_box: bool = False,
        parts: Mosaic | None = None,
    ) -> None:
        parts = parts or mosaic(np.concatenate([boxes, true_boxes]))
        self.count, self._any_box = len(boxes), any_box
        in_true = centres_in(words, true_boxes, strict=False)
        written = filled(true_boxes, words) >= WRITTEN
        # Of each true box either the words or the parts of the page have a weight.
        text = in_true * written[:, None].astype(np.float64)
        drawn = parts.cover[self.count :] * parts.area * ~written[:, None]
        weights = np.concatenate([text, drawn], axis=1)
        inside = centres_in(words, boxes, strict=False)
        cover = np.concatenate([inside, parts.cover[: self.count]], axis=1)
        pieces = weights.any(axis=0)
        weights = weights[:, pieces]
        self._weights: Doubles = weights / weights.sum(axis=1, keepdims=True)
        self._cover: BoolArray = cover[:, pieces]

    def along(self, order: Sequence[int] | Indices) -> Doubles:
        """Return how much of the evidence the first 1, 2, ... of some boxes hold.

        Args:
            order: distinct rows of the boxes; k of them.

        Returns:
            (k,) float64 in [0, 1], never falling.
        """
        chosen = self._cover[np.asarray(order, np.intp)]
        return self._held(np.logical_or.accumulate(chosen, axis=0))

    def expected(self, k: int, seed: int) -> float:
        """Return how much ``k`` boxes drawn at random hold on average.

        Exact, but for the mean of `metrics.DRAWS` draws where any of several true boxes is
        enough and there are more choices than that.

        Args:
            k: how many; all of them where there are fewer.
            seed: of the draws.
        """
        k = min(k, self.count)
        if k and self._any_box and len(self._weights) > 1:
            chosen = random_choices(self.count, k, seed)
            held = np.stack([self._cover[rows].any(axis=0) for rows in chosen])
            return float(self._held(held).mean())
        likely = chance_of_any(self._cover.sum(axis=0), self.count, k)
        return float((self._weights @ likely).mean())

    def _held(self, pieces: BoolArray) -> Doubles:
        """Return (k,) what is held where (k, pieces) are."""
        of_box = pieces @ self._weights.T
        held: Doubles = of_box.max(axis=1) if self._any_box else of_box.mean(axis=1)
        return np.minimum(held, 1.0)


def filled(boxes: Floats, words: Floats) -> Doubles:
    """Return (n,) what share of each box is words, of those whose centre it holds.

    Args:
        boxes: (n, 4).
        words: (w, 4) all words of the page.
    """
    share: Doubles = centres_in(words, boxes, strict=False) @ _areas(words)
    return share / _areas(boxes)


def _areas(boxes: Floats) -> Doubles:
    sides = np.asarray(boxes[:, 2:], np.float64) - boxes[:, :2]
    areas: Doubles = sides.prod(axis=1)
    return areas
