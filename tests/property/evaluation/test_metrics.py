"""Properties of the measures of places that hold for all boxes."""

from __future__ import annotations

import random
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchlight.tasks.evaluation.areas import mosaic
from patchlight.tasks.evaluation.coverage import EvidencePieces
from patchlight.tasks.evaluation.metrics import PlaceScore, PlaceScorer, hits, ndcg_at
from patchlight.tasks.kernels.geometry import Doubles

SIDE = 12
"""Boxes end on the lines of a grid, so that areas can be counted cell by cell."""

line = st.integers(0, SIDE)
ends = st.tuples(line, line).filter(lambda both: both[0] != both[1])


@st.composite
def box(draw: st.DrawFn) -> tuple[float, float, float, float]:
    (x0, x1), (y0, y1) = sorted(draw(ends)), sorted(draw(ends))
    return x0 / SIDE, y0 / SIDE, x1 / SIDE, y1 / SIDE


def boxes(least: int = 1, most: int = 6) -> st.SearchStrategy[Doubles]:
    return st.lists(box(), min_size=least, max_size=most).map(
        lambda found: np.array(found, np.float64).reshape(-1, 4)
    )


def cells(boxes: Doubles) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    """Which cells of the grid boxes cover, counted one by one."""
    grid = np.zeros((SIDE, SIDE), np.bool_)
    for x0, y0, x1, y1 in np.rint(boxes * SIDE).astype(int):
        grid[y0:y1, x0:x1] = True
    return grid


@given(boxes(0), boxes())
def test_values_are_shares_and_the_official_score_is_the_strictest(
    returned: Doubles, true: Doubles
) -> None:
    score = PlaceScorer(returned, true).score()
    assert all(0 <= value <= 1 + 1e-9 for value in score)
    assert score.official <= score.best + 1e-9
    assert score.official_70 <= score.official_50 <= score.official_30
    assert score.best_70 <= score.best_50 <= score.best_25


@given(boxes(), boxes())
def test_areas_are_those_of_the_cells(returned: Doubles, true: Doubles) -> None:
    score = PlaceScorer(returned, true).score()
    ours, theirs = cells(returned), cells(true)
    both = (ours & theirs).sum()
    assert score.share == pytest.approx(ours.mean())
    assert score.precision == pytest.approx(both / ours.sum())
    assert score.recall == pytest.approx(both / theirs.sum())
    assert score.f1 == pytest.approx(2 * both / (ours.sum() + theirs.sum()))


@given(boxes(0, 8))
def test_parts_of_a_page_are_told_apart_by_their_boxes(every: Doubles) -> None:
    parts = mosaic(every)
    assert parts.area.sum() <= 1 + 1e-9
    assert len({tuple(part) for part in parts.cover.T.tolist()}) == len(parts.area)
    for number, one in enumerate(every):
        assert parts.area[parts.cover[number]].sum() == pytest.approx(cells(one[None]).mean())


@given(boxes(2), boxes(), st.randoms(use_true_random=False))
def test_order_does_not_matter_to_what_is_returned(
    returned: Doubles, true: Doubles, chance: random.Random
) -> None:
    ours, theirs = list(range(len(returned))), list(range(len(true)))
    chance.shuffle(ours)
    chance.shuffle(theirs)
    expected = PlaceScorer(returned, true).score()
    assert PlaceScorer(returned[ours], true[theirs]).score() == pytest.approx(expected)
    assert PlaceScorer(returned, true).score(ours) == pytest.approx(expected)


@given(boxes(2), boxes())
def test_another_box_never_costs_in_the_papers_measure(returned: Doubles, true: Doubles) -> None:
    scorer = PlaceScorer(returned, true)
    before, after = scorer.score(range(len(returned) - 1)), scorer.score()
    assert after.best >= before.best and after.recall >= before.recall - 1e-9
    assert after.share >= before.share - 1e-9


@given(boxes())
def test_the_truth_itself_is_perfect(true: Doubles) -> None:
    score = PlaceScorer(true, true).score()
    wanted = {name: 1.0 for name in PlaceScore._fields if name != "share"}
    assert {n: v for n, v in score._asdict().items() if n != "share"} == pytest.approx(wanted)


@given(boxes(), boxes(), st.integers(1, 7))
def test_a_random_choice_scores_the_mean_of_all(returned: Doubles, true: Doubles, k: int) -> None:
    scorer = PlaceScorer(returned, true)
    k = min(k, len(returned))
    every = np.array([scorer.score(chosen) for chosen in combinations(range(len(returned)), k)])
    expected = scorer.expected(k, seed=0)
    assert np.array(expected) == pytest.approx(every.mean(axis=0))


@given(boxes(), boxes(), boxes(0, 8))
def test_evidence_held_grows_to_the_whole(returned: Doubles, true: Doubles, words: Doubles) -> None:
    evidence = EvidencePieces(returned, true, words)
    along = evidence.along(range(len(returned)))
    assert (np.diff(along) >= -1e-9).all() and (along >= 0).all() and (along <= 1).all()
    assert evidence.expected(len(returned), seed=0) == pytest.approx(along[-1])
    best = EvidencePieces(returned, true, words, any_box=True)
    assert (best.along(range(len(returned))) >= along - 1e-9).all()
    assert best.expected(1, seed=0) >= evidence.expected(1, seed=0) - 1e-9
    page = EvidencePieces(np.array([[0.0, 0.0, 1.0, 1.0]]), true, words)
    assert page.along([0]) == pytest.approx([1.0])
    assert EvidencePieces(true, true, words).along(range(len(true)))[-1] == pytest.approx(1.0)


@given(boxes(), boxes())
def test_a_true_box_hits_and_the_page_hits_only_the_page(returned: Doubles, true: Doubles) -> None:
    assert hits(true, true).all()
    page = np.array([[0.0, 0.0, 1.0, 1.0]])
    high = (true[:, 3] - true[:, 1] >= 0.5).any()
    assert hits(page, true).tolist() == [bool(high)]
    both = hits(np.concatenate([returned, true]), true)
    assert both[: len(returned)].tolist() == hits(returned, true).tolist()


@given(
    st.lists(st.integers(0, 9), unique=True),
    st.sets(st.integers(0, 9), min_size=1),
    st.integers(1, 8),
)
def test_gain_is_a_share_of_the_best(ranked: list[int], relevant: set[int], k: int) -> None:
    found = ndcg_at(ranked, relevant, k)
    assert 0 <= found <= 1 + 1e-9
    best = sorted(ranked, key=lambda page: page not in relevant)
    assert ndcg_at(best, relevant, k) >= found - 1e-9
    assert ndcg_at(list(relevant), relevant, k) == pytest.approx(1.0)
