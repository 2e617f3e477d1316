"""Guards the scores of spans and the choice among them, by hand-worked examples."""

from __future__ import annotations

import math

import numpy as np
import pytest

from patchlight.tasks.common.errors import SelectionError, ShapeError
from patchlight.tasks.grounding.spansignals import LAYOUT, QUESTION, SIGNALS
from patchlight.tasks.grounding.spanweights import WEIGHTS, SpanSignals, choose_spans, span_scores

BOXES = np.array(
    [
        [0.1, 0.1, 0.4, 0.2],
        [0.1, 0.1, 0.4, 0.5],  # holds the first
        [0.6, 0.1, 0.9, 0.2],
        [0.6, 0.195, 0.9, 0.3],  # a twentieth of the third
    ]
)


def signals(**of: float) -> np.ndarray:
    """Two spans; the second has some signals, the first none."""
    return np.array([[0.0] * len(SIGNALS), [of.get(name, 0.0) for name in SIGNALS]])


def test_weights_are_of_signals_there_are() -> None:
    assert set(WEIGHTS) == set(SpanSignals)
    assert set(WEIGHTS[SpanSignals.ALL]) == set(SIGNALS)
    assert set(WEIGHTS[SpanSignals.LAYOUT]) == set(LAYOUT)
    words, patches = (
        set(SIGNALS) - set(WEIGHTS[by]) for by in (SpanSignals.VISUAL, SpanSignals.WORDS)
    )
    assert words | patches == set(QUESTION) and not words & patches


def test_scores_are_a_softmax_of_weighted_sums() -> None:
    weights = WEIGHTS[SpanSignals.ALL]
    total = 0.5 * weights["words"] - 0.25 * weights["size"]
    first, second = span_scores(signals(words=0.5, size=-0.25), SpanSignals.ALL)
    assert second / first == pytest.approx(math.exp(total))
    assert first + second == pytest.approx(1)


@pytest.mark.parametrize(
    ("signal", "counts"),
    [
        ("words", {SpanSignals.ALL, SpanSignals.WORDS}),
        ("text_word_coverage", {SpanSignals.ALL, SpanSignals.WORDS}),
        ("asks_visual", {SpanSignals.ALL, SpanSignals.WORDS}),
        ("patch_density", {SpanSignals.ALL, SpanSignals.VISUAL}),
        ("text_patch_density", {SpanSignals.ALL, SpanSignals.VISUAL}),
        ("confidence", set(SpanSignals)),
    ],
)
def test_signals_count_where_they_are_asked_for(signal: str, counts: set[SpanSignals]) -> None:
    for by in SpanSignals:
        first, second = span_scores(signals(**{signal: 0.1}), by)
        assert bool(first != second) is (by in counts)


def test_sums_far_apart_neither_overflow_nor_vanish() -> None:
    far = signals(words=1e4)
    assert span_scores(far, SpanSignals.ALL).tolist() == [0, 1]
    assert span_scores(-far, SpanSignals.ALL).tolist() == [1, 0]


def test_no_span_has_no_score() -> None:
    assert span_scores(np.empty((0, len(SIGNALS))), SpanSignals.ALL).shape == (0,)
    assert choose_spans(np.empty(0), np.empty((0, 4)), 0.5, 3).tolist() == []


@pytest.mark.parametrize("shape", [(2, len(SIGNALS) - 1), (len(SIGNALS),)])
def test_signals_of_another_width_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError):
        span_scores(np.zeros(shape), SpanSignals.ALL)


@pytest.mark.parametrize(
    ("ratio", "most", "chosen"),
    [
        (0.5, 9, [1, 2]),  # the first lies in the second; 0.15 is less than half of 0.4
        (0.3, 9, [1, 2, 3]),
        (0.3, 2, [1, 2]),
        (0.5, 1, [1]),
        (1.0, 9, [1]),
    ],
)
def test_the_best_and_those_nearly_as_good_elsewhere(
    ratio: float, most: int, chosen: list[int]
) -> None:
    scores = np.array([0.25, 0.4, 0.2, 0.15])
    assert choose_spans(scores, BOXES, ratio, most).tolist() == chosen


def test_ties_go_by_row() -> None:
    assert choose_spans(np.full(4, 0.25), BOXES, 1.0, 9).tolist() == [0, 2, 3]


@pytest.mark.parametrize(("ratio", "most"), [(0, 1), (-1, 1), (1.01, 1), (math.nan, 1), (0.5, 0)])
def test_choices_out_of_range_are_refused(ratio: float, most: int) -> None:
    with pytest.raises(SelectionError):
        choose_spans(np.full(4, 0.25), BOXES, ratio, most)
