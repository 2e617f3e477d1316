"""Which lines or cells of a page hold the value that a question asks for; pure.

A score is the share of belief that it is the answer: a softmax over the page's lines or cells of a
weighted sum of their signals (``tasks.grounding.valuesignals``). The weights make the expected
score of the one drawn by that softmax as large as it gets on the small targets of SROIE, VRDU and
ICDAR 2013, with ridge 0.3 (``benchmarks/values.py``). Decision 0015 has what that gives elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping

from patchlight.tasks.grounding.spanweights import SpanSignals, beliefs
from patchlight.tasks.grounding.valuesignals import SIGNALS
from patchlight.tasks.kernels.geometry import Doubles

WEIGHTS_VERSION = 1
"""Raise when the weights change; runs that answer say it in their summary."""

_ALL: Mapping[str, float] = {
    "digits": 4.81,
    "order": -1.72,
    "type": 11.4,
    "own": -11.3,
    "left": 6.47,
    "next": 4.92,
    "crossing": 31.3,
    "again": -3.4,
    "patches": 3.28,
}
_OF_WORDS = ("type", "own", "left", "next", "crossing", "again")

WEIGHTS: Mapping[SpanSignals, Mapping[str, float]] = {
    SpanSignals.ALL: _ALL,
    SpanSignals.VISUAL: {k: w for k, w in _ALL.items() if k not in _OF_WORDS},
    SpanSignals.WORDS: {k: w for k, w in _ALL.items() if k != "patches"},
    SpanSignals.LAYOUT: {"digits": 3.59, "order": -1.23},
}
"""Signal -> weight; signals that are not named count nothing."""


def value_scores(signals: Doubles, by: SpanSignals) -> Doubles:
    """Score the lines and cells of a page.

    Args:
        signals: (S, len(SIGNALS)) of each; S may be 0.
        by: which signals count.

    Returns:
        (S,) float64 in [0, 1], adding up to 1.

    Raises:
        ShapeError: there is not a column for each signal.
    """
    return beliefs(signals, SIGNALS, WEIGHTS[by])
