"""Scoring what settings and baselines return for a row: one number a measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from patchlight.storage.regions import Regions
from patchlight.tasks.answers import tokencost
from patchlight.tasks.evaluation.areas import mosaic
from patchlight.tasks.evaluation.baselines import WHOLE, Choice
from patchlight.tasks.evaluation.choices import Truth
from patchlight.tasks.evaluation.coverage import WRITTEN, EvidencePieces, filled
from patchlight.tasks.evaluation.metrics import PlaceScore, PlaceScorer, chance_of_any, hits
from patchlight.tasks.evaluation.protocols import Returned
from patchlight.tasks.evaluation.stored import MeasuredPage
from patchlight.tasks.kernels.geometry import Doubles, Indices, iou

FIRST, FIRST_THREE = "top1_", "top3_"
_CUTS = {"": None, FIRST: 1, FIRST_THREE: 3}

MEASURES = (
    *(cut + name for cut in _CUTS for name in PlaceScore._fields),
    "hit_1",
    "hit_3",
    "reach_1",
    "reach_3",
    "boxes",
    "tokens",
    "coverage",
    "tokens_to_90",
)
"""Names of the measures of a row, in the order of `score_returned` and `score_choice`.

``official`` to ``share`` are those of `metrics.PlaceScore` for all that was returned, with
``top1_`` and ``top3_`` for the first and the first three; ``hit_k``: 1 when one of the first k hits
a true box (`metrics.hits`); ``reach_k``: the largest IoU of one of the first k with a true box;
``boxes``: how many were returned; ``tokens``: what they cost as context; ``coverage``: the share
of the evidence that they hold (`coverage.EvidencePieces`); ``tokens_to_90``: the cost of the first
ones that hold 90 % of it, NaN where they do not.
"""

NOTHING = np.array([np.nan if name == "tokens_to_90" else 0.0 for name in MEASURES])
"""The measures of what is returned of a page that could not be ingested."""

ENOUGH = 0.9
"""Share of the evidence from which on it counts as held."""
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Target:
    """What a row's answer is held against.

    Attributes:
        true_boxes: (m, 4).
        page: what is stored of the page.
        width_pt, height_pt: its size, points.
        seed: of random choices.
        truth: what several true boxes stand for.
    """

    true_boxes: Doubles
    page: MeasuredPage
    width_pt: float
    height_pt: float
    seed: int
    truth: Truth = Truth.ALL


def score_returned(returned: Returned, target: Target) -> Doubles:
    """Return the measures of what a setting returned, (c,) in the order of `MEASURES`."""
    scorer = _Scorer(returned.boxes, _tokens(returned.boxes, returned.texts, target), target)
    return scorer.ordered(np.arange(len(returned.boxes)), len(returned.boxes))


def score_choices(choices: Mapping[str, Choice], target: Target) -> dict[str, Doubles]:
    """Return the measures of baselines, each as ``score_returned``.

    Those of a random choice are expectations; see `metrics.PlaceScorer.expected`.
    """
    # Most choose among the same regions.
    among = {id(choice.among): choice.among for choice in choices.values()}
    scorers = {key: _scorer(regions, target) for key, regions in among.items()}
    found = {}
    for name, choice in choices.items():
        scorer = scorers[id(choice.among)]
        found[name] = (
            scorer.expected(choice.returned)
            if choice.random
            else scorer.ordered(choice.order, choice.returned)
        )
    return found


class _Scorer:
    """Scores choices among some places.

    Args:
        boxes: (n, 4) of them.
        tokens: (n,) what each costs as context.
        target: what they are held against.
    """

    def __init__(self, boxes: Doubles, tokens: Doubles, target: Target) -> None:
        self._count = len(boxes)
        self._seed = target.seed
        true = target.true_boxes
        parts = mosaic(np.concatenate([boxes, true]))
        self._places = PlaceScorer(boxes, true, parts)
        any_box = target.truth is Truth.ANY
        self._evidence = EvidencePieces(
            boxes, true, target.page.words, any_box=any_box, parts=parts
        )
        self._hits = hits(boxes, true)
        self._reach = iou(boxes, true).max(axis=1)
        self._tokens = tokens
        self._drawn: dict[int, PlaceScore] = {}

    def ordered(self, order: Indices, returned: int) -> Doubles:
        """Score the first ``returned`` of an order, best first."""
        chosen = order[:returned]
        cuts = [chosen if k is None else order[:k] for k in _CUTS.values()]
        values = [value for cut in cuts for value in self._places.score(cut)]
        values += [float(self._hits[order[:k]].any()) for k in (1, 3)]
        values += [float(self._reach[order[:k]].max(initial=0.0)) for k in (1, 3)]
        along = self._evidence.along(order)
        cost = np.cumsum(self._tokens[order])
        enough = np.flatnonzero(along >= ENOUGH - _ROUNDING)
        values += [
            float(len(chosen)),
            float(self._tokens[chosen].sum()),
            float(along[len(chosen) - 1]) if len(chosen) else 0.0,
            float(cost[enough[0]]) if len(enough) else np.nan,
        ]
        return np.array(values)

    def expected(self, k: int) -> Doubles:
        """Score ``k`` regions drawn at random."""
        k = min(k, self._count)
        cuts = [k if cut is None else min(cut, self._count) for cut in _CUTS.values()]
        values = [value for cut in cuts for value in self._expected_place(cut)]
        hit = np.array(self._hits.sum())
        values += [float(chance_of_any(hit, self._count, cut)) for cut in cuts[1:]]
        share = k / self._count if self._count else 0.0
        values += [np.nan, np.nan, float(k), share * float(self._tokens.sum())]
        values += [self._evidence.expected(k, self._seed), np.nan]
        return np.array(values)

    def _expected_place(self, k: int) -> PlaceScore:
        if k not in self._drawn:
            self._drawn[k] = self._places.expected(k, self._seed)
        return self._drawn[k]


def _scorer(regions: Regions | None, target: Target) -> _Scorer:
    """Score choices among regions, or the page as a whole, which costs its text if it has any."""
    if regions is not None:
        return _Scorer(regions.boxes, _tokens(regions.boxes, regions.texts, target), target)
    text = target.page.text
    cost = _text_tokens(text) if text.strip() else _picture_tokens(WHOLE[0], target)
    return _Scorer(WHOLE, np.array([cost], np.float64), target)


def _tokens(boxes: Doubles, texts: Sequence[str], target: Target) -> Doubles:
    """Return (n,) what places cost as context: their text, or of what is none their picture."""
    written = filled(boxes, target.page.words) >= WRITTEN
    costs = [
        _text_tokens(text) if text.strip() and is_text else _picture_tokens(box, target)
        for text, box, is_text in zip(texts, boxes, written, strict=True)
    ]
    return np.array(costs, np.float64)


def _picture_tokens(box: Doubles, target: Target) -> int:
    x0, y0, x1, y1 = box.tolist()
    return tokencost.page_tokens((x1 - x0) * target.width_pt, (y1 - y0) * target.height_pt)


@lru_cache(maxsize=4096)
def _text_tokens(text: str) -> int:
    return tokencost.text_tokens(text)
