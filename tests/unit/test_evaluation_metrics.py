"""The measures of ``benchmarks.metrics`` on examples worked by hand."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from benchmarks.metrics import (
    MOST_MATCHED,
    NOTHING,
    PlaceScore,
    PlaceScorer,
    bootstrap_interval,
    kendall_tau,
    matched_iou,
    mean_score,
    recall_at,
    reciprocal_rank,
)
from tasks.geometry import Doubles

LEFT = (0.0, 0.0, 0.5, 1.0)
RIGHT = (0.5, 0.0, 1.0, 1.0)
TOP_LEFT = (0.0, 0.0, 0.5, 0.5)
BOTTOM_LEFT = (0.0, 0.5, 0.5, 1.0)
PAGE = (0.0, 0.0, 1.0, 1.0)

Box = tuple[float, float, float, float]


def score(returned: list[Box], true: list[Box]) -> PlaceScore:
    return PlaceScorer(np.array(returned).reshape(-1, 4), np.array(true)).score()


@pytest.mark.parametrize(
    ("k", "expected"), [(1, 0.0), (2, 1 / 3), (3, 1 / 3), (4, 2 / 3), (9, 2 / 3)]
)
def test_recall_is_the_share_of_relevant_pages_found(k: int, expected: float) -> None:
    assert recall_at(["a", "b", "c", "d"], {"b", "d", "z"}, k) == pytest.approx(expected)


def test_reciprocal_rank_counts_the_best_ranked_relevant_page() -> None:
    assert reciprocal_rank(["a", "b", "c", "d"], {"b", "d"}) == 0.5
    assert reciprocal_rank(["a", "b"], {"z"}) == 0.0
    assert reciprocal_rank([], {"z"}) == 0.0


def test_agreement_of_rankings_counts_pairs() -> None:
    assert kendall_tau("abcd", "abcd") == 1
    assert kendall_tau("dcba", "abcd") == -1
    # Of the 6 pairs only c, d is turned round: (5 - 1) / 6.
    assert kendall_tau("abdc", "abcd") == pytest.approx(4 / 6)
    # Items that one of them lacks form no pair; of those left b, d is turned round.
    assert kendall_tau("bxda", "dbya") == pytest.approx((2 - 1) / 3)
    assert kendall_tau("a", "abc") == kendall_tau("", "") == 1


def test_the_true_box_itself_scores_one_in_everything_but_the_share() -> None:
    assert score([LEFT], [LEFT]) == PlaceScore._make([*[1.0] * 9, 0.5])


def test_returning_nothing_scores_nothing() -> None:
    assert score([], [LEFT]) == NOTHING


def test_more_boxes_than_true_ones_lower_the_official_score_only() -> None:
    # IoU of LEFT: 1 with itself, .5 with each of its halves, 0 with RIGHT.
    found = score([TOP_LEFT, RIGHT, LEFT], [LEFT])
    assert found.official == pytest.approx(1 / 3)
    assert (found.official_30, found.official_50) == (1.0, 0.0)
    assert (found.best, found.best_70) == (1.0, 1.0)


def test_fewer_boxes_than_true_ones_lower_both_scores() -> None:
    found = score([LEFT], [LEFT, RIGHT])
    assert (found.official, found.best, found.best_25) == (0.5, 0.5, 0.5)
    assert (found.official_50, found.official_70) == (1.0, 0.0)


def test_a_returned_box_matches_one_true_box_but_may_be_best_for_two() -> None:
    # PAGE has IoU .5 with LEFT and with RIGHT.
    found = score([PAGE], [LEFT, RIGHT])
    assert found.official == 0.25
    assert (found.best, found.best_50) == (0.5, 1.0)


def test_matching_maximises_the_sum_and_not_the_best_pair() -> None:
    # Taking .9 first leaves 0; the best matching is .8 + .7.
    ratios = np.array([[0.9, 0.8], [0.7, 0.0]])
    assert matched_iou(ratios) == pytest.approx(1.5)


@pytest.mark.parametrize("shape", [(1, 4), (4, 1), (3, 3), (2, 5), (5, 3)])
def test_matching_equals_trying_all_matchings(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(7)
    for _ in range(30):
        ratios = rng.random(shape) * (rng.random(shape) < 0.6)
        assert matched_iou(ratios) == pytest.approx(best_of_all_matchings(ratios))


def best_of_all_matchings(ratios: Doubles) -> float:
    tall = ratios if ratios.shape[0] >= ratios.shape[1] else ratios.T
    columns = range(tall.shape[1])
    return max(
        float(sum(tall[row, column] for row, column in zip(rows, columns, strict=True)))
        for rows in permutations(range(tall.shape[0]), len(columns))
    )


def test_too_many_boxes_on_both_sides_are_refused_and_not_approximated() -> None:
    with pytest.raises(ValueError, match="too many"):
        matched_iou(np.full((MOST_MATCHED + 1, MOST_MATCHED + 1), 0.5))


def test_area_counts_overlapping_boxes_once() -> None:
    # The union is LEFT, half the page. The sum of the areas would be .75.
    found = score([LEFT, TOP_LEFT], [BOTTOM_LEFT])
    assert found.share == 0.5
    # |R and T| = .25, |R| = .5, |T| = .25
    assert found.area_f1 == pytest.approx(2 * 0.25 / 0.75)


def test_area_counts_overlapping_true_boxes_once() -> None:
    # |R| = .5, |T| = .5, |R and T| = .25
    found = score([(0.0, 0.0, 1.0, 0.5)], [LEFT, TOP_LEFT])
    assert found.area_f1 == pytest.approx(0.5)


def test_area_of_boxes_that_cross() -> None:
    # A cross of two bars: .2 + .2 - .04
    found = score([(0.4, 0.0, 0.6, 1.0), (0.0, 0.4, 1.0, 0.6)], [PAGE])
    assert found.share == pytest.approx(0.36)
    assert found.area_f1 == pytest.approx(2 * 0.36 / 1.36)


def test_a_choice_scores_as_if_only_the_chosen_boxes_were_returned() -> None:
    returned = [TOP_LEFT, RIGHT, LEFT]
    scorer = PlaceScorer(np.array(returned), np.array([LEFT]))
    assert scorer.score([2]) == score([LEFT], [LEFT])
    assert scorer.score([0, 1]) == score([TOP_LEFT, RIGHT], [LEFT])
    assert scorer.score([]) == NOTHING


def test_scores_are_averaged_value_by_value() -> None:
    mean = mean_score([score([LEFT], [LEFT]), NOTHING])
    assert mean == PlaceScore._make([*[0.5] * 9, 0.25])


def test_bootstrap_gives_the_same_interval_again_whatever_the_order_of_the_rows() -> None:
    rng = np.random.default_rng(3)
    values, groups = rng.normal(size=60), [f"doc {i % 7}" for i in range(60)]
    interval = bootstrap_interval(values, groups)
    assert interval == bootstrap_interval(values, groups)
    order = rng.permutation(60)
    assert bootstrap_interval(values[order], [groups[i] for i in order]) == pytest.approx(interval)
    assert interval[0] < values.mean() < interval[1]
    assert bootstrap_interval(values, groups, seed=1) != interval


def test_bootstrap_draws_whole_groups() -> None:
    # Two documents of equal rows: a draw holds 0, 1 or 2 of the second one.
    groups = ["a"] * 50 + ["b"] * 50
    assert bootstrap_interval([0.0] * 50 + [1.0] * 50, groups) == (0.0, 1.0)
    assert bootstrap_interval([0.3] * 100, groups) == pytest.approx((0.3, 0.3))


def test_bootstrap_weighs_rows_and_not_groups() -> None:
    # One row of 1 and three of 0: the draws are 1, 1/4 and 0.
    values, groups = [1.0, 0.0, 0.0, 0.0], ["a", "b", "b", "b"]
    drawn = {bootstrap_interval(values, groups, draws=1, seed=seed)[0] for seed in range(40)}
    assert drawn == {0.0, 0.25, 1.0}
