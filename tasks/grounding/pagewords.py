"""Which words of a page a question names, and how much each counts; pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from patchlight.storage.records import RegionKind
from patchlight.storage.regions import Regions
from patchlight.tasks.grounding.questionwords import QuestionWords, stems_of
from patchlight.tasks.kernels import geometry
from patchlight.tasks.kernels.geometry import Doubles

Booleans = NDArray[np.bool_]


class PageWords:
    """The words of a page, prepared for many questions.

    Args:
        regions: of the page.

    Attributes:
        boxes: (W, 4) of its words.
    """

    def __init__(self, regions: Regions) -> None:
        words = regions.rows(RegionKind.WORD)
        self.boxes = regions.boxes[words]
        self._stems = [stems_of(regions.texts[row]) for row in words]
        self._line_stems = [stems_of(regions.texts[row]) for row in regions.rows(RegionKind.LINE)]

    def inside(self, boxes: Doubles) -> Booleans:
        """Return which words have their centre in which of (S, 4) boxes: (S, W)."""
        return geometry.centres_in(self.boxes, boxes, strict=True)

    def named(self, question: QuestionWords) -> tuple[Doubles, Doubles]:
        """Find the words of a question that are on the page.

        Returns:
            (W, Q) 1 where a word of the page is the question's, and (Q,) how much each of these
            counts: the rarer on the page's lines the more, as in BM25; adding up to 1. Q is 0
            where the page has none of them.
        """
        equal = np.array(
            [[stem in stems for stem in question.stems] for stems in self._stems], dtype=np.float64
        ).reshape(len(self._stems), len(question.stems))
        there = np.flatnonzero(equal.any(axis=0))  # (Q,)
        lines = len(self._line_stems)
        on_lines = np.array(
            [sum(question.stems[at] in stems for stems in self._line_stems) for at in there]
        )
        weights: Doubles = np.log(1 + (lines - on_lines + 0.5) / (on_lines + 0.5))  # (Q,)
        return equal[:, there], weights / weights.sum()
