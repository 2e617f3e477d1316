"""What is known of each span of a page: by its place alone, and with a question; pure.

The signals of a span are a row of numbers, in the order of `LAYOUT` and `QUESTION`;
``tasks.grounding.spanweights`` weighs them. Evidence of patches is standardised within the page
(``tasks.grounding.evidence``), so a signal does not depend on the scale or shift of an encoder's
similarities.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from patchlight.storage.records import RegionKind
from patchlight.storage.regions import Regions
from patchlight.tasks.grounding.evidence import HeldPatches, Seen, evidence
from patchlight.tasks.grounding.pagewords import PageWords
from patchlight.tasks.grounding.questionwords import QuestionWords
from patchlight.tasks.grounding.spans import COMPETING, GRAPHIC, Spans, spans_of
from patchlight.tasks.kernels import geometry
from patchlight.tasks.kernels.geometry import Doubles, Indices

LAYOUT = (
    "paragraph",
    "run",
    "figure",
    "table",
    "exhibit",
    "confidence",
    "filled",
    "prose",
    "text",
    "size",
)
"""Signals that know no question, see `PageSpans`."""

QUESTION = (
    "words",
    "text_word_coverage",
    "patch_density",
    "text_patch_density",
    "asks_visual",
)
"""Signals of a question, see `PageSpans.signals`."""

SIGNALS = LAYOUT + QUESTION

_SEEN = 0.5
"""IoU from which on the layout model's box speaks for a span."""

_LONG_LINE = 6
"""Words in a line of running text, at least."""

_USUAL_LOG_AREA, _LEAST_AREA = -1.8, 0.002
"""ln of a share of the page: a sixth, as a table, a figure or some paragraphs take; and what is
added to a share, so that specks do not run away."""

_WORD_BACKGROUND, _PATCH_BACKGROUND = 0.2, 0.1
"""See ``tasks.grounding.evidence``."""


