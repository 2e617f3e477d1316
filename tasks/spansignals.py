"""What is known of each span of a page: by its place alone, and with a question; pure.

The signals of a span are a row of numbers, in the order of `LAYOUT` and `QUESTION`;
``tasks.spanchoice`` weighs them. Evidence of patches is standardised within the page
(``tasks.evidence``), so a signal does not depend on the scale or shift of an encoder's
similarities.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.records import RegionKind
from tasks import geometry
from tasks.evidence import cells_held, evidence, patch_mass
from tasks.geometry import Doubles, Floats, Indices
from tasks.questionwords import QuestionWords, stems_of
from tasks.spans import GRAPHIC, Spans, spans_of

Booleans = NDArray[np.bool_]

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
"""See ``tasks.evidence``."""


@dataclass(frozen=True, slots=True)
class PageRegions:
    """The regions of a page, in the order of their index.

    Attributes:
        kinds: of R regions.
        boxes: (R, 4) float64, fractions of the page.
        order: (R,) place in reading order among its kind.
        confidence: (R,) 0..1.
        texts: what is written in them.
    """

    kinds: Sequence[RegionKind]
    boxes: Doubles
    order: Sequence[int]
    confidence: Doubles
    texts: Sequence[str]

    def rows(self, *kinds: RegionKind) -> Indices:
        """Return the rows of regions of some kinds."""
        return np.array([i for i, kind in enumerate(self.kinds) if kind in kinds], dtype=np.intp)


class PageSpans:
    """The spans of a page, with all that does not depend on a question.

    Signals by place alone, (S,) each: ``paragraph``, ``figure``, ``table``, ``exhibit`` are 1 for
    spans of the kind, ``run`` for several regions; ``confidence`` of the layout model in a figure
    or table at that place, 0 for none; ``filled`` share of its area under lines; ``prose`` share
    of its lines that are long, times ``filled``; ``text`` 1 for text, 0 for a figure or table;
    ``size`` squared distance of its log area from the usual.

    Args:
        regions: of the page.
    """

    def __init__(self, regions: PageRegions) -> None:
        self.regions = regions
        self.spans: Spans = spans_of(regions.kinds, regions.boxes, regions.order)
        boxes = self.spans.boxes
        self._lines = regions.rows(RegionKind.LINE)
        words = regions.rows(RegionKind.WORD)
        texts = [regions.texts[i] for i in words]
        self._stems = [stems_of(text) for text in texts]
        self._line_stems = [stems_of(regions.texts[i]) for i in self._lines]
        centres = (regions.boxes[words, :2] + regions.boxes[words, 2:]) / 2
        inside = (centres[:, None] > boxes[:, :2]) & (centres[:, None] < boxes[:, 2:])
        self._holds = inside.all(axis=2).T  # (S, words)
        self._held: dict[tuple[int, int], Doubles] = {}
        self.layout = self._by_place()
        self._text = self.layout[:, LAYOUT.index("text")]

    def signals(
        self,
        question: QuestionWords,
        token_scores: Floats,
        weights: Floats,
        cell_to_vector: NDArray[np.integer],
        grid: tuple[int, int],
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
            token_scores: (N, T) similarity of the page's vectors and the tokens that count.
            weights: (T,) of the tokens, above 0.
            cell_to_vector: (rows * cols,) row of the vector of each cell, -1 for none.
            grid: rows and columns.

        Returns:
            (S, len(SIGNALS)) float64.
        """
        columns = {
            **self._of_words(question),
            **self._of_patches(token_scores, weights, cell_to_vector, grid),
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
        near = geometry.iou(boxes, regions.boxes[seen]) > _SEEN
        columns["confidence"] = (near * regions.confidence[seen]).max(axis=1, initial=0.0)

        area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
        lines = regions.boxes[self._lines]
        met = _overlaps(boxes, lines)
        line_area = (lines[:, 2:] - lines[:, :2]).prod(axis=1)
        inside = (met > 0.5 * line_area).astype(np.float64)
        counts = inside.sum(axis=1)
        long = np.array([len(regions.texts[i].split()) for i in self._lines])
        columns["filled"] = np.minimum(met.sum(axis=1) / area, 1.0)
        columns["prose"] = _share(inside @ (long >= _LONG_LINE), counts) * columns["filled"]
        columns["size"] = (np.log(area + _LEAST_AREA) - _USUAL_LOG_AREA) ** 2
        graphic = _best_iou(boxes, regions.boxes[regions.rows(*GRAPHIC)])
        table = _best_iou(boxes, regions.boxes[regions.rows(RegionKind.TABLE)])
        self._graphic = graphic * (1 - columns["prose"])
        columns["text"] = 1 - np.maximum(self._graphic, table)
        return np.column_stack([columns[name] for name in LAYOUT])

    def _of_words(self, question: QuestionWords) -> dict[str, Doubles]:
        nothing = np.zeros(len(self.spans))
        equal = np.array(
            [[stem in stems for stem in question.stems] for stems in self._stems], dtype=np.float64
        ).reshape(len(self._stems), len(question.stems))
        on_page: Booleans = np.asarray(equal.any(axis=0))
        equal = equal[:, on_page]
        count = len(self._line_stems)
        asked = [stem for stem, there in zip(question.stems, on_page, strict=True) if there]
        on_lines = np.array([sum(stem in s for s in self._line_stems) for stem in asked])
        weights = np.log(1 + (count - on_lines + 0.5) / (on_lines + 0.5))
        if not weights.sum() > 0:
            return {name: nothing for name in QUESTION[:2]}
        weights = weights / weights.sum()
        mass = (self._holds @ equal) / equal.sum(axis=0)
        found = evidence(mass, self._holds.mean(axis=1), weights, _WORD_BACKGROUND)
        return {
            "words": (mass > 0) @ weights,
            "text_word_coverage": found.coverage * self._text,
        }

    def carried(
        self,
        rows: Indices,
        token_scores: Floats,
        weights: Floats,
        cell_to_vector: NDArray[np.integer],
        grid: tuple[int, int],
    ) -> Doubles:
        """Return what each token of a question gives to spans.

        Args:
            rows: (R,) of the spans.
            token_scores: as for `signals`.
            weights: as there.
            cell_to_vector: as there.
            grid: as there.

        Returns:
            (R, T): the token's share of the weights, times the part of its mass that lies in the
            span beyond the part of the page's patches that does; in [-1, 1].
        """
        mass, shares, part = self._patch_mass(token_scores, weights, cell_to_vector, grid)
        carried: Doubles = (mass[rows] - part[rows, None]) * shares
        return carried

    def _of_patches(
        self,
        token_scores: Floats,
        weights: Floats,
        cell_to_vector: NDArray[np.integer],
        grid: tuple[int, int],
    ) -> dict[str, Doubles]:
        mass, shares, part = self._patch_mass(token_scores, weights, cell_to_vector, grid)
        density = evidence(mass, part, shares, _PATCH_BACKGROUND).density
        if not part.any():  # no patch, no evidence
            density = np.zeros(len(self.spans))
        return {"patch_density": density, "text_patch_density": density * self._text}

    def _patch_mass(
        self,
        token_scores: Floats,
        weights: Floats,
        cell_to_vector: NDArray[np.integer],
        grid: tuple[int, int],
    ) -> tuple[Doubles, Doubles, Doubles]:
        """Mass of each token in each span, shares of the weights, and the spans' share of patches.

        Cells without a vector are not there: nothing is printed in them.
        """
        there = np.flatnonzero(cell_to_vector >= 0)
        shares = weights.astype(np.float64) / weights.sum()
        if not len(there):
            return np.zeros((len(self.spans), len(weights))), shares, np.zeros(len(self.spans))
        if grid not in self._held:
            self._held[grid] = cells_held(self.spans.boxes, *grid)
        held = self._held[grid][:, there]
        mass = held @ patch_mass(token_scores[cell_to_vector[there]])
        return np.minimum(mass, 1.0), shares, held.mean(axis=1)


def _overlaps(a: Doubles, b: Doubles) -> Doubles:
    """Return the areas (n, m) that boxes share."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared: Doubles = np.clip(high - low, 0.0, None).prod(axis=2)
    return shared


def _best_iou(boxes: Doubles, others: Doubles) -> Doubles:
    """Return each box's largest IoU with any of the others, 0 where there is none."""
    best: Doubles = geometry.iou(boxes, others).max(axis=1, initial=0.0)
    return best


def _share(part: NDArray[Any], whole: NDArray[Any]) -> Doubles:
    share: Doubles = part / np.maximum(whole, 1)
    return share
