"""Which spans of a page answer a question; pure and deterministic.

A span's score is the share of belief that it answers: a softmax over the page's spans of a weighted
sum of their signals (``tasks.grounding.spansignals``). The weights make the expected IoU of the
span drawn by that softmax as large as it gets on the 336 rows of human evidence of MMDocIR's
development documents, those of text counting thrice, with ridge 0.3 (``benchmarks/spans.py``).
Decision 0014 has what that gives on documents they have not seen, and what was tried and left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

import numpy as np

from patchlight.tasks.common.errors import SelectionError, ShapeError
from patchlight.tasks.grounding.spansignals import SIGNALS
from patchlight.tasks.kernels.geometry import Doubles, Indices


class SpanSignals(StrEnum):
    """What spans are chosen by."""

    ALL = "all"
    """Place on the page, the words of the question, and patch scores."""
    VISUAL = "visual"
    """As ``all`` without the words."""
    WORDS = "words"
    """As ``all`` without the patch scores."""
    LAYOUT = "layout"
    """Place on the page alone, with weights of its own: what a question adds is measured
    against it."""


WEIGHTS_VERSION = 1
"""Raise when the weights change; runs that answer say it in their summary."""

_ALL: Mapping[str, float] = {
    "paragraph": 3.85,
    "run": -6.98,
    "figure": 2.27,
    "table": -2.51,
    "exhibit": 4.8,
    "confidence": 10.5,
    "filled": 2.44,
    "prose": -2.54,
    "text": 2.09,
    "size": -0.451,
    "words": 3.24,
    "text_word_coverage": 5.12,
    "patch_density": 3.74,
    "text_patch_density": 4.96,
    "asks_visual": 11.7,
}
_OF_WORDS = ("words", "text_word_coverage", "asks_visual")
_OF_PATCHES = ("patch_density", "text_patch_density")

WEIGHTS: Mapping[SpanSignals, Mapping[str, float]] = {
    SpanSignals.ALL: _ALL,
    SpanSignals.VISUAL: {k: w for k, w in _ALL.items() if k not in _OF_WORDS},
    SpanSignals.WORDS: {k: w for k, w in _ALL.items() if k not in _OF_PATCHES},
    SpanSignals.LAYOUT: {
        "paragraph": -4.34,
        "run": -3.15,
        "figure": 1.29,
        "table": -5.34,
        "exhibit": 2.33,
        "confidence": 13.9,
        "filled": 1.35,
        "prose": -5.46,
        "text": 1.9,
        "size": -0.363,
    },
}
"""Signal -> weight; signals that are not named count nothing."""

_OVERLAP = 0.1
"""Share of the smaller one: spans that are returned together overlap by no more."""


def span_scores(signals: Doubles, by: SpanSignals) -> Doubles:
    """Score the spans of a page.

    Args:
        signals: (S, len(SIGNALS)) of each span; S may be 0.
        by: which signals count.

    Returns:
        (S,) float64 in [0, 1], adding up to 1.

    Raises:
        ShapeError: there is not a column for each signal.
    """
    return beliefs(signals, SIGNALS, WEIGHTS[by])


def beliefs(signals: Doubles, names: Sequence[str], weights: Mapping[str, float]) -> Doubles:
    """Return the softmax over candidates of the weighted sums of their signals.

    Args:
        signals: (S, F) of the candidates; S may be 0.
        names: of the F signals.
        weights: signal -> weight; signals that are not named count nothing.

    Returns:
        (S,) float64 in [0, 1], adding up to 1.

    Raises:
        ShapeError: there is not a column for each signal.

    >>> beliefs(np.array([[1.0, 5.0], [-1.0, 5.0]]), ["seen", "other"], {"seen": 0.5}).tolist()
    [0.731, 0.269]
    """
    if signals.ndim != 2 or signals.shape[1] != len(names):
        raise ShapeError(f"(S, {len(names)}) signals expected, got {signals.shape}")
    # A sum a row, not a product of matrices, whose rounding depends on the other rows.
    sums = (signals * np.array([weights.get(name, 0.0) for name in names])).sum(axis=1)  # (S,)
    belief: Doubles = np.exp(sums - sums.max(initial=-np.inf))  # (S,)
    return belief / belief.sum() if len(belief) else belief


def choose_spans(scores: Doubles, boxes: Doubles, ratio: float, most: int) -> Indices:
    """Choose spans: the best, then each that is nearly as good and lies elsewhere.

    Args:
        scores: (S,) of the spans; S may be 0.
        boxes: (S, 4) fractions of the page.
        ratio: in (0, 1]; spans below this part of the best score are left out.
        most: how many at most, at least 1.

    Returns:
        Rows, best first, ties by row. None overlaps another by more than a tenth of the smaller.

    Raises:
        SelectionError: ``ratio`` or ``most`` is out of range.

    The second lies in the first, and the last is too far behind it.

    >>> boxes = np.array([[0, 0, 1, 0.5], [0, 0, 0.5, 0.5], [0, 0.5, 1, 1], [0, 0.9, 1, 1]])
    >>> choose_spans(np.array([0.4, 0.3, 0.2, 0.1]), boxes, 0.5, 10).tolist()
    [0, 2]
    """
    if not 0 < ratio <= 1 or most < 1:
        raise SelectionError(f"a ratio in (0, 1] and at least one span, got {ratio:g} and {most}")
    chosen: list[int] = []
    for row in np.argsort(-scores, kind="stable").tolist():
        if len(chosen) == most or scores[row] < ratio * scores.max():
            break
        if not any(_overlap(boxes[row], boxes[other]) > _OVERLAP for other in chosen):
            chosen.append(row)
    return np.array(chosen, dtype=np.intp)


def _overlap(a: Doubles, b: Doubles) -> float:
    """Share of the smaller box that both hold."""
    shared = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0.0, None).prod()
    return float(shared / min((a[2:] - a[:2]).prod(), (b[2:] - b[:2]).prod()))