class PageSpans:
    """The spans of a page, with all that does not depend on a question.

    Signals by place alone, (S,) each: ``paragraph``, ``figure``, ``table``, ``exhibit`` are 1 for
    spans of the kind, ``run`` for several regions; ``confidence`` of the layout model in a figure
    or table at that place, 0 for none; ``filled`` share of its area under lines; ``prose`` share
    of its lines that are long, times ``filled``; ``text`` 1 for text, 0 for a figure or table;
    ``size`` squared distance of its log area from the usual.

    Args:
        regions: of the page.
        kinds: spans that are of these.
    """

    def __init__(self, regions: Regions, kinds: Collection[RegionKind] = COMPETING) -> None:
        self.regions = regions
        self.spans: Spans = spans_of(regions, kinds)
        self._lines = regions.rows(RegionKind.LINE)
        self._words = PageWords(regions)
        self._holds = self._words.inside(self.spans.boxes)
        self._patches = HeldPatches(self.spans.boxes)
        self.layout = self._by_place()
        self._text = self.layout[:, LAYOUT.index("text")]

    def signals(
        self,
        question: QuestionWords,
        seen: Seen,
    ) -> Doubles:
        """Return the signals of every span for a question.

        Of the question's words those that are on the page count, the rarer on its lines the more:
        ``words`` is the share of their weight that the span has at least once, and
        ``text_word_coverage`` the evidence of text by its coverage; ``patch_density`` is the
        evidence of patches by its density, ``text_patch_density`` the same of text only.
        ``asks_visual`` is how much a span is a figure where the question names something to be
        seen.

        Args:
            question: its words.
            seen: what the page's patches say to it.

        Returns:
            (S, len(SIGNALS)) float64.
        """
        columns = {
            **self._of_words(question),
            **self._of_patches(seen),
        }
        columns["asks_visual"] = self._graphic * question.visual
        return np.column_stack([self.layout, *(columns[name] for name in QUESTION)])

    def _by_place(self) -> Doubles:
        spans, regions = self.spans, self.regions
        boxes, kinds = spans.boxes, spans.kinds
        columns = {
            kind.value: np.array([its is kind for its in kinds], dtype=np.float64)
            for kind in (
                RegionKind.PARAGRAPH,
                RegionKind.FIGURE,
                RegionKind.TABLE,
                RegionKind.EXHIBIT,
            )
        }
        columns["run"] = spans.runs.astype(np.float64)
        seen = regions.rows(RegionKind.FIGURE, RegionKind.TABLE)
        near = geometry.iou(boxes, regions.boxes[seen]) > _SEEN  # (S, K)
        columns["confidence"] = (near * regions.confidence[seen]).max(axis=1, initial=0.0)

        area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)  # (S,)
        lines = regions.boxes[self._lines]  # (L, 4)
        met = _overlaps(boxes, lines)  # (S, L)
        line_area = (lines[:, 2:] - lines[:, :2]).prod(axis=1)  # (L,)
        inside = (met > 0.5 * line_area).astype(np.float64)  # (S, L)
        counts = inside.sum(axis=1)  # (S,)
        long = np.array([len(regions.texts[i].split()) for i in self._lines])  # (L,)
        columns["filled"] = np.minimum(met.sum(axis=1) / area, 1.0)
        columns["prose"] = _share(inside @ (long >= _LONG_LINE), counts) * columns["filled"]
        columns["size"] = (np.log(area + _LEAST_AREA) - _USUAL_LOG_AREA) ** 2
        graphic = _best_iou(boxes, regions.boxes[regions.rows(*GRAPHIC)])  # (S,)
        table = _best_iou(boxes, regions.boxes[regions.rows(RegionKind.TABLE)])  # (S,)
        self._graphic = graphic * (1 - columns["prose"])
        columns["text"] = 1 - np.maximum(self._graphic, table)
        return np.column_stack([columns[name] for name in LAYOUT])

    def _of_words(self, question: QuestionWords) -> dict[str, Doubles]:
        equal, weights = self._words.named(question)  # (W, Q), (Q,)
        if not len(weights):
            return {name: np.zeros(len(self.spans)) for name in QUESTION[:2]}
        mass = (self._holds @ equal) / equal.sum(axis=0)  # (S, Q)
        found = evidence(mass, self._holds.mean(axis=1), weights, _WORD_BACKGROUND)
        return {
            "words": (mass > 0) @ weights,
            "text_word_coverage": found.coverage * self._text,
        }

    def carried(
        self,
        rows: Indices,
        seen: Seen,
    ) -> Doubles:
        """Return what each token of a question gives to spans.

        Args:
            rows: (R,) of the spans.
            seen: as for `signals`.

        Returns:
            (R, T): the token's share of the weights, times the part of its mass that lies in the
            span beyond the part of the page's patches that does; in [-1, 1].
        """
        mass, part = self._patches.mass(seen.token_scores, seen.cell_to_vector, seen.grid)
        carried: Doubles = (mass[rows] - part[rows, None]) * seen.shares  # (R, T)
        return carried

    def _of_patches(
        self,
        seen: Seen,
    ) -> dict[str, Doubles]:
        mass, part = self._patches.mass(seen.token_scores, seen.cell_to_vector, seen.grid)
        density = evidence(mass, part, seen.shares, _PATCH_BACKGROUND).density  # (S,)
        if not part.any():  # no patch, no evidence
            density = np.zeros(len(self.spans))
        return {"patch_density": density, "text_patch_density": density * self._text}


def _overlaps(a: Doubles, b: Doubles) -> Doubles:
    """Return the areas (n, m) that boxes share."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])  # (A, B, 2)
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])  # (A, B, 2)
    shared: Doubles = np.clip(high - low, 0.0, None).prod(axis=2)  # (A, B)
    return shared


def _best_iou(boxes: Doubles, others: Doubles) -> Doubles:
    """Return each box's largest IoU with any of the others, 0 where there is none."""
    best: Doubles = geometry.iou(boxes, others).max(axis=1, initial=0.0)  # (S,)
    return best


def _share(part: NDArray[Any], whole: NDArray[Any]) -> Doubles:
    share: Doubles = part / np.maximum(whole, 1)
    return share
