"""Ways to choose blocks of a page that need no model: blind to the question, or BM25."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from math import comb

import numpy as np

from benchmarks.bm25 import Bm25, best_first
from benchmarks.metrics import NOTHING, PlaceScore, PlaceScorer, mean_score
from tasks.geometry import Doubles

WHOLE_PAGE = "blind: whole page"
LARGEST = "blind: largest block"
K_LARGEST = "blind: k largest blocks, k of P50"
RANDOM = "blind: random block"
K_RANDOM = "blind: k random blocks, k of P50"
ALL = "all blocks"
BM25 = "BM25: best block"

DRAWS = 1_000


def baseline_scores(
    query: str, boxes: Doubles, texts: Sequence[str], true_boxes: Doubles, k: int, seed: int
) -> dict[str, PlaceScore]:
    """Score what the baselines return for a page of evidence.

    Args:
        query: the question; only BM25 reads it.
        boxes: (n, 4) the page's blocks in reading order; n may be 0, then all but the whole
            page return nothing.
        texts: (n,) what is written in them.
        true_boxes: (m, 4) the true boxes.
        k: number of blocks that the k-block baselines return; at most n.
        seed: of the draws for ``K_RANDOM``.

    Returns:
        Name -> score. ``RANDOM`` is the exact mean over all blocks. ``K_RANDOM`` is the exact
        mean over all choices where there are at most `DRAWS`, else over `DRAWS` drawn ones.
        ``BM25`` counts words over the blocks of this page alone; ties, and a page without a
        word of the question, go to the first block in reading order.
    """
    page = PlaceScorer(np.array([[0.0, 0.0, 1.0, 1.0]]), true_boxes).score()
    found = dict.fromkeys((LARGEST, K_LARGEST, RANDOM, K_RANDOM, ALL, BM25), NOTHING)
    if len(boxes):
        scorer = PlaceScorer(boxes, true_boxes)
        by_area = best_first((boxes[:, 2:] - boxes[:, :2]).prod(axis=1))
        found = {
            LARGEST: scorer.score(by_area[:1]),
            K_LARGEST: scorer.score(by_area[:k]),
            RANDOM: mean_score([scorer.score([block]) for block in range(len(boxes))]),
            K_RANDOM: _random_choices(scorer, k, seed),
            ALL: scorer.score(),
            BM25: scorer.score(best_first(Bm25(texts).scores(query))[:1]),
        }
    return {WHOLE_PAGE: page, **found}


def _random_choices(scorer: PlaceScorer, k: int, seed: int) -> PlaceScore:
    if comb(scorer.count, k) <= DRAWS:
        return mean_score([scorer.score(chosen) for chosen in combinations(range(scorer.count), k)])
    rng = np.random.default_rng(seed)
    draws = (rng.choice(scorer.count, k, replace=False) for _ in range(DRAWS))
    return mean_score([scorer.score(chosen) for chosen in draws])
