"""Guards the scores of lines and cells: which signals count, and that they make a softmax."""

from __future__ import annotations

import math

import numpy as np
import pytest

from patchlight.tasks.common.errors import ShapeError
from patchlight.tasks.grounding.spanweights import SpanSignals
from patchlight.tasks.grounding.valuesignals import LAYOUT, SIGNALS
from patchlight.tasks.grounding.valueweights import WEIGHTS, value_scores

WORDS = {"type", "own", "left", "next", "crossing", "again"}


def signals(**of: float) -> np.ndarray:
    """Two places; the second has some signals, the first none."""
    return np.array([[0.0] * len(SIGNALS), [of.get(name, 0.0) for name in SIGNALS]])


def test_weights_are_of_signals_there_are() -> None:
    assert len(set(SIGNALS)) == len(SIGNALS)
    assert set(WEIGHTS) == set(SpanSignals)
    assert set(WEIGHTS[SpanSignals.ALL]) == set(SIGNALS)
    assert set(WEIGHTS[SpanSignals.VISUAL]) == set(SIGNALS) - WORDS
    assert set(WEIGHTS[SpanSignals.WORDS]) == set(SIGNALS) - {"patches"}
    assert set(WEIGHTS[SpanSignals.LAYOUT]) == set(LAYOUT)


@pytest.mark.parametrize("signal", SIGNALS)
def test_signals_count_where_they_are_asked_for(signal: str) -> None:
    counts = set(SpanSignals)
    if signal in WORDS:
        counts = {SpanSignals.ALL, SpanSignals.WORDS}
    if signal == "patches":
        counts = {SpanSignals.ALL, SpanSignals.VISUAL}
    for by in SpanSignals:
        first, second = value_scores(signals(**{signal: 0.1}), by)
        assert bool(first != second) is (by in counts)


def test_what_stands_beside_speaks_for_a_value_and_its_own_words_against_it() -> None:
    """The signs: whoever fits the weights anew should see where they turn."""
    for signal in SIGNALS:
        first, second = value_scores(signals(**{signal: 0.1}), SpanSignals.ALL)
        assert bool(second > first) is (signal not in {"own", "again", "order"})


def test_scores_are_a_softmax_of_weighted_sums() -> None:
    weights = WEIGHTS[SpanSignals.ALL]
    total = 0.5 * weights["left"] + 0.25 * weights["own"]
    first, second = value_scores(signals(left=0.5, own=0.25), SpanSignals.ALL)
    assert second / first == pytest.approx(math.exp(total))
    assert first + second == pytest.approx(1)


def test_nothing_has_no_score() -> None:
    assert value_scores(np.empty((0, len(SIGNALS))), SpanSignals.ALL).shape == (0,)


@pytest.mark.parametrize("shape", [(2, len(SIGNALS) - 1), (len(SIGNALS),)])
def test_signals_of_another_width_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError):
        value_scores(np.zeros(shape), SpanSignals.ALL)
